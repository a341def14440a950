"""The gate before a gallery: a new model is let in only where it is shown to be better on the user's own faces.

The rule: on faces that neither model was trained on, the interval of the gain in TAR at a false match rate (resampling
people, both models on the same ones) has to lie above 0; or, for a change that is wanted for other reasons, above
minus a margin that is named beforehand (non-inferiority).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import GalleryError, GalleryModelError, InputError, UnsupportedError
from mien.gallery.migration import BothModels, confirm, stage
from mien.match.calibration import calibration_for
from mien.train.promotion_judging import Gain, Judgement, Verdict, judge, judge_pairs

if TYPE_CHECKING:
    from mien.gallery import Gallery
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
    "present_model",
    "promote",
    "trained_on",
]

_MOST: Final = 4000  # faces that are compared


@dataclass(frozen=True, slots=True)
class Promotion:
    """What `promote` did.

    Attributes:
        judgement: what the faces say.
        changed: whether the gallery uses the new model now.
        missing: faces of the gallery that could not be embedded anew, with the reason; they stop a change.
        rollback: the command that takes the change back; empty where nothing changed.
    """

    judgement: Judgement
    changed: bool
    missing: tuple[str, ...] = ()
    rollback: str = ""


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
    if not known.home.capabilities.migration:
        raise UnsupportedError(f"{known.home.source}: cannot keep two models; copy it into a file: mien gallery copy")
    if calibration is not None:
        calibration.need_for(identity)
    elif not no_threshold:
        calibration = calibration_for(identity)
    if not judgement.let_in or dry_run:
        return Promotion(judgement, changed=False)
    report = stage(known.home, new, originals=originals, progress=progress)
    if not report.complete:
        missing = tuple(f"{one.name}, face {one.face_id} ({one.picture}): {one.reason}" for one in report.missing)
        return Promotion(judgement, changed=False, missing=missing)
    confirm(known.home, calibration=calibration, no_threshold=no_threshold)
    return Promotion(judgement, changed=True, rollback=f"mien gallery migrate rollback --gallery {known.home.source}")


def trained_on(run: Path, folder: Path) -> str:
    """The training source of a run that holds these faces, or lies in their folder; empty where none is known to.

    A model must not be judged on what it was trained on.
    """
    try:
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
        sources = config["data"]["sources"]
        paths = [str(source["path"]) for source in sources]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    faces = folder.resolve()
    for path in paths:
        try:
            place = Path(path).resolve()
        except (OSError, ValueError, RuntimeError):
            continue
        if place == faces or faces.is_relative_to(place) or place.is_relative_to(faces):
            return path
    return ""


def present_model(known: Gallery) -> ModelIdentity:
    """The gallery's model. Raises GalleryError where nobody is enrolled."""
    if known.identity is None:
        raise GalleryError(f"{known.home.source}: nobody is enrolled, so there is no model to compare with")
    return known.identity
