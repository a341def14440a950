"""One self-contained page: no scripts, no links to anything outside, and a policy that says so to the browser."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import InputError
from mien.evaluate.report.account import left_out, method
from mien.evaluate.report.bodies import body_of
from mien.evaluate.report.markup import Markup, element, joined, name, text
from mien.evaluate.report.parts import ReportTable, section, table
from mien.evaluate.report.style import POLICY, STYLE

if TYPE_CHECKING:
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
    target = Path(folder) / "report.html"
    page = report_page(result, tables=tables).encode("utf-8")
    draft = target.with_name(f".mien-{secrets.token_hex(8)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("xb") as file:
                file.write(page)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        shown = str(target).encode("utf-8", "backslashreplace").decode("utf-8")
        raise InputError(f"{shown}: cannot be written ({reason})") from error
    return target


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
    bottom = element(
        "footer", element("p", "Made by mien. This page is whole in itself: it loads nothing and runs nothing.")
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{experiment.protocol}: {body.kind.lower()} report, mien"),
        element("style", Markup(STYLE)),
    )
    whole = element("body", top, element("main", [part for _, _, part in sections]), bottom)
    return joined(Markup("<!doctype html>\n"), element("html", head, whole, lang="en"), text("\n"))


def _further(anchor: str, further: ReportTable) -> Markup:
    return section(
        anchor,
        further.title,
        element("p", further.note) if further.note else None,
        table(further.columns, further.rows, caption=further.title, numbers=len(further.columns) - 1),
    )
