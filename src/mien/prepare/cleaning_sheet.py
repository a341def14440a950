"""The page on which a person looks through what `clean` found: each doubtful picture beside faces of its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mien.evaluate.report.markup import Markup, element, name
from mien.evaluate.report.parts import cards, section, table
from mien.evaluate.report.shell import whole_page, write_page
from mien.evaluate.report.thumbnails import thumbnail
from mien.evaluate.results import Shot
from mien.prepare.cleaning import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mien.prepare.cleaning_folder import CleanReport

__all__ = ["write_clean_sheet"]

_MOST: Final = 600  # pictures on the page: 4 KB each
_EXAMPLES: Final = 4


def write_clean_sheet(report: CleanReport, target: Path, *, list_file: str = "") -> Path:
    """Write the page. The pictures are read again, and shown small: at most 600 doubtful ones.

    Args:
        report: what was found.
        target: the HTML file.
        list_file: the name of the list that belongs to it, to be named on the page.

    Raises:
        InputError: it cannot be written.
    """
    folder, counts = report.folder, report.counts()
    head = element(
        "header",
        element("p", "Clean report", class_="kind"),
        element("h1", name(folder.root.resolve().name)),
        element("p", f"{len(folder):,} pictures of {len(folder.people):,} people.", class_="facts"),
        element(
            "p",
            "Look through the pictures, change verdicts in the list",
            [" ", name(list_file)] if list_file else None,
            " (keep, review, wrong, second), and apply it: wrong and second are moved to quarantine.",
            class_="lead",
        ),
        cards(
            (title, f"{value:,}", below)
            for title, value, below in (
                ("Wrong", counts["wrong"], "unlike their folder"),
                ("A second person", counts["second"], f"in {len(report.found.second):,} folders"),
                ("For review", counts["review"], "doubtful, or no face found"),
                ("One person twice", len(report.found.same), "pairs of folders"),
            )
        ),
    )
    title = f"{folder.root.resolve().name}: clean report, mien"
    return write_page(target, whole_page(title, head, element("main", _same(report), _folders(report))))


def _same(report: CleanReport) -> Markup | None:
    pairs, people = report.found.same, report.folder.people
    if not pairs:
        return None
    rows = [(name(people[pair.a]), name(people[pair.b]), f"{pair.score:.3f}") for pair in pairs]
    shown = [
        element("div", element("h3", name(people[p])), _row([thumbnail(_shot(report, i)) for i in _best(report, p)]))
        for pair in pairs[:_EXAMPLES]
        for p in (pair.a, pair.b)
    ]
    return section(
        "same",
        "Folders that seem to hold one person",
        table(("Folder", "And", "Score"), rows, caption="Pairs of folders"),
        shown,
    )


def _folders(report: CleanReport) -> list[Markup]:
    """A section for each folder with doubtful pictures, those with most to move first."""
    by_person: dict[int, list[int]] = {}
    for i in report.listed():
        by_person.setdefault(int(report.folder.person[i]), []).append(i)
    moved = {p: sum(report.found.verdict[i] >= Verdict.WRONG for i in rows) for p, rows in by_person.items()}
    sections, room = [], _MOST
    for person in sorted(by_person, key=lambda p: (-moved[p], p)):
        rows = by_person[person][:room]
        if not rows:
            break
        room -= len(rows)
        sections.append(_folder(report, person, rows))
    left = sum(map(len, by_person.values())) - (_MOST - room)
    if left > 0:
        sections.append(element("p", f"{left:,} further pictures are in the list only.", class_="note"))
    return sections or [element("p", "Every picture fits its folder.")]


def _folder(report: CleanReport, person: int, rows: Sequence[int]) -> Markup:
    examples = _best(report, person)
    return section(
        f"folder-{person}",
        report.folder.people[person],
        element("p", "Pictures that fit best, to compare with:", class_="note"),
        _row([thumbnail(_shot(report, i)) for i in examples]),
        element("h3", f"Doubtful ({len(rows)})"),
        element("ol", [_doubtful(report, i) for i in rows], class_="pairs small"),
    )


def _doubtful(report: CleanReport, i: int) -> Markup:
    score = float(report.found.score[i])
    said = f": {report.reason(i)}" + ("" if np.isnan(score) else f" ({score:.1f})")
    return element(
        "li",
        element("p", element("strong", report.verdict(i)), said),
        element("div", thumbnail(_shot(report, i)), class_="faces one"),
        class_="pair",
    )


def _row(shown: Sequence[Markup]) -> Markup:
    return element("ol", [element("li", one, class_="pair") for one in shown], class_="pairs small")


def _best(report: CleanReport, person: int) -> list[int]:
    """Pictures of a folder that fit it best."""
    rows = np.flatnonzero((report.folder.person == person) & (report.found.verdict == Verdict.KEEP))
    order = np.argsort(-np.nan_to_num(report.found.score[rows]), kind="stable")
    best: list[int] = rows[order[:_EXAMPLES]].tolist()
    return best


def _shot(report: CleanReport, i: int) -> Shot:
    points = report.folder.landmarks[i]
    known = tuple((float(x), float(y)) for x, y in points) if report.folder.found[i] else None
    return Shot(report.folder.names[i], str(report.folder.path(i)), known)
