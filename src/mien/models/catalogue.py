"""The catalogue: the cards that mien ships, and the user's own.

A user's card is named by the path of its TOML file or of the folder of an exported model (a training run included), or
lies as ``NAME.toml`` in the user's card folder and is found by its name. Nothing here is cached but the shipped cards;
every function is safe to call from several threads at once.
"""

from __future__ import annotations

import difflib
import functools
import os
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from mien.errors import CardError, InputError, LicenceError, NotFoundError
from mien.models.card import ModelCard, load_card

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mien.models.card import Task

__all__ = [
    "DEFAULT_DETECTOR",
    "DEFAULT_EMBEDDER",
    "DEFAULT_LANDMARKS",
    "Use",
    "allows",
    "card_folder",
    "card_in",
    "get",
    "names",
    "require_licence",
    "shipped",
    "user_cards",
]

DEFAULT_DETECTOR = "mtcnn"
DEFAULT_EMBEDDER = "dlib-resnet29"
DEFAULT_LANDMARKS = "dlib-trees5"

Use: TypeAlias = Literal["any", "commercial"]
"""What a model is wanted for."""


@functools.cache
def shipped() -> Mapping[str, ModelCard]:
    """The cards that mien ships, by name, in alphabetical order."""
    folder = files("mien.models").joinpath("cards")
    cards = (load_card(f.read_bytes()) for f in folder.iterdir() if f.name.endswith(".toml"))
    return MappingProxyType({card.name: card for card in sorted(cards, key=lambda card: card.name)})


def card_folder() -> Path:
    """The folder of the user's own cards: MIEN_CARDS, or ``cards`` in the user's configuration folder."""
    if folder := os.environ.get("MIEN_CARDS"):
        return Path(folder).expanduser()
    import platformdirs

    return platformdirs.user_config_path("mien", appauthor=False) / "cards"


def _user_names(folder: Path) -> list[str]:
    try:
        return sorted(path.stem for path in folder.glob("*.toml") if path.is_file())
    except OSError:
        return []


def names(task: Task | None = None) -> tuple[str, ...]:
    """The names that `get` finds: shipped models first, then the user's.

    Args:
        task: only models for this task; a user's card that cannot be read then counts as none.
    """
    if task is None:
        return (*shipped(), *(n for n in _user_names(card_folder()) if n not in shipped()))
    cards = (*shipped().values(), *user_cards()[0])
    return tuple(card.name for card in cards if card.task == task)


def user_cards() -> tuple[tuple[ModelCard, ...], tuple[CardError, ...]]:
    """The user's own cards, and what is wrong with those that cannot be used."""
    cards: list[ModelCard] = []
    errors: list[CardError] = []
    folder = card_folder()
    for name in _user_names(folder):
        try:
            cards.append(_user_card(folder, name))
        except CardError as error:
            errors.append(error)
    return tuple(cards), tuple(errors)


def _user_card(folder: Path, name: str) -> ModelCard:
    path = folder / f"{name}.toml"
    card = _not_shipped(load_card(path))
    if card.name != name:
        raise CardError(f"{path}: name: expected {name!r}, like the file, got {card.name!r}")
    return card


def _not_shipped(card: ModelCard) -> ModelCard:
    """Refuse a card that borrows a shipped model's name: its embeddings would pass for that model's."""
    if card.name in shipped() and card != shipped()[card.name]:
        raise CardError(f"{card.origin}: name: {card.name!r} is the name of a model that mien ships; choose another")
    return card


def get(name_or_path: str | Path) -> ModelCard:
    """Find a card.

    Args:
        name_or_path: a name, the path of a TOML file (it ends in ``.toml``), or of a folder as `card_in` reads it.
            Names come first: a folder of the name of a model is meant by ``./NAME``.

    Raises:
        NotFoundError: no model has this name, or there is no such file.
        CardError: the card is malformed.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.lower().endswith(".toml"):
        path = Path(name_or_path)
        if path.is_dir():
            path = card_in(path)
        if not path.exists():
            raise NotFoundError(f"{path}: no such model card")
        return _not_shipped(load_card(path))
    if text in shipped():
        return shipped()[text]
    folder = card_folder()
    if text in _user_names(folder):
        return _user_card(folder, text)
    if _is_folder(text):
        return _not_shipped(load_card(card_in(Path(text))))
    close = difflib.get_close_matches(text, names(), n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names())}."
    raise NotFoundError(
        f"no model is called {text!r}; {hint} A model of your own needs a card: "
        f"{folder / 'NAME.toml'}, or the folder of its run: --model runs/NAME"
    )


def card_in(folder: Path) -> Path:
    """The card of an exported model's folder, or of the training run that it was exported from.

    Args:
        folder: holds ``card.toml``, or ``export/card.toml``, which comes first.

    Raises:
        NotFoundError: it holds neither; a training run has to be exported before it can be used.
    """
    for path in (folder / "export" / "card.toml", folder / "card.toml"):
        if path.is_file():
            return path
    raise NotFoundError(f"{folder}: no card.toml in this folder; a training run is made ready by: mien export {folder}")


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except (OSError, ValueError):  # too long a name, a NUL in it
        return False


def allows(card: ModelCard, use: Use) -> bool:
    """Whether the card's licence allows a use. Raises InputError for a use that mien does not know."""
    if use not in get_args(Use):
        raise InputError(f"licence: expected one of {', '.join(get_args(Use))}; got {use!r}")
    return use == "any" or card.commercial_use


def require_licence(card: ModelCard, use: Use) -> None:
    """Refuse a model whose licence forbids a use.

    Raises:
        LicenceError: it does; the message names the licence and where to read it.
        InputError: mien does not know this use.
    """
    if allows(card, use):
        return
    terms = f" ({card.licence_url})" if card.licence_url else ""
    free = ", ".join(c.name for c in shipped().values() if c.task == card.task and c.commercial_use)
    raise LicenceError(
        f"{card.name}: its licence, {card.licence}{terms}, does not allow commercial use. {card.licence_notes} "
        f"Models for the same task that do: {free}"
    )
