"""How good the embeddings are, during training: pairs verified through [mien.evaluate][], pictures aligned once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.errors import InputError
from mien.evaluate.metrics.folds import best_threshold, fold_accuracy
from mien.evaluate.metrics.pairs import listed_pair_scores
from mien.evaluate.metrics.scores import split_scores
from mien.evaluate.metrics.thresholds import float32_at_least
from mien.evaluate.metrics.verification import tar_at_far
from mien.evaluate.protocols.pictures import Picture
from mien.evaluate.protocols.sets import PairSet
from mien.images import source_name
from mien.images.augment import evened
from mien.train.backbones import Backbone, InputSpec
from mien.train.config import MeasureConfig, PairsConfig
from mien.train.data.aligning import aligned_store
from mien.train.data.store import Stored
from mien.train.heads import shard_bounds
from mien.train.heads.sharding import gather_rows
from mien.train.pair_lists import read_pairs
from mien.train.processes import Processes
from mien.train.step import autocast_of, network_input

__all__ = ["Accuracy", "PairMeasure", "embed_pictures", "measured"]

_FAILED: Final = np.float32(-1)
"""The score of a pair of which a picture has no face: an error of the system, as in [mien.evaluate][]."""

_FOLDS: Final = 10


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What a set of pairs says.

    Attributes:
        name: the set's.
        accuracy: share of pairs decided rightly.
        error: its standard error.
        tar: share of genuine pairs accepted where at most ``far`` of the others are.
        far: see tar.
        pairs: how many.
        no_face: how many of them have a picture without a face; they count as scores of -1.
    """

    name: str
    accuracy: float
    error: float
    tar: float
    far: float
    pairs: int
    no_face: int


class PairMeasure:
    """A set of pairs with its aligned pictures, ready to measure networks. Not thread-safe.

    Args:
        config: lists and pictures.
        spec: how the network wants them.
        cache: folder of aligned pictures.
        workers: threads that align.
        progress: called with (done, all) while they do.
        say: told of pairs that are left out.

    Raises:
        InputError: a list is malformed, or its pictures are not there.

    Attributes:
        name: the set's.
        pairs: the list.
        people: names of the people of its lists.
        scores: float32 (P,) of its pairs, as last measured; None before.
    """

    def __init__(
        self,
        config: PairsConfig,
        spec: InputSpec,
        cache: Path,
        *,
        workers: int = 1,
        progress: Callable[[int, int], None] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.name = config.name
        lists = [config.pairs, *([config.threshold_pairs] if config.threshold_pairs else [])]
        sets = [read_pairs(pairs, config.images, skip_missing=config.skip_missing, say=say) for pairs in lists]
        self.pairs: PairSet = sets[0]
        self.people: frozenset[str] = frozenset(name for one in sets for name in one.people)
        self.scores: NDArray[np.float32] | None = None
        self._pairs = [_Listed(data, spec, cache, workers, progress) for data in sets]

    def __call__(self, embed: Callable[[Stored], NDArray[np.float32]]) -> Accuracy:
        """Measure by a function that turns stored pictures into unit embeddings (N, D)."""
        chosen, *other = self._pairs
        scores = self.scores = chosen.scores(embed)
        if other:
            own = other[0].scores(embed)
            right = (scores >= float32_at_least(best_threshold(own, other[0].same))) == chosen.same
            accuracy, error = float(right.mean()), float(right.std(ddof=1) / len(right) ** 0.5)
        else:
            folds = chosen.folds if len(np.unique(chosen.folds)) > 1 else _tenths(chosen.same)
            found = fold_accuracy(scores, chosen.same, folds)
            accuracy, error = found.mean, found.standard_error
        far = 0.01 if len(scores) < 5000 else 0.001
        tar = tar_at_far(split_scores(scores, chosen.same), far).tar
        return Accuracy(self.name, accuracy, error, tar, far, len(scores), chosen.no_face)


class _Listed:
    """One list of pairs and its pictures."""

    def __init__(
        self,
        data: PairSet,
        spec: InputSpec,
        cache: Path,
        workers: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.same, self.folds = data.same, data.folds
        self.stored = aligned_store(cache, _Records(data.pictures), spec, workers=workers, progress=progress)
        place = np.full(len(data.pictures), -1, np.int64)
        place[self.stored.rows] = np.arange(len(self.stored))
        self.at = place[data.pairs]
        self.both = (self.at >= 0).all(1)
        self.no_face = int((~self.both).sum())
        if not self.both.any():
            raise InputError(f"{data.name}: no face was found in its pictures")

    def scores(self, embed: Callable[[Stored], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Cosines (P,)."""
        scores = np.full(len(self.at), _FAILED, np.float32)
        scores[self.both] = listed_pair_scores(embed(self.stored), self.at[self.both])
        return scores


def _tenths(same: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Ten folds of pairs as they come, each kind by itself."""
    folds = np.empty(len(same), np.int64)
    for kind in (True, False):
        at = np.flatnonzero(same == kind)
        folds[at] = np.arange(len(at)) * _FOLDS // max(len(at), 1)
    return folds


class _Records:
    """A protocol's pictures as the data room reads records."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._pictures = pictures
        self.labels: NDArray[np.int64] = np.zeros(len(pictures), np.int64)
        self.people = ("",)

    def __len__(self) -> int:
        return len(self._pictures)

    def name(self, i: int) -> str:
        return self._pictures[i].name

    def encoded(self, i: int) -> bytes | str:
        source = self._pictures[i].source
        return source if isinstance(source, str) else bytes(source)

    def stamp(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for picture in self._pictures:
            digest.update(picture.name.encode("utf-8", "surrogateescape") + b"\0")
            if isinstance(picture.source, str):
                try:
                    status = os.stat(picture.source)  # noqa: PTH116
                except OSError as error:
                    raise InputError(f"{source_name(picture.source)}: cannot be read ({error})") from error
                digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
            else:
                digest.update(picture.source)
        return digest.hexdigest()


def measured(
    measures: Sequence[PairMeasure], network: Backbone, config: MeasureConfig, processes: Processes, *, precision: str
) -> list[Accuracy]:
    """What a network in eval mode reaches on each list; all processes call it."""
    choices: Any = {"batch": config.batch, "flip": config.flip, "precision": precision}
    embed = partial(embed_pictures, network, processes=processes, **choices)
    return [pairs(embed) for pairs in measures]


@torch.inference_mode()
def embed_pictures(
    network: Backbone,
    stored: Stored,
    processes: Processes,
    *,
    batch: int,
    flip: bool,
    precision: str,
) -> NDArray[np.float32]:
    """Unit embeddings (N, D) of aligned pictures, shared out over the processes, gathered on all.

    Args:
        network: in eval mode; its test features are taken.
        stored: ``len`` and ``picture(i)``: uint8 (size, size, C), in the light they were taken in.
        processes: who takes part.
        batch: pictures at a time.
        flip: add the mirror image's embedding.
        precision: resolved.
    """
    light = network.spec.evening
    low, high = shard_bounds(len(stored), processes.world, processes.rank)
    parts = [torch.zeros(0, network.test_dim, device=processes.device)]
    for start in range(low, high, batch):
        pixels = np.stack([evened(stored.picture(i), light) for i in range(start, min(start + batch, high))])
        x = network_input(torch.from_numpy(pixels).to(processes.device), network.spec)
        with autocast_of(precision, processes.device):
            features: Tensor = network.test_features(x)
            both = features.float() + network.test_features(x.flip(3)).float() if flip else features.float()
        parts.append(torch.nn.functional.normalize(both, dim=1))
    rows = gather_rows(torch.cat(parts), processes.group, averaged=False)
    vectors: NDArray[np.float32] = rows.cpu().numpy()
    return vectors
