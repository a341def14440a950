"""`mien crop SRC DST`: faces cut out of photos, in folders like those of the photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.inputs import DetectorName, LicenceUse, MinFace, Upright, make_recognizer
from mien.cli.output import (
    CsvFlag,
    JsonFlag,
    counted,
    emit_csv,
    emit_json,
    errors_of,
    face_record,
    finish,
    print_line,
    printable,
    say,
    watch_each,
)
from mien.cli.placing import Places
from mien.errors import InputError, MienError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mien.types import Analysis, Face, Faces, Floats, Pixels

__all__ = ["crop"]

_SMALLEST, _LARGEST = 8, 4096  # sides of a crop in pixels

Src = Annotated[
    Path, typer.Argument(readable=False, show_default=False, help="A folder of people, a folder of photos, or a photo.")
]
Dst = Annotated[Path, typer.Argument(show_default=False, help="Folder for the crops; made when it is not there.")]
Align = Annotated[bool, typer.Option("--align/--loose", help="Turned upright by the landmarks, or the box as it is.")]
Size = Annotated[
    str | None, typer.Option("--size", help="N or WxH pixels. Not given: the template's; for --loose, uncut pixels.")
]
Template = Annotated[str, typer.Option("--template", help="Where --align puts the landmarks: arcface112 or dlib150.")]
Margin = Annotated[
    float | None,
    typer.Option("--margin", help="More around the face, as a share of it on each side (0; for --loose 0.2)."),
]
AllFaces = Annotated[bool, typer.Option("--all-faces/--main", help="Every face (name~1, name~2, ...) or the main one.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Cut again what is there already.")]


def crop(
    src: Src,
    dst: Dst,
    *,
    align: Align = True,
    size: Size = None,
    template: Template = "arcface112",
    margin: Margin = None,
    all_faces: AllFaces = False,
    overwrite: Overwrite = False,
    min_face: MinFace = None,
    upright: Upright = False,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Cut faces out of photos, one folder a person where SRC has one. Run again, it cuts only what is missing."""
    from mien.types import Analysis

    cut = _cutter(align, _size(size), template, margin)
    photos = _photos(src, dst)
    places = Places(dst, photos, [src])
    first = "~1" if all_faces else ""
    todo = [photo for photo in photos if overwrite or not places.place(photo, first).exists()]
    kept = len(photos) - len(todo)
    recognizer = make_recognizer(None, min_face, upright=upright, detector=detector, licence=licence)
    failures: list[Analysis] = []
    crops: list[dict[str, Any]] = []
    without: list[str] = []
    analyses = zip(todo, recognizer.analyze(todo, embed=False), strict=True)
    for photo, found in watch_each(analyses, len(todo), "Cutting faces", failures):
        if not len(found.faces):
            without.append(found.source)
            say(f"{found.source}: no face found", label="skipped:")
            continue
        chosen = found.faces if all_faces else found.faces.take([found.main()])
        try:
            crops += _save(photo, found, chosen, cut, places, numbered=all_faces)
        except MienError as error:
            failures.append(Analysis.failed(found.source, error))
            say(printable(str(error)), label="skipped:")

    if as_json:
        emit_json({"crops": crops, "kept": kept, "without_face": without, "errors": errors_of(failures)})
    elif as_csv:
        rows = ([c["source"], c["crop"], *c["size"], *c["face"]["box"], c["face"]["confidence"]] for c in crops)
        emit_csv(["source", "crop", "width", "height", "x0", "y0", "x1", "y1", "confidence"], rows)
    else:
        _show(dst, len(photos), len(crops), {"done before": kept, "no face": len(without), "failed": len(failures)})
    finish(failed=bool(failures))


def _photos(src: Path, dst: Path) -> list[Path]:
    """The photos of `src` without those in `dst`, which are crops of an earlier run."""
    from mien.images import list_images

    if not src.exists():
        raise NotFoundError(f"{src}: no such file or folder")
    if not src.is_dir():
        return [src]
    inside, outside = dst.resolve(), src.resolve()
    if inside == outside:
        raise InputError(f"{dst}: is the folder of the photos; crops need another one")
    photos = list_images(src)
    if inside.is_relative_to(outside):
        photos = [photo for photo in photos if not photo.resolve().is_relative_to(inside)]
    if not photos:
        raise InputError(f"{src}: no pictures in it; expected JPEG, PNG, WebP, HEIC, BMP, TIFF or GIF")
    return photos


def _cutter(
    align: bool, size: tuple[int, int] | None, template: str, margin: float | None
) -> Callable[[Pixels, Faces, int], list[Pixels]]:
    """What cuts the faces out of a picture; the third argument are the quarter turns that make them upright."""
    from mien.images import aligned_crops, loose_crops

    if margin is not None and not 0 <= margin <= 4:
        raise InputError(f"--margin: expected a share from 0 to 4, got {margin}")
    points, base = _template(template)
    if align:
        return lambda pixels, faces, _: list(
            aligned_crops(pixels, faces, points, base, size=size, margin=margin or 0.0)
        )
    around = 0.2 if margin is None else margin
    return lambda pixels, faces, turns: loose_crops(pixels, faces, size=size, margin=around, turns=turns)


def _template(name: str) -> tuple[Floats, tuple[int, int]]:
    from mien.embed.views import CHIP, DETECTOR_TEMPLATE
    from mien.images import ARCFACE_112

    templates = {"arcface112": (ARCFACE_112, (112, 112)), "dlib150": (DETECTOR_TEMPLATE, (CHIP, CHIP))}
    if name not in templates:
        raise InputError(f"--template: expected {' or '.join(templates)}, got {name!r}")
    return templates[name]


def _size(text: str | None) -> tuple[int, int] | None:
    """Read N or WxH.

    >>> _size("112"), _size("96x112")
    ((112, 112), (96, 112))
    """
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and len(side) <= 4 for side in sides):
        raise InputError(f"--size: expected N or WxH in pixels, such as 112 or 96x112, got {text!r}")
    width, height = int(sides[0]), int(sides[-1])
    if not (min(width, height) >= _SMALLEST and max(width, height) <= _LARGEST):
        raise InputError(f"--size: expected sides of {_SMALLEST} to {_LARGEST} pixels, got {text}")
    return width, height


def _save(
    photo: Path,
    found: Analysis,
    chosen: Faces,
    cut: Callable[[Pixels, Faces, int], list[Pixels]],
    places: Places,
    *,
    numbered: bool,
) -> list[dict[str, Any]]:
    """Write the crops of one photo and return their records."""
    from mien.images import decode, save
    from mien.types import Image

    # Decoded once more rather than kept since the detection: memory stays that of one photo.
    chips = cut(decode(photo).pixels, chosen, found.turns)
    records: list[dict[str, Any]] = []
    # The first face last: where it is there, a run that was cut short had finished this photo.
    for i, chip, face in reversed(list(_numbered(chips, chosen))):
        target = places.place(photo, f"~{i}" if numbered else "")
        places.open(target)
        save(Image(chip, found.source), target, quality=95)
        size = [chip.shape[1], chip.shape[0]]
        records.append({"source": found.source, "crop": str(target), "size": size, "face": face_record(face)})
    return records[::-1]


def _numbered(chips: list[Pixels], faces: Faces) -> Iterator[tuple[int, Pixels, Face]]:
    for i, chip in enumerate(chips):
        yield i + 1, chip, faces[i]


def _show(dst: Path, photos: int, crops: int, rest: dict[str, int]) -> None:
    notes = ", ".join(f"{count} {what}" for what, count in rest.items() if count)
    print_line(
        f"{counted(crops, 'face')} cut from {counted(photos, 'photo')} into {dst}" + (f" ({notes})" if notes else ""),
        style="bold",
    )
