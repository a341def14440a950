"""What every test may use: the real faces, when they are there, and pictures that installed packages ship."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mien_data() -> Path:
    """The folder of real faces named by MIEN_DATA; the test is skipped, saying so, without it."""
    folder = os.environ.get("MIEN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real faces: set MIEN_DATA to the folder that holds them")
    return Path(folder)


def _package_file(package: str, name: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))) / name


@pytest.fixture(scope="session")
def hopper() -> Path:
    """A portrait of Grace Hopper, shipped by matplotlib (public domain)."""
    return _package_file("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")


@pytest.fixture(scope="session")
def astronaut() -> Path:
    """A portrait of Eileen Collins, shipped by scikit-image (public domain)."""
    return _package_file("skimage", "data/astronaut.png")
