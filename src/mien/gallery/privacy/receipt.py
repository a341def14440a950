"""The receipt of an erasure: what was erased, without saying whose, and how to look for what is left of it."""

from __future__ import annotations

import base64
import binascii
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from mien.errors import GalleryFileError, InputError, NotFoundError
from mien.gallery.privacy.byte_search import DIGEST, LONGEST, ROW, SHORTEST, Fingerprints
from mien.gallery.privacy.file_access import sync_folder, write_new, write_whole

__all__ = ["Receipt"]

_FORMAT: Final = "mien erasure receipt"
_VERSION: Final = 1
_LARGEST: Final = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What an erasure did. It names nobody: the person appears by pseudonym, the bytes by salted fingerprints.

    Attributes:
        gallery: the file's name, without its folder.
        encrypted: whether the gallery was; then the person's key was destroyed, and backups are covered.
        pseudonyms: of the person, and of whom was merged into the person before.
        time: when, in ISO 8601, UTC.
        done: False while the erasure is under way; opening the gallery finishes one that was cut off.
        counts: faces, negatives, crops and sightings that were erased.
        audit_seq, audit_head: the audit log's last entry after the erasure; 0 and "" while it is under way.
        shared_with: pseudonyms of others who have a face of the person under their name.
        remains: what was found right after the erasure; empty, or the erasure was not complete.
        prints: what to look for.
    """

    gallery: str
    encrypted: bool
    pseudonyms: tuple[str, ...]
    time: str
    counts: dict[str, int]
    prints: Fingerprints
    done: bool = False
    audit_seq: int = 0
    audit_head: str = ""
    shared_with: tuple[str, ...] = ()
    remains: tuple[str, ...] = ()
    limits: tuple[str, ...] = field(default=())

    @property
    def complete(self) -> bool:
        """Whether nothing was left when it was done."""
        return self.done and not self.remains and not self.shared_with

    def to_json(self) -> str:
        """As JSON, for people and for `from_json`."""
        prints = self.prints
        return json.dumps(
            {
                "format": _FORMAT,
                "version": _VERSION,
                "gallery": self.gallery,
                "encrypted": self.encrypted,
                "time": self.time,
                "done": self.done,
                "pseudonyms": list(self.pseudonyms),
                "erased": self.counts,
                "audit": {"seq": self.audit_seq, "head": self.audit_head},
                "shared_with": list(self.shared_with),
                "remains": list(self.remains),
                "limits": list(self.limits),
                "fingerprints": {
                    "salt": prints.salt.hex(),
                    "windows": {kind: base64.b64encode(rows).decode() for kind, rows in prints.windows.items()},
                    "texts": {
                        kind: [[length, row.hex()] for length, row in rows] for kind, rows in prints.texts.items()
                    },
                    "unsearchable": prints.unsearchable,
                },
            },
            indent=1,
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str, source: str = "receipt") -> Receipt:
        """The receipt of `to_json`. Raises InputError when it is none."""
        try:
            found = json.loads(text)
            if found["format"] != _FORMAT:
                raise InputError(f"{source}: not an erasure receipt of mien")
            if found["version"] != _VERSION:
                raise InputError(
                    f"{source}: a receipt of version {found['version']}, expected {_VERSION}; upgrade mien"
                )
            return cls(
                gallery=_text(found["gallery"]),
                encrypted=_is(bool, found["encrypted"]),
                pseudonyms=tuple(map(_text, found["pseudonyms"])),
                time=_text(found["time"]),
                counts=_numbers(found["erased"]),
                done=_is(bool, found["done"]),
                audit_seq=_is(int, found["audit"]["seq"]),
                audit_head=_text(found["audit"]["head"]),
                shared_with=tuple(map(_text, found["shared_with"])),
                remains=tuple(map(_text, found["remains"])),
                limits=tuple(map(_text, found["limits"])),
                prints=_fingerprints(found["fingerprints"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, binascii.Error) as error:
            raise InputError(f"{source}: not an erasure receipt of mien, or a damaged one ({error!r:.80})") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Receipt:
        """Read a receipt. Raises NotFoundError and InputError."""
        file = Path(path)
        try:
            if file.stat().st_size > _LARGEST:
                raise InputError(f"{path}: too large for a receipt ({file.stat().st_size} bytes)")
            return cls.from_json(file.read_bytes().decode(), str(path))
        except FileNotFoundError as error:
            raise NotFoundError(f"{path}: there is no such receipt") from error
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: the receipt cannot be read ({error})") from error

    def write(self, path: str | os.PathLike[str], *, over: bool = False) -> None:
        """Write it, mode 0600, whole or not at all.

        Args:
            path: the file.
            over: take the place of the file that is there; otherwise nothing may be there.

        Raises:
            GalleryFileError: there is a file already, or it cannot be written.
        """
        file = Path(path)
        content = self.to_json().encode() + b"\n"
        try:
            if not over:
                write_whole(file, content)
                return
            part = file.with_name(f"{file.name}.{os.getpid()}.{os.urandom(4).hex()}")
            write_new(part, content)
            part.replace(file)
            sync_folder(file)
        except FileExistsError as error:
            raise GalleryFileError(f"{path}: there is something already; give another name for the receipt") from error
        except OSError as error:
            raise GalleryFileError(f"{path}: the receipt cannot be written ({error.strerror})") from error

    def without_texts(self, dropped: dict[str, set[tuple[int, bytes]]]) -> Receipt:
        """The same, not looking for some texts (kind -> rows) any more; they are counted as unsearchable."""
        texts = {
            kind: tuple(row for row in rows if row not in dropped.get(kind, ()))
            for kind, rows in self.prints.texts.items()
        }
        missing = dict(self.prints.unsearchable)
        for kind, rows in dropped.items():
            missing[kind] = missing.get(kind, 0) + len(rows)
        return replace(self, prints=replace(self.prints, texts=texts, unsearchable=missing))


def _fingerprints(found: Any) -> Fingerprints:  # noqa: ANN401 - JSON
    windows = {_text(k): base64.b64decode(_text(v), validate=True) for k, v in found["windows"].items()}
    if any(len(rows) % ROW for rows in windows.values()):
        raise ValueError("windows of another length")
    texts = {_text(k): tuple((_is(int, n), bytes.fromhex(row)) for n, row in v) for k, v in found["texts"].items()}
    for length, row in (entry for rows in texts.values() for entry in rows):
        if not SHORTEST <= length <= LONGEST or len(row) != 3 + DIGEST:
            raise ValueError("a text of another length")
    salt = bytes.fromhex(found["salt"])
    if len(salt) < 16:
        raise ValueError("too short a salt")
    return Fingerprints(salt, windows, texts, _numbers(found["unsearchable"]))


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LARGEST:
        raise TypeError("expected a text")
    return value


_T = TypeVar("_T", bool, int)


def _is(kind: type[_T], value: object) -> _T:
    if type(value) is not kind or not isinstance(value, kind):  # True is an int, too
        raise TypeError(f"expected {kind.__name__}")
    return value


def _numbers(value: Any) -> dict[str, int]:  # noqa: ANN401 - JSON
    return {_text(k): _is(int, v) for k, v in value.items()}
