"""What every format of a training set holds: encoded pictures of people, each with a key and a label."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mien.errors import InputError
from mien.images import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Encoded: TypeAlias = bytes | memoryview

__all__ = ["PackedSet", "Sample", "checked_picture", "picture_suffix", "safe_key"]

_MAGIC: Final = ((b"\xff\xd8\xff", "jpg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"RIFF", "webp"), (b"BM", "bmp"))
_BAD_KEY: Final = re.compile(r"(^/)|(^[A-Za-z]:)|(\\)|(^|/)\.{1,2}(/|$)|//|[\x00-\x1f\x7f]")
_LONGEST_KEY: Final = 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture of one person.

    Attributes:
        key: its path within the set, such as "Ada_Lovelace/0001.jpg": relative, with forward slashes, unique.
        label: the person's number, 0 or more.
        person: the person's name; "" where the format holds numbers only.
        picture: the encoded picture (JPEG, PNG, ...), byte for byte.
    """

    key: str
    label: int
    person: str
    picture: Encoded


@dataclass(frozen=True, slots=True)
class PackedSet:
    """What was written or read.

    Attributes:
        samples: how many pictures.
        people: name of each label, "" where it is not known.
        files: names of the files written.
    """

    samples: int
    people: tuple[str, ...]
    files: tuple[str, ...] = ()


def safe_key(key: str, where: str) -> str:
    """The key, if it can be a path below a folder and nowhere else.

    Raises:
        InputError: it is empty, absolute, climbs out, or holds control characters; `where` names the file.

    >>> safe_key("Ada/0001.jpg", "x.tar")
    'Ada/0001.jpg'
    """
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= _LONGEST_KEY or _BAD_KEY.search(key):
        raise InputError(f"{where}: expected keys that are paths below the set's folder, got {key!r:.80}")
    return key


def checked_picture(picture: Encoded, where: str) -> Encoded:
    """The picture, if its size is one a picture may have. Raises InputError; `where` names file and record."""
    if not 0 < len(picture) <= MAX_BYTES:
        raise InputError(f"{where}: expected a picture of 1 to {MAX_BYTES:,} bytes, got {len(picture):,}")
    return picture


def picture_suffix(picture: Encoded) -> str:
    """The suffix that an encoded picture's first bytes ask for, without the dot; "bin" for an unknown kind."""
    head = bytes(picture[:12])
    return next((suffix for magic, suffix in _MAGIC if head.startswith(magic)), "bin")


def labels_of(people: list[str], where: str) -> Callable[[int], str]:
    """Names by label, checked. Raises InputError for a label that has none; `where` names the file."""

    def name(label: int) -> str:
        if not 0 <= label < len(people):
            raise InputError(f"{where}: expected labels from 0 to {len(people) - 1}, got {label}")
        return people[label]

    return name
