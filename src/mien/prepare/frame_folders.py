"""The folders that `frames` fills: which of them earlier runs began, so that nobody else's is ever removed."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from mien.errors import InputError
from mien.prepare.manifest import NAME, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from mien.prepare.manifest import Entry, Manifest

__all__ = ["OwnFolders", "folder_for"]


class OwnFolders:
    """Which folders are of earlier runs, by the manifest, and the one that is being filled: no other is removed.

    Used by one thread.

    Args:
        target: the output folder.
        fresh: begin anew; a damaged manifest is as good as none then.

    Raises:
        InputError: the manifest is damaged.
    """

    _manifest: Manifest

    def __init__(self, target: Path, *, fresh: bool) -> None:
        self._target = target
        self._begun: set[str] = set()
        self._owners: dict[str, Entry] = {}  # folder -> the line of the video whose faces are in it
        self._fresh = fresh
        self._now: str | None = None
        if (target / NAME).exists():
            with contextlib.suppress(InputError) if fresh else contextlib.nullcontext():
                for entry in read_manifest(target):
                    self._learn(entry)

    def _learn(self, entry: Entry) -> None:
        decision, folder = entry.get("decision"), entry.get("folder")
        if isinstance(folder, str):
            if decision in ("begun", "taken"):
                self._begun.add(folder)
            if decision == "taken":
                self._owners[folder] = entry
            elif decision == "given up":
                self._begun.discard(folder)

    def keep(self, manifest: Manifest, *, again: bool) -> None:
        """Take the manifest that is told of what is begun; `again` of what was known till now as well."""
        self._manifest = manifest
        if again and self._begun:
            manifest.add([{"decision": "begun", "folder": folder} for folder in sorted(self._begun)])

    def check(self, folder: str, video: Entry | None = None) -> None:
        """Raises InputError where a folder is not ours, a link, which may lead anywhere, or another video's.

        A video is known by its `source`, or by its size and time. Begun anew, a folder goes to whoever asks for it.
        """
        place = self._target / folder
        owner = self._owners.get(folder)
        if video is not None and owner is not None and not self._fresh:
            same = owner.get("source") == video["source"]
            same = same or all(owner.get(mark) == video[mark] for mark in ("size", "modified"))
            if not same:
                raise InputError(
                    f"{place}: holds the faces of another video ({owner.get('source')}); choose another folder"
                )
        try:
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                raise InputError(f"{place}: expected a place for a folder; choose another folder, or move it away")
            if folder not in self._begun and place.is_dir() and any(place.iterdir()):
                raise InputError(
                    f"{place}: holds files that are not from here; choose another folder, or move them away"
                )
        except OSError as error:
            raise InputError(f"{place}: cannot be looked at ({error.strerror or error})") from error

    def begin(self, folder: str, source: str) -> None:
        """An empty folder: what a run that was stopped, or one of a video that changed since, left there goes.

        From here on the video counts as not done, whatever was said of it before.
        """
        self.check(folder)
        place = self._target / folder
        if folder in self._begun:
            shutil.rmtree(place, ignore_errors=True)
        # Even of one that was begun before: the pictures that are listed from here on are the clip's.
        self._manifest.add([{"source": source, "decision": "begun", "folder": folder}])
        self._begun.add(folder)
        self._now = folder
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{place}: cannot be made ({error.strerror or error})") from error

    def give_up(self, folder: str) -> None:
        """Remove the folder, where it was begun by this run."""
        if self._now == folder:
            self._now = None
            shutil.rmtree(self._target / folder, ignore_errors=True)
            if not (self._target / folder).exists():  # whoever makes it now is somebody else
                self._manifest.add([{"decision": "given up", "folder": folder}])
                self._begun.discard(folder)

    def finished(self) -> None:
        """What was begun is done."""
        self._now = None


def folder_for(path: Path, taken: set[str]) -> str:
    """A folder name for a clip that no clip before it has."""
    stem = path.stem if path.stem not in ("", "..") else "clip"
    name, number = stem, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}~{number}"
    taken.add(name.casefold())
    return name
