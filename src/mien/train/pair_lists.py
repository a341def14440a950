"""A list of pairs as training, export and promotion read it: named by its file, and what is left out is told."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mien.evaluate.protocols import LfwPairs

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from mien.evaluate.protocols import PairSet

__all__ = ["read_pairs", "trained_people_told"]

_NAMED: Final = 3


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


def trained_people_told(name: str, measured: Iterable[str], trained: Iterable[str]) -> str:
    """A warning that people who are measured are trained on, too, by their names; empty where none do.

    Names alone are compared, without regard to how their accents are written: it costs nothing, and folders that were
    taken for both are found. ``mien data overlap`` compares faces.

    Args:
        name: the list's.
        measured: names of its people; "" for those without.
        trained: likewise, of the pictures to learn from.
    """
    among, learnt = ({unicodedata.normalize("NFC", one) for one in names if one} for names in (measured, trained))
    both = sorted(among & learnt)
    if not both:
        return ""
    more = ", ..." if len(both) > _NAMED else ""
    return (
        f"warning: {name}: {len(both):,} of its {len(among):,} people {'is' if len(both) == 1 else 'are'} trained on, "
        f"too, by name ({', '.join(both[:_NAMED])}{more}): what is measured, and best/, which is chosen by it, say "
        "little about strangers; mien data split keeps people apart"
    )
