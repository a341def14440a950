"""Broken inputs for every room that must survive them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def load_broken() -> ModuleType:
    """Import `broken.py` by its path: the tests are no package."""
    name = "mien_tests_faults_broken"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("broken.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def broken_inputs(tmp_path: Path) -> list[tuple[str, object]]:
    """(kind, source) of every broken input, made anew; `mien.images.decode` refuses each."""
    module = load_broken()
    return module.make_all(module.BROKEN, tmp_path)


@pytest.fixture
def odd_inputs(tmp_path: Path) -> list[tuple[str, object]]:
    """(kind, source) of strange pictures that are to be delivered, made anew."""
    module = load_broken()
    return module.make_all(module.ODD, tmp_path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `broken_kind` or `odd_kind` runs once for each kind."""
    for argument, table in (("broken_kind", "BROKEN"), ("odd_kind", "ODD")):
        if argument in metafunc.fixturenames:
            kinds = getattr(load_broken(), table)
            metafunc.parametrize(argument, list(kinds.values()), ids=list(kinds))
