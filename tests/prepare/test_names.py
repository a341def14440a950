"""The verbs by name: `from mien.prepare import split`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mien.prepare
from mien.cli.data import app


@pytest.mark.parametrize("name", mien.prepare.__all__)
def test_each_name_is_a_function_and_no_module(name):
    assert callable(getattr(mien.prepare, name))
    assert getattr(mien.prepare, name).__module__.startswith("mien.prepare.")
    assert not (Path(mien.prepare.__file__).parent / f"{name}.py").exists()  # it would be hidden, or hide the function


def test_each_verb_of_the_command_line_has_its_function():
    verbs = {command.callback.__name__ for command in app.registered_commands}
    assert verbs <= set(mien.prepare.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonesuch"):
        mien.prepare.nonesuch  # noqa: B018


def test_nothing_is_loaded_before_it_is_used():
    probe = "import sys, mien.prepare; print(sorted({'numpy', 'cv2', 'mien.prepare.people'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
