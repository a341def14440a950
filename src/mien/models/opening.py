"""From a card to a running model: licence, verified file, session, in that order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.errors import CardError
from mien.models import catalogue
from mien.models.card import ModelCard
from mien.models.session import open_session
from mien.models.store import ModelStore

if TYPE_CHECKING:
    from mien.models.catalogue import Use
    from mien.models.session import Session

__all__ = ["find_card", "open_card"]


def find_card(card: ModelCard | str, family: str, store: ModelStore | None = None) -> ModelCard:
    """The card of that name, with the checksums the store recorded; refused unless `family`'s code can drive it.

    Raises:
        NotFoundError, CardError: there is no such card, or it is of another family.
    """
    found = catalogue.get(card) if isinstance(card, str) else card
    if found.family != family:
        raise CardError(f"{found.name}: expected a card of family {family!r}, got {found.family!r}")
    return (store or ModelStore()).pinned(found)


def open_card(
    card: ModelCard,
    *,
    store: ModelStore | None = None,
    licence: Use = "any",
    threads: int | None = None,
) -> Session:
    """Open a model of one ONNX file.

    Args:
        card: the model.
        store: where its file is; the user's store by default.
        licence: what the model is wanted for; refused when its licence forbids that.
        threads: threads of one run; the session's default when None.

    Raises:
        LicenceError: its licence forbids the use.
        ModelFileError: its file is missing, damaged or has no checksum.
        ModelError: its file cannot be run.
    """
    catalogue.require_licence(card, licence)
    if len(card.files) != 1:
        raise CardError(f"{card.name}: files: expected one ONNX file, got {len(card.files)}")
    (path,) = (store or ModelStore()).paths(card)
    return open_session(path, threads=threads)
