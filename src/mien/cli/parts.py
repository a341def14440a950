"""Names become classes here, and only here: the catalogue's cards, driven by the code of their family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from mien.errors import CardError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.interfaces import Detector, Embedder
    from mien.models.card import ModelCard
    from mien.models.catalogue import Use
    from mien.types import Preset

__all__ = ["detector_maker", "embedder_maker"]


def detector_maker(
    name: str | None, licence: str | None, *, min_face: float | None, confidence: float | None
) -> Callable[[int], Detector] | None:
    """A function from threads to the detector of that name; None for the default one.

    Raises:
        NotFoundError, CardError, LicenceError: there is no such detector, or it may not be used.
    """
    from mien.models.catalogue import DEFAULT_DETECTOR

    card = _card(name or DEFAULT_DETECTOR, licence, "detector")
    if card.name == DEFAULT_DETECTOR:
        return None
    options: dict[str, Any] = {}
    if min_face is not None:
        options["min_face"] = min_face
    if confidence is not None:
        options["threshold"] = confidence

    def make(threads: int) -> Detector:
        if card.family == "yunet":
            from mien.detect.yunet import YuNet

            return YuNet(card, threads=threads, **options)
        from mien.detect.scrfd import SCRFD

        return SCRFD(card, threads=threads, **options)

    return make


def embedder_maker(name: str | None, licence: str | None, preset: str) -> Callable[[int], Embedder] | None:
    """A function from threads to the embedder of that name; None for the default one.

    Raises:
        NotFoundError, CardError, LicenceError: there is no such embedder, or it may not be used.
    """
    from mien.models.catalogue import DEFAULT_EMBEDDER

    card = _card(name or DEFAULT_EMBEDDER, licence, "embedder")
    if card.name == DEFAULT_EMBEDDER:
        return None

    def make(threads: int) -> Embedder:
        from mien.models.session import available_cores
        from mien.recognizer import open_embedder

        callers = available_cores() if threads == 1 else 1
        return open_embedder(card, cast("Preset", preset), threads=threads, callers=callers)

    return make


def _card(name: str, licence: str | None, task: str) -> ModelCard:
    from mien.models import catalogue

    if licence not in (None, "any", "commercial"):
        raise InputError(f"--licence: expected commercial or any, got {licence!r}")
    card = catalogue.get(name)
    if card.task != task:
        raise CardError(
            f"{card.name}: expected {'an' if task[0] in 'aeiou' else 'a'} {task}, got a card of a {card.task}"
        )
    catalogue.require_licence(card, cast("Use", licence or "any"))
    return card
