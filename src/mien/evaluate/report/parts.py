"""The parts that reports are made of: sections, tables, headline cards, and lists of pairs of faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mien.evaluate.report.markup import Child, Markup, element
from mien.evaluate.report.thumbnails import thumbnail
from mien.evaluate.report.wording import count, score

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mien.evaluate.results import PairOfShots

__all__ = ["MAX_PAIRS", "ReportTable", "cards", "facts", "pair_list", "section", "table"]

MAX_PAIRS: Final = 24
"""Pairs of faces that one list shows, at most."""

_MAX_ROWS: Final = 200


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A further table of a report, such as error rates by group.

    Attributes:
        title: its heading.
        note: what it shows, in a sentence.
        columns: titles of the columns; the first column names the row.
        rows: the cells, as text; a report shows 200 rows at most.

    Raises:
        ValueError: a row has another number of cells than there are columns.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.title}: expected {len(self.columns)} cells in every row")


def section(anchor: str, title: str, *children: Child) -> Markup:
    """A section with a heading that the navigation can point at."""
    return element("section", element("h2", title, id=anchor), *children, aria_labelledby=anchor)


def table(columns: Sequence[str], rows: Iterable[Sequence[Child]], *, caption: str, numbers: int = 0) -> Markup:
    """A table whose first column names the rows.

    Args:
        columns: their titles.
        rows: the cells.
        caption: what the table is, for those who cannot see it.
        numbers: how many of the columns after the first hold numbers, which stand to the right.
    """
    kinds = ["number" if 1 <= i <= numbers else None for i in range(len(columns))]
    head = [element("th", title, scope="col", class_=kind) for title, kind in zip(columns, kinds, strict=True)]
    listed = list(rows)
    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            [element("td", cell, class_=kind) for cell, kind in zip(row[1:], kinds[1:], strict=True)],
        )
        for row in listed[:_MAX_ROWS]
    ]
    more = len(listed) - _MAX_ROWS
    return element(
        "div",
        element("table", element("thead", element("tr", head)), element("tbody", body), aria_label=caption),
        element("p", f"{count(more, 'further row')} not shown.", class_="note") if more > 0 else None,
        class_="scroll",
    )


def facts(rows: Iterable[tuple[str, Child]], *, caption: str) -> Markup:
    """A table of titles and what they say."""
    body = [
        element("tr", element("th", title, scope="row"), element("td", said, class_="long")) for title, said in rows
    ]
    return element(
        "div", element("table", element("tbody", body), class_="card-of-model", aria_label=caption), class_="scroll"
    )


def cards(rows: Iterable[tuple[str, str, str]]) -> Markup:
    """Headline numbers: (title, value, what goes with it)."""
    shown = [
        element(
            "div",
            element("dt", title),
            element("dd", value, class_="value"),
            element("dd", below, class_="sub"),
            class_="card",
        )
        for title, value, below in rows
    ]
    return element("dl", shown, class_="cards")


def pair_list(title: str, note: str, pairs: Sequence[PairOfShots], *, none: str) -> Markup:
    """Pairs of faces with their scores, in the given order."""
    shown = [
        element(
            "li",
            element("p", element("strong", score(pair.score)), f" · number {place}"),
            element("div", thumbnail(pair.a), thumbnail(pair.b), class_="faces"),
            class_="pair",
        )
        for place, pair in enumerate(pairs[:MAX_PAIRS], start=1)
    ]
    body = element("ol", shown, class_="pairs") if shown else element("p", none)
    return element("div", element("h3", title), element("p", note, class_="note"), body)
