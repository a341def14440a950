"""A list of pairs as training, export and promotion read it: named by its file, and what is left out is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mien.evaluate.protocols import LfwPairs

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from mien.evaluate.protocols import PairSet

__all__ = ["read_pairs"]


def read_pairs(
    pairs: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    skip_missing: bool = False,
    say: Callable[[str], None] | None = None,
) -> PairSet:
    """Read pairs in LFW's format.

    Args:
        pairs: the list.
        images: the folder of people.
        skip_missing: leave out pairs of which a picture is not there, instead of refusing.
        say: told how many pairs are left out, and why.

    Raises:
        InputError: the list is malformed, or its pictures are not there.
    """
    found = LfwPairs(pairs, images, missing="exclude" if skip_missing else "error").read()
    found = replace(found, name=Path(pairs).stem)
    if say is not None and found.exclusions:
        why = "; ".join(f"{count:,} x {why}" for why, count in Counter(one.why for one in found.exclusions).items())
        say(f"{found.name}: measured on {len(found.pairs):,} pairs; left out: {why}")
    return found
