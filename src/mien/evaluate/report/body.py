"""What each kind of report brings to the page that all of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mien.evaluate.report.markup import Markup

__all__ = ["Body", "Sections"]

Sections = list[tuple[str, str, "Markup"]]
"""(anchor, title, section)."""


@dataclass(frozen=True, slots=True)
class Body:
    """One kind of report.

    Attributes:
        kind: its name, such as "Verification".
        subtitle: how much was measured.
        headline: the answer in a sentence, and the numbers.
        sections: what only this kind has.
        measured: what was measured, in a line; empty where a table was.
        card: the section about what was measured; None where a table was.
    """

    kind: str
    subtitle: str
    headline: Markup
    sections: Sections
    measured: str = ""
    card: Markup | None = None
