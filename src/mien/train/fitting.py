"""What a network fits in closed form before its first step."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Final

from mien.errors import InputError
from mien.train.config import SamplerConfig, TrainConfig
from mien.train.data import TrainingSet
from mien.train.display import Display
from mien.train.parts import classes, made_batches
from mien.train.processes import Processes
from mien.train.step import Stepper

__all__ = ["fit_network", "pictures_to_fit"]

_MOST: Final = 20_000  # pictures that a closed form is fitted to
_EACH: Final = 4  # pictures of one person, at least, where the people are too many for all to be seen
_TURNS: Final = 4  # times over, of a small set: each time changed in another way
_PLACING: Final = frozenset({"flip", "move", "turn", "most_shift", "most_scale", "most_turn"})  # changes of place


def pictures_to_fit(pictures: int) -> int:
    """How many pictures of a set are taken, one taken several times counted as often."""
    return min(_MOST, _TURNS * pictures)


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
        # Moved and turned, for landmarks err; but no blur or cover, which would pass for what people differ in.
        augment = {name: value for name, value in config.data.augment.items() if name in _PLACING}
        shown = replace(config, data=replace(config.data, augment=augment))
        if wanted < _EACH * classes(config.data, data):
            people = min(max(config.data.batch // _EACH, 2), len(data.people))
            sampler = SamplerConfig(name="pk", people=people, each=_EACH)
            shown = replace(shown, data=replace(shown.data, sampler=sampler, batch=people * _EACH))
        with made_batches(shown, data, Processes(0, 1, processes.device)) as batches:
            found = ((batch.pictures, batch.labels) for epoch in itertools.count() for batch in batches.epoch(epoch))
            try:
                network.fit(found, wanted, lambda done: display.progress("Fitting the filters' views", done, wanted))
            except InputError as error:
                raise InputError(
                    f"network: the views of {network.name} cannot be fitted to these pictures ({error}); take the "
                    "network without its filters: --set network.name=NAME"
                ) from error
        display.say(f"filters' views fitted to {wanted:,} pictures")
    processes.copied(p.data for p in network.parameters() if not p.requires_grad)
    stepper.restart_average()
