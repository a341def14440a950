"""The report of an enrolment: a page with thumbnails, or a table."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from mien.cli.output import counted, write_csv
from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mien.evaluate.report.markup import Markup
    from mien.gallery import EnrolReport, PictureReport

__all__ = ["PICTURE_COLUMNS", "check_report_path", "picture_rows", "write_enrol_report"]

PICTURE_COLUMNS = ["name", "source", "outcome", "reason", "codes", "faces"]
_MOST = 1000  # thumbnails of one page: each is read from its picture again
_TITLES = {"refused": "Refused", "unusable": "Cannot be used", "noted": "Enrolled, with a remark"}


def check_report_path(path: Path) -> None:
    """Raises InputError unless a report can be written there; asked before the work begins."""
    if path.suffix.lower() not in (".html", ".csv"):
        raise InputError(f"--report {path}: expected a name that ends in .html or .csv")
    if path.is_dir() or (path.parent.exists() and not path.parent.is_dir()):
        raise InputError(f"--report {path}: is not a place for a file")


def picture_rows(reports: Sequence[EnrolReport]) -> Iterator[list[object]]:
    """A row a picture, under `PICTURE_COLUMNS`."""
    for report in reports:
        for p in report.pictures:
            yield [report.name, p.picture, p.outcome, p.reason, " ".join(p.codes), p.faces]


def write_enrol_report(path: Path, gallery: str, reports: Sequence[EnrolReport]) -> None:
    """Write the report; the suffix says which kind. A file that is there is replaced.

    Raises:
        InputError: it cannot be written.
    """
    from mien.evaluate.report.shell import write_page

    if path.suffix.lower() == ".csv":
        text = io.StringIO(newline="")
        write_csv(text, PICTURE_COLUMNS, picture_rows(reports))
        write_page(path, text.getvalue())
    else:
        write_page(path, enrol_page(gallery, reports))


def enrol_page(gallery: str, reports: Sequence[EnrolReport]) -> Markup:
    """The page: what a person should look at first, then everybody."""
    from mien.evaluate.report.markup import element, name
    from mien.evaluate.report.parts import cards, section, table
    from mien.evaluate.report.shell import whole_page

    pictures = [(report.name, picture) for report in reports for picture in report.pictures]
    kinds: dict[str, list[tuple[str, PictureReport]]] = {kind: [] for kind in _TITLES}
    for who, picture in pictures:
        if picture.refused:
            kinds["refused"].append((who, picture))
        elif picture.outcome == "skipped":
            kinds["unusable"].append((who, picture))
        elif picture.reasons:
            kinds["noted"].append((who, picture))
    added = sum(picture.outcome == "added" for _, picture in pictures)
    known = sum(picture.outcome == "known" for _, picture in pictures)
    head = cards(
        [
            ("People", f"{len(reports):,}", f"{sum(not r.subject for r in reports):,} of them not enrolled"),
            ("Pictures enrolled", f"{added:,}", f"{known:,} were known already"),
            ("Refused", f"{len(kinds['refused']):,}", "by the enrolment gate, with reasons"),
            ("Cannot be used", f"{len(kinds['unusable']):,}", "no face, or not a picture"),
        ]
    )
    left = _MOST
    sections = []
    for kind, title in _TITLES.items():
        if kinds[kind]:
            sections.append((kind, title, section(kind, title, _shots(kinds[kind], left))))
            left = max(0, left - len(kinds[kind]))
    rows = [
        [
            name(r.name),
            str(r.subject.faces if r.subject else 0),
            str(len(r.added)),
            str(len(r.known)),
            str(len(r.skipped)),
        ]
        for r in reports
    ]
    columns = ("person", "faces", "enrolled now", "known already", "left out")
    everybody = section("people", "Everybody", table(columns, rows, caption="Everybody", numbers=4))
    plain = [(who, picture) for who, picture in pictures if picture.outcome == "added" and not picture.reasons]
    sections.append(("people", "Everybody", everybody))
    if plain and left:
        title = "Enrolled without a remark"
        sections.append(("plain", title, section("plain", title, _shots(plain, left))))
    top = element(
        "header",
        element("p", "Enrolment report", class_="kind"),
        element("h1", name(gallery)),
        element(
            "p", f"{counted(len(pictures), 'picture')} of {counted(len(reports), 'person', 'people')}", class_="facts"
        ),
        head,
        element("nav", [element("a", t, href=f"#{anchor}") for anchor, t, _ in sections], aria_label="Contents"),
    )
    return whole_page("Enrolment report, mien", top, element("main", [part for _, _, part in sections]))


def _shots(pictures: Sequence[tuple[str, PictureReport]], most: int) -> Markup:
    """Pictures with whom they are said to show and what was found; at most so many."""
    from mien.evaluate.report.markup import element, joined, name

    shown = [
        element("li", element("p", element("strong", name(who))), _shot(p), class_="pair") for who, p in pictures[:most]
    ]
    more = len(pictures) - len(shown)
    note = element("p", f"{more:,} more are not shown; the .csv report lists all.", class_="note") if more else None
    said = any(p.reason for _, p in pictures)
    return joined(element("ol", shown, class_="pairs" if said else "pairs small"), note)


def _shot(p: PictureReport) -> Markup:
    """A picture, with what is said of it beside."""
    from mien.evaluate.report.markup import element
    from mien.evaluate.report.thumbnails import thumbnail
    from mien.evaluate.results import Shot

    face = thumbnail(Shot(p.picture, p.picture, p.face.landmarks if p.face else None))
    words = [reason.message for reason in p.reasons] or ([p.reason] if p.reason else [])
    if not words:
        return element("div", face, class_="faces one")
    return element("div", face, element("div", [element("p", word, class_="note") for word in words]), class_="faces")
