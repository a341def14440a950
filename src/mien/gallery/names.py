"""Suggestions after a mistyped name."""

from __future__ import annotations

import difflib
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["close_names"]

_SEARCHED = 50_000  # names that are looked at: a typo must not cost minutes


def close_names(name: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """The known names that most resemble a name, ignoring case.

    >>> close_names("ada lovelace", ["Ada Lovelace", "Grace Hopper"])
    ['Ada Lovelace']
    """
    folded: dict[str, str] = {}
    for other in itertools.islice(known, _SEARCHED):
        folded.setdefault(other.casefold(), other)
    return [folded[key] for key in difflib.get_close_matches(name.casefold(), folded, n=count, cutoff=0.6)]
