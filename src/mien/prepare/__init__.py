"""Verbs over folders: from raw pictures and videos to a clean training or test set.

The function of each verb of `mien data` has its name here, fetched on first use:

    from mien.prepare import read_people, split
    sets = split(read_people("faces"), {"train": 0.9, "test": 0.1})
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mien.prepare.cleaning_folder import clean
    from mien.prepare.clips import frames
    from mien.prepare.cropping import crop
    from mien.prepare.duplicates import dedupe
    from mien.prepare.embed_folder import embed_folder as embed
    from mien.prepare.embedding import embed_people
    from mien.prepare.fetching import fetch
    from mien.prepare.generators import generate
    from mien.prepare.generators import generate as mesh
    from mien.prepare.merging import merge, plan_merge
    from mien.prepare.overlapping import overlap
    from mien.prepare.packing import pack
    from mien.prepare.pairing import draw_pairs as pairs
    from mien.prepare.people import read_people, select, split
    from mien.prepare.placing import place
    from mien.prepare.statistics import stats
    from mien.prepare.unpacking import unpack

__all__ = [
    "clean",
    "crop",
    "dedupe",
    "embed",
    "embed_people",
    "fetch",
    "frames",
    "generate",
    "merge",
    "mesh",
    "overlap",
    "pack",
    "pairs",
    "place",
    "plan_merge",
    "read_people",
    "select",
    "split",
    "stats",
    "unpack",
]

_HOMES: Final = {  # name -> its module here, and its name there where that is another; no name is a module's
    "clean": "cleaning_folder",
    "crop": "cropping",
    "dedupe": "duplicates",
    "embed": "embed_folder:embed_folder",
    "embed_people": "embedding",
    "fetch": "fetching",
    "frames": "clips",
    "generate": "generators",
    "merge": "merging",
    "mesh": "generators:generate",
    "overlap": "overlapping",
    "pack": "packing",
    "pairs": "pairing:draw_pairs",
    "place": "placing",
    "plan_merge": "merging",
    "read_people": "people",
    "select": "people",
    "split": "people",
    "stats": "statistics",
    "unpack": "unpacking",
}


def __getattr__(name: str) -> object:
    home, _, other = _HOMES.get(name, "").partition(":")
    if not home:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), other or name)


def __dir__() -> list[str]:
    return __all__
