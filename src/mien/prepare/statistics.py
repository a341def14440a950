"""What a set is made of: people, pictures, sizes, and how good its faces are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.report.axis import Axis
from mien.evaluate.report.markup import Markup, element, name
from mien.evaluate.report.parts import cards, section, table
from mien.evaluate.report.plot import Area, plot
from mien.evaluate.report.shell import whole_page, write_page
from mien.quality import measure_quality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from mien.prepare.people import People
    from mien.recognizer import Recognizer

__all__ = ["MEASURES", "SetStats", "stats", "write_stats_page"]

MEASURES: Final = {
    "width": "Width of the picture (pixels)",
    "height": "Height of the picture (pixels)",
    "faces": "Faces in a picture",
    "eye_distance": "Between the eyes (pixels)",
    "sharpness": "Sharpness",
    "brightness": "Brightness",
    "contrast": "Contrast",
    "yaw": "Yaw (degrees)",
    "pitch": "Pitch (degrees)",
    "roll": "Roll (degrees)",
    "score": "Quality score",
}
"""What is measured of each picture, and of its main face from `eye_distance` on; NaN where there is none."""

_FACE: Final = tuple(MEASURES)[3:]
_ANGLES: Final = frozenset({"yaw", "pitch", "roll"})
_SHARES: Final = (0, 5, 25, 50, 75, 95, 100)
_WHOLE: Final = frozenset({"width", "height", "faces"})


@dataclass(frozen=True, slots=True, eq=False)
class SetStats:
    """The measures of a set.

    Attributes:
        root: the folder.
        people: names.
        counts: (K,) pictures of each person.
        values: each of `MEASURES` for the N pictures that could be read: float32 (N,).
        errors: pictures that could not.
    """

    root: Path
    people: tuple[str, ...]
    counts: NDArray[np.intp]
    values: dict[str, NDArray[np.float32]]
    errors: tuple[dict[str, str], ...]

    def spread(self, measure: str) -> dict[str, float | int] | None:
        """Number, mean and percentiles of a measure; None where nothing was measured."""
        known = self.values[measure][~np.isnan(self.values[measure])].astype(np.float64)
        return _spread(known)

    def record(self) -> dict[str, Any]:
        """All of it in JSON."""
        faces = Counter(self.values["faces"].astype(int).tolist())
        read = len(self.values["faces"])
        return {
            "folder": str(self.root),
            "people": len(self.people),
            "pictures": int(self.counts.sum()),
            "pictures_a_person": _spread(self.counts.astype(np.float64)),
            "people_with_one_picture": int((self.counts == 1).sum()),
            "faces_a_picture": {str(n): faces[n] for n in sorted(faces)},
            "without_face": faces[0],
            "several_faces": read - faces[0] - faces[1],
            "measures": {measure: self.spread(measure) for measure in MEASURES},
            "errors": list(self.errors),
        }


def stats(
    root: Path, people: People, recognizer: Recognizer, *, advance: Callable[[int], None] = lambda _n: None
) -> SetStats:
    """Measure every picture of a folder: its size, its faces, and the quality of its main face.

    Memory: the names, and 44 bytes a picture.

    Args:
        root: the folder.
        people: who is in it, see `mien.prepare.people.read_people`.
        recognizer: what finds faces; nothing is embedded.
        advance: is told how many more pictures are done.
    """
    pictures = [path for _, paths in people for path in paths]
    table_of = np.full((len(pictures), len(MEASURES)), np.nan, np.float32)
    errors = []
    for i, found in enumerate(recognizer.analyze(pictures, keep_images=True, embed=False)):
        advance(1)
        if found.error is not None or found.image is None:
            error = found.error or InputError("no picture came back")
            errors.append({"source": str(pictures[i]), "error": str(getattr(error, "reason", error))})
            continue
        height, width = found.image.pixels.shape[:2]
        row: dict[str, float] = {"width": width, "height": height, "faces": len(found.faces)}
        if len(found.faces):
            main = found.faces.take([found.main()])
            quality = measure_quality(found.image.pixels, main, turns=found.turns)[0]
            row |= {
                key: float(np.degrees(getattr(quality, key))) if key in _ANGLES else float(getattr(quality, key))
                for key in _FACE
            }
        table_of[i] = [row.get(measure, np.nan) for measure in MEASURES]
    read = ~np.isnan(table_of[:, 0])
    return SetStats(
        root,
        tuple(person for person, _ in people),
        np.array([len(paths) for _, paths in people], np.intp),
        {measure: table_of[read, column] for column, measure in enumerate(MEASURES)},
        tuple(errors),
    )


def write_stats_page(found: SetStats, target: Path) -> Path:
    """Write a page with a plot of each measure.

    Raises:
        InputError: it cannot be written.
    """
    title = found.root.resolve().name
    record = found.record()
    rows = [(said, *_cells(found.spread(measure))) for measure, said in MEASURES.items()]
    rows.insert(0, ("Pictures of a person", *_cells(record["pictures_a_person"])))
    head = element(
        "header",
        element("p", "Data set", class_="kind"),
        element("h1", name(title)),
        cards(
            [
                ("People", f"{record['people']:,}", f"{record['people_with_one_picture']:,} with one picture"),
                ("Pictures", f"{record['pictures']:,}", f"{len(found.errors):,} cannot be read"),
                ("Without a face", f"{record['without_face']:,}", "none was found"),
                ("With several faces", f"{record['several_faces']:,}", "the main one is measured"),
            ]
        ),
    )
    columns = ("Measure", "Number", "Mean", *(f"{share} %" for share in _SHARES))
    body = element(
        "main",
        section("plots", "How they are spread", element("div", list(_charts(found)), class_="charts")),
        section("table", "Numbers", table(columns, rows, caption="Measures and their percentiles", numbers=9)),
        section("errors", "Cannot be read", table(("Picture", "Why"), _errors(found), caption="Broken pictures"))
        if found.errors
        else None,
    )
    return write_page(target, whole_page(f"{title}: data set, mien", head, body))


def _errors(found: SetStats) -> Iterator[tuple[Markup, str]]:
    for error in found.errors:
        yield name(error["source"]), error["error"]


def _charts(found: SetStats) -> Iterator[Markup]:
    values = {"Pictures of a person": found.counts.astype(np.float64)}
    values |= {said: found.values[measure].astype(np.float64) for measure, said in MEASURES.items()}
    whole = {"Pictures of a person", *(MEASURES[m] for m in _WHOLE)}
    for said, numbers in values.items():
        known = numbers[~np.isnan(numbers)]
        if not len(known):
            continue
        edges = _edges(known, whole=said in whole)
        counts, _ = np.histogram(known, edges)
        x = Axis(said, float(edges[0]), float(edges[-1]))
        y = Axis("People" if said.endswith("person") else "Pictures", 0.0, float(max(1, counts.max())) * 1.05)
        area = Area(edges, counts.astype(np.float64), "same")
        drawn = plot(x, y, [area], title=said, description=f"Histogram of {len(known):,} values")
        yield element("figure", element("h3", said), drawn, class_="chart")


def _edges(values: NDArray[np.float64], *, whole: bool) -> NDArray[np.float64]:
    """Edges of at most 40 bins; of whole numbers each as wide as a whole number, with its number in the middle."""
    low, high = float(values.min()), float(values.max())
    if whole:
        step = max(1, int(np.ceil((high - low + 1) / 40)))
        return np.arange(low - 0.5, high + step + 0.5, step)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, 41)


def _spread(values: NDArray[np.float64]) -> dict[str, float | int] | None:
    if not len(values):
        return None
    marks = np.percentile(values, _SHARES)
    return {"n": len(values), "mean": round(float(values.mean()), 4)} | {
        f"p{share}": round(float(mark), 4) for share, mark in zip(_SHARES, marks, strict=True)
    }


def _cells(spread: dict[str, float | int] | None) -> list[str]:
    if spread is None:
        return ["0", *("-" for _ in range(len(_SHARES) + 1))]
    return [f"{spread['n']:,}", *(f"{value:.4g}" for key, value in spread.items() if key != "n")]
