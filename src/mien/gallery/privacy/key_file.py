"""The key file beside an encrypted gallery: a wrapped key for every subject, and what is left of a destroyed one.

It is apart from the gallery on purpose: a backup of the gallery holds no keys, so a key destroyed here closes all of
them. Keys are written behind each other and destroyed in place; a destroyed key leaves a tombstone for ever, so that a
gallery restored from a backup can be rid of the people who were erased since.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mien.errors import GalleryError, GalleryFileError, NotFoundError
from mien.gallery.privacy import key_layout as layout
from mien.gallery.privacy.file_access import locked, read_at, sync_folder, wipe, write_at, write_new, write_whole
from mien.gallery.privacy.key_layout import HEADER, SLOT, Header, Wrapping

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mien.gallery.privacy.master import MasterKey

__all__ = ["KeyFile", "key_states"]

_GALLERY: Final = ""  # the gallery's own key, in the header


class KeyFile:
    """The wrapped keys of a gallery. Thread-safe, and safe beside other processes. Do not carry it over `os.fork`.

    Args:
        path: the file.
        master: the key that wraps; it is not kept, only what is derived from it.
        create: make the file where it is missing.
        readonly: refuse to change anything.

    Raises:
        NotFoundError: it is missing and is not to be made.
        GalleryFileError: it is damaged, or the master key is another one.
        MissingExtraError: `cryptography` is not installed.
    """

    def __init__(
        self, path: str | os.PathLike[str], master: MasterKey, *, create: bool = False, readonly: bool = False
    ) -> None:
        self.path = Path(path)
        self.source = str(path)
        self.readonly = readonly
        self._lock = threading.RLock()
        self._where: dict[str, int] = {}
        self._gone: set[str] = set()
        self._read = HEADER  # how far the file was followed
        self._descriptor = -1
        if create and not readonly and not self.path.exists():
            _make(self.path, master)
        with self._explained(), contextlib.ExitStack() as undo:
            self._descriptor = self._opened()
            undo.callback(self.close)
            header = Header.parse(read_at(self._descriptor, HEADER, 0), self.source)
            self._wrapping = Wrapping.of(header, master, self.source)
            self.id = header.id.hex()
            self.gallery_key = self._wrapping.unwrap(header.nonce, header.wrapped, _GALLERY, self.source)
            self._header = header
            self._follow()
            if not readonly:
                with self._writing():  # what a change of the master key that was killed has left
                    pass
            undo.pop_all()

    def key(self, pseudonym: str) -> bytes:
        """A subject's key. Raises GalleryFileError when it was destroyed or never was."""
        with self._lock:
            slot = self._slot_of(pseudonym)
        for _, name, live, nonce, wrapped in layout.slots(slot or b""):
            if live and name == pseudonym:
                return self._wrapping.unwrap(nonce, wrapped, name, self.source)
        if pseudonym in self._gone:
            raise GalleryFileError(f"{self.source}: the key of subject {pseudonym} was destroyed: it was erased")
        raise GalleryFileError(f"{self.source}: has no key of subject {pseudonym}; restore the key file")

    def live(self, pseudonym: str) -> bool:
        """Whether a subject has a key, as the file is now, whoever changed it."""
        with self._lock:
            return self._slot_of(pseudonym) is not None

    def add(self, pseudonyms: Iterable[str]) -> None:
        """Make keys for subjects that have none; on the disk when this returns.

        Raises:
            GalleryError: the key of one of them was destroyed, or the file was opened readonly.
        """
        with self._writing():
            new = [n for n in dict.fromkeys(pseudonyms) if n not in self._where or self._slot_of(n) is None]
            if not new:
                return
            for name in new:
                if name in self._gone:
                    raise GalleryError(f"{self.source}: the key of subject {name} was destroyed and is not made again")
            secret = os.urandom(44 * len(new))
            keys = [(secret[44 * i : 44 * i + 12], secret[44 * i + 12 : 44 * i + 44]) for i in range(len(new))]
            content = b"".join(
                layout.live_slot(name, nonce, self._wrapping.wrap(nonce, key, name))
                for name, (nonce, key) in zip(new, keys, strict=True)
            )
            write_at(self._descriptor, content, self._read)
            self._follow()

    def destroy(self, pseudonyms: Iterable[str]) -> int:
        """Overwrite subjects' keys where they are; on the disk when this returns. Returns how many there were.

        A subject without a key gets its tombstone, too: so a subject whose key is lost can be given up.
        """
        with self._writing():
            count, missing = 0, []
            for name in dict.fromkeys(pseudonyms):
                if self._slot_of(name) is not None:
                    write_at(self._descriptor, layout.gone_slot(name), HEADER + self._where[name] * SLOT, sync=False)
                    self._bury(name)
                    count += 1
                elif name not in self._gone:
                    missing.append(layout.gone_slot(name))
            if missing:
                write_at(self._descriptor, b"".join(missing), self._read, sync=False)
                self._follow()
            os.fsync(self._descriptor)
            return count

    def destroyed(self) -> frozenset[str]:
        """Pseudonyms of all subjects whose key was destroyed, as the file is now."""
        with self._lock, self._explained():
            self._renew()
            self._reload()
            return frozenset(self._gone)

    def __len__(self) -> int:
        """How many subjects have a key."""
        return len(self._where)

    def rewrap(self, master: MasterKey) -> None:
        """Change the master key: every key is wrapped anew, in a new file that takes the place of the old one.

        The old file is overwritten. Other processes must open the gallery again.
        """
        with self._writing():
            salt, scrypt = os.urandom(32), Wrapping.scrypt_for(master)
            new = Wrapping(master, self._header.id, salt, scrypt)
            parts = [_header(new, self._header.id, salt, scrypt, self.gallery_key)]
            for _, name, live, nonce, wrapped in layout.slots(self._all()[HEADER:]):
                key = self._wrapping.unwrap(nonce, wrapped, name, self.source) if live else b""
                fresh = os.urandom(12)
                parts.append(
                    layout.live_slot(name, fresh, new.wrap(fresh, key, name)) if live else layout.gone_slot(name)
                )
            beside, old = self._beside()
            write_new(beside, b"".join(parts))
            with contextlib.suppress(OSError):  # where the file system has no second names, its blocks are just freed
                os.link(self.path, old)
            beside.replace(self.path)
            sync_folder(self.path)
            self._clean()
            self._wrapping = new
            self._header = Header.parse(parts[0], self.source)
        with self._lock, self._explained():
            self._renew()

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1

    def _slot_of(self, pseudonym: str) -> bytes | None:
        """The slot of a key that is there, read anew; the thread lock is held."""
        number = self._where.get(pseudonym)
        if number is not None:
            with contextlib.suppress(OSError):
                slot = self._slot(number)
                if slot[:4] == b"LIVE":
                    return slot
        with self._explained():
            replaced = self._renew()
            if number is not None and not replaced:  # another process has destroyed it
                self._bury(pseudonym)
            self._follow()  # or made it
            number = self._where.get(pseudonym)
            return None if number is None else self._slot(number)

    def _bury(self, pseudonym: str) -> None:
        self._gone.add(pseudonym)
        self._where.pop(pseudonym, None)

    def _slot(self, number: int) -> bytes:
        return read_at(self._descriptor, SLOT, HEADER + number * SLOT)

    def _all(self) -> bytes:
        return read_at(self._descriptor, os.fstat(self._descriptor).st_size, 0)

    def _reload(self) -> None:
        self._where, self._gone, self._read = {}, set(), HEADER
        self._follow()

    def _follow(self) -> None:
        """Read the slots behind those that are known."""
        size = os.fstat(self._descriptor).st_size
        content = read_at(self._descriptor, max(size - self._read, 0), self._read)
        first = (self._read - HEADER) // SLOT
        for number, name, live, _, _ in layout.slots(content):
            if live:
                self._where[name] = first + number
            else:
                self._gone.add(name)
        for name in self._gone & self._where.keys():
            del self._where[name]
        self._read += len(content) // SLOT * SLOT

    def _renew(self) -> bool:
        """Take up the file that is there now, if another process has put it in the place of ours; says whether."""
        if os.path.samestat(os.fstat(self._need_descriptor()), self.path.stat()):
            return False
        descriptor = self._opened()
        if Header.parse(read_at(descriptor, HEADER, 0), self.source) != self._header:
            os.close(descriptor)
            raise GalleryFileError(f"{self.source}: the master key was changed meanwhile; open the gallery again")
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._reload()
        return True

    def _opened(self) -> int:
        flags = os.O_RDONLY if self.readonly else os.O_RDWR
        return os.open(self.path, flags | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))

    def _beside(self) -> tuple[Path, Path]:
        return Path(f"{self.path}.new"), Path(f"{self.path}.old")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone with the file, and with all that others wrote known."""
        if self.readonly:
            raise GalleryError(f"{self.source}: was opened readonly; open it again without readonly to change it")
        with self._lock, self._explained():
            while True:
                with locked(self._need_descriptor()):
                    if os.path.samestat(os.fstat(self._descriptor), self.path.stat()):
                        self._clean()
                        self._follow()
                        yield
                        return
                self._renew()  # what was locked is not the file any more

    def _clean(self) -> None:
        """Wipe what a change of the master key has left; the lock is held."""
        beside, old = self._beside()
        wipe(beside)
        if old.exists() and old.samefile(self.path):  # killed before the new file took its place
            old.unlink()
        wipe(old)

    def _need_descriptor(self) -> int:
        if self._descriptor < 0:
            raise GalleryError(f"{self.source}: is closed")
        return self._descriptor

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise NotFoundError(
                f"{self.source}: the key file is missing, and without it nobody in the gallery can be read; "
                "restore it from its own backup"
            ) from error
        except OSError as error:
            raise GalleryFileError(f"{self.source}: {error.strerror or error}") from error


def key_states(path: str | os.PathLike[str]) -> dict[str, bool]:
    """Pseudonym -> whether its key is still there; read without the master key.

    Raises:
        GalleryFileError: not a key file.
        NotFoundError: there is none.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise NotFoundError(f"{path}: the key file cannot be read ({error.strerror})") from error
    Header.parse(content[:HEADER], str(path))
    states: dict[str, bool] = {}
    for _, name, live, _, _ in layout.slots(content[HEADER:]):
        states[name] = live and states.get(name, True)
    return states


def _make(path: Path, master: MasterKey) -> None:
    key_id, salt, scrypt = os.urandom(16), os.urandom(32), Wrapping.scrypt_for(master)
    content = _header(Wrapping(master, key_id, salt, scrypt), key_id, salt, scrypt, os.urandom(32))
    try:
        write_whole(path, content)
    except FileExistsError:
        return  # another process was faster
    except OSError as error:
        raise GalleryFileError(f"{path}: the key file cannot be made ({error.strerror})") from error


def _header(wrapping: Wrapping, key_id: bytes, salt: bytes, scrypt: tuple[int, int, int], gallery_key: bytes) -> bytes:
    nonce = os.urandom(12)
    header = Header(key_id, salt, scrypt, nonce, wrapping.wrap(nonce, gallery_key, _GALLERY))
    check = header.checked(wrapping.check_key)
    return Header(key_id, salt, scrypt, nonce, header.wrapped, check).pack()
