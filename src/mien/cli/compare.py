"""`mien compare DIR`: how alike the pictures of some people are, within a person and across people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.criterion import FmrOption, ThresholdOption, criterion_for
from mien.cli.inputs import (
    DetectorName,
    LicenceUse,
    MinFace,
    ModelName,
    PresetName,
    Upright,
    make_recognizer,
    people_in,
)
from mien.cli.output import (
    CsvFlag,
    JsonFlag,
    emit_json,
    errors_of,
    finish,
    printable,
    say,
    watch_each,
)
from mien.cli.similarity_report import SimilarityReport
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.types import Analysis, Floats

__all__ = ["compare"]

Folder = Annotated[
    Path, typer.Argument(readable=False, show_default=False, help="A folder of people: a folder (or a photo) each.")
]
Histogram = Annotated[Path | None, typer.Option("--histogram", help="Write the histogram as .png, .svg or .pdf.")]
Top = Annotated[int, typer.Option("--top", min=1, max=1000, help="How many of the most and least alike pairs to list.")]


def compare(
    folder: Folder,
    *,
    fmr: FmrOption = None,
    threshold: ThresholdOption = None,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    top: Top = 5,
    histogram: Histogram = None,
    min_face: MinFace = None,
    upright: Upright = False,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Compare every photo of some people with every other: mean similarities, error rates, the pairs to look at.

    The main face of each photo counts. DIR is a folder with a folder (or a photo) for each person.
    """
    import numpy as np

    from mien.evaluate.people_table import people_table

    photos = [(name, path) for name, paths in people_in(folder) for path in paths]
    if histogram is not None:
        from mien.cli.placing import output_file

        output_file("--histogram", histogram, (path for _, path in photos), {".png", ".svg", ".pdf"})
    recognizer = make_recognizer(preset, min_face, upright=upright, model=model, detector=detector, licence=licence)
    criterion = criterion_for(recognizer.identity, fmr, threshold)
    failures: list[Analysis] = []
    without: list[dict[str, str]] = []
    shots: list[tuple[str, str]] = []
    rows: list[Floats] = []
    # A list, as `mien evaluate` gives one: batches, and so the last digits of embeddings, depend on it.
    analyses = zip(photos, recognizer.analyze([path for _, path in photos]), strict=True)
    for (name, _), found in watch_each(analyses, len(photos), "Looking at photos", failures):
        if len(found.faces):
            shots.append((name, found.source))
            rows.append(found.embeddings[found.main()])
        else:
            without.append({"name": name, "source": found.source})
            say(f"{found.source}: no face found", label="skipped:")
    if len(shots) < 2:
        raise InputError(f"{printable(str(folder))}: expected at least two photos with a face, found {len(shots)}")

    names = list(dict.fromkeys(name for name, _ in shots))  # in the order of `mien evaluate`, so that scores are equal
    number = {name: i for i, name in enumerate(names)}
    who = np.array([number[name] for name, _ in shots])
    table = people_table(np.stack(rows), who, threshold=criterion.threshold, top=top)
    report = SimilarityReport(folder, names, shots, table, criterion)
    if histogram is not None:
        report.draw(histogram)
    if as_json:
        missing = {"without_face": without, "errors": errors_of(failures)}
        emit_json({"model": str(recognizer.identity), **report.record(), **missing})
    elif as_csv:
        report.csv()
    else:
        report.show(len(without), len(failures))
    finish(failed=bool(failures))
