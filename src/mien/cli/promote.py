"""`mien promote`: a new model for a gallery, if it is shown to be better on one's own faces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.criterion import CalibrationFile, calibration_in
from mien.cli.galleries import DEFAULT_GALLERY, GalleryPath, KeyOption, bound_model, open_gallery, shown_place
from mien.cli.inputs import LicenceUse, make_recognizer
from mien.cli.output import JsonFlag, counted, emit_json, finish, print_line, printable, progress, say
from mien.cli.training_options import SkipMissing
from mien.errors import GalleryModelError, InputError

if TYPE_CHECKING:
    from mien.gallery import Gallery
    from mien.recognizer import Recognizer
    from mien.train.promotion import Judgement, Promotion
    from mien.types import ModelIdentity

__all__ = ["promote"]

_TOLD = 10

_Model = Annotated[
    str,
    typer.Argument(
        metavar="RUN", show_default=False, help="The new model: an exported run's folder, a card, or a model's name."
    ),
]
_Images = Annotated[
    Path | None,
    typer.Option("--images", readable=False, help="Held-out people to judge on: a folder of photos each."),
]
_Pairs = Annotated[
    Path | None, typer.Option("--pairs", readable=False, help="Judge on these pairs of --images (LFW's format).")
]
_Originals = Annotated[
    list[Path] | None,
    typer.Option("--originals", help="Folder with the enrolled pictures, where no crops were kept; repeatable."),
]
_Margin = Annotated[
    float | None,
    typer.Option("--margin", help="Let it in when it is shown not to lose so much, such as 0.01 (a point)."),
]
_Fmr = Annotated[
    float | None, typer.Option("--fmr", help="Judge at this false match rate (the strictest the faces support).")
]
_Present = Annotated[
    str | None, typer.Option("--present", help="The gallery's model, where its name is not known: a folder or card.")
]
_Preset = Annotated[str | None, typer.Option("--preset", help="The new model's preset (the gallery's unless given).")]
_NoThreshold = Annotated[
    bool, typer.Option("--no-threshold", help="Change although no calibration of the new model exists.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Only judge; change nothing.")]


def promote(
    run: _Model,
    *,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    images: _Images = None,
    pairs: _Pairs = None,
    skip_missing: SkipMissing = False,
    originals: _Originals = None,
    preset: _Preset = None,
    present: _Present = None,
    fmr: _Fmr = None,
    margin: _Margin = None,
    calibration: CalibrationFile = None,
    no_threshold: _NoThreshold = False,
    licence: LicenceUse = None,
    dry_run: _DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Change a gallery to a new model, only if that is shown to be better on your own held-out faces.

    Both models see the same faces; the interval of the gain resamples people. Exit code 1: not let in, and nothing has
    changed. The change can be taken back: mien gallery migrate rollback.
    """
    from mien.train import promotion as rooms

    if pairs is not None and images is None:
        raise InputError("--pairs: needs the folder of their pictures, too: --images DIR")
    for option, faces in [("--images", images)] if images else [("--originals", folder) for folder in originals or []]:
        if faces is not None and (source := rooms.trained_on(_run_of(run), faces)):
            raise InputError(
                f"{option} {printable(str(faces))}: the model was trained on these faces ({printable(source)}); judge "
                "it on people it has never seen: --images DIR"
            )
    with open_gallery(gallery, readonly=dry_run, key=key) as known:
        where = shown_place(gallery, known)
        bound = rooms.present_model(known)
        new = make_recognizer(preset or bound.preset, model=run, licence=licence)
        if new.identity == bound:
            raise InputError(f"{where}: uses {bound} already")
        given = calibration_in(calibration)
        if given is not None and not given.belongs_to(new.identity):
            given = None
        if not dry_run:  # before hours of work, what would stop it afterwards
            rooms.need_change(known, new, originals=originals or [], calibration=given, no_threshold=no_threshold)
        uncalibrated = given is None and not _is_calibrated(new.identity)
        asked = _Asked(present, images, pairs, skip_missing, originals or [], fmr, margin)
        judgement = _judge(known, new, bound, asked)
        counts, done = known.home.counts(), 0
        with progress(counts.faces + counts.negatives, "Embedding anew") as advance:

            def tell(so_far: int, _total: int) -> None:
                nonlocal done
                advance(so_far - done)
                done = so_far

            made = rooms.promote(
                known,
                new,
                judgement,
                originals=originals or [],
                calibration=given,
                no_threshold=no_threshold,
                dry_run=dry_run,
                progress=tell,
            )
    if as_json:
        facts = {"changed": made.changed, "dry_run": dry_run, "missing": list(made.missing), "kept": made.kept}
        emit_json({"gallery": where, **judgement.record(), **facts, "rollback": made.rollback or None})
    else:
        _show(where, made, run, uncalibrated=uncalibrated, dry_run=dry_run)
    finish(failed=False, matched=judgement.let_in and not made.missing)


def _is_calibrated(identity: ModelIdentity) -> bool:
    from mien.match.calibration import calibration_for

    try:
        calibration_for(identity)
    except InputError:
        return False
    return True


def _run_of(model: str) -> Path:
    """The run's folder, of the run itself or of its export."""
    folder = Path(model)
    if folder.suffix == ".toml":
        folder = folder.parent
    return folder if (folder / "config.json").exists() else folder.parent


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options that decide what is judged, as they are."""

    present: str | None
    images: Path | None
    pairs: Path | None
    skip_missing: bool
    originals: list[Path]
    fmr: float | None
    margin: float | None


def _judge(known: Gallery, new: Recognizer, present: ModelIdentity, asked: _Asked) -> Judgement:
    from mien.train import promotion as rooms

    images, fmr, margin = asked.images, asked.fmr, asked.margin
    if images is None:
        say(
            "no held-out faces (--images): judged on the enrolled ones, which favours the present model, and a new one "
            "that was trained on them",
            label="note:",
        )
        both = rooms.enrolled_faces(known, new, asked.originals)
        return rooms.judge(both, present, new.identity, data="enrolled faces", fmr=fmr, margin=margin)
    old = _present_recognizer(present, asked.present)
    if asked.pairs is None:
        both = rooms.held_out_faces(images, old, new)
        return rooms.judge(both, present, new.identity, data=f"held out: {images.name}", fmr=fmr, margin=margin)
    from mien.evaluate.embeddings import embed_pictures
    from mien.train.export.faces import with_landmarks
    from mien.train.pair_lists import read_pairs

    data = read_pairs(asked.pairs, images, skip_missing=asked.skip_missing, say=say)
    first = embed_pictures(data.pictures, old)
    second = embed_pictures(with_landmarks(data.pictures, first.landmarks), new)
    return rooms.judge_pairs(first.vectors, second.vectors, data, present, new.identity, fmr=fmr, margin=margin)


def _present_recognizer(present: ModelIdentity, name: str | None) -> Recognizer:
    """The recognizer of the gallery's model: that of its name, or the one that is named."""
    found = make_recognizer(present.preset, model=name or bound_model(present, "the gallery", "--present"))
    if found.identity != present:
        raise GalleryModelError(
            f"the gallery was filled by {present}, but {name or present.name} is {found.identity}; name the gallery's "
            "model with --present, or judge on the enrolled faces (leave out --images)"
        )
    return found


def _show(where: str, made: Promotion, model: str, *, uncalibrated: bool, dry_run: bool) -> None:
    judged = made.judgement
    print_line(f"{where}: {judged.present}; new: {judged.new}")
    faces = f"{counted(judged.faces, 'face')} of {counted(judged.people, 'person', 'people')}"
    print_line(f"judged on {faces} ({judged.data})")
    for reason in judged.reasons:
        print_line(reason)
    print_line(f"verdict: {judged.verdict}", style="bold green" if judged.let_in else "bold yellow")
    for line in made.missing[:_TOLD]:
        say(line, label="missing:")
    if made.missing:
        kept = f"; {counted(made.kept, 'face')} that could be are kept for the next attempt" if made.kept else ""
        say(
            f"{counted(len(made.missing), 'face')} cannot be embedded anew, so nothing has changed{kept}; give "
            f"--originals, or see: mien gallery migrate status --gallery {where}",
            label="error:",
        )
    elif made.changed:
        print_line("the gallery uses the new model now; programs that have it open must open it again")
        without = " and, as it has no calibration, --threshold" if uncalibrated else ""
        print_line(f"commands on this gallery need --model {printable(model)}{without} from now on")
        print_line(f"to take it back: {made.rollback}")
    elif judged.let_in and dry_run:
        print_line("it would be let in; nothing has changed (--dry-run)")
    elif not judged.let_in:
        print_line("not let in; nothing has changed")
