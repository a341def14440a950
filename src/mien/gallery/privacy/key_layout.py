"""The bytes of a key file: a header of 512 bytes, then a slot of 128 bytes a subject. Pure functions.

A slot lies within one sector of a disk, so that a power cut leaves it as it was or as it shall be. The key in it is
wrapped (AES-256-GCM) by a key derived from the master key; a destroyed key's slot keeps the pseudonym and zeros.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from mien.errors import GalleryFileError, InputError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from mien.gallery.privacy.master import MasterKey

__all__ = ["EMPTY", "HEADER", "SLOT", "Header", "Wrapping", "aead", "derived", "gone_slot", "live_slot", "slots"]

HEADER: Final = 512
SLOT: Final = 128
EMPTY: Final = bytes(SLOT)

_MAGIC: Final = b"mienkeys"
_VERSION: Final = 1
# magic, version; scrypt's log2 N, r and p, or zeros; id, salt, nonce and wrapped gallery key, check
_HEADER: Final = struct.Struct("<8sI3I16s32s12s48s32s")
_SLOT: Final = struct.Struct("<4sB59s12s48s")
_LIVE: Final = b"LIVE"
_GONE: Final = b"GONE"
_SCRYPT: Final = (17, 8, 1)  # 128 MiB and about half a second: what OWASP's password storage sheet asks for


def aead(key: bytes) -> AESGCM:
    """AES-256-GCM with a key. Raises MissingExtraError when `cryptography` is not installed."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise MissingExtraError("an encrypted gallery", "crypto") from error
    return AESGCM(key)


def derived(secret: bytes, salt: bytes, purpose: str) -> bytes:
    """32 bytes for a purpose from a secret. Source: HKDF with SHA-256, RFC 5869, one block."""
    prk = hmac.digest(salt, secret, "sha256")
    return hmac.digest(prk, purpose.encode() + b"\x01", "sha256")


@dataclass(frozen=True, slots=True)
class Header:
    """The first 512 bytes: enough to say whether a master key is the right one, and to wrap and unwrap with it.

    Attributes:
        id: of the key file; the same after the master key was changed.
        salt: another one after it was.
        scrypt: (log2 N, r, p) where the master key is a passphrase; zeros where it is not.
        nonce, wrapped: the gallery's own key.
        check: tells the right master key from another, and a header that was changed.
    """

    id: bytes
    salt: bytes
    scrypt: tuple[int, int, int]
    nonce: bytes
    wrapped: bytes
    check: bytes = bytes(32)

    @classmethod
    def parse(cls, content: bytes, source: str) -> Header:
        """The header of a key file. Raises GalleryFileError when it is none, or damaged."""
        if content[:8] != _MAGIC:
            raise GalleryFileError(f"{source}: not a key file of mien; restore it from its own backup")
        if len(content) < HEADER or zlib.crc32(content[: HEADER - 4]) != int.from_bytes(content[HEADER - 4 : HEADER]):
            raise GalleryFileError(f"{source}: the head of the key file is damaged; restore it from its own backup")
        _, version, *scrypt, key_id, salt, nonce, wrapped, check = _HEADER.unpack_from(content)
        if version != _VERSION:
            raise GalleryFileError(f"{source}: a key file of version {version}, expected {_VERSION}; upgrade mien")
        log_n, r, p = scrypt
        if any(scrypt) and not (10 <= log_n <= 20 and 1 <= r <= 16 and 1 <= p <= 4):
            raise GalleryFileError(f"{source}: asks for an absurd amount of memory; restore it from its own backup")
        return cls(key_id, salt, (log_n, r, p), nonce, wrapped, check)

    def pack(self) -> bytes:
        """The 512 bytes."""
        content = self._unchecked() + self.check
        content += bytes(HEADER - 4 - len(content))
        return content + zlib.crc32(content).to_bytes(4)

    def checked(self, check_key: bytes) -> bytes:
        """What `check` must be."""
        return hmac.digest(check_key, self._unchecked(), "sha256")

    def _unchecked(self) -> bytes:
        fields = (_MAGIC, _VERSION, *self.scrypt, self.id, self.salt, self.nonce, self.wrapped, bytes(32))
        return _HEADER.pack(*fields)[:-32]


class Wrapping:
    """Wraps and unwraps keys with what is derived from a master key and a key file's salt. Thread-safe."""

    def __init__(self, master: MasterKey, key_id: bytes, salt: bytes, scrypt: tuple[int, int, int]) -> None:
        secret = master.secret
        if master.passphrase:
            log_n, r, p = scrypt
            room = 132 * r * (2**log_n + p)  # 128, and a little more
            secret = hashlib.scrypt(secret, salt=salt, n=2**log_n, r=r, p=p, maxmem=room, dklen=32)
        self._aead = aead(derived(secret, salt, "mien wrap"))
        self.check_key = derived(secret, salt, "mien check")
        self._id = key_id

    @classmethod
    def of(cls, header: Header, master: MasterKey, source: str) -> Wrapping:
        """The wrapping of a key file. Raises GalleryFileError when the master key is another one."""
        if master.passphrase == any(header.scrypt):
            wrapping = cls(master, header.id, header.salt, header.scrypt)
            if hmac.compare_digest(header.checked(wrapping.check_key), header.check):
                return wrapping
        raise GalleryFileError(f"{source}: the master key from {master.source} is not the one of this gallery")

    @staticmethod
    def scrypt_for(master: MasterKey) -> tuple[int, int, int]:
        """How a new key file stretches a master key."""
        return _SCRYPT if master.passphrase else (0, 0, 0)

    def wrap(self, nonce: bytes, key: bytes, name: str) -> bytes:
        """48 bytes from a key of 32."""
        return self._aead.encrypt(nonce, key, self._id + name.encode())

    def unwrap(self, nonce: bytes, wrapped: bytes, name: str, source: str) -> bytes:
        """The key again. Raises GalleryFileError when it was changed."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(nonce, wrapped, self._id + name.encode())
        except InvalidTag:
            raise GalleryFileError(f"{source}: a key in it was changed; restore it from its own backup") from None


def live_slot(pseudonym: str, nonce: bytes, wrapped: bytes) -> bytes:
    """The slot of a subject's key."""
    return _slot(_LIVE, pseudonym, nonce, wrapped)


def gone_slot(pseudonym: str) -> bytes:
    """The slot of a key that was destroyed."""
    return _slot(_GONE, pseudonym, bytes(12), bytes(48))


def slots(content: bytes) -> Iterator[tuple[int, str, bool, bytes, bytes]]:
    """(number, pseudonym, live, nonce, wrapped) of each slot; what a power cut left unfinished is passed over."""
    whole = memoryview(content)[: len(content) // SLOT * SLOT]
    for number in range(len(whole) // SLOT):
        slot = whole[number * SLOT : (number + 1) * SLOT]
        if zlib.crc32(slot[:-4]) != int.from_bytes(slot[-4:]):
            continue
        state, length, name, nonce, wrapped = _SLOT.unpack_from(slot)
        if state in {_LIVE, _GONE}:
            yield number, cast("bytes", name)[:length].decode(errors="replace"), state == _LIVE, nonce, wrapped


def _slot(state: bytes, pseudonym: str, nonce: bytes, wrapped: bytes) -> bytes:
    name = pseudonym.encode()
    if not 1 <= len(name) <= 59:
        raise InputError(f"expected a pseudonym of 1 to 59 bytes, got {len(name)}")
    content = _SLOT.pack(state, len(name), name, nonce, wrapped)
    return content + zlib.crc32(content).to_bytes(4)
