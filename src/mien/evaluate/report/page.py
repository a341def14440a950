"""The page of an evaluation: its sections in their order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mien.evaluate.report.account import left_out, method
from mien.evaluate.report.bodies import body_of
from mien.evaluate.report.markup import Markup, element, name
from mien.evaluate.report.parts import ReportTable, section, table
from mien.evaluate.report.shell import whole_page, write_page

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from mien.evaluate.report.bodies import Result

__all__ = ["report_page", "write_report"]


def write_report(
    folder: str | os.PathLike[str],
    result: Result,
    *,
    tables: Sequence[ReportTable] = (),
) -> Path:
    """Write ``report.html`` into a folder, which is made if need be.

    The file appears whole: it is written beside its place under another name, and then moved there. Safe to call from
    several threads at once; of two that write into one folder, one wins.

    Args:
        folder: where to.
        result: what was found.
        tables: further tables, such as error rates by group.

    Returns:
        The path of the page.

    Raises:
        InputError: the folder or the file cannot be written.
    """
    return write_page(Path(folder) / "report.html", report_page(result, tables=tables))


def report_page(result: Result, *, tables: Sequence[ReportTable] = ()) -> str:
    """The page as text. The pictures of its worst errors are read again, and shown small."""
    experiment, body = result.experiment, body_of(result)
    sections = list(body.sections)
    for number, further in enumerate(tables, start=1):
        sections.append((f"table-{number}", further.title, _further(f"table-{number}", further)))
    sections += [
        ("left-out", "Left out", left_out(experiment)),
        ("method", "Method", method(experiment)),
        *([("model", "Model", body.card)] if body.card is not None else []),
    ]
    top = element(
        "header",
        element("p", f"{body.kind} report", class_="kind"),
        element("h1", name(experiment.protocol)),
        element("p", body.subtitle, ".", class_="facts"),
        element("p", " · ".join([*([body.measured] if body.measured else []), experiment.date]), class_="facts"),
        body.headline,
        element(
            "nav", [element("a", title, href=f"#{anchor}") for anchor, title, _ in sections], aria_label="Contents"
        ),
    )
    main = element("main", [part for _, _, part in sections])
    return whole_page(f"{experiment.protocol}: {body.kind.lower()} report, mien", top, main)


def _further(anchor: str, further: ReportTable) -> Markup:
    return section(
        anchor,
        further.title,
        element("p", further.note) if further.note else None,
        table(further.columns, further.rows, caption=further.title, numbers=len(further.columns) - 1),
    )
