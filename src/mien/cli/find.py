"""`mien find PHOTO DIR`: every photo that shows this person, best first."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.criterion import CalibrationFile, FmrOption, ThresholdOption, criterion_for, one_in
from mien.cli.inputs import (
    DetectorName,
    LicenceUse,
    MinFace,
    ModelName,
    PresetName,
    Upright,
    make_recognizer,
    photos_in,
)
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
from mien.errors import InputError, NoFaceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.types import Analysis, Face

__all__ = ["find"]

_SHEET_LIMIT = 400  # photos on one contact sheet

Photo = Annotated[
    Path, typer.Argument(readable=False, show_default=False, help="A photo of the person; its main face counts.")
]
Places = Annotated[
    list[Path], typer.Argument(readable=False, show_default=False, help="Folders to search, or photos.", metavar="DIR")
]
Fpir = Annotated[
    float | None,
    typer.Option("--fpir", help="At most this chance that any photo at all is found of someone who is in none."),
]
Top = Annotated[int | None, typer.Option("--top", min=1, help="Report at most so many photos.")]
Sheet = Annotated[Path | None, typer.Option("--sheet", help="Write a contact sheet of the photos found, as a picture.")]


@dataclass(frozen=True, slots=True)
class _Sighting:
    """The face of a photo that is most like the person's."""

    path: Path
    source: str
    score: float
    face: Face
    faces: int
    turns: int
    is_query: bool


def find(
    photo: Photo,
    where: Places,
    *,
    fmr: FmrOption = None,
    fpir: Fpir = None,
    threshold: ThresholdOption = None,
    top: Top = None,
    sheet: Sheet = None,
    calibration: CalibrationFile = None,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    upright: Upright = False,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Find every photo that shows the person of PHOTO, best first. Exit code 1 when there is no other photo."""
    if fpir is not None and not (0 < fpir < 1 and fmr is None and threshold is None):
        raise InputError("--fpir: expected a rate between 0 and 1, and neither --fmr nor --threshold beside it")
    paths = photos_in(where)
    if sheet is not None:
        from mien.cli.placing import output_file
        from mien.images import WRITABLE_SUFFIXES

        output_file("--sheet", sheet, [photo, *paths], WRITABLE_SUFFIXES)
    recognizer = make_recognizer(preset, min_face, upright=upright, model=model, detector=detector, licence=licence)
    criterion_for(recognizer.identity, fmr, threshold, calibration)  # complains before the work, not after
    person = recognizer.analyze_one(photo)
    if not len(person.faces):
        raise NoFaceError(f"{person.source}: no face found; expected at least one")
    main = person.main()

    same_content = _SameContent(photo)
    failures: list[Analysis] = []
    seen: list[_Sighting] = []
    faces = 0
    analyses = zip(paths, recognizer.analyze(paths), strict=True)
    for path, found in watch_each(analyses, len(paths), "Looking at photos", failures):
        if not len(found.faces):
            continue
        faces += len(found.faces)
        scores = found.embeddings @ person.embeddings[main]
        best = int(scores.argmax())
        score = min(1.0, float(scores[best]))
        seen.append(
            _Sighting(path, found.source, score, found.faces[best], len(found.faces), found.turns, same_content(path))
        )

    criterion = criterion_for(recognizer.identity, fmr, threshold, calibration, fpir=fpir, faces=faces)
    hits = sorted((s for s in seen if s.score >= criterion.threshold), key=lambda s: (-s.score, s.source))
    shown = hits[:top]
    if sheet is not None and shown:
        _write_sheet(sheet, shown)
    if as_json:
        emit_json(
            {
                "query": {"source": person.source, "faces": len(person.faces), "face": face_record(person.faces[main])},
                **criterion.record(),
                "fpir": fpir,
                "model": str(recognizer.identity),
                "photos": len(paths),
                "photos_with_faces": len(seen),
                "faces": faces,
                "found": len(hits),
                "matches": [_record(s) for s in shown],
                "errors": errors_of(failures),
            }
        )
    elif as_csv:
        rows = ([i, s.source, s.score, *s.face.box, s.face.score, s.faces, s.is_query] for i, s in enumerate(shown, 1))
        emit_csv(["rank", "source", "score", "x0", "y0", "x1", "y1", "confidence", "faces", "is_query"], rows)
    else:
        strangers = None if criterion.fmr is None or fpir is not None else criterion.fmr * faces
        _show(shown, len(hits), len(paths), faces)
        print_line(
            str(criterion) if fpir is None else f"{criterion}; {one_in(fpir)} searches for someone absent finds any"
        )
        if criterion.origin:
            print_line(criterion.origin)
        if strangers is not None:
            print_line(f"of {faces} faces compared, about {strangers:.2g} may be found by chance")
    finish(failed=bool(failures), matched=any(not s.is_query for s in hits))


class _SameContent:
    """Whether a file holds the same bytes as the photo that is searched for."""

    def __init__(self, photo: Path) -> None:
        self._size = photo.stat().st_size
        self._digest = _digest(photo)

    def __call__(self, path: Path) -> bool:
        try:
            return path.stat().st_size == self._size and _digest(path) == self._digest
        except OSError:  # gone since it was looked at
            return False


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _record(s: _Sighting) -> dict[str, Any]:
    return {"source": s.source, "score": s.score, "faces": s.faces, "is_query": s.is_query, "face": face_record(s.face)}


def _show(shown: Sequence[_Sighting], found: int, photos: int, faces: int) -> None:
    others = sum(not s.is_query for s in shown)
    if not others:
        print_line(f"no other photo of this person among {photos} photos with {faces} faces", style="bold yellow")
    if shown:
        rows = []
        for rank, s in enumerate(shown, 1):
            note = "the photo itself" if s.is_query else f"one of {s.faces} faces" if s.faces > 1 else ""
            x, y = round(s.face.box[0]), round(s.face.box[1])
            rows.append(
                [rank, f"{s.score:.4f}", s.source, f"{s.face.width:.0f} x {s.face.height:.0f} at ({x}, {y})", note]
            )
        print_table(["", "score", "photo", "face", ""], rows, right=["", "score"])
        more = f" (the best {len(shown)} of {found})" if len(shown) < found else ""
        print_line(f"found in {found} of {photos} photos{more}", style="bold")


def _write_sheet(target: Path, shown: Sequence[_Sighting]) -> None:
    from mien.errors import MienError
    from mien.images import contact_sheet, decode, loose_crops, save
    from mien.types import Faces

    thumbnails, captions = [], []
    for s in shown[:_SHEET_LIMIT]:
        # Decoded once more rather than kept since the search: memory stays that of one photo.
        try:
            picture = decode(s.path)
        except MienError as error:
            say(printable(str(error)), label="not on the sheet:")
            continue
        thumbnails += loose_crops(picture.pixels, Faces.of(s.face), size=(200, 200), margin=0.5, turns=s.turns)
        captions.append(f"{s.path.name}  {s.score:.3f}")
    if not thumbnails:
        return
    drawing = contact_sheet(thumbnails, captions, 6, tile=200)
    save(drawing.image, target)
    rest = f", the best {_SHEET_LIMIT} of {len(shown)} photos" if len(shown) > _SHEET_LIMIT else ""
    say(f"contact sheet: {printable(str(target))}{rest}")
    for line in drawing.legend:
        say(printable(f"  {line}"))
