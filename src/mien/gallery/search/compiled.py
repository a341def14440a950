"""The inner loops as machine code, made by numba on the user's machine and kept in its cache. Extra `fast`."""

from __future__ import annotations

import importlib.util
import threading
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from mien.gallery.search import kernels
from mien.gallery.search.lanes import passing_intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["available", "compiled_encode", "compiled_scan"]

Numba: TypeAlias = Any  # numba's own things have no types

_compiling = threading.RLock()


def available() -> bool:
    """Whether numba is installed. Does not import it."""
    return importlib.util.find_spec("numba") is not None


def compiled_scan() -> Callable[..., None]:
    """`kernels.scan`, compiled once a process; releases the interpreter lock while it runs."""
    with _compiling:
        return _scan()


def compiled_encode() -> Callable[..., None]:
    """`kernels.encode`, compiled once a process; releases the interpreter lock while it runs."""
    with _compiling:
        return _encode()


@cache
def _scan() -> Callable[..., None]:
    _register_passing()
    t = importlib.import_module("numba").types
    bytes_, shorts, ids = (_readable(t, dtype) for dtype in (t.uint8, t.int16, t.int64))
    floats, doubles = _readable(t, t.float32, 2), _readable(t, t.float64, 2)
    out = t.Array(t.float64, 2, "C"), t.Array(t.int64, 2, "C"), t.Array(t.int64, 2, "C"), t.Array(t.int64, 1, "C")
    return _jit(
        kernels.scan,
        t.void(
            bytes_, bytes_, shorts, floats, floats, ids, bytes_, t.boolean, t.int64, t.int64, t.int64,
            doubles, _readable(t, t.int32), _readable(t, t.int16, 3), doubles, t.int64,
            t.Array(t.float64, 2, "C"), *out,
        ),
    )  # fmt: skip


@cache
def _encode() -> Callable[..., None]:
    t = importlib.import_module("numba").types
    bytes_, doubles, ids = (_readable(t, dtype) for dtype in (t.uint8, t.float64, t.int64))
    out = t.Array(t.uint8, 1, "C"), t.Array(t.uint8, 1, "C"), t.Array(t.int16, 1, "C"), t.Array(t.float32, 2, "C")
    return _jit(
        kernels.encode,
        t.void(t.Array(t.float64, 2, "C"), doubles, ids, doubles, bytes_, t.float64, t.int64, *out),
    )


def _readable(types: Numba, dtype: Numba, dimensions: int = 1) -> Numba:
    """Mapped files are read-only; an array that may be written converts to this, not the other way round."""
    return types.Array(dtype, dimensions, "C", readonly=True)


def _jit(function: Callable[..., None], signature: Numba) -> Callable[..., None]:
    numba = importlib.import_module("numba")
    extending = importlib.import_module("numba.extending")
    for helper in (kernels._dot, kernels._fine_part, kernels._offer):
        extending.register_jitable(helper)
    try:
        return numba.njit(signature, nogil=True, cache=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder where the machine code could be kept
        return numba.njit(signature, nogil=True)(function)  # type: ignore[no-any-return]


@cache
def _register_passing() -> None:
    """Give compiled code its own `kernels.passing`: 16 rows at once."""
    extending = importlib.import_module("numba.extending")
    host = importlib.import_module("numba.core.codegen").get_host_cpu_features()
    lanes = passing_intrinsic(vnni="+avx512vnni" in host and "+avx512bw" in host)

    def call(*arguments: Numba) -> Numba:
        return lanes(*arguments)

    def overloaded(*arguments: Numba) -> Numba:  # numba asks for the names of `call`
        return call

    extending.overload(kernels.passing)(overloaded)
