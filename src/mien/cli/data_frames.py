"""`mien data frames VIDEO... DST`: faces from videos."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.inputs import DetectorName, LicenceUse, MinFace, ModelName, PresetName, make_recognizer
from mien.cli.output import JsonFlag, counted, emit_json, finish, print_line, print_table, printable, progress, say
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.prepare.clips import ClipReport

__all__ = ["frames"]


def frames(
    videos: Annotated[list[Path], typer.Argument(readable=False, show_default=False, help="Videos, then DST.")],
    *,
    sample: Annotated[
        str,
        typer.Option("--sample", help="time: at intervals; motion: where something moved; quality: the best."),
    ] = "time",
    every: Annotated[float, typer.Option("--every", help="Seconds between frames that are looked at; 0: all.")] = 0.2,
    best: Annotated[int, typer.Option("--best", min=1, help="For --sample quality: pictures of each face.")] = 10,
    whole: Annotated[bool, typer.Option("--whole", help="Keep whole frames instead of faces.")] = False,
    upright: Annotated[
        bool, typer.Option("--upright/--as-is", help="Find out which way up each clip is, or take it as it is.")
    ] = True,
    align: Annotated[bool, typer.Option("--align/--loose", help="Turned upright by landmarks, or the box.")] = True,
    size: Annotated[int, typer.Option("--size", min=8, max=4096, help="Side of the pictures in pixels.")] = 112,
    margin: Annotated[float, typer.Option("--margin", help="More around the face, as a share of it.")] = 0.0,
    near: Annotated[
        int, typer.Option("--near", min=-1, max=64, help="Drop pictures this many bits from the last; -1: none.")
    ] = 3,
    least: Annotated[float, typer.Option("--least", min=0, help="Drop faces with fewer pixels.")] = 0.0,
    sure: Annotated[
        float | None,
        typer.Option("--sure", help="Drop what never reached this detection score while it was followed. [0.95]"),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Forget what an earlier run did.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which videos would be looked at.")] = False,
    preset: PresetName = "fast",
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    as_json: JsonFlag = False,
) -> None:
    """Take faces out of videos: a folder a clip and a face, the time in the name. Run again, it goes on."""
    from mien.models.catalogue import DEFAULT_DETECTOR
    from mien.prepare.clips import FAINT, FrameOptions
    from mien.prepare.clips import frames as take

    if len(videos) < 2:
        raise InputError("expected one or more videos and then the folder for their faces: VIDEO... DST")
    *clips, target = videos
    options = FrameOptions(
        sample=sample,  # type: ignore[arg-type]  # checked at construction
        every=every,
        best=best,
        upright=upright,
        align=align,
        size=size,
        margin=margin,
        near=near,
        least=least,
        sure=sure,
        whole=whole,
    )
    faint = FAINT if detector in (None, DEFAULT_DETECTOR) else None
    recognizer = make_recognizer(preset, min_face, confidence=faint, model=model, detector=detector, licence=licence)
    reports: list[ClipReport] = []
    with progress(len(clips), "Looking at videos") as advance:
        for report in take(clips, target, recognizer, options, fresh=again, dry_run=dry_run):
            reports.append(report)
            advance(1)
            if report.problem:  # an error names the video itself
                named = report.problem if report.error else f"{report.source}: {report.problem}"
                say(printable(named), label="skipped:" if report.error else "note:")
    if as_json:
        emit_json({"folder": str(target), "dry_run": dry_run, "videos": [asdict(report) for report in reports]})
    elif dry_run:
        _show_plan(reports)
    else:
        _show(reports, target)
    finish(failed=any(report.error for report in reports))


def _show(reports: list[ClipReport], target: Path) -> None:
    done = [r for r in reports if not r.error]
    rows = [
        [Path(r.source).name, r.looked_at, r.faces, r.tracks, r.kept, "done before" if r.before else _turn(r.turns)]
        for r in done
    ]
    if rows:
        print_table(
            ["video", "frames", "faces", "followed", "kept", "turned"],
            rows,
            right=["frames", "faces", "followed", "kept"],
        )
    print_line(f"{counted(sum(r.kept for r in done), 'picture')} from {counted(len(done), 'video')} in {target}")


def _show_plan(reports: list[ClipReport]) -> None:
    done = [r for r in reports if not r.error]
    rows = [["done before" if r.before else "to look at", printable(r.source), printable(r.folder)] for r in done]
    if rows:
        print_table(["", "video", "pictures in"], rows)
    before = sum(r.before for r in done)
    print_line(
        f"{counted(len(done) - before, 'video')} of {len(reports):,} to look at"
        + (f" ({before:,} done before)" if before else "")
    )


def _turn(turns: int) -> str | None:
    return (None, "left 90°", "180°", "right 90°")[turns]
