"""Which folder the photos of a record's crops lie in, so that no crop takes the place of another folder's.

Names in a record are relative to the source folder. The first line says from which one the lines after it are, and
where a run had another one, a line of its own: `{"decision":"begun","from":"/data/photos"}`. With
`"was":["/old/photos"]` those folders are the same one, as it was called before. Earlier versions wrote nothing of this.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from bisect import bisect_right
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError, MienError
from mien.images import WRITABLE_SUFFIXES
from mien.prepare.cropping_cut import content_sha256
from mien.prepare.last_lines import LastLines
from mien.prepare.manifest import entry_at, key_of, located
from mien.prepare.places import file_identity, folded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mien.prepare.cropping_cut import Photo
    from mien.prepare.manifest import Entry

__all__ = ["Sources"]

_BEGUN: Final = "begun"


class Sources:
    """The source folders that a record tells of. Costs nothing where all its lines are from the folder of this run.

    Where there are others, 16 bytes a photo are kept, and `check` looks at each photo. Used by one thread.

    Args:
        output: the folder of the record.
        root: the source folder of this run.
        first: what is added to the name of a photo's first crop.
    """

    def __init__(self, output: Path, root: Path, first: str) -> None:
        self._output, self._root, self._first = output, os.path.realpath(root), first
        self._starts, self._folders = [0], [""]  # from which byte on lines are from which folder; "": it is not said
        self._others = self._passed_over = False  # whether there are lines of other folders; some that were not kept
        self._crops = LastLines()  # place of a photo's first crop -> where the last line about it begins
        self._without = LastLines()  # name of a photo of which nothing was cut -> likewise
        self._gone: dict[str, bool] = {}
        self._same: Counter[str] = Counter()  # photos of this run, by folder of the record
        self._differing: Counter[str] = Counter()

    @property
    def head(self) -> Entry:
        """What the first line of a new record says of this run's folder."""
        return {"from": self._root}

    def begin(self, head: Entry) -> None:
        """Take the first line of the record."""
        self._folders = [str(head.get("from", ""))]

    def learn(self, at: int, entry: Entry) -> None:
        """Take the next line of the record."""
        decision = entry.get("decision")
        if decision == _BEGUN:
            before, now = entry.get("was"), str(entry.get("from"))
            former = before if isinstance(before, list) else []
            if former:
                if self._root in former and self._passed_over:  # this run's folder is not the one of those lines
                    self._others, self._passed_over = True, False
                    for place, line in itertools.takewhile(lambda both: both[0] < at, located(self._output)):
                        self._keep(place, line)
                self._folders = [now if folder in former else folder for folder in self._folders]
            self._starts.append(at)
            self._folders.append(now)
        elif self._others or self._folders[-1] != self._root:
            self._others = True
            self._keep(at, entry)
        else:
            self._passed_over = True

    def _keep(self, at: int, entry: Entry) -> None:
        if entry.get("decision") in ("cut", "there"):
            self._crops.put(folded(self._first_crop(entry)), at)
        elif "source" in entry:
            self._without.put(key_of(entry["source"]), at)

    def check(self, photos: Iterable[Photo], unchanged: Callable[[Photo], bool], *, moved: bool) -> Entry | None:
        """Look for photos whose crops would take the place of another folder's photos' crops.

        A photo is the same one as that of the crop if its content is; or if the record's folder holds the very same
        file now; or, where that folder has gone, if its size and time are the same. Where the record does not say the
        folder, photos that differ are taken for changed ones if no fewer are as they were.

        Args:
            photos: of this run; looked at only if need be.
            unchanged: whether the last line about a photo is of the file that it is now.
            moved: the folder of this run is the one of the record: photos that differ have changed.

        Returns:
            The line that the record lacks, if any.

        Raises:
            InputError: there is one.
        """
        if self._others and self._of_others(lambda folder: folder != self._root):
            unsaid: list[tuple[int, Photo]] = []
            for photo in photos:
                at = self._crops.get(folded(photo.numbered(self._first)))
                if at is None or (folder := self._folder(at)) == self._root:
                    continue
                if unchanged(photo.look()) and self._has_gone(folder):
                    self._same[folder] += 1
                elif not folder:
                    unsaid.append((at, photo))
                elif self._differs(at, photo) and not moved:
                    raise self._refused(at, photo)
            differing = (each for each in unsaid if self._differs(*each))
            if (example := next(differing, None)) is not None and not moved:
                while self._differing[""] <= self._same[""] and next(differing, None):
                    pass
                if self._differing[""] > self._same[""]:
                    raise self._refused(*example)
        was = [
            folder for folder in dict.fromkeys(self._folders) if folder != self._root and self._is_now(folder, moved)
        ]
        if self._folders[-1] == self._root and not was:
            return None
        return {"decision": _BEGUN, "from": self._root, **({"was": was} if was else {})}

    def speaks_of(self, photo: Photo) -> bool:
        """Whether a line by which nothing was cut, about a photo of this name, size and time, is about this one."""
        at = self._without.get(key_of(photo.name))
        if at is None or (folder := self._folder(at)) == self._root or self._has_gone(folder):
            return True
        return self._is_of(entry_at(self._output, at), photo, folder)

    def _differs(self, at: int, photo: Photo) -> bool:
        """Whether the crop that is in the way of a photo's is another photo's. Counts those looked at."""
        folder, entry = self._folder(at), entry_at(self._output, at)
        if not self._in_the_way(entry, photo):
            return False
        differs = not self._is_of(entry, photo, folder)
        (self._differing if differs else self._same)[folder] += 1
        return differs

    def _is_now(self, folder: str, moved: bool) -> bool:
        """Whether a folder of the record is the one of this run: it was said, or it has gone and all is here."""
        if moved and self._differing[folder]:
            return True
        here = self._same[folder]
        return here > 0 and self._has_gone(folder) and here == self._of_others(lambda name: name == folder)

    def _of_others(self, wanted: Callable[[str], bool]) -> int:
        """Number of crops whose photos lie in certain folders."""
        intervals = np.searchsorted(np.array(self._starts, np.uint64), self._crops.values(), side="right") - 1
        return int(np.count_nonzero(np.array([wanted(folder) for folder in self._folders])[intervals]))

    def _has_gone(self, folder: str) -> bool:
        if folder not in self._gone:
            self._gone[folder] = not os.path.lexists(folder)
        return self._gone[folder]

    def _folder(self, at: int) -> str:
        return self._folders[bisect_right(self._starts, at) - 1]

    def _first_crop(self, entry: Entry) -> str:
        """Where the first crop of a line's photo lies."""
        with contextlib.suppress(LookupError, TypeError):
            return str(entry["crops"][0]["file"])
        name = str(entry.get("source"))  # of a crop that was there before the record: by its photo's name
        stem, suffix = os.path.splitext(name)  # noqa: PTH122
        if suffix.lower() not in WRITABLE_SUFFIXES:
            stem, suffix = name, ".png"
        return f"{stem}{self._first}{suffix}"

    def _in_the_way(self, entry: Entry, photo: Photo) -> bool:
        """Whether a crop that a line tells of lies where one of the photo belongs."""
        crops = entry.get("crops")
        count = len(crops) if isinstance(crops, list) and self._first else 1
        marks = [f"~{i + 1}" for i in range(count)] if self._first else [""]
        return any(os.path.lexists(self._output / photo.numbered(mark)) for mark in marks)

    def _is_of(self, entry: Entry, photo: Photo, folder: str) -> bool:
        """Whether a line is about this photo, under whatever folder."""
        with contextlib.suppress(OSError, ValueError, MienError):
            if not photo.marks:
                return True  # there is no file of which anything could be cut
            if self._has_gone(folder):
                if all(entry.get(name) == value for name, value in photo.marks.items()):
                    return True
            elif _same_file(Path(folder, str(entry.get("source"))), photo.path):
                return True
            return entry.get("sha256") == content_sha256(photo.path)
        return False

    def _refused(self, at: int, photo: Photo) -> InputError:
        folder, name = self._folder(at), str(entry_at(self._output, at).get("source"))
        crop = self._output / photo.numbered(self._first)
        if folder:
            of, moved = os.path.join(folder, name), f"{self._root} is where {folder} is now"  # noqa: PTH118
        else:  # an earlier version did not say
            of, moved = f"another photo called {name}", f"{self._root} is the folder of the earlier runs"
        return InputError(
            f"{photo.path}: its crop would replace {crop}, which was cut from {of}; choose another output folder, or, "
            f"if {moved} and the photo has changed, add --moved (in Python moved=True)"
        )


def _same_file(a: Path, b: Path) -> bool:
    """Whether two names lead to one file."""
    return file_identity(a) == file_identity(b) is not None
