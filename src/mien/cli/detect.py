"""`mien detect`: where the faces are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.inputs import DetectorName, LicenceUse, MinFace, Photos, Upright, make_recognizer, photos_in
from mien.cli.output import (
    CsvFlag,
    JsonFlag,
    emit_csv,
    emit_json,
    errors_of,
    face_record,
    finish,
    print_line,
    print_table,
    printable,
    say,
    watch_each,
)
from mien.errors import MienError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mien.cli.placing import Places
    from mien.types import Analysis

__all__ = ["detect"]

Confidence = Annotated[
    float | None, typer.Option("--confidence", help="Leave out faces that the detector is less sure of, 0 to 1.")
]
DrawFolder = Annotated[
    Path | None, typer.Option("--draw", help="Write the photos, with the faces marked, into this folder.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Write over drawings that are there already.")]
_CSV = ["source", "face", "x0", "y0", "x1", "y1", "confidence"] + [
    f"{point}_{axis}" for point in ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right") for axis in "xy"
]


def detect(
    photos: Photos,
    *,
    min_face: MinFace = None,
    upright: Upright = False,
    confidence: Confidence = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    draw: DrawFolder = None,
    overwrite: Overwrite = False,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Find the faces in photos: boxes, confidences and five landmarks, largest face first."""
    from mien.types import Analysis

    paths = photos_in(photos)
    places = None
    if draw is not None:
        from mien.cli.placing import Places

        places = Places(draw, paths, [p for p in photos if p.is_dir()])
    recognizer = make_recognizer(
        None, min_face, upright=upright, confidence=confidence, detector=detector, licence=licence
    )
    failures: list[Analysis] = []
    records: list[dict[str, Any]] = []
    analyses = zip(paths, recognizer.analyze(paths, embed=False), strict=True)
    for path, found in watch_each(analyses, len(paths), "Looking for faces", failures):
        record: dict[str, Any] = {"source": found.source, "size": list(found.size), "turns": found.turns}
        record["faces"] = [face_record(face) for face in found.faces]
        if places is not None:
            try:
                record["drawing"] = _drawing(path, found, places, overwrite)
            except MienError as error:
                failures.append(Analysis.failed(found.source, error))
                say(printable(str(error)), label="not drawn:")
        records.append(record)

    if as_json:
        emit_json({"photos": records, "errors": errors_of(failures)})
    elif as_csv:
        emit_csv(_CSV, (row for record in records for row in _rows(record)))
    else:
        _show(records)
    finish(failed=bool(failures))


def _drawing(path: Path, found: Analysis, places: Places, overwrite: bool) -> str | None:
    """Write the photo with its faces marked; the place, or None where something was there already."""
    from mien.images import decode, draw, save

    target = places.place(path)
    if target.exists() and not overwrite:
        say(f"{printable(str(target))}: is there already; use --overwrite to replace it", label="not drawn:")
        return None
    places.open(target)
    # Decoded once more rather than kept since the detection: memory stays that of one photo.
    picture = decode(path)
    save(draw(picture, found.faces, [f"{score:.2f}" for score in found.faces.scores], landmarks=True).image, target)
    return str(target)


def _rows(record: dict[str, Any]) -> Iterator[list[object]]:
    for i, face in enumerate(record["faces"], 1):
        points = [coordinate for point in face["landmarks"] for coordinate in point]
        yield [record["source"], i, *face["box"], face["confidence"], *points]


def _show(records: list[dict[str, Any]]) -> None:
    for record in records:
        faces = record["faces"]
        count = "no face" if not faces else "1 face" if len(faces) == 1 else f"{len(faces)} faces"
        width, height = record["size"]
        turned = f", after {record['turns']} quarter turns" if record["turns"] else ""
        print_line(f"{record['source']}: {count} ({width} x {height}{turned})")
        if faces:
            rows = ([f"  {i}", *_box(face["box"]), f"{face['confidence']:.3f}"] for i, face in enumerate(faces, 1))
            header = ["  face", "x", "y", "width", "height", "confidence"]
            print_table(header, rows, right=header[1:])
    total = sum(len(record["faces"]) for record in records)
    if len(records) > 1:
        print_line(f"{total} faces in {len(records)} photos", style="bold")


def _box(box: list[float]) -> list[int]:
    x0, y0, x1, y1 = map(round, box)
    return [x0, y0, x1 - x0, y1 - y0]
