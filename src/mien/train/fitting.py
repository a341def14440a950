"""What a network fits in closed form: before its first step, and each time before it is measured or kept."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from mien.errors import InputError
from mien.train.backbones import Backbone, normalise
from mien.train.config import SamplerConfig, TrainConfig
from mien.train.data import TrainingSet
from mien.train.display import Display
from mien.train.parts import classes, made_batches
from mien.train.processes import Processes
from mien.train.step import Stepper, autocast_of

__all__ = ["LastLayer", "fit_network", "last_pictures", "pictures_to_fit"]

_MOST: Final = 20_000  # pictures that a closed form is fitted to
_MOST_LAST: Final = 8_000  # and that the last layer is, several times
_EACH: Final = 4  # pictures of one person, at least, where the people are too many for all to be seen
_TURNS: Final = 4  # times over, of a small set: each time changed in another way
_PLACING: Final = frozenset({"flip", "move", "turn", "most_shift", "most_scale", "most_turn"})  # changes of place


def pictures_to_fit(pictures: int) -> int:
    """How many pictures of a set are taken, one taken several times counted as often."""
    return min(_MOST, _TURNS * pictures)


def last_pictures(pictures: int) -> int:
    """As `pictures_to_fit`, for the last layer."""
    return min(_MOST_LAST, _TURNS * pictures)


def fit_network(
    stepper: Stepper, config: TrainConfig, data: TrainingSet, processes: Processes, display: Display
) -> None:
    """Fit what the network fits, on the first process, to pictures as training shows them; all processes call it.

    Raises:
        InputError: it cannot be fitted to these pictures.
    """
    network = stepper.network
    if network.fitted:
        return
    wanted = pictures_to_fit(len(data))
    if processes.first:
        try:
            with closing(_shown(config, data, processes, wanted)) as found:
                network.fit(found, wanted, lambda done: display.progress("Fitting the filters' views", done, wanted))
        except InputError as error:
            raise InputError(
                f"network: the views of {network.name} cannot be fitted to these pictures ({error}); take the "
                "network without its filters: --set network.name=NAME"
            ) from error
        display.say(f"filters' views fitted to {wanted:,} pictures")
    processes.copied(p.data for p in network.parameters() if not p.requires_grad)
    stepper.restart_average()


class LastLayer:
    """Fits the layer that ends a network to what it has learned; all processes call it together, one thread each.

    What does not change from one time to the next (the pictures, what fixed filters say) is made at the first call and
    kept.
    """

    def __init__(self, config: TrainConfig, data: TrainingSet, processes: Processes, display: Display) -> None:
        self._config, self._data, self._processes, self._display = config, data, processes, display
        self._settled: list[tuple[Tensor, ...]] = []
        self._labels: list[Tensor] = []

    def __call__(self, network: Backbone, precision: str) -> None:
        """Fit it, in a network in eval mode.

        Raises:
            InputError: it cannot be fitted to these pictures.
        """
        layer, device = network.last_layer, self._processes.device
        if layer is None:
            return
        failed = ""
        if self._processes.first:
            if not self._settled:
                self._settle(network)
            with autocast_of(precision, device):
                settled = (tuple(part.to(device) for part in parts) for parts in self._settled)
                try:
                    network.fit_last(settled, torch.cat(self._labels))
                except InputError as error:
                    failed = str(error)
        if failed := self._processes.shared(failed):  # all end alike
            raise InputError(
                f"network: the last layer of {network.name} cannot be fitted to these pictures ({failed}); "
                "leave it out: --set network.options.within=null"
            )
        self._processes.copied(p.data for p in layer.parameters())

    @torch.no_grad()
    def _settle(self, network: Backbone) -> None:
        wanted, at_once = last_pictures(len(self._data)), self._config.measure.batch
        found, whose, done = list[tuple[Tensor, ...]](), list[Tensor](), 0
        with closing(_shown(self._config, self._data, self._processes, wanted)) as shown:
            while done < wanted:
                pictures, labels = next(shown)
                # As many at a time as in measuring: a whole batch is that of all processes and accumulated parts.
                for start in range(0, len(pictures), at_once):
                    x = normalise(pictures[start : start + at_once].to(self._processes.device), network.spec)
                    found.append(tuple(part.cpu() for part in network.settled(x)))
                whose.append(labels)
                done += len(labels)
                self._display.progress("Pictures for the last layer", min(done, wanted), wanted)
        self._settled, self._labels = found, whose


def _shown(
    config: TrainConfig, data: TrainingSet, processes: Processes, wanted: int
) -> Generator[tuple[Tensor, Tensor]]:
    """Pictures and whose they are, without end: `wanted` of them are to show several of each person."""
    # Moved and turned, for landmarks err; but no blur or cover, which would pass for what people differ in.
    augment = {name: value for name, value in config.data.augment.items() if name in _PLACING}
    shown = replace(config, data=replace(config.data, augment=augment))
    if wanted < _EACH * classes(config.data, data):
        people = min(max(config.data.batch // _EACH, 2), len(data.people))
        sampler = SamplerConfig(name="pk", people=people, each=_EACH)
        shown = replace(shown, data=replace(shown.data, sampler=sampler, batch=people * _EACH))
    with made_batches(shown, data, Processes(0, 1, processes.device)) as batches:
        for epoch in itertools.count():
            yield from ((batch.pictures, batch.labels) for batch in batches.epoch(epoch))
