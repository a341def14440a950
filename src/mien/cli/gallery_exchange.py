"""`mien gallery export` and `import`: a gallery as a table that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.galleries import DEFAULT_GALLERY, GalleryPath, KeyOption, open_gallery, shown_place
from mien.cli.inputs import ModelName, PresetName, make_recognizer
from mien.cli.output import JsonFlag, counted, emit_json, print_line, progress, say
from mien.errors import NotFoundError

if TYPE_CHECKING:
    from mien.types import ModelIdentity

__all__ = ["export_gallery", "import_gallery"]


def export_gallery(
    path: Annotated[Path, typer.Argument(help="A .csv, .npz or .parquet file.", show_default=False)],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write every face and what is said of its person into one file. It holds biometric data, readable by its owner."""
    from mien.gallery.exchange import export_gallery as export

    with open_gallery(gallery, readonly=True, key=key) as known:
        where, counts = shown_place(gallery, known), known.home.counts()
        with progress(counts.faces + counts.negatives, "Exporting") as advance:
            rows = export(known.home, path, force=force, advance=advance)
    if path.suffix.lower() == ".npz" and rows != counts.faces + counts.negatives:
        say("people without a face are not in an .npz; .csv and .parquet have them", label="note:")
    if as_json:
        emit_json({"gallery": where, "file": str(path), "rows": rows})
    else:
        print_line(f"{path}: {counted(rows, 'row')}")


def import_gallery(
    path: Annotated[Path, typer.Argument(help="A .csv, .npz or .parquet file of `mien gallery export`.")],
    *,
    model: ModelName = None,
    preset: PresetName = None,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Enrol every row of an exported file. It is checked whole first, and a second run adds nothing.

    --model and --preset say which model made the embeddings, where neither the file nor the gallery does.
    """
    from mien.gallery.exchange import import_gallery as load

    if not path.exists():
        raise NotFoundError(f"{path}: no such file")
    named: ModelIdentity | None = None
    if model is not None or preset is not None:
        named = make_recognizer(preset, model=model).identity
    with open_gallery(gallery, create=True, key=key) as known:
        where = shown_place(gallery, known)
        with progress(None, "Importing") as advance:
            report = load(known.home, path, identity=named or known.identity, advance=advance)
        people, faces = len(known), known.stats.faces
    if as_json:
        done = {"rows": report.rows, "added": report.added, "rejected": report.rejected}
        emit_json({"gallery": where, "file": str(path), **done, "people": people, "faces": faces})
    else:
        print_line(f"{where}: {counted(people, 'person', 'people')}, {counted(faces, 'face')} ({report.added} new)")
