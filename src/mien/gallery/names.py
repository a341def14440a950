"""Errors that name what was meant: a mistyped name, another model."""

from __future__ import annotations

import difflib
import itertools
from typing import TYPE_CHECKING

from mien.errors import GalleryModelError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mien.types import ModelIdentity

__all__ = ["close_names", "nobody_named", "other_model"]

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


def nobody_named(source: str, name: str, known: Iterable[str]) -> NotFoundError:
    """The error for asking a gallery for a subject that it does not know; suggests similar names."""
    close = close_names(name, known)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "`mien people list` shows who is"
    return NotFoundError(f"{source}: nobody named {name!r} is enrolled; {hint}")


def other_model(source: str, pinned: ModelIdentity | None, identity: ModelIdentity) -> GalleryModelError:
    """The error for using `identity` on a gallery bound to `pinned`, or to nothing yet and readonly."""
    if pinned is None:
        return GalleryModelError(f"{source}: holds nothing yet and was opened readonly; enrol somebody first")
    return GalleryModelError(
        f"{source}: made with {pinned}, and embeddings of {identity} do not compare with it; "
        f"use {pinned.name} with preset {pinned.preset!r}, or enrol into a new gallery"
    )
