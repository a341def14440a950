"""`mien calibrate DIR`: thresholds for error rates, measured on one's own people."""

from __future__ import annotations

import time
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.inputs import DetectorName, LicenceUse, MinFace, ModelName, PresetName
from mien.cli.output import JsonFlag, counted, emit_json, finish, print_line, print_table, printable, progress, say
from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.evaluate.calibration_run import Asked, Calibrated, Threshold
    from mien.evaluate.embeddings import Embedded
    from mien.evaluate.protocols import SubjectSet
    from mien.match import Calibration
    from mien.types import ModelIdentity

__all__ = ["calibrate"]

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", readable=False, show_default=False, help="A folder with a folder per person.")
]
Fmr = Annotated[float | None, typer.Option("--fmr", help="Ask for this false match rate of a pair (verify).")]
Fpir = Annotated[float | None, typer.Option("--fpir", help="Ask for this rate of strangers who are named (identify).")]
GallerySize = Annotated[int | None, typer.Option("--gallery-size", min=1, help="With --fpir: faces enrolled.")]
Protocol = Annotated[str, typer.Option("--protocol", help="folder, or lfw-people with --people.")]
PeopleList = Annotated[Path | None, typer.Option("--people", help="The list of people, in LFW's format.")]
Most = Annotated[int | None, typer.Option("--most", min=1, help="At most so many pictures of a person.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="The file to write (<model>-<preset>.calibration.toml here unless given).")
]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of every random draw.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Compute every embedding anew, and keep none.")]


def calibrate(
    context: typer.Context,
    folder: Folder,
    *,
    fmr: Fmr = None,
    fpir: Fpir = None,
    gallery_size: GallerySize = None,
    protocol: Protocol = "folder",
    people: PeopleList = None,
    most: Most = None,
    out: Out = None,
    force: Force = False,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    seed: Seed = 0,
    no_cache: NoCache = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure which score means which error rate on your own people, and write a calibration for --calibration.

    The thresholds come from all people; the same procedure on a random half of them is measured on the other half.
    """
    from mien.cli.evaluate_run import Lists, Run, verification_set
    from mien.evaluate.protocols import SubjectSet

    started = time.monotonic()
    asked = _asked(fmr, fpir, gallery_size)
    name = "lfw-people" if people is not None else protocol
    if name not in ("folder", "lfw-people"):
        raise InputError(f"--protocol: expected folder or lfw-people, got {protocol!r}")
    run = Run(
        context,
        failures="exclude",
        seed=seed,
        preset=preset,
        model=model,
        detector=detector,
        licence=licence,
        min_face=min_face,
        cached=not no_cache,
    )
    identity = run.recognizer.identity
    target = Path(f"{identity.name}-{identity.preset}.calibration.toml") if out is None else out
    if not target.parent.is_dir():
        raise InputError(f"--out {printable(str(target))}: there is no folder {printable(str(target.parent))}")
    if target.exists() and not force:
        raise InputError(f"{printable(str(target))}: there already; --force replaces it")

    data = verification_set(name, Lists(folder=folder, people=people, most=most, seed=seed))
    embedded = run.embed(data.pictures)
    found = [i for i, has in enumerate(embedded.found) if has]
    if not found:
        raise InputError(f"insufficient data: no face was found in any of {counted(len(data.pictures), 'picture')}")
    if not isinstance(data, SubjectSet):  # not with these protocols
        raise InputError(f"--protocol: {name} does not compare every picture with every other")
    made = _fitted(data, embedded, found, identity, asked=asked, seed=seed)

    from mien.match.calibration_file import write

    write(made.calibration, target, replace_old=force)
    broken = [failure for failure in embedded.failures if failure.unreadable]
    without = len(embedded.failures) - len(broken)
    if as_json:
        errors = [{"source": failure.name, "error": failure.reason} for failure in broken]
        emit_json(
            {
                "file": str(target),
                **_record(made),
                "without_face": without,
                "seed": seed,
                "seconds": round(time.monotonic() - started, 2),
                "errors": errors,
            }
        )
    else:
        _show(made, target, without, len(broken))
    finish(failed=bool(broken))


def _asked(fmr: float | None, fpir: float | None, gallery_size: int | None) -> list[Asked]:
    from mien.evaluate.calibration_run import Asked

    for option, rate in (("--fmr", fmr), ("--fpir", fpir)):
        if rate is not None and not 0 < rate < 1:
            raise InputError(f"{option}: expected a rate between 0 and 1 (for example 0.001), got {rate}")
    if (fpir is None) != (gallery_size is None):
        raise InputError("--fpir and --gallery-size: expected both or neither; FPIR depends on how many are enrolled")
    asked = [] if fmr is None else [Asked(fmr)]
    return asked if fpir is None else [*asked, Asked(fpir, gallery_size)]


def _fitted(
    data: SubjectSet,
    embedded: Embedded,
    found: Sequence[int],
    identity: ModelIdentity,
    *,
    asked: Sequence[Asked],
    seed: int,
) -> Calibrated:
    from datetime import UTC, datetime

    from mien.evaluate.calibration_fit import faces_of, fingerprint
    from mien.evaluate.calibration_run import calibrate_and_confirm, steps

    faces = faces_of(embedded.vectors[found], data.subject[found])
    with progress(steps(), "Calibrating") as advance:
        return calibrate_and_confirm(
            faces,
            identity,
            made_on=f"{data.name}: all pairs of {counted(faces.people, 'person', 'people')}, a main face a picture",
            date=datetime.now(UTC).date().isoformat(),
            data=fingerprint(data.pictures[i] for i in found),
            asked=asked,
            seed=seed,
            advance=advance,
        )


def _record(made: Calibrated) -> dict[str, Any]:
    c = made.calibration
    return {
        "model": {"name": c.model, "preset": c.preset, "sha256": c.sha256},
        "made_on": c.made_on,
        "date": c.date,
        "fingerprint": c.fingerprint,
        "provisional": c.provisional,
        "subjects": c.subjects,
        "pictures": c.pictures,
        "genuine": {"n": c.genuine.n, "mean": c.genuine.mean, "sd": c.genuine.sd},
        "impostor": {"n": c.impostor.n, "mean": c.impostor.mean, "sd": c.impostor.sd},
        "thresholds": [
            {
                "fmr": t.asked.rate if t.asked.gallery_size is None else None,
                "fpir": None if t.asked.gallery_size is None else t.asked.rate,
                "gallery_size": t.asked.gallery_size,
                "threshold": t.threshold,
                "low": t.low,
                "high": t.high,
                "tar": t.tar,
                "held_out": _held_out(t),
            }
            for t in made.thresholds
        ],
        "unconfirmed": made.unconfirmed,
        "supports": _supports(c),
    }


def _held_out(t: Threshold) -> dict[str, Any] | None:
    if t.held_out is None:
        return None
    return {
        "gallery_size": t.held_out.gallery_size,
        "threshold": t.held_out.threshold,
        "extrapolated": t.extrapolated,
        "measured": t.held_out.measured,
        "low": t.held_out.low,
        "high": t.held_out.high,
        "kept": t.kept,
    }


def _supports(c: Calibration) -> dict[str, Any]:
    """The strictest rates that the data carry."""
    sizes = () if c.fpir is None else c.fpir.rows
    return {
        "fmr": min(p.fmr for p in c.table if p.supported),
        "fpir": [{"gallery_size": row.gallery_size, "fpir": row.table[-1].fpir} for row in sizes],
    }


def _show(made: Calibrated, target: Path, without: int, broken: int) -> None:
    c = made.calibration
    print_line(c.made_on, style="bold")
    print_line(f"{c.model}/{c.preset} ({c.sha256[:12]}), {c.date}, data {c.fingerprint[:12]}")
    people = counted(c.subjects, "person", "people")
    print_line(f"{people}, {counted(c.pictures, 'picture')} with a face, {without} without, {broken} cannot be read")
    print_line(f"{counted(c.genuine.n, 'genuine pair')}, {counted(c.impostor.n, 'impostor pair')}")
    print_line()
    rows: list[Sequence[object]] = []
    for t in made.thresholds:
        interval = None if t.low is None or t.high is None else f"{t.low:.4f} to {t.high:.4f}"
        rows.append((str(t.asked), f"{t.threshold:.4f}", interval, f"{t.tar:.4f}"))
    print_table(("rate asked for", "threshold", "95 % interval", "genuine pairs that pass"), rows)
    print_line()
    for t in made.thresholds:
        if t.held_out is not None:
            h, verdict = t.held_out, {True: "kept", False: "NOT kept", None: "too few people to tell"}[t.kept]
            where = "" if h.gallery_size in (None, t.asked.gallery_size) else f" (in a gallery of {h.gallery_size})"
            how = ", extrapolated," if t.extrapolated else ""
            print_line(f"Held out: {t.asked}{where}. Threshold {h.threshold:.4f} of one half of the people{how}")
            print_line(f"  gives {h.measured:.2g} ({h.low:.2g} to {h.high:.2g}) on the other half: {verdict}")
    if made.unconfirmed:
        print_line(f"Nothing is held out: {made.unconfirmed}")
    supports = _supports(c)
    print_line(f"These data support FMR {supports['fmr']:g} at the strictest; beyond it, thresholds are extrapolated")
    if supports["fpir"]:
        last = supports["fpir"][-1]
        print_line(f"and galleries of up to {last['gallery_size']} faces (FPIR {last['fpir']:g} there)")
    else:
        print_line("and no FPIR; for galleries, comparisons are taken for independent")
    print_line()
    file = quote(str(target))
    say(f"wrote {printable(str(target))}")
    print_line(f"Use it: mien verify A.jpg B.jpg --calibration {file}")
    print_line(f"  or for every command: export MIEN_CALIBRATION={quote(str(target.resolve()))}")
