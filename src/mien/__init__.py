"""mien (面): face recognition you can trust, from photos to names, and from a data set to a measured model.

    import mien

    rec = mien.Recognizer()
    rec.detect("group.jpg")                                 # boxes, scores, five landmarks
    rec.embed("a.jpg") @ rec.embed("b.jpg")                 # cosine
    mien.verify("a.jpg", "b.jpg")                           # decision at a stated false match rate
    with mien.Gallery.open("people.db") as people:
        people.enrol_folder("people/")
        people.identify("group.jpg")                        # names, or unknown and why

Importing this package loads nothing heavy: each name is fetched on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mien.api import Gallery, default_recognizer, verify
    from mien.errors import MienError
    from mien.recognizer import Recognizer
    from mien.types import Analysis, Face, Faces, Identification, Image, Match, Subject, Verification

__all__ = [
    "Analysis",
    "Face",
    "Faces",
    "Gallery",
    "Identification",
    "Image",
    "Match",
    "MienError",
    "Recognizer",
    "Subject",
    "Verification",
    "__version__",
    "default_recognizer",
    "verify",
]

_HOMES = {
    "Gallery": "mien.api",
    "default_recognizer": "mien.api",
    "verify": "mien.api",
    "MienError": "mien.errors",
    "Recognizer": "mien.recognizer",
    **dict.fromkeys(
        ["Analysis", "Face", "Faces", "Identification", "Image", "Match", "Subject", "Verification"], "mien.types"
    ),
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("mien")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mien' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
