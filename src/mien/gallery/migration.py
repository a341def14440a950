"""Changing a gallery from one model to another: embeddings of both are kept until the change is confirmed for good.

    stage(home, analyzer)       every face is embedded anew, from its picture or its crop; nothing changes for users
    confirm(home)               the new model is in use from now on; the old one's embeddings are kept
    rollback(home)              and back again
    forget_old(home)            only the model in use is kept

Each step is one transaction, or many small ones (`stage`, which goes on where it was stopped). Whoever has the gallery
open while its model changes gets an error that says to open it again, never an answer from two models mixed up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import GalleryError, InputError, UnsupportedError
from mien.gallery.reembedding import originals_in, reembedded
from mien.gallery.two_models import KeepsTwoModels
from mien.match import Calibration, calibration_for, unit_embeddings
from mien.match.ladder import rate_on

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from mien.gallery.home import Home
    from mien.gallery.records import Ids
    from mien.gallery.two_models import Staged, Swapped, WhoseFace
    from mien.interfaces import Analyzer
    from mien.types import Floats, ModelIdentity

__all__ = [
    "BothModels",
    "MigrationStatus",
    "MissingFace",
    "StageReport",
    "abandon",
    "both_models",
    "carried_threshold",
    "confirm",
    "forget_old",
    "rollback",
    "stage",
    "status",
]

_AT_ONCE: Final = 64  # faces that are stored in one transaction: what a kill can cost


@dataclass(frozen=True, slots=True)
class MissingFace:
    """A face that has no embedding of the other model, and why."""

    face_id: int
    name: str
    picture: str
    reason: str


@dataclass(frozen=True, slots=True)
class StageReport:
    """What a run of `stage` did.

    Attributes:
        identity: the model that the faces were embedded with.
        there: faces that had an embedding before.
        from_originals, from_crops: faces that got one now.
        missing: those that could not be given one.
    """

    identity: ModelIdentity
    there: int
    from_originals: int
    from_crops: int
    missing: tuple[MissingFace, ...]

    @property
    def complete(self) -> bool:
        """Whether every face has an embedding of both models."""
        return not self.missing


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """How far a change of the model is.

    Attributes:
        identity: the model in use, or None in a gallery that holds nothing.
        other: the second model, or None while no change is under way.
        missing: faces without an embedding of the second model.
    """

    identity: ModelIdentity | None
    other: Staged | None
    missing: tuple[WhoseFace, ...]


@dataclass(frozen=True, slots=True, eq=False)
class BothModels:
    """The same faces by both models: whose each is, and float32 (N, D) of each model."""

    subjects: Ids
    live: Floats
    staged: Floats


def stage(
    home: Home,
    analyzer: Analyzer,
    *,
    originals: Iterable[str | os.PathLike[str]] = (),
    progress: Callable[[int, int], None] | None = None,
    on_error: Callable[[InputError], None] | None = None,
) -> StageReport:
    """Embed every face anew that has no embedding of the analyzer's model yet, and keep both models' embeddings.

    Call it again after a kill, after more people were enrolled, or with originals for those that were missing: it does
    what is left. After `confirm` it may be given the old model, so that faces enrolled since can be rolled back.

    Args:
        home: the gallery's home.
        analyzer: of the other model.
        originals: folders with the pictures that were enrolled, or single pictures. They are recognised by their
            content, whatever they are called now. They come before crops.
        progress: called with (faces looked at, faces in all).
        on_error: called with the error of each sub-folder of `originals` that cannot be read.

    Raises:
        UnsupportedError: the home cannot keep two models; copy the gallery into a file.
        GalleryModelError: the gallery is this model's already, or a change to a third model is under way.
    """
    two, identity = _two(home), analyzer.identity
    pictures = originals_in(originals, on_error=on_error)
    two.begin_staging(identity)
    wanted = two.unstaged()
    before = two.staged()
    tally = {"original": 0, "crop": 0}
    missing: list[MissingFace] = []
    ready: list[tuple[int, Floats]] = []

    def store() -> None:
        if ready:
            ids, vectors = zip(*ready, strict=True)
            rows = unit_embeddings(np.stack(vectors), dimension=identity.dimension)
            ready.clear()
            two.stage(list(zip(ids, rows, strict=True)), identity)

    try:
        found = reembedded(wanted, analyzer, originals=pictures, crop_of=home.crop)
        for done, one in enumerate(found, 1):
            face = one.whose.face
            if one.source is None or one.embedding is None:
                missing.append(MissingFace(face.id, one.whose.name, face.picture, one.reason))
            else:
                tally[one.source] += 1
                ready.append((face.id, one.embedding))
            if len(ready) >= _AT_ONCE:
                store()
            if progress is not None:
                progress(done, len(wanted))
    finally:
        store()  # also when it is stopped: what is done is done
    there = 0 if before is None else before.faces
    return StageReport(identity, there, tally["original"], tally["crop"], tuple(missing))


def status(home: Home) -> MigrationStatus:
    """How far a change of the model is. Raises UnsupportedError where the home cannot keep two models."""
    two = _two(home)
    other = two.staged()
    return MigrationStatus(home.identity, other, () if other is None else tuple(two.unstaged()))


def confirm(
    home: Home,
    *,
    calibration: Calibration | None = None,
    no_threshold: bool = False,
    drop_missing: bool = False,
) -> Swapped:
    """Use the new model from now on; the old one's embeddings and calibration are kept until `forget_old`.

    Thresholds follow from the new model's calibration at the same error rates. Open the gallery again afterwards.

    Args:
        home: the gallery's home.
        calibration: of the new model, to be kept with the gallery; None for the one that mien ships.
        no_threshold: change although there is no calibration of the new model.
        drop_missing: remove faces that have no embedding of the new model.

    Raises:
        GalleryError: no change is under way, or faces are missing; names them.
        InputError: there is no calibration of the new model, or the given one is another model's.
    """
    two = _two(home)
    new = two.staged()
    if new is not None and new.role == "new":  # else the home says what is wrong
        if calibration is not None:
            calibration.need_for(new.identity)
        elif not no_threshold:
            calibration_for(new.identity)
    toml = None if calibration is None else calibration.to_toml()
    return two.swap_models("new", calibration=toml, drop_missing=drop_missing)


def rollback(home: Home, *, drop_missing: bool = False) -> Swapped:
    """Use the old model again, with the calibration that was kept with it; the new one's embeddings are kept.

    Args:
        home: the gallery's home.
        drop_missing: remove faces that were enrolled since and have no embedding of the old model. `stage` with the
            old model can give them one.

    Raises:
        GalleryError: there is nothing to take back, or faces are missing; names them.
    """
    return _two(home).swap_models("old", calibration=None, drop_missing=drop_missing)


def forget_old(home: Home) -> int:
    """Keep only the model in use; returns how many embeddings of the old one were dropped. Raises GalleryError."""
    return _two(home).drop_staged("old")


def abandon(home: Home) -> int:
    """Give up a change that was not confirmed; returns how many embeddings were dropped. Raises GalleryError."""
    return _two(home).drop_staged("new")


def both_models(home: Home, *, limit: int = 4000, seed: int = 0) -> BothModels:
    """Faces of people that both models have embedded; of a large gallery those of people drawn at random.

    Args:
        home: the gallery's home.
        limit: about how many faces.
        seed: of the draw.

    Raises:
        GalleryError: no change is under way.
    """
    two = _two(home)
    if two.staged() is None:
        raise GalleryError(f"{home.source}: no second model's embeddings are kept, so there is nothing to compare")
    people = [subject for subject in home.subjects() if subject.told == "person" and subject.faces]
    order = np.random.default_rng(seed).permutation(len(people))
    many = np.cumsum([people[i].faces for i in order.tolist()]) if people else np.zeros(0, int)
    drawn = [people[i] for i in order[: int(np.searchsorted(many, limit)) + 1].tolist()]
    owners = {face.id: subject.id for subject in drawn for face in home.faces(subject.name) if not face.negative}
    staged = two.staged_embeddings(list(owners))
    ids = sorted(staged)
    live = home.embeddings(ids)
    other = np.stack([staged[i] for i in ids]) if ids else np.zeros((0, 1), np.float32)
    return BothModels(np.array([owners[i] for i in ids], np.int64), live, other)


def carried_threshold(threshold: float, old: Calibration, new: Calibration) -> tuple[float, float]:
    """The new model's threshold that means what a threshold of the old one meant: the same false match rate.

    Args:
        threshold: a cosine of the old model.
        old: the calibration of the old model.
        new: that of the new one.

    Returns:
        The new threshold, and the false match rate of both.

    Raises:
        InputError: the old threshold lies outside the rates that the old calibration measured.
    """
    steps = [(point.fmr, point.threshold) for point in old.table if point.supported]
    rate = rate_on(steps, threshold)
    if rate is None:
        raise InputError(
            f"threshold {threshold:g}: the old model's calibration knows {steps[0][1]:.4f} to {steps[-1][1]:.4f}; "
            "choose a rate (fmr or fpir) instead"
        )
    return new.threshold(fmr=rate), rate


def _two(home: Home) -> KeepsTwoModels:
    if not (home.capabilities.migration and isinstance(home, KeepsTwoModels)):
        raise UnsupportedError(
            f"{home.source}: a gallery in {home.capabilities.home} cannot keep two models; copy it into a file "
            "(mien gallery copy), migrate that, and copy it into a new home"
        )
    return home
