"""Sealing with AES-256-GCM: a key for every subject, kept in a key file apart from the gallery."""

from __future__ import annotations

import hmac
import os
import threading
from typing import TYPE_CHECKING, Final

from mien.errors import GalleryError, GalleryFileError
from mien.gallery.privacy.key_file import KeyFile
from mien.gallery.privacy.key_layout import aead, derived

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from mien.gallery.privacy.master import MasterKey

__all__ = ["EncryptedSealer"]

_FORM: Final = b"\x01"  # AES-256-GCM: form, nonce of 12 bytes, ciphertext, tag of 16 bytes
_NONCE: Final = 12
_LEAST: Final = len(_FORM) + _NONCE + 16
_LARGEST: Final = 2**31 - 1 - _LEAST
_KEPT: Final = 16_384  # unwrapped keys in memory


class EncryptedSealer:
    """Seals the fields of a gallery; a `mien.gallery.sealing.Sealer`.

    Each field gets a random nonce of 96 bits, and its context as associated data. By NIST SP 800-38D a key may seal
    2^32 fields so; a subject's fields stay far below. Every use looks whether the subject's key is still in the file,
    so that a key destroyed by another process is out of use here, too.

    Thread-safe, and safe beside other processes. Do not carry it over `os.fork`.

    Args:
        path: the key file, such as "people.db.keys".
        master: the master key; it is not kept.
        create: make the key file where it is missing. Only for a gallery that is new, too.
        readonly: refuse to make or destroy keys.

    Raises:
        NotFoundError: the key file is missing and is not to be made.
        GalleryFileError: it is damaged, or the master key is another one.
        MissingExtraError: `cryptography` is not installed.
    """

    def __init__(
        self, path: str | os.PathLike[str], master: MasterKey, *, create: bool = False, readonly: bool = False
    ) -> None:
        self.keys = KeyFile(path, master, create=create, readonly=readonly)
        salt = bytes.fromhex(self.keys.id)
        self._nobody = aead(derived(self.keys.gallery_key, salt, "mien fields"))
        self._lookup = derived(self.keys.gallery_key, salt, "mien lookup")
        self._lock = threading.Lock()
        self._ciphers: dict[str, AESGCM] = {}
        self._closed = False

    @property
    def encrypted(self) -> bool:
        """True."""
        return True

    def new_subject(self, *pseudonyms: str) -> None:
        """Make subjects' keys, durable before this returns; nothing where one has its key."""
        self._check_open()
        self.keys.add(pseudonyms)

    def seal(self, pseudonym: str | None, plain: bytes, context: str) -> bytes:
        """Seal a field. Raises GalleryFileError when the subject has no key."""
        if len(plain) > _LARGEST:
            raise GalleryError(f"{context}: {len(plain)} bytes are too many for one field; at most {_LARGEST}")
        nonce = os.urandom(_NONCE)
        return _FORM + nonce + self._cipher(pseudonym).encrypt(nonce, plain, context.encode())

    def open(self, pseudonym: str | None, sealed: bytes, context: str) -> bytes:
        """Open a field. Raises GalleryFileError when it was changed, or its key is gone or another one."""
        from cryptography.exceptions import InvalidTag

        cipher = self._cipher(pseudonym)
        if len(sealed) < _LEAST or sealed[:1] != _FORM:
            raise self._changed(context)
        try:
            return cipher.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], context.encode())
        except InvalidTag:
            raise self._changed(context) from None

    def lookup(self, text: str) -> bytes:
        """HMAC-SHA256 of a text: equal for equal texts, and without the key no way to test a guess."""
        self._check_open()
        return hmac.digest(self._lookup, text.encode("utf-8", "surrogatepass"), "sha256")

    def destroy(self, *pseudonyms: str) -> None:
        """Destroy subjects' keys for good; durable before this returns."""
        self._check_open()
        with self._lock:
            for pseudonym in pseudonyms:
                self._ciphers.pop(pseudonym, None)
        self.keys.destroy(pseudonyms)

    def destroyed(self, pseudonyms: Iterable[str]) -> set[str]:
        """Those of the subjects whose key was destroyed."""
        self._check_open()
        return set(self.keys.destroyed().intersection(pseudonyms))

    def rekey(self, master: MasterKey) -> None:
        """Change the master key; the gallery's rows stay as they are. Other processes must open it again."""
        self._check_open()
        self.keys.rewrap(master)

    def close(self) -> None:
        """Let go of the keys; a second call does nothing."""
        with self._lock:
            self._ciphers.clear()
            self._closed = True
        self.keys.close()

    def _cipher(self, pseudonym: str | None) -> AESGCM:
        self._check_open()
        if pseudonym is None:
            return self._nobody
        with self._lock:
            cipher = self._ciphers.get(pseudonym)
        if cipher is not None and self.keys.live(pseudonym):
            return cipher
        cipher = aead(self.keys.key(pseudonym))
        with self._lock:
            while len(self._ciphers) >= _KEPT:
                del self._ciphers[next(iter(self._ciphers))]  # the one that came first
            self._ciphers[pseudonym] = cipher
        return cipher

    def _check_open(self) -> None:
        if self._closed:
            raise GalleryError(f"{self.keys.source}: is closed")

    def _changed(self, context: str) -> GalleryFileError:
        return GalleryFileError(
            f"{self.keys.source}: {context} cannot be opened: it was changed, or sealed with another key; "
            "restore a backup, and the key file that belongs to it"
        )
