"""`mien data mesh` and `mien data generate`: hard versions of pictures, with the clean one beside."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from mien.cli.output import JsonFlag, counted, emit_json, finish, print_line, progress

if TYPE_CHECKING:
    from mien.prepare.generators import GeneratorOptions, Kind

__all__ = ["generate", "mesh"]

Folder = Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="Pictures, at any depth.")]
Target = Annotated[Path, typer.Argument(metavar="DST", show_default=False, help="Where to; made when not there.")]
Copies = Annotated[int, typer.Option("--copies", min=1, help="How many different ones of each picture.")]
Strength = Annotated[float, typer.Option("--strength", help="1: as they occur; more is worse.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="With the picture's name it decides the result.")]
AsJpeg = Annotated[bool, typer.Option("--jpeg", help="Write JPEG instead of PNG.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes; all cores unless given.")]
Again = Annotated[bool, typer.Option("--again", help="Forget what an earlier run did.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def mesh(
    folder: Folder,
    target: Target,
    *,
    copies: Copies = 1,
    strength: Strength = 1.0,
    seed: Seed = 0,
    jpeg: AsJpeg = False,
    workers: Workers = None,
    again: Again = False,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Lay mesh watermarks (网纹) over ID photos: DST/mesh, and the clean pictures in DST/clean."""
    options = _options("mesh", copies=copies, strength=strength, seed=seed, jpeg=jpeg)
    _run(options, folder, target, workers=workers, again=again, dry_run=dry_run, as_json=as_json)


def generate(
    kind: Annotated[
        str, typer.Argument(show_default=False, help="mesh, mask, cover, dark, small, blur, jpeg or grey.")
    ],
    folder: Folder,
    target: Target,
    *,
    copies: Copies = 1,
    strength: Strength = 1.0,
    seed: Seed = 0,
    jpeg: AsJpeg = False,
    workers: Workers = None,
    again: Again = False,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Make hard versions of pictures: masks, hats, cover, poor light, blur ...; DST/KIND and DST/clean."""
    options = _options(kind, copies=copies, strength=strength, seed=seed, jpeg=jpeg)
    _run(options, folder, target, workers=workers, again=again, dry_run=dry_run, as_json=as_json)


def _options(kind: str, *, copies: int, strength: float, seed: int, jpeg: bool) -> GeneratorOptions:
    from mien.prepare.generators import GeneratorOptions

    checked = cast("Kind", kind)  # at construction
    return GeneratorOptions(
        kind=checked, copies=copies, strength=strength, seed=seed, suffix=".jpg" if jpeg else ".png"
    )


def _run(
    options: GeneratorOptions,
    folder: Path,
    target: Path,
    *,
    workers: int | None,
    again: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from mien.images import list_images
    from mien.models.session import available_cores
    from mien.prepare.generators import generate as make

    with progress(len(list_images(folder)), "Making pictures") as advance:
        report = make(
            folder, target, options, workers=workers or available_cores(), fresh=again, dry_run=dry_run, advance=advance
        )
    if as_json:
        emit_json({"folder": str(target), "kind": options.kind, "dry_run": dry_run, **asdict(report)})
    else:
        verb = "would be made" if dry_run else "made"
        notes = {"done before": report.before, "without a face": report.skipped, "broken": report.errors}
        more = ", ".join(f"{count} {what}" for what, count in notes.items() if count)
        print_line(
            f"{counted(report.made * options.copies, 'picture')} {verb} in {target}" + (f" ({more})" if more else "")
        )
    finish(failed=bool(report.errors))
