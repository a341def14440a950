"""`mien gallery backup`, `restore` and `copy`: a gallery in another place."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mien.cli.asking import YesFlag, confirm
from mien.cli.galleries import DEFAULT_GALLERY, GalleryPath, KeyOption, open_gallery, shown_place
from mien.cli.output import JsonFlag, counted, emit_json, print_line, printable, progress, say
from mien.errors import NotFoundError, UnsupportedError

__all__ = ["backup_gallery", "copy_gallery", "restore_gallery"]

_Source = Annotated[str, typer.Argument(help="The gallery to copy: a file, or a server's URL.", show_default=False)]
_Target = Annotated[str, typer.Argument(help="Where to: a new gallery, or part of a copy.", show_default=False)]
_TargetKey = Annotated[
    str | None, typer.Option("--to-key", help="Encrypt the copy with this master key (file:PATH, env:NAME, ...).")
]


def backup_gallery(
    path: Annotated[Path, typer.Argument(help="A new file.", show_default=False)],
    *,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a verified copy of a gallery's file, also while it is in use. Keys are not in it: back them up apart."""
    with open_gallery(gallery, readonly=True, key=key) as known:
        where, target = shown_place(gallery, known), known.backup(path)
        people, faces = len(known), known.stats.faces
    if as_json:
        emit_json({"gallery": where, "backup": str(target), "people": people, "faces": faces})
    else:
        print_line(f"{target}: {counted(people, 'person', 'people')}, {counted(faces, 'face')}")


def restore_gallery(
    backup: Annotated[Path, typer.Argument(help="A file of `mien gallery backup`.", show_default=False)],
    *,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Put a backup in the place of a gallery, in one step. What the gallery holds now is lost: asks at a terminal."""
    from mien.gallery.homes import is_url
    from mien.gallery.homes.sqlite.backup import restore
    from mien.gallery.privacy.opening import sealer_for
    from mien.gallery.sealing import PLAIN

    if is_url(gallery):
        raise UnsupportedError(f"{shown_place(gallery)}: is restored by the server's own tools")
    if not backup.exists():
        raise NotFoundError(f"{backup}: there is no such backup")
    if Path(gallery).exists():
        confirm(f"Lose what {gallery} holds now, and put {backup} in its place?", yes=yes)
    sealer = PLAIN if key is None else sealer_for(gallery, key)
    try:
        restore(backup, gallery, sealer=sealer)
    finally:
        sealer.close()
    with open_gallery(gallery, readonly=True, key=key) as known:
        people, faces = len(known), known.stats.faces
    if as_json:
        emit_json({"gallery": gallery, "restored": str(backup), "people": people, "faces": faces})
    else:
        print_line(f"{gallery}: {counted(people, 'person', 'people')}, {counted(faces, 'face')}")


def copy_gallery(
    source: _Source,
    destination: _Target,
    *,
    key: KeyOption = None,
    to_key: _TargetKey = None,
    probes: Annotated[int, typer.Option("--probes", min=0, help="Faces searched for in the copy; 0 for none.")] = 100,
    as_json: JsonFlag = False,
) -> None:
    """Copy a gallery with its ids, names, thresholds and logs to any other home: a file, PostgreSQL, Milvus.

    Stopped at any point, the same command goes on. At the end both are compared, and the search of the copy is
    measured against an exact one. --to-key encrypts the copy; without it, a copy of an encrypted gallery is plain.
    """
    from mien.gallery.copying import copy

    with open_gallery(source, readonly=True, key=key) as old, open_gallery(destination, create=True, key=to_key) as new:
        shown = shown_place(source, old), shown_place(destination, new)
        counts = old.home.counts()
        done = 0
        with progress(counts.faces + counts.negatives, "Copying") as advance:

            def tell(so_far: int, _total: int) -> None:
                nonlocal done
                advance(so_far - done)
                done = so_far

            report = copy(old.home, new.home, progress=tell, probes=probes)
    if as_json:
        recall = None if report.recall is None else asdict(report.recall)
        left = list(report.left_behind)
        facts = asdict(report) | {"source": shown[0], "destination": shown[1], "left_behind": left, "recall": recall}
        emit_json(facts)
        return
    for left_behind in report.left_behind:
        say(printable(left_behind), label="left behind:")
    people, faces = counted(report.counts.people, "person", "people"), counted(report.counts.faces, "face")
    found = f", {report.found:,} of them were there already" if report.found else ""
    print_line(f"{shown[1]}: {people}, {faces}{found}")
    if report.recall is not None:
        r = report.recall
        print_line(
            f"search in the copy, {counted(r.probes, 'probe')}: finds its own person {r.own:.1%}, the next one "
            f"{r.at_1:.1%}, the ten nearest {r.at_10:.1%} of the time"
        )
