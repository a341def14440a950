"""How what names or shows a person is sealed on its way to the disk: the plug point between a home and its keys."""

from __future__ import annotations

from typing import Protocol

__all__ = ["PLAIN", "PlainSealer", "Sealer"]


class Sealer(Protocol):
    """Seals and opens the fields of one gallery. Thread-safe.

    A subject's fields are sealed with a key of its own, named by the subject's pseudonym; what belongs to nobody (the
    calibration, a group's name) with the gallery's. `context` says which field of which row it is ("faces.embedding/7")
    and must be the same at opening, so that sealed fields cannot be exchanged.
    """

    @property
    def encrypted(self) -> bool:
        """Whether anything is sealed at all."""
        ...

    def new_subject(self, pseudonym: str) -> None:
        """Make a subject's key, durable before this returns; nothing where it has one."""
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

    def destroy(self, pseudonym: str) -> None:
        """Destroy a subject's key for good: what it sealed, here and in older backups, can never be opened again."""
        ...

    def close(self) -> None:
        """Let go of the keys."""
        ...


class PlainSealer:
    """Seals nothing: the gallery is readable by whoever may read its file. Thread-safe: it keeps nothing."""

    encrypted = False

    def new_subject(self, pseudonym: str) -> None:
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

    def destroy(self, pseudonym: str) -> None:
        """There are no keys."""

    def close(self) -> None:
        """There are no keys."""


PLAIN = PlainSealer()
