"""What earlier runs did in an output folder, so that a run does only what is new."""

from __future__ import annotations

import hashlib
import json
import os
import time
from array import array
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.prepare.manifest import NAME, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from mien.prepare.cropping_cut import Photo
    from mien.prepare.manifest import Entry

__all__ = ["Past"]

_LONGEST_HEAD: Final = 1 << 20


class Past:
    """The decisions in a manifest. About 100 bytes a photo; used by one thread.

    A crop that no line tells of was there before the manifest: it is left alone, unless it is older than its photo or
    than the moment from which everything was to be cut again. One of a photo that was cut before, as another file, is
    looked at again whatever the new file's age.

    Args:
        folder: the output folder.
        first: what is added to the name of a photo's first crop.
        fresh: begin anew.

    Raises:
        InputError: the manifest is damaged.
    """

    def __init__(self, folder: Path, first: str = "", *, fresh: bool = False) -> None:
        self._folder, self._first = folder, first
        self._cut: set[int] = set()
        self._other: dict[int, str] = {}
        names = array("Q")
        self.since = time.time_ns() if fresh and folder.exists() else 0
        if not fresh and (folder / NAME).exists():
            self.since = _since(folder)
            for entry in read_manifest(folder):
                self._learn(entry)
                if entry.get("decision") == "cut":
                    names.append(_hash(str(entry.get("source"))))
        self._names = np.unique(np.frombuffer(names, np.uint64))  # eight bytes each
        self._new = not folder.exists()

    def __len__(self) -> int:
        """How many photos are known."""
        return len(self._cut) + len(self._other)

    @property
    def nothing(self) -> bool:
        """Whether there is nothing that could stand."""
        return self._new and not len(self)

    def standing(self, photo: Photo) -> str | None:
        """The decision that still stands on a photo, "there" for a foreign crop; None where it must be looked at."""
        key = _key(photo.name, photo.marks)
        known = self._other.get(key)
        if known is not None and not known.startswith("failed"):
            return known
        try:
            crop = os.stat(os.path.join(self._folder, photo.numbered(self._first)))  # noqa: PTH116, PTH118
        except (OSError, ValueError):
            return None
        if key in self._cut:
            return "cut"
        if self._ever_cut(photo.name):
            return None
        oldest = max(photo.marks.get("modified", 0), self.since)
        return "there" if crop.st_mtime_ns >= oldest else None

    def failed_so(self, photo: Photo, error: str) -> bool:
        """Whether this photo failed in the same way before."""
        return self._other.get(_key(photo.name, photo.marks)) == f"failed: {error}"

    def _ever_cut(self, name: str) -> bool:
        key = np.uint64(_hash(name))
        at = int(np.searchsorted(self._names, key))
        return at < len(self._names) and bool(self._names[at] == key)

    def _learn(self, entry: Entry) -> None:
        marks: dict[str, int] = {name: entry[name] for name in ("size", "modified") if name in entry}
        key, decision = _key(str(entry.get("source")), marks), str(entry.get("decision"))
        if decision in ("cut", "there"):
            self._cut.add(key)
            self._other.pop(key, None)
        else:
            self._cut.discard(key)
            self._other[key] = f"failed: {entry.get('error')}" if decision == "failed" else decision


def _since(folder: Path) -> int:
    """From when on crops count, by the manifest's first line."""
    try:
        with (folder / NAME).open("rb") as file:
            line = file.readline(_LONGEST_HEAD)
        head = json.loads(line) if line.endswith(b"\n") else {}  # a run may have been killed while it wrote it
        since = head.get("settings", {}).get("since", 0)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{folder / NAME}: cannot be read as a manifest; choose another folder, or begin anew"
        ) from error
    return since if isinstance(since, int) else 0


def _key(name: str, marks: dict[str, int]) -> int:
    return _hash(f"{name}\0{marks.get('size')}\0{marks.get('modified')}")


def _hash(words: str) -> int:
    text = words.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
