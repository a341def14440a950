"""Reads a list of numpy arrays from an lz4-compressed joblib file, without unpickling it.

Such a file is a pickle in which each array is described by a wrapper object and followed, in the middle of the
pickle, by the array's raw bytes. Unpickling runs whatever the file names. This reader takes the plain values, and knows
by name the two things that describe an array; nothing is imported, called or constructed on the file's behalf.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.errors import ModelFileError
from mien.models.readers.pickled_values import PickledValues, PickleFault, shown_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_joblib_arrays"]

_LIMIT: Final = 256 * 1024 * 1024  # decompressed bytes; the largest file we read has 1.6 MB
_WRAPPER: Final = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_NDARRAY: Final = ("numpy", "ndarray")
_DTYPE: Final = ("numpy", "dtype")
_KINDS: Final = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})


class _DType:
    """A numpy dtype as the stream describes it: a kind such as f4, then a byte order."""

    def __init__(self, kind: object) -> None:
        if not isinstance(kind, str) or kind not in _KINDS:
            raise PickleFault(f"expected a plain numeric dtype, found {shown_value(kind)}")
        self.kind = kind
        self.order = "|"

    def set_state(self, state: object) -> None:
        """Take the byte order from the state tuple (version, byte order, ...)."""
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|"):
            raise PickleFault("expected the state of a dtype")
        self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.kind)


class _Array:
    """joblib's array wrapper: empty when made, an array once its state and its bytes were read."""

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None


class _Reader(PickledValues):
    """The values of a pickle, and the arrays between them."""

    def named(self, module: object, name: object) -> tuple[object, object]:
        if (module, name) not in (_WRAPPER, _NDARRAY, _DTYPE):
            named = f"{shown_value(module)}.{shown_value(name)}"
            raise PickleFault(f"names {named}; only joblib's array wrapper and numpy's dtype are allowed")
        return module, name

    def made(self, kind: object, args: object) -> _Array:
        if kind != _WRAPPER or args != ():
            raise PickleFault("makes an object that is not joblib's array wrapper")
        return _Array()

    def called(self, function: object, args: object) -> _DType:
        if function != _DTYPE or not isinstance(args, tuple) or not args:
            raise PickleFault("calls something other than numpy's dtype")
        return _DType(args[0])

    def built(self, target: object, state: object) -> None:
        if isinstance(target, _DType):
            target.set_state(state)
        elif isinstance(target, _Array) and isinstance(state, dict):
            target.value = self._array(state)
        else:
            raise PickleFault("sets the state of something other than an array")

    def _array(self, state: dict[str, Any]) -> NDArray[Any]:
        """Read the raw bytes that follow the description of an array."""
        shape, order, dtype = state.get("shape"), state.get("order"), state.get("dtype")
        if state.get("subclass") != _NDARRAY or order not in ("C", "F") or not isinstance(dtype, _DType):
            raise PickleFault("describes something other than a plain array")
        if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
            raise PickleFault("an array's shape is not one")
        if state.get("numpy_array_alignment_bytes") is not None:
            self.take(self.number("B"))
        kind = dtype.numpy()
        raw = self.take(math.prod(shape) * kind.itemsize)
        values = np.frombuffer(raw, kind).reshape(shape, order=order)
        return values.astype(kind.newbyteorder("="), order="C", copy=True)


def read_joblib_arrays(data: bytes, *, source: str) -> list[NDArray[Any]]:
    """Read the arrays of an lz4-compressed joblib file that holds one list of them.

    Args:
        data: the file's bytes.
        source: the file's name, for messages.

    Returns:
        The arrays, C-contiguous, in native byte order, owning their memory.

    Raises:
        ModelFileError: the bytes are not such a file, are cut short, unpack to more than 256 MiB, or ask for anything
            that a list of numeric arrays does not need.
    """
    import lz4.frame

    decompressor = lz4.frame.LZ4FrameDecompressor()
    try:
        plain = decompressor.decompress(data, max_length=_LIMIT)
    except (RuntimeError, EOFError, ValueError) as error:
        raise ModelFileError(f"{source}: expected an lz4 frame: {error}") from error
    if not decompressor.eof:
        problem = f"unpacks to more than {_LIMIT} bytes" if len(plain) >= _LIMIT else "is cut short"
        raise ModelFileError(f"{source}: expected a whole lz4 frame, but it {problem}")
    try:
        return _filled(_Reader(plain).run())
    except PickleFault as error:
        raise ModelFileError(f"{source}: expected a joblib list of arrays, but it {error}") from error


def _filled(arrays: object) -> list[NDArray[Any]]:
    if not isinstance(arrays, list) or not all(isinstance(array, _Array) for array in arrays):
        raise PickleFault("holds something other than one list of arrays")
    values = [array.value for array in arrays if array.value is not None]
    if len(values) < len(arrays):
        raise PickleFault("describes an array without giving it")
    return values
