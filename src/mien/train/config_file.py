"""A settings file in place of a recipe: a run's whole config, or a recipe's name and what is to be otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mien.errors import InputError
from mien.train.config import TrainConfig
from mien.train.recipes import recipe
from mien.train.settings import merged, read_settings

__all__ = ["read_started_config"]

_NO_RECIPES: Final = ("custom", "losses", "backbones", "distil", "distil-default")
"""Names that configs of runs bear and that stand for no values of their own."""

_SECTIONS: Final = frozenset(field.name for field in dataclasses.fields(TrainConfig)) - {"before"}  # TOML has no null


def read_started_config(path: Path) -> TrainConfig:
    """The config in a ``.json`` or ``.toml`` file.

    A file that states every section, as the ``config.json`` of a run does, is taken as it is. Any other starts from the
    recipe that it names (``recipe = "small-cpu"``), and from the defaults where it names none; what it states goes
    before that. Its table ``before`` is treated alike.

    Raises:
        NotFoundError: there is no such file, or no such recipe; names the nearest.
        InputError: it is no config; names the file and what is wrong in it.
    """
    plain = read_settings(path)
    try:
        return TrainConfig.from_dict(_started(plain, {}))
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error
    except RecursionError as error:
        raise InputError(f"{path}: tables lie too deep in each other") from error


def _started(plain: Mapping[str, Any], base: Mapping[str, Any]) -> Mapping[str, Any]:
    if plain.keys() >= _SECTIONS:
        return plain  # all is said, so a recipe that has changed since changes nothing
    name = plain.get("recipe")
    if isinstance(name, str) and name not in _NO_RECIPES:
        base = recipe(name).to_dict()
    whole = merged(TrainConfig, base, plain)
    if isinstance(first := plain.get("before"), Mapping):
        whole["before"] = _started(first, base.get("before") or {})
    return whole
