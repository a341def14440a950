"""The master key of an encrypted gallery: where it comes from, and how a new one is made.

A source is written as one word: ``file:PATH``, ``env:NAME``, ``keyring:SERVICE/USER``, or ``passphrase:NAME`` for a
passphrase in an environment variable. The master key is never kept beside the gallery, and never in its key file.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mien.errors import GalleryError, InputError, MissingExtraError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MasterKey", "master_key", "new_master_key"]

_LENGTH: Final = 32
_FORMS: Final = "file:PATH, env:NAME, keyring:SERVICE/USER or passphrase:NAME"
_LONGEST: Final = 4096  # bytes of a key file; more is no key
_SHORTEST_PASSPHRASE: Final = 12


@dataclass(frozen=True, slots=True)
class MasterKey:
    """The secret that wraps the keys of a gallery.

    Attributes:
        source: where it comes from, for messages; never the key.
        secret: 32 random bytes, or a passphrase as UTF-8; not shown by `repr`.
        passphrase: whether it was made up by a person, and so must be stretched (scrypt).
    """

    source: str
    secret: bytes = field(repr=False)
    passphrase: bool = False

    def __post_init__(self) -> None:
        if self.passphrase:
            if len(self.secret) < _SHORTEST_PASSPHRASE:
                raise InputError(f"{self.source}: a passphrase of at least {_SHORTEST_PASSPHRASE} characters is needed")
        elif len(self.secret) != _LENGTH:
            raise InputError(f"{self.source}: expected a key of {_LENGTH} bytes, got {len(self.secret)}")
        elif len(set(self.secret)) < 8:  # by chance once in 10^50
            raise InputError(f"{self.source}: this key is not random; make one with `mien gallery new-key`")


def master_key(source: str) -> MasterKey:
    """Fetch a master key.

    Args:
        source: ``file:PATH`` (a file that only its owner can read, holding 32 bytes as they are, in hex or in base64),
            ``env:NAME`` (hex or base64), ``keyring:SERVICE/USER`` (an entry of the operating system's keyring, hex or
            base64; needs the extra ``keyring``), or ``passphrase:NAME`` (an environment variable with a passphrase).

    Raises:
        InputError: the source or the key is malformed.
        NotFoundError: there is no such file, variable or entry.
        GalleryError: others could read the file, or the keyring is locked.
        MissingExtraError: `keyring` is not installed.
    """
    kind, where = _parted(source)
    if kind == "file":
        return MasterKey(source, _decoded(source, _read_private(Path(where).expanduser())))
    if kind == "keyring":
        kept = _asked(source, lambda keyring, *entry: keyring.get_password(*entry))
        if kept is None:
            raise NotFoundError(f"{source}: the keyring has no such entry; make a key with `mien gallery new-key`")
        return MasterKey(source, _decoded(source, kept.encode()))
    value = os.environ.get(where)
    if not value:
        raise NotFoundError(f"{source}: the environment variable {where} is not set")
    if kind == "passphrase":
        return MasterKey(source, value.encode(), passphrase=True)
    return MasterKey(source, _decoded(source, value.encode()))


def new_master_key(source: str) -> MasterKey:
    """Make a random master key and put it where `master_key` finds it; never over another key.

    Args:
        source: ``file:PATH`` or ``keyring:SERVICE/USER``.

    Raises:
        InputError: the source is malformed, or something that mien cannot write to (an environment variable).
        GalleryError: there is a key already, or it cannot be written.
        MissingExtraError: `keyring` is not installed.
    """
    kind, where = _parted(source)
    secret = os.urandom(_LENGTH)
    text = base64.b64encode(secret).decode()
    if kind == "file":
        _write_private(Path(where).expanduser(), text.encode() + b"\n")
    elif kind == "keyring":

        def keep(keyring: Any, service: str, user: str) -> None:  # noqa: ANN401 - an optional module
            if keyring.get_password(service, user) is not None:
                raise GalleryError(f"{source}: the keyring has this entry already; choose another name")
            keyring.set_password(service, user, text)

        _asked(source, keep)
    else:
        raise InputError(
            f"{source}: mien cannot set your environment; make a file:PATH and put what it holds into {where}"
        )
    return MasterKey(source, secret)


def _parted(source: str) -> tuple[str, str]:
    kind, _, where = source.partition(":")
    if kind not in {"file", "env", "keyring", "passphrase"} or not where:
        # The word may be the key itself, given by mistake: it is not repeated.
        raise InputError(f"a master key comes from {_FORMS}; what was given is none of them")
    if kind in {"env", "passphrase"} and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", where):
        raise InputError(f"{kind}: expected the name of an environment variable; the key itself is not given here")
    return kind, where


def _decoded(source: str, text: bytes) -> bytes:
    """32 bytes from themselves, from hex, or from base64 (either alphabet)."""
    if len(text) == _LENGTH:
        return text
    word = text.strip()
    if len(word) == 2 * _LENGTH:
        try:
            return bytes.fromhex(word.decode("ascii"))
        except (UnicodeDecodeError, ValueError):
            pass
    try:
        secret = base64.b64decode(
            word.translate(bytes.maketrans(b"-_", b"+/")) + b"=" * (-len(word) % 4), validate=True
        )
    except binascii.Error:
        secret = b""
    if len(secret) != _LENGTH:
        raise InputError(f"{source}: expected a key of {_LENGTH} bytes, as they are, in hex or in base64")
    return secret


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise GalleryError(f"{path}: expected a key file, found something else")
            if os.name == "posix" and mode & 0o077:
                raise GalleryError(
                    f"{path}: others may read this key (mode {mode & 0o777:04o}); run: chmod 600 {path}; "
                    "and if they did, change it with `mien gallery rekey`"
                )
            return file.read(_LONGEST)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: there is no such key file; make one with `mien gallery new-key`") from error
    except OSError as error:
        raise GalleryError(f"{path}: the key cannot be read ({error.strerror})") from error


def _write_private(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except FileExistsError as error:
        raise GalleryError(f"{path}: is there already, and a key is never written over; choose another name") from error
    except OSError as error:
        raise GalleryError(f"{path}: the key cannot be written ({error.strerror})") from error


def _asked(source: str, ask: Callable[..., Any]) -> Any:  # noqa: ANN401 - what the keyring answers
    service, _, user = source.partition(":")[2].rpartition("/")
    if not service or not user:
        raise InputError(f"{source}: expected keyring:SERVICE/USER")
    try:
        import keyring
        import keyring.errors
    except ImportError as error:
        raise MissingExtraError("a master key in the operating system's keyring", "keyring") from error
    try:
        return ask(keyring, service, user)
    except keyring.errors.KeyringError as error:
        raise GalleryError(f"{source}: the keyring does not answer ({error or type(error).__name__})") from error
