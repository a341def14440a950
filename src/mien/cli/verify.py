"""`mien verify A B`: is this the same person?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.criterion import CalibrationFile, Criterion, FmrOption, ThresholdOption, criterion_for
from mien.cli.inputs import DetectorName, LicenceUse, MinFace, ModelName, PresetName, Upright, make_recognizer
from mien.cli.output import CsvFlag, JsonFlag, emit_csv, emit_json, face_record, finish, print_line, printable, say
from mien.errors import ImageError, NoFaceError

if TYPE_CHECKING:
    from mien.types import Face, Verification

__all__ = ["verify"]

Photo = Annotated[Path, typer.Argument(readable=False, show_default=False, help="A photo; its main face is compared.")]
DrawFile = Annotated[
    Path | None, typer.Option("--draw", help="Write both photos, with the faces that were compared, into this picture.")
]


def verify(
    a: Photo,
    b: Photo,
    *,
    fmr: FmrOption = None,
    threshold: ThresholdOption = None,
    calibration: CalibrationFile = None,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    upright: Upright = False,
    draw: DrawFile = None,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Decide whether two photos show the same person. Exit code 0: the same, 1: not, 2: no answer."""
    from mien.api import verify as decide
    from mien.images import source_name

    if draw is not None:
        from mien.cli.placing import output_file
        from mien.images import WRITABLE_SUFFIXES

        output_file("--draw", draw, [a, b], WRITABLE_SUFFIXES)
    recognizer = make_recognizer(preset, min_face, upright=upright, model=model, detector=detector, licence=licence)
    criterion = criterion_for(recognizer.identity, fmr, threshold, calibration)
    try:
        answer = decide(a, b, threshold=criterion.threshold, recognizer=recognizer)
    except (ImageError, NoFaceError) as error:
        if as_json:
            source = _culprit(error, source_name(a), source_name(b))
            emit_json(
                {"matched": None, "errors": [{"source": source, "error": str(error).removeprefix(f"{source}: ")}]}
            )
        raise
    if draw is not None:
        _draw(draw, (a, answer.face_a), (b, answer.face_b), answer)
    record: dict[str, Any] = {
        "matched": answer.matched,
        "score": answer.score,
        **criterion.record(),
        "model": str(recognizer.identity),
        "a": {"source": source_name(a), "faces": answer.faces_in_a, "face": face_record(answer.face_a)},
        "b": {"source": source_name(b), "faces": answer.faces_in_b, "face": face_record(answer.face_b)},
        "errors": [],
    }
    if as_json:
        emit_json(record)
    elif as_csv:
        columns = ["matched", "score", "threshold", "fmr", "provisional"]
        row = [record["a"]["source"], record["b"]["source"], *(record[column] for column in columns)]
        emit_csv(["a", "b", *columns], [row])
    else:
        _show(record, answer, criterion)
    finish(failed=False, matched=answer.matched)


def _show(record: dict[str, Any], answer: Verification, criterion: Criterion) -> None:
    verdict, style = ("Same person", "bold green") if answer.matched else ("Not the same person", "bold yellow")
    print_line(verdict, style=style)
    print_line(f"score {answer.score:.4f}, {criterion}")
    if criterion.origin:
        print_line(criterion.origin)
    if not answer.matched and answer.faces_in_a * answer.faces_in_b > 1:
        print_line("only the main faces were compared; `mien find A B` looks at every face of B")
    for side, face in ((record["a"], answer.face_a), (record["b"], answer.face_b)):
        which = "its only face" if side["faces"] == 1 else f"the main of its {side['faces']} faces"
        at = f"({face.box[0]:.0f}, {face.box[1]:.0f})"
        print_line(f"{side['source']}: {which}, {face.width:.0f} x {face.height:.0f} pixels at {at}")


def _draw(target: Path, a: tuple[Path, Face], b: tuple[Path, Face], answer: Verification) -> None:
    from mien.images import contact_sheet, decode, save
    from mien.images import draw as mark
    from mien.types import Faces

    colour = (46, 204, 64) if answer.matched else (255, 165, 0)
    marked = []
    for path, face in (a, b):
        marked.append(mark(decode(path), Faces.of(face), [""], colours=[colour]).image)
    relation = ">=" if answer.matched else "<"
    captions = [
        f"score {answer.score:.4f} {relation} {answer.threshold:.4f}",
        "same" if answer.matched else "not the same",
    ]
    save(contact_sheet(marked, captions, 2, tile=512).image, target)
    say(f"drawn: {printable(str(target))}")


def _culprit(error: ImageError | NoFaceError, a: str, b: str) -> str:
    """Which of two pictures an error is about; it names it first."""
    return b if str(error).startswith(f"{b}:") else a
