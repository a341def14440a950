"""`mien data embed DIR FILE.npz`: the embeddings of a folder's main faces."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.crop import RayAddress, RayWorkers
from mien.cli.inputs import DetectorName, LicenceUse, MinFace, ModelName, PresetName, Upright, make_recognizer
from mien.cli.output import JsonFlag, counted, emit_json, finish, print_line, printable, progress, say

__all__ = ["embed"]


def embed(
    folder: Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="A folder of photos.")],
    target: Annotated[Path, typer.Argument(metavar="FILE.npz", show_default=False, help="The file to write.")],
    *,
    again: Annotated[bool, typer.Option("--again", help="Forget what an earlier run did.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    upright: Upright = False,
    ray: RayAddress = None,
    ray_workers: RayWorkers = None,
    as_json: JsonFlag = False,
) -> None:
    """Embed the main face of every photo into one .npz file. Run again, it computes only what is new."""
    from mien.images import list_images
    from mien.prepare.embed_folder import embed_folder
    from mien.prepare.ray_pipeline import cluster_of

    photos = list_images(folder)
    made: dict[str, Any] = {"upright": upright, "model": model, "detector": detector, "licence": licence}
    answers = embed_folder(
        folder,
        target,
        make_recognizer(preset, min_face, **made),
        fresh=again,
        dry_run=dry_run,
        pinned={"detector": detector, "min_face": min_face, "upright": upright},
        photos=photos,
        cluster=cluster_of(ray, ray_workers, make_recognizer, preset, min_face, **made),
    )
    count: Counter[str] = Counter()
    before = 0
    without: list[str] = []
    errors: list[dict[str, str]] = []
    # Closed at once when interrupted, for that saves what is finished.
    with contextlib.closing(answers), progress(len(photos), "Embedding faces") as advance:
        for answer in answers:
            advance(1)
            count[answer.decision] += 1
            before += answer.before
            if answer.decision == "no face" and as_json:
                without.append(str(answer.source))
            if answer.error is not None:
                say(printable(str(answer.error)), label="skipped:")
                reason = str(getattr(answer.error, "reason", answer.error))
                errors += [{"source": str(answer.source), "error": reason}] if as_json else []
    if as_json:
        emit_json({
            "file": str(target),
            "photos": len(photos),
            "embedded": count["embedded"],
            "kept": before,
            "to_do": count["to do"],
            "without_face": without,
            "errors": errors,
        })  # fmt: skip
    elif dry_run:
        print_line(f"{counted(count['to do'], 'photo')} of {len(photos):,} to look at for {target}", style="bold")
    else:
        notes = [f"{n:,} {what}" for what in ("no face", "failed") if (n := count[what])]
        notes += [f"{before:,} done before"] if before else []
        ending = f" ({', '.join(notes)})" if notes else ""
        print_line(f"{counted(count['embedded'], 'face')} of {counted(len(photos), 'photo')} in {target}{ending}")
    finish(failed=bool(count["failed"]))
