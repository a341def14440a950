"""`mien recognize`: the lines that the `face_recognition` command prints, by mien's decision or by that tool's."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.criterion import CalibrationFile, calibration_in
from mien.cli.galleries import FpirOption, check_fpir
from mien.cli.inputs import DetectorName, LicenceUse, MinFace, ModelName, PresetName, make_recognizer, people_in
from mien.cli.output import (
    CsvFlag,
    JsonFlag,
    emit_csv,
    emit_json,
    errors_of,
    face_record,
    finish,
    printable,
    say,
    watch_each,
)
from mien.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, TypeAlias

    from mien.recognizer import Recognizer
    from mien.types import Analysis, Floats

    NamesOf: TypeAlias = Callable[[Floats], list[list[dict[str, Any]]]]

__all__ = ["recognize"]

Known = Annotated[
    Path,
    typer.Argument(
        readable=False, help="Known people: pictures named by person, or a folder per person.", show_default=False
    ),
]
Unknown = Annotated[
    Path, typer.Argument(readable=False, help="A picture, or a folder of pictures.", show_default=False)
]
ShowDistance = Annotated[bool, typer.Option("--show-distance", help="Add the distance to each line.")]
Compat = Annotated[
    bool,
    typer.Option("--compat", help="That tool's rule: every known picture within --tolerance prints a line."),
]
Tolerance = Annotated[
    float | None, typer.Option("--tolerance", help="With --compat: the largest distance (0.6 unless given).")
]

UNKNOWN, NOBODY = "unknown_person", "no_persons_found"
TOLERANCE = 0.6


def recognize(
    known: Known,
    unknown: Unknown,
    *,
    show_distance: ShowDistance = False,
    fpir: FpirOption = None,
    compat: Compat = False,
    tolerance: Tolerance = None,
    calibration: CalibrationFile = None,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Print `file,name` for every face in photos, as the `face_recognition` command does.

    Exit code 0: somebody was named, 1: nobody was, 2: a picture could not be used. Nothing is kept.
    """
    rate = check_fpir(fpir)
    if compat and not (fpir is None and preset is None and model is None and detector is None):
        raise InputError("--compat: takes --tolerance, and neither --fpir, --preset, --model nor --detector")
    if tolerance is not None and not compat:
        raise InputError("--tolerance: belongs to --compat; mien's own decision takes --fpir")
    limit = TOLERANCE if tolerance is None else tolerance
    if not limit > 0:
        raise InputError(f"--tolerance: expected a positive number, got {limit}")
    people = people_in(known)
    if not any(pictures for _, pictures in people):
        raise InputError(f"{known}: expected pictures named by person, or a folder of pictures per person; found none")
    paths = _photos(unknown)

    failures: list[Analysis] = []
    if compat:
        from mien.cli.dlib_distance import dlib_recognizer

        recognizer = dlib_recognizer(min_face)
    else:
        recognizer = make_recognizer(preset, min_face, model=model, detector=detector, licence=licence)
    learnt = _learn(recognizer, people, failures)
    if not learnt:
        raise InputError(f"{known}: no picture shows a face; expected at least one")
    with contextlib.ExitStack() as open_until_done:
        names_of = (
            _within(learnt, limit) if compat else _decided(recognizer, learnt, rate, calibration, open_until_done)
        )
        records = _answers(recognizer, paths, names_of, failures, show=not (as_json or as_csv), distance=show_distance)
    if as_json:
        emit_json({"known": str(known), "compat": compat, "photos": records, "errors": errors_of(failures)})
    elif as_csv:
        emit_csv(["source", "name", "distance"], (row for record in records for row in _rows(record)))
    finish(failed=bool(failures), matched=any(face["names"] for record in records for face in record["faces"]))


def _answers(
    recognizer: Recognizer,
    paths: Sequence[Path],
    names_of: NamesOf,
    failures: list[Analysis],
    *,
    show: bool,
    distance: bool,
) -> list[dict[str, Any]]:
    """Who is in each picture; lines are printed as they come where `show` says so."""
    records: list[dict[str, Any]] = []
    pairs = zip(paths, recognizer.analyze(paths), strict=True)
    for path, found in watch_each(pairs, len(paths), "Recognizing", failures):
        faces = zip(found.faces, names_of(found.embeddings) if len(found.faces) else [], strict=True)
        record = {"source": str(path), "faces": [{**face_record(face), "names": names} for face, names in faces]}
        records.append(record)
        if show:
            for line in _lines(record, distance):
                typer.echo(printable(line))
    return records


def _photos(unknown: Path) -> list[Path]:
    from mien.images import list_images

    if not unknown.is_dir():
        if not unknown.exists():
            raise NotFoundError(f"{unknown}: no such file or folder")
        return [unknown]
    if not (paths := list_images(unknown, recursive=False)):
        raise InputError(f"{unknown}: expected pictures in this folder, found none")
    return paths


def _learn(
    recognizer: Recognizer, people: Sequence[tuple[str, Sequence[Path]]], failures: list[Analysis]
) -> list[tuple[str, Floats]]:
    """Name and embedding of the main face of each known picture, with the remarks that the other tool makes."""
    named = [(name, picture) for name, pictures in people for picture in pictures]
    pairs = zip(named, recognizer.analyze([picture for _, picture in named]), strict=True)
    learnt: list[tuple[str, Floats]] = []
    for (name, picture), found in watch_each(pairs, len(named), "Learning", failures):
        if not len(found.faces):
            say(printable(f"WARNING: No faces found in {picture}. Ignoring file."))
            continue
        if len(found.faces) > 1:
            say(printable(f"WARNING: More than one face found in {picture}. Only considering the main face."))
        learnt.append((name, found.embeddings[found.main()]))
    return learnt


def _decided(
    recognizer: Recognizer,
    learnt: Sequence[tuple[str, Floats]],
    fpir: float,
    calibration: Path | None,
    stack: contextlib.ExitStack,
) -> NamesOf:
    """One name a face: the best person, if the score reaches mien's threshold for so many known faces."""
    from mien.gallery import Gallery

    chosen = calibration_in(calibration)
    gallery = stack.enter_context(Gallery.open(":memory:", identity=recognizer.identity, calibration=chosen))
    gallery.add_many([(name, vector) for name, vector in learnt])

    def names_of(embeddings: Floats) -> list[list[dict[str, Any]]]:
        matches = gallery.identify_embeddings(embeddings, fpir=fpir)
        # The distance of two unit vectors follows from their cosine.
        return [_named(m.name, max(0.0, 2 - 2 * m.score) ** 0.5) if m.name is not None else [] for m in matches]

    return names_of


def _within(learnt: Sequence[tuple[str, Floats]], tolerance: float) -> NamesOf:
    """The other tool's rule: every known picture within the distance, in the order of the known pictures."""
    import numpy as np

    names = [name for name, _ in learnt]
    known = np.stack([vector for _, vector in learnt])

    def names_of(embeddings: Floats) -> list[list[dict[str, Any]]]:
        # A face at a time: all differences of a crowd to all known pictures could fill the memory.
        rows = (np.linalg.norm(known - one, axis=1) for one in embeddings)
        near = ((np.flatnonzero(row <= tolerance), row) for row in rows)
        return [[one for i in found for one in _named(names[i], float(row[i]))] for found, row in near]

    return names_of


def _named(name: str, distance: float) -> list[dict[str, Any]]:
    return [{"name": name, "distance": round(distance, 6)}]


def _lines(record: dict[str, Any], show_distance: bool) -> Iterator[str]:
    """The other tool's lines for one photo."""
    for source, name, distance in _rows(record):
        yield f"{source},{name},{distance if distance != '' else None}" if show_distance else f"{source},{name}"


def _rows(record: dict[str, Any]) -> Iterator[list[Any]]:
    source = record["source"]
    if not record["faces"]:
        yield [source, NOBODY, ""]
    for face in record["faces"]:
        if not face["names"]:
            yield [source, UNKNOWN, ""]
        for answer in face["names"]:
            yield [source, answer["name"], answer["distance"]]
