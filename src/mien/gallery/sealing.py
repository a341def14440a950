"""How what names or shows a person is sealed on its way to the disk: the plug point between a home and its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PLAIN", "PlainSealer", "Sealer"]


class Sealer(Protocol):
    """Seals and opens the fields of one gallery. Thread-safe.

    A subject's fields are sealed with a key of its own, named by the subject's pseudonym; what belongs to nobody (the
    calibration, a group's name) with the gallery's. `context` says which field of which row it is ("faces.embedding/7")
    and must be the same at opening, so that sealed fields cannot be exchanged.

    Keys and rows are kept in two files, so their order matters: `new_subject` before the rows are committed; `destroy`
    after the rows' removal is committed, together with a note that it is due, which is struck out afterwards. At the
    next opening for writing, what is still noted is destroyed; subjects that are `destroyed` but have rows (a gallery
    restored from a backup) are removed; and keys of subjects who were erased by the audit log (a key file restored
    from a backup) are destroyed again.
    """

    @property
    def encrypted(self) -> bool:
        """Whether anything is sealed at all."""
        ...

    def new_subject(self, *pseudonyms: str) -> None:
        """Make subjects' keys, durable before this returns; nothing where one has its key. Many at once cost as one."""
        ...

    def seal(self, pseudonym: str | None, plain: bytes, context: str) -> bytes:
        """Seal a field."""
        ...

    def open(self, pseudonym: str | None, sealed: bytes, context: str) -> bytes:
        """Open a field. Raises GalleryFileError when it was changed, or its key is gone or another one."""
        ...

    def lookup(self, text: str) -> bytes:
        """What a name, an external id or a checksum is found by: equal for equal texts, and says nothing of them."""
        ...

    def destroy(self, *pseudonyms: str) -> None:
        """Destroy subjects' keys for good: what they sealed, here and in older backups, can never be opened again.

        Durable before this returns; nothing where a key was destroyed already.
        """
        ...

    def destroyed(self, pseudonyms: Iterable[str]) -> set[str]:
        """Those of the subjects whose key was destroyed."""
        ...

    def close(self) -> None:
        """Let go of the keys."""
        ...


class PlainSealer:
    """Seals nothing: the gallery is readable by whoever may read its file. Thread-safe: it keeps nothing."""

    encrypted = False

    def new_subject(self, *pseudonyms: str) -> None:
        """There are no keys."""

    def seal(self, pseudonym: str | None, plain: bytes, context: str) -> bytes:
        """The field as it is."""
        return plain

    def open(self, pseudonym: str | None, sealed: bytes, context: str) -> bytes:
        """The field as it is."""
        return sealed

    def lookup(self, text: str) -> bytes:
        """The text itself."""
        return text.encode()

    def destroy(self, *pseudonyms: str) -> None:
        """There are no keys."""

    def destroyed(self, pseudonyms: Iterable[str]) -> set[str]:
        """Nobody: there are no keys."""
        return set()

    def close(self) -> None:
        """There are no keys."""


PLAIN = PlainSealer()
