"""What the gallery's tests share."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mien.match import calibrate


@pytest.fixture(scope="session")
def fakes():
    """The module `fakes.py` beside this file."""
    spec = importlib.util.spec_from_file_location("gallery_fakes", Path(__file__).with_name("fakes.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def calibration(fakes):
    """Thresholds for the fake model, from scores like its own."""
    rng = np.random.default_rng(0)
    rows = fakes.unit(rng.standard_normal((700, 32)))
    return calibrate(
        fakes.IDENTITY,
        genuine=np.clip(rng.normal(0.9, 0.02, 1000), -1, 1),
        impostor=(rows @ rows.T)[np.triu_indices(700, 1)],
        made_on="random directions",
        date="2026-01-01",
    )
