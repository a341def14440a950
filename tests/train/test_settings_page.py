"""docs/settings.md names every setting, and no other, with its default."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mien.train.config import PairsConfig, SourceConfig, TrainConfig
from mien.train.settings import to_plain

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
ROW = re.compile(r"^\| `([\w.]+)` \| (?:`(.+?)`)? ?\| (.+) \|$", re.MULTILINE)


def settings(cls: type, start: str = "") -> Iterator[tuple[str, Any]]:
    """(name, default) of all settings of a dataclass, those of its parts included."""
    for field in dataclasses.fields(cls):
        made = field.default_factory
        value = field.default if made is dataclasses.MISSING else made()
        if dataclasses.is_dataclass(value):
            yield from settings(type(value), f"{start}{field.name}.")
        else:
            yield f"{start}{field.name}", value


def test_the_page_has_every_setting_and_its_default() -> None:
    known = dict(settings(TrainConfig))
    known |= dict(settings(SourceConfig, "data.sources.0.")) | dict(settings(PairsConfig, "measure.sets.0."))
    rows = {name: default for name, default, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))}
    assert set(rows) == set(known)
    for name, text in rows.items():
        if known[name] is dataclasses.MISSING or known[name] == {}:
            assert not text, name
            continue
        try:
            shown = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            shown = None if text == "none" else text
        assert shown == to_plain(known[name]), name
        assert type(shown) is type(to_plain(known[name])), name


def test_what_augmentation_takes_is_named() -> None:
    from mien.images.augment import Augmentation

    (row,) = (text for name, _, text in ROW.findall(PAGE.read_text(encoding="utf-8")) if name == "data.augment")
    assert {field.name for field in dataclasses.fields(Augmentation)} <= set(re.findall(r"\w+", row))
