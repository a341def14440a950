"""The base install stays light, and the public surface is what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mien

HEAVY = {"torch", "tensorflow", "onnx", "openvino", "matplotlib", "fastapi", "flask", "psycopg", "pymilvus", "mtcnn"}
HEAVY |= {"pyarrow", "numba", "faiss", "cryptography", "av", "ray"}
OF_EXTRAS = ("mien.train", "mien.experiments")  # nothing outside them may import them without being asked to


def loaded_after(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_import_mien_loads_nothing_heavy() -> None:
    assert not loaded_after("import mien") & (HEAVY | {"cv2", "numpy", "onnxruntime", "PIL"})


def test_the_whole_base_imports_no_torch_no_web_framework_no_database_driver() -> None:
    root = Path(mien.__file__).parent
    modules = [".".join(("mien", *file.relative_to(root).with_suffix("").parts)) for file in root.rglob("*.py")]
    wanted = [
        m.removesuffix(".__init__") for m in modules if not m.endswith("__main__") and not m.startswith(OF_EXTRAS)
    ]
    everything = f"import importlib\nfor name in {sorted(wanted)}:\n    importlib.import_module(name)"
    assert not loaded_after(everything) & HEAVY


@pytest.mark.parametrize("name", mien.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(mien, name) is not None
    assert name in dir(mien)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonesuch"):
        mien.nonesuch  # noqa: B018
