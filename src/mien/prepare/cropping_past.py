"""What earlier runs did in an output folder, so that a run does only what is new."""

from __future__ import annotations

import json
import os
import time
from array import array
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.prepare.last_lines import LastLines
from mien.prepare.manifest import NAME, file_of, key_of, located

if TYPE_CHECKING:
    from pathlib import Path

    from mien.prepare.cropping_cut import Photo
    from mien.prepare.cropping_sources import Sources
    from mien.prepare.manifest import Entry

__all__ = ["Past"]

_LONGEST_HEAD: Final = 1 << 20
_CODES: Final = 0xFF  # bits of a number that say which decision
_FAILED: Final = "failed"


class Past:
    """The decisions in a manifest, the last about each photo. About 25 bytes a photo; used by one thread.

    A crop that no line tells of was there before the manifest: it is left alone, unless it is older than its photo or
    than the moment from which everything was to be cut again. One of a photo that was cut before, as another file, is
    looked at again whatever the new file's age.

    Args:
        folder: the output folder.
        first: what is added to the name of a photo's first crop.
        fresh: begin anew.
        sources: what is to learn of the lines, too, and says whether one is about a photo of this run.

    Attributes:
        found: bytes of the manifest that were there.

    Raises:
        InputError: the manifest is damaged.
    """

    def __init__(self, folder: Path, first: str = "", *, fresh: bool = False, sources: Sources | None = None) -> None:
        self._folder, self._first, self._sources = folder, first, sources
        self._last = LastLines()  # name -> file and decision
        self._decisions = [_FAILED]
        self._errors: dict[int, int] = {}  # of photos that failed
        names = array("Q")
        self.found = 0
        self.since = time.time_ns() if fresh and folder.exists() else 0
        if not fresh and (folder / NAME).exists():
            head = _head(folder)
            self.since = _since(head)
            self.found = (folder / NAME).stat().st_size
            if sources is not None:
                sources.begin(head)
            for at, entry in located(folder):
                if sources is not None:
                    sources.learn(at, entry)
                if "source" in entry:
                    name = key_of(entry["source"])
                    self._learn(name, entry)
                    if entry.get("decision") == "cut":
                        names.append(name)
        self._names = np.unique(np.frombuffer(names, np.uint64))  # eight bytes each
        self._new = not folder.exists()

    def __len__(self) -> int:
        """How many photos are known."""
        return len(self._last)

    @property
    def nothing(self) -> bool:
        """Whether there is nothing that could stand."""
        return self._new and not len(self)

    def unchanged(self, photo: Photo) -> bool:
        """Whether the last line about a photo of this name is of the same file."""
        return self._decision(photo) is not None

    def standing(self, photo: Photo) -> str | None:
        """The decision that still stands on a photo, "there" for a foreign crop; None where it must be looked at."""
        known = self._decision(photo)
        if known not in (None, "cut", "there", _FAILED):
            return known if self._sources is None or self._sources.speaks_of(photo) else None
        try:
            crop = os.stat(os.path.join(self._folder, photo.numbered(self._first)))  # noqa: PTH116, PTH118
        except (OSError, ValueError):
            return None
        if known in ("cut", "there"):
            return "cut"
        if self._ever_cut(photo.name):
            return None
        oldest = max(photo.marks.get("modified", 0), self.since)
        return "there" if crop.st_mtime_ns >= oldest else None

    def failed_so(self, photo: Photo, error: str) -> bool:
        """Whether this photo failed in the same way before."""
        return self._decision(photo) == _FAILED and self._errors.get(key_of(photo.name)) == key_of(error)

    def _decision(self, photo: Photo) -> str | None:
        """What the last line about a photo says, if it is of the same file."""
        last = self._last.get(key_of(photo.name))
        if last is None or (last ^ file_of(photo.marks)) > _CODES:
            return None
        return self._decisions[last & _CODES]

    def _ever_cut(self, name: str) -> bool:
        key = np.uint64(key_of(name))
        at = int(np.searchsorted(self._names, key))
        return at < len(self._names) and bool(self._names[at] == key)

    def _learn(self, name: int, entry: Entry) -> None:
        decision = str(entry.get("decision"))
        if decision not in self._decisions and len(self._decisions) <= _CODES:
            self._decisions.append(decision)
        code = self._decisions.index(decision) if decision in self._decisions else 0  # looked at again
        if decision == _FAILED:
            self._errors[name] = key_of(entry.get("error"))
        self._last.put(name, file_of(entry) & ~_CODES | code)


def _head(folder: Path) -> Entry:
    """The manifest's first line; empty where it was cut off: a run may have been killed while it wrote it."""
    try:
        with (folder / NAME).open("rb") as file:
            line = file.readline(_LONGEST_HEAD)
        head = json.loads(line) if line.endswith(b"\n") else {}
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(folder) from error
    if not isinstance(head, dict) or not isinstance(head.get("settings", {}), dict):
        raise _unreadable(folder)
    return head


def _since(head: Entry) -> int:
    """From when on crops count."""
    since = head.get("settings", {}).get("since", 0)
    return since if isinstance(since, int) else 0


def _unreadable(folder: Path) -> InputError:
    return InputError(f"{folder / NAME}: cannot be read as a manifest; choose another folder, or begin anew")
