"""HTML and SVG as values: whatever is not markup already is text, and is escaped where it is put into an element."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Final, TypeAlias

__all__ = ["Attribute", "Child", "Markup", "element", "joined", "name", "text"]

_VOID: Final = frozenset({"br", "col", "img", "link", "meta"})
_UNSHOWABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*\Z")


class Markup(str):
    """A string that is HTML. Only the functions of this module, and constants of this package, make one."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"
"""What an element may hold: markup as it is, other text escaped, nothing for None, and any nesting of these."""

Attribute: TypeAlias = str | float | None
"""The value of an attribute; None leaves the attribute out."""


def text(value: str) -> Markup:
    r"""Text as markup: escaped, with control characters and lone surrogates made visible.

    >>> text("<b>\x1b")
    '&lt;b&gt;\\x1b'
    """
    if isinstance(value, Markup):
        return value
    shown = _UNSHOWABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), value)
    return Markup(html.escape(shown, quote=True))


def joined(*children: Child) -> Markup:
    """Children one after another, without an element around them."""
    return Markup("".join(_flat(children)))


def element(tag: str, *children: Child, **attributes: Attribute) -> Markup:
    """One element.

    Args:
        tag: its name.
        children: what it holds.
        attributes: underscores stand for hyphens; one at the end is dropped, so that ``class_`` can be written.

    >>> element("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    written = []
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if not _NAME.match(attribute):
            raise ValueError(f"attribute: expected a name, got {key!r}")
        if value is not None:
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            written.append(f' {attribute}="{text(str(shown))}"')
    if not _NAME.match(tag):
        raise ValueError(f"element: expected a name, got {tag!r}")
    opening = f"<{tag}{''.join(written)}>"
    return Markup(opening if tag in _VOID else f"{opening}{joined(*children)}</{tag}>")


def name(value: str) -> Markup:
    """The name of a file or a person: isolated, so that right-to-left names do not turn their surroundings round."""
    return element("bdi", value)


def _flat(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, str | int):
            yield text(str(child)) if not isinstance(child, Markup) else child
        else:
            yield from _flat(child)
