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
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from mien.errors import GalleryError, GalleryModelError, InputError, UnsupportedError
from mien.evaluate.model_change import compare_models
from mien.gallery.migration import BothModels, confirm, stage
from mien.match import calibration_for

if TYPE_CHECKING:
    from mien.evaluate.protocols.sets import PairSet
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

Verdict: TypeAlias = Literal["better", "not worse", "not shown", "worse", "too few"]
"""What the faces say of the new model; the first is let in, the second where a margin was given."""

RATES: Final = (1e-3, 1e-2, 5e-2)
"""False match rates that are tried in turn, where none is asked for: the strictest that the faces support."""

_MOST: Final = 4000  # faces that are compared


@dataclass(frozen=True, slots=True)
class Gain:
    """TAR of the new model above that of the present one.

    Attributes:
        fmr: at this false match rate.
        before, after: TAR of the present and the new model.
        value: after - before; `low` and `high` are its 95 % interval over people.
        low, high: see `value`.
    """

    fmr: float
    before: float
    after: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the faces say.

    Attributes:
        present, new: the models.
        verdict: see `Verdict`.
        margin: the loss that was allowed beforehand; None where the new model has to be better.
        gain: None where there are too few faces.
        people, faces: how many they are.
        data: which, in words.
        reasons: why the verdict is what it is.
    """

    present: ModelIdentity
    new: ModelIdentity
    verdict: Verdict
    margin: float | None
    gain: Gain | None
    people: int
    faces: int
    data: str
    reasons: tuple[str, ...]

    @property
    def let_in(self) -> bool:
        """Whether the new model may take the present one's place."""
        return self.verdict in ("better", "not worse")

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        g = self.gain
        gain = None if g is None else {key: getattr(g, key) for key in Gain.__slots__}
        return {
            "present": str(self.present),
            "new": str(self.new),
            "verdict": self.verdict,
            "let_in": self.let_in,
            "margin": self.margin,
            "gain": gain,
            "people": self.people,
            "faces": self.faces,
            "data": self.data,
            "reasons": list(self.reasons),
        }


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


def judge(
    both: BothModels,
    present: ModelIdentity,
    new: ModelIdentity,
    *,
    data: str,
    fmr: float | None = None,
    margin: float | None = None,
    replicates: int = 1000,
) -> Judgement:
    """Judge a new model on faces that both have embedded, all pairs of them.

    Args:
        both: the faces, by the present model (`live`) and the new one (`staged`).
        present: the present model.
        new: the new one.
        data: the faces in words.
        fmr: false match rate; None for the strictest of `RATES` that the faces support.
        margin: how much lower TAR may be; None where it has to be higher.
        replicates: of the bootstrap over people.

    Raises:
        InputError: a rate or margin that is none.
    """
    _check(fmr, margin)
    people, faces = len(np.unique(both.subjects)), len(both.subjects)
    gain, few = None, "nothing was compared"
    for rate in (fmr,) if fmr is not None else RATES:
        try:
            change = compare_models(both, fmr=rate, replicates=replicates)
        except InputError as error:
            few = str(error)
            break
        if change.gain is None or change.live.tar is None or change.staged.tar is None:
            few = (
                f"{change.impostor:,} pairs of different people are too few to tell the true accept rate at a false "
                f"match rate of {rate:g}"
            )
            continue
        before, after, found = change.live.tar.value, change.staged.tar.value, change.gain
        gain = Gain(rate, before, after, found.value, found.low, found.high)
        break
    return _judged(present, new, gain, margin, people, faces, data, few)


def judge_pairs(
    before: Any,  # noqa: ANN401 - embeddings or scores, see `pair_scores`
    after: Any,  # noqa: ANN401
    pairs: PairSet,
    present: ModelIdentity,
    new: ModelIdentity,
    *,
    fmr: float | None = None,
    margin: float | None = None,
    replicates: int = 1000,
) -> Judgement:
    """Judge a new model on a list of pairs; arguments as for `forgetting_report` and `judge`."""
    from mien.train.promotion_measures import compare_pairs, pair_scores

    _check(fmr, margin)
    old, other = pair_scores(before, pairs), pair_scores(after, pairs)
    changes = compare_pairs(old, other, fars=(fmr,) if fmr is not None else RATES, replicates=replicates)
    rates = [change for change in changes if change.rate.startswith("TAR")]
    gain = None
    if rates:
        first = rates[0]
        value = first.after - first.before
        gain = Gain(float(first.rate.rpartition(" ")[2]), first.before, first.after, value, first.low, first.high)
    few = f"{int((~pairs.same).sum()):,} pairs of different people are too few to tell a rate"
    people = len(np.unique(old.subjects))
    return _judged(present, new, gain, margin, people, len(pairs.pictures), pairs.name, few)


def _check(fmr: float | None, margin: float | None) -> None:
    if fmr is not None and not 0 < fmr < 1:
        raise InputError(f"fmr: expected a rate between 0 and 1, got {fmr}")
    if margin is not None and not 0 < margin < 1:
        raise InputError(f"margin: expected a share between 0 and 1, such as 0.01 for a point, got {margin}")


def _judged(  # noqa: PLR0917 - private
    present: ModelIdentity,
    new: ModelIdentity,
    gain: Gain | None,
    margin: float | None,
    people: int,
    faces: int,
    data: str,
    few: str,
) -> Judgement:
    verdict: Verdict
    if gain is None:
        verdict, reason = "too few", f"{few}; give more people (--images), or a looser rate (--fmr)"
    else:
        told = f"{100 * gain.value:+.2f} points ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})"
        rate = f"TAR at FMR {gain.fmr:g} changes from {gain.before:.4f} to {gain.after:.4f}, {told}"
        if gain.low > 0:
            verdict, reason = "better", f"{rate}: the whole interval lies above 0"
        elif gain.high < 0:
            verdict, reason = "worse", f"{rate}: the whole interval lies below 0"
            if margin is not None and gain.low > -margin:  # worse for sure, but by less than was allowed
                verdict, reason = "not worse", f"{rate}: lower, but by less than the margin of {100 * margin:g} points"
        elif margin is not None and gain.low > -margin:
            verdict, reason = "not worse", f"{rate}: no loss of the margin of {100 * margin:g} points"
        else:
            verdict, reason = "not shown", f"{rate}: the interval holds 0, so that it is not shown to be better"
            if margin is not None:
                reason = f"{rate}: the interval holds a loss of the margin of {100 * margin:g} points"
    return Judgement(present, new, verdict, margin, gain, people, faces, data, (reason,))


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
