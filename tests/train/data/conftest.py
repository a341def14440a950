"""A made-up set of people: coloured blobs, as a folder and in every packed format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from mien.prepare.packing import pack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mien.train.backbones import InputSpec

_COUNTS = {"Ada": 7, "Ben": 1, "Cho": 12, "Dia": 4, "Eve": 9}


def _blob(seed: int, side: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (5, 5, 3), np.uint8)
    return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC))


def _write_people(folder: Path, counts: dict[str, int], side: int = 40, suffix: str = ".jpg") -> Path:
    number = 0
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(folder / name / f"{i:04d}{suffix}"), _blob(number, side)[:, :, ::-1])
            number += 1
    return folder


@pytest.fixture(scope="session")
def spec() -> InputSpec:
    from mien.train.backbones import InputSpec  # needs torch, which tests may find missing

    return InputSpec.plain(32)


@pytest.fixture(scope="session")
def write_people() -> Callable[..., Path]:
    """Writes a folder of so many pictures of each person."""
    return _write_people


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_people(tmp_path_factory.mktemp("made-up") / "people", _COUNTS)


@pytest.fixture(scope="session")
def packed(people: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By format; the tar has several shards."""
    folder = tmp_path_factory.mktemp("packed")
    made = {}
    for suffix, shard in (("rec", None), ("tfrecord", None), ("tar", 8000), ("parquet", None)):
        made[suffix] = folder / f"set.{suffix}"
        pack(people, made[suffix], shard_bytes=shard)
    return made
