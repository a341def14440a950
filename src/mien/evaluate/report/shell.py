"""One self-contained page: no scripts, no links to anything outside, and a policy that says so to the browser."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mien.errors import InputError
from mien.evaluate.report.markup import Child, Markup, element, joined, text
from mien.evaluate.report.style import POLICY, STYLE
from mien.file_draft import draft_beside

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["whole_page", "write_page"]


def whole_page(title: str, *children: Child) -> Markup:
    """A page that loads nothing and runs nothing.

    Args:
        title: of the browser's window.
        children: what is in the body, above the footer.
    """
    bottom = element(
        "footer", element("p", "Made by mien. This page is whole in itself: it loads nothing and runs nothing.")
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    body = element("body", *children, bottom)
    return joined(Markup("<!doctype html>\n"), element("html", head, body, lang="en"), text("\n"))


def write_page(target: Path, page: str) -> Path:
    """Write a page into a file, whose folder is made if need be.

    The file is readable by its owner alone. It appears whole: it is written beside its place under another name, and
    then moved there. Safe to call from several threads at once; of two that write one file, one wins.

    Raises:
        InputError: the folder or the file cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with draft_beside(target) as draft:
            # Faces and names are for whoever made the page, until they share it.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
                file.write(page.encode("utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        shown = str(target).encode("utf-8", "backslashreplace").decode("utf-8")
        raise InputError(f"{shown}: cannot be written ({reason})") from error
    return target
