"""The gate before a gallery: a new model is let in only where it is shown to be better on the user's own faces.

The rule: on faces that neither model was trained on, the interval of the gain in TAR at a false match rate (resampling
people, both models on the same ones) has to lie above 0; or, for a change that is wanted for other reasons, above
minus a margin that is named beforehand (non-inferiority).
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import GalleryError, GalleryModelError, InputError, UnsupportedError
from mien.gallery.migration import BothModels, abandon, confirm, stage
from mien.gallery.two_models import KeepsTwoModels
from mien.match.calibration import calibration_for
from mien.train.promotion_judging import Gain, Judgement, Verdict, judge, judge_pairs
from mien.train.run_folder import RunFolder

if TYPE_CHECKING:
    from mien.gallery import Gallery
    from mien.gallery.home import Home
    from mien.match import Calibration
    from mien.recognizer import Recognizer
    from mien.types import ModelIdentity

__all__ = [
    "Gain",
    "Judgement",
    "Promotion",
    "Verdict",
    "enrolled_faces",
    "held_out_faces",
    "judge",
    "judge_pairs",
    "need_change",
    "present_model",
    "promote",
    "trained_on",
]

_MOST: Final = 4000  # faces that are compared
_LOOKED_AT: Final = 100  # people, for crops
_ANCESTORS: Final = 8  # runs, each started from the one before it


@dataclass(frozen=True, slots=True)
class Promotion:
    """What `promote` did.

    Attributes:
        judgement: what the faces say.
        changed: whether the gallery uses the new model now.
        missing: faces of the gallery that could not be embedded anew, with the reason; they stop a change.
        rollback: the command that takes the change back; empty where nothing changed.
        kept: faces that were embedded anew before others stopped the change: they are kept for the next attempt.
    """

    judgement: Judgement
    changed: bool
    missing: tuple[str, ...] = ()
    rollback: str = ""
    kept: int = 0


def held_out_faces(
    folder: Path, present: Recognizer, new: Recognizer, *, most: int | None = None, seed: int = 0
) -> BothModels:
    """The faces of a folder of people by both models: those in whose picture a face is found, looked for once.

    Args:
        folder: a folder of pictures a person.
        present: the recognizer of the present model.
        new: that of the new one.
        most: pictures of a person at most, drawn at random.
        seed: of the draw.

    Raises:
        NotFoundError, InputError: there is no such folder, or no face in it.
    """
    from mien.evaluate.embeddings import embed_pictures
    from mien.evaluate.protocols import FolderProtocol
    from mien.train.export.faces import with_landmarks

    data = FolderProtocol(folder, most=most, seed=seed).all_pairs()
    first = embed_pictures(data.pictures, present)
    second = embed_pictures(with_landmarks(data.pictures, first.landmarks), new)
    found = np.flatnonzero(first.found & second.found)
    if not len(found):
        raise InputError(f"{folder}: no face was found in any of {len(data.pictures)} pictures")
    return BothModels(data.subject[found].astype(np.int64), first.vectors[found], second.vectors[found])


def enrolled_faces(known: Gallery, new: Recognizer, originals: Sequence[Path] = (), *, seed: int = 0) -> BothModels:
    """The gallery's own faces by both models; nothing in the gallery changes.

    The present model let these people in, which favours it a little.
    """
    from mien.gallery.reembedding import originals_in, reembedded
    from mien.gallery.two_models import WhoseFace

    home = known.home
    people = [subject for subject in home.subjects() if subject.told == "person" and subject.faces]
    order = np.random.default_rng(seed).permutation(len(people)).tolist()
    wanted: list[WhoseFace] = []
    owner: dict[int, int] = {}
    for i in order:
        if len(wanted) >= _MOST:
            break
        faces = [face for face in home.faces(people[i].name) if not face.negative]
        wanted += [WhoseFace(people[i].name, face) for face in faces]
        owner |= {face.id: people[i].id for face in faces}
    found = {
        one.whose.face.id: one.embedding
        for one in reembedded(wanted, new, originals=originals_in(originals), crop_of=home.crop)
        if one.embedding is not None
    }
    if not found:
        raise InputError(
            f"{home.source}: no enrolled face can be embedded anew: no crops are kept, and no originals were given; "
            "give a folder of held-out people (--images) or the originals (--originals)"
        )
    ids = sorted(found)
    return BothModels(
        np.array([owner[i] for i in ids], np.int64), home.embeddings(ids), np.stack([found[i] for i in ids])
    )


def promote(
    known: Gallery,
    new: Recognizer,
    judgement: Judgement,
    *,
    originals: Sequence[Path] = (),
    calibration: Calibration | None = None,
    no_threshold: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Promotion:
    """Change a gallery to a model that was let in; else nothing changes. The way back is kept.

    Args:
        known: the gallery.
        new: the recognizer of the new model.
        judgement: of these very models.
        originals: folders with the pictures that were enrolled, where no crops are kept.
        calibration: of the new model; None for the one beside its card.
        no_threshold: change although the new model has no calibration.
        dry_run: change nothing.
        progress: called with (faces done, faces in all).

    Raises:
        GalleryModelError: the judgement is about other models than these.
        UnsupportedError: the gallery's home cannot keep two models.
        InputError: the new model has no calibration.
        GalleryError: a change to a third model is under way.
    """
    identity, present = new.identity, known.identity
    if judgement.new != identity or judgement.present != present:
        raise GalleryModelError(f"judged were {judgement.present} and {judgement.new}, not {present} and {identity}")
    if not judgement.let_in or dry_run:
        return Promotion(judgement, changed=False)
    calibration = need_change(known, new, originals=originals, calibration=calibration, no_threshold=no_threshold)
    report = stage(known.home, new, originals=originals, progress=progress)
    if not report.complete:
        missing = tuple(f"{one.name}, face {one.face_id} ({one.picture}): {one.reason}" for one in report.missing)
        kept = report.there + report.from_originals + report.from_crops
        if not kept:  # a change that has come to nothing is not left under way
            abandon(known.home)
        return Promotion(judgement, changed=False, missing=missing, kept=kept)
    confirm(known.home, calibration=calibration, no_threshold=no_threshold)
    return Promotion(judgement, changed=True, rollback=f"mien gallery migrate rollback --gallery {known.home.source}")


def need_change(
    known: Gallery,
    new: Recognizer,
    *,
    originals: Sequence[Path] = (),
    calibration: Calibration | None = None,
    no_threshold: bool = False,
) -> Calibration | None:
    """What would stop a change, as far as it is known before any face is embedded; returns the new model's calibration.

    Args: as of [promote][].

    Raises:
        UnsupportedError: the gallery's home cannot keep two models.
        InputError: the new model has no calibration, or there is nothing that enrolled faces could be embedded from.
        GalleryError: a third model's embeddings are kept there.
    """
    home, identity = known.home, new.identity
    if not home.capabilities.migration:
        raise UnsupportedError(f"{home.source}: cannot keep two models; copy it into a file: mien gallery copy")
    if calibration is not None:
        calibration.need_for(identity)
    elif not no_threshold:
        try:
            calibration = calibration_for(identity)
        except InputError as error:
            raise InputError(
                f"{identity}: has no calibration, so no thresholds; make one (mien export RUN --calibrate PEOPLE), "
                "change without one (--no-threshold), or only judge (--dry-run)"
            ) from error
    second = home.staged() if isinstance(home, KeepsTwoModels) else None
    if second is not None and second.identity == identity and second.role == "old":
        raise GalleryError(
            f"{home.source}: has changed from this very model, whose embeddings are kept: mien gallery migrate rollback"
        )
    if second is not None and second.identity != identity:
        ways = ("confirm", "abandon") if second.role == "new" else ("rollback", "forget-old")
        raise GalleryError(
            f"{home.source}: keeps the embeddings of {second.identity}, too, of a change that is under way or can be "
            f"taken back; first end that: mien gallery migrate {ways[0]}, or {ways[1]}"
        )
    counts = home.counts()
    left = counts.faces + counts.negatives if second is None else second.missing
    if left and not originals and not _has_crops(home):
        raise InputError(
            f"{home.source}: keeps no crops, so its faces cannot be embedded anew; give the folder of the enrolled "
            "pictures (--originals), or only judge, on held-out people (--images, --dry-run)"
        )
    return calibration


def _has_crops(home: Home) -> bool:
    """Whether one of some faces of a gallery has a crop."""
    people = itertools.islice((subject for subject in home.subjects() if subject.faces), _LOOKED_AT)
    return any(home.crop(face.id) for subject in people for face in home.faces(subject.name)[:1])


def trained_on(run: Path, folder: Path) -> str:
    """The training source of a run that holds these faces, or lies in their folder; empty where none is known to.

    A model must not be judged on what it was trained on. Looks at the runs, too, whose weights this one started from.
    An export that was put elsewhere does not tell what it was trained on.
    """
    faces = folder.resolve()
    for _ in range(_ANCESTORS):
        try:
            config = json.loads((run / "config.json").read_text(encoding="utf-8"))
            paths = [str(source["path"]) for source in config["data"]["sources"]]
            weights = config.get("network", {}).get("weights")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return ""
        try:
            for path in paths:
                for place in (Path(os.path.realpath(at)) for at in RunFolder(run).given(path)):
                    if place == faces or faces.is_relative_to(place) or place.is_relative_to(faces):
                        return path
            if not weights:
                return ""
            starts = [at for start in RunFolder(run).given(str(weights)) for at in (start, *start.parents[:2])]
            run = next(at for at in starts if (at / "config.json").is_file())
        except (OSError, ValueError, RuntimeError, StopIteration):
            return ""
    return ""


def present_model(known: Gallery) -> ModelIdentity:
    """The gallery's model. Raises GalleryError where nobody is enrolled."""
    if known.identity is None:
        raise GalleryError(f"{known.home.source}: nobody is enrolled, so there is no model to compare with")
    return known.identity
