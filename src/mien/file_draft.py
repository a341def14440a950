"""Files that appear whole or not at all: written beside their place under another name, and moved there at the end."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["DRAFTS", "draft_beside", "draft_name"]

DRAFTS: Final = ".mien-*.part"
"""What the names of drafts match; one stays only where a process was killed."""


def draft_name(place: Path) -> Path:
    """A name beside `place` that nobody uses, for a file that is to be moved there."""
    return place.with_name(f".mien-{secrets.token_hex(8)}.part")


@contextlib.contextmanager
def draft_beside(place: Path) -> Iterator[Path]:
    """A path to write to, which becomes `place` when the block ends; where it raises, what was written goes.

    A file at `place` is replaced; a link there too, not what it leads to. Thread-safe: of two that write one place, one
    wins.

    Raises:
        OSError: the draft cannot be moved: nothing was written there, or `place` is a folder.
    """
    draft = draft_name(place)
    try:
        yield draft
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)
