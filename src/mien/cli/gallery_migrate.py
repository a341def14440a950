"""`mien gallery migrate`: a gallery from one model to another, with a way back."""

from __future__ import annotations

import enum
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.asking import YesFlag
from mien.cli.asking import confirm as ask
from mien.cli.criterion import CalibrationFile, calibration_in
from mien.cli.galleries import DEFAULT_GALLERY, GalleryPath, KeyOption, bound_model, open_gallery, shown_place
from mien.cli.inputs import DetectorName, LicenceUse, MinFace, Upright, make_recognizer
from mien.cli.migrate_report import show_change, status_facts
from mien.cli.output import JsonFlag, counted, emit_json, finish, print_line, printable, progress, say
from mien.errors import GalleryError, InputError

if TYPE_CHECKING:
    from mien.gallery import Gallery
    from mien.gallery.migration import StageReport
    from mien.gallery.two_models import Swapped
    from mien.recognizer import Recognizer

__all__ = ["migrate_gallery"]

_TOLD = 10  # missing faces that are named


class Step(enum.StrEnum):
    """What is done; see `migrate_gallery`."""

    STAGE = "stage"
    STATUS = "status"
    CONFIRM = "confirm"
    ROLLBACK = "rollback"
    FORGET_OLD = "forget-old"
    ABANDON = "abandon"


_Step = Annotated[
    Step,
    typer.Argument(help="stage, then status, then confirm; rollback takes it back, forget-old makes it final."),
]
_Model = Annotated[
    str | None, typer.Option("--model", help="The new embedder: a name from `mien models list`, or a card's path.")
]
_Preset = Annotated[str | None, typer.Option("--preset", help="The new preset: fast or accurate.")]
_Originals = Annotated[
    list[Path] | None,
    typer.Option(
        "--originals", help="Folder with the pictures that were enrolled, under whatever names; may be given twice."
    ),
]
_NoThreshold = Annotated[
    bool, typer.Option("--no-threshold", help="confirm: although no calibration of the new model exists.")
]
_DropMissing = Annotated[
    bool, typer.Option("--drop-missing", help="confirm, rollback: remove faces that the model has no embedding of.")
]


def migrate_gallery(
    step: _Step = Step.STAGE,
    *,
    model: _Model = None,
    preset: _Preset = None,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    originals: _Originals = None,
    calibration: CalibrationFile = None,
    no_threshold: _NoThreshold = False,
    drop_missing: _DropMissing = False,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    upright: Upright = False,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Change a gallery to another model or preset, without losing anybody, and with a way back.

    stage embeds every face anew, from the given originals or from the crops that were kept (enrol --keep-crops); run
    it again to go on. Meanwhile the gallery works as before. status compares both models on the gallery's own faces.
    confirm puts the new one to use, rollback the old one, forget-old drops what is left of it.
    """
    with open_gallery(gallery, readonly=step is Step.STATUS, key=key) as known:
        where = shown_place(gallery, known)
        if step is Step.STAGE:
            new = _new_recognizer(known, where, model, preset, detector, licence, min_face, upright=upright)
            _stage(known, where, new, originals or [], as_json=as_json)
        elif step is Step.STATUS:
            _status(known, where, calibration_in(calibration), as_json=as_json)
        elif step in (Step.CONFIRM, Step.ROLLBACK):
            _swap(
                known,
                where,
                step,
                calibration,
                no_threshold=no_threshold,
                drop_missing=drop_missing,
                yes=yes,
                as_json=as_json,
            )
        else:
            _drop(known, where, step, yes=yes, as_json=as_json)


def _new_recognizer(  # noqa: PLR0917 - the options, as they are
    known: Gallery,
    where: str,
    model: str | None,
    preset: str | None,
    detector: str | None,
    licence: str | None,
    min_face: float | None,
    *,
    upright: bool,
) -> Recognizer:
    """The recognizer to change to: the one that is named, else the one of the change that is under way."""
    from mien.gallery.migration import status

    now = status(known.home)
    if model is None and preset is None:
        if now.other is None:
            raise InputError("--model: expected the model to change to, or --preset for another preset of the same one")
        model, preset = bound_model(now.other.identity, where), now.other.identity.preset
    elif model is None and now.identity is not None:
        model = bound_model(now.identity, where)
    return make_recognizer(preset, min_face, upright=upright, model=model, detector=detector, licence=licence)


def _stage(known: Gallery, where: str, new: Recognizer, originals: list[Path], *, as_json: bool) -> None:
    from mien.gallery.migration import stage

    counts, done = known.home.counts(), 0
    with progress(counts.faces + counts.negatives, "Embedding anew") as advance:

        def tell(so_far: int, _total: int) -> None:
            nonlocal done
            advance(so_far - done)
            done = so_far

        try:
            report = stage(
                known.home,
                new,
                originals=originals,
                progress=tell,
                on_error=lambda error: say(str(error), label="skipped:"),
            )
        except KeyboardInterrupt:
            say("stopped; what was embedded is kept, and the same command goes on with the rest")
            raise
    if as_json:
        emit_json({"gallery": where, **_staged_facts(report)})
    else:
        _tell_missing(report)
        print_line(
            f"{where}: {counted(report.from_originals, 'face')} embedded anew from originals, {report.from_crops:,} "
            f"from crops, {report.there:,} there before, {len(report.missing):,} missing; model {report.identity}"
        )
        if report.complete:
            print_line("nothing has changed yet; next: mien gallery migrate status, then mien gallery migrate confirm")
    finish(failed=False, matched=report.complete)


def _staged_facts(report: StageReport) -> dict[str, Any]:
    return {
        "model": str(report.identity),
        "there": report.there,
        "from_originals": report.from_originals,
        "from_crops": report.from_crops,
        "complete": report.complete,
        "missing": [asdict(one) for one in report.missing],
    }


def _tell_missing(report: StageReport) -> None:
    for one in report.missing[:_TOLD]:
        say(printable(f"{one.name}, face {one.face_id} ({one.picture}): {one.reason}"), label="missing:")
    if len(report.missing) > _TOLD:
        say(f"and {len(report.missing) - _TOLD:,} more (--json lists them all)", label="missing:")


def _status(known: Gallery, where: str, calibration: Any, *, as_json: bool) -> None:  # noqa: ANN401 - Calibration or None
    facts = {"gallery": where, **status_facts(known, calibration)}
    if as_json:
        emit_json(facts)
    else:
        show_change(facts)


def _swap(
    known: Gallery,
    where: str,
    step: Step,
    file: Path | None,
    *,
    no_threshold: bool,
    drop_missing: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from mien.gallery.migration import confirm, rollback, status

    now = status(known.home)
    if drop_missing and now.missing:
        ask(f"Remove {counted(len(now.missing), 'face')} that the other model has no embedding of?", yes=yes)
    done: Swapped
    if step is Step.CONFIRM:
        new = _calibration_of(file, known, now.other.identity if now.other else None)
        done = confirm(known.home, calibration=new, no_threshold=no_threshold, drop_missing=drop_missing)
    else:
        done = rollback(known.home, drop_missing=drop_missing)
    if as_json:
        facts = {"model": str(done.now), "before": str(done.before), "faces": done.faces, "dropped": done.dropped}
        emit_json({"gallery": where, **facts})
    else:
        removed = f", {counted(done.dropped, 'face')} removed" if done.dropped else ""
        print_line(f"{where}: uses {done.now} now ({counted(done.faces, 'face')}{removed}); before, {done.before}")
        say("programs that have the gallery open must open it again", label="note:")


def _calibration_of(file: Path | None, known: Gallery, identity: Any) -> Any:  # noqa: ANN401 - ModelIdentity, Calibration
    """The calibration that is given for the new model; one that MIEN_CALIBRATION names for the old one is left out."""
    given = calibration_in(file)
    if given is None or identity is None or given.belongs_to(identity):
        return given
    if known.identity is not None and given.belongs_to(known.identity):
        say(f"{given.source}: belongs to the model in use and is left out", label="note:")
        return None
    return given  # the gallery says whose it is


def _drop(known: Gallery, where: str, step: Step, *, yes: bool, as_json: bool) -> None:
    from mien.gallery.migration import abandon, forget_old, status

    other = status(known.home).other
    if other is None:
        raise GalleryError(f"{where}: no second model's embeddings are kept; there is nothing to forget")
    ask(f"Drop the {other.faces:,} embeddings of {other.identity}?", yes=yes)
    count = forget_old(known.home) if step is Step.FORGET_OLD else abandon(known.home)
    if as_json:
        emit_json({"gallery": where, "dropped": str(other.identity), "faces": count, "model": str(known.home.identity)})
    else:
        print_line(f"{where}: {counted(count, 'embedding')} of {other.identity} dropped; uses {known.home.identity}")
