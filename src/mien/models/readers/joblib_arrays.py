"""Reads a list of numpy arrays from an lz4-compressed joblib file, without unpickling it.

Such a file is a pickle in which each array is described by a wrapper object and followed, in the middle of the
pickle, by the array's raw bytes. Unpickling runs whatever the file names. This reader instead interprets the twenty or
so opcodes that such a list needs, on a stack that only ever holds strings, numbers, containers and descriptions of
arrays; nothing is imported, called or constructed on the file's behalf.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.errors import ModelFileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_joblib_arrays"]

_LIMIT: Final = 256 * 1024 * 1024  # decompressed bytes; the largest file we read has 1.6 MB
_WRAPPER: Final = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_NDARRAY: Final = ("numpy", "ndarray")
_DTYPE: Final = ("numpy", "dtype")
_KINDS: Final = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})
_MARK: Final = object()


class _Broken(Exception):  # noqa: N818 - private, turned into ModelFileError with the file's name
    """What is wrong with the stream."""


def _shown(value: object) -> str:
    """Text for a message; never the repr of a container, which a hostile file can make exponentially long."""
    return value[:60] if isinstance(value, str) else f"a {type(value).__name__}"


class _DType:
    """A numpy dtype as the stream describes it: a kind such as f4, then a byte order."""

    def __init__(self, kind: object) -> None:
        if not isinstance(kind, str) or kind not in _KINDS:
            raise _Broken(f"expected a plain numeric dtype, found {_shown(kind)}")
        self.kind = kind
        self.order = "|"

    def set_state(self, state: object) -> None:
        """Take the byte order from the state tuple (version, byte order, ...)."""
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|"):
            raise _Broken("expected the state of a dtype")
        self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.kind)


class _Array:
    """joblib's array wrapper: empty when made, an array once its state and its bytes were read."""

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None


class _Reader:
    """The pickle stack machine, cut down to what a list of arrays needs."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._stack: list[Any] = []
        self._memo: list[Any] = []

    def take(self, count: int) -> memoryview:
        if count > len(self._data) - self._at:
            raise _Broken(f"ends after {len(self._data)} bytes, {count} more expected at byte {self._at}")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, form: str) -> int:
        value: int = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]
        return value

    def pop(self) -> Any:  # noqa: ANN401 - a stack of anything
        if not self._stack or self._stack[-1] is _MARK:
            raise _Broken(f"stack underflow at byte {self._at}")
        return self._stack.pop()

    def pop_many(self, count: int) -> list[Any]:
        return [self.pop() for _ in range(count)][::-1]

    def pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while self._stack and self._stack[-1] is not _MARK:
            items.append(self._stack.pop())
        if not self._stack:
            raise _Broken(f"no mark at byte {self._at}")
        self._stack.pop()
        return items[::-1]

    def recall(self, index: int) -> Any:  # noqa: ANN401
        if index >= len(self._memo):
            raise _Broken(f"unknown memo entry {index} at byte {self._at}")
        return self._memo[index]

    def run(self) -> Any:  # noqa: ANN401
        """Interpret the stream up to its end mark and return what it leaves."""
        while (code := self.take(1)[0]) != ord("."):
            self._step(code)
        return self.pop()

    def _step(self, code: int) -> None:
        push = self._stack.append
        match chr(code):
            case "\x80":  # protocol
                self.take(1)
            case "\x95":  # frame: a hint for buffering
                self.take(8)
            case "(":
                push(_MARK)
            case "N":
                push(None)
            case "\x88":
                push(True)
            case "\x89":
                push(False)
            case "K":
                push(self.number("B"))
            case "M":
                push(self.number("H"))
            case "J":
                push(self.number("i"))
            case "\x8c":
                push(self._text(self.number("B")))
            case "X":
                push(self._text(self.number("I")))
            case "]":
                push([])
            case "}":
                push({})
            case ")":
                push(())
            case "\x85" | "\x86" | "\x87":
                push(tuple(self.pop_many(code - 0x84)))
            case "t":
                push(tuple(self.pop_to_mark()))
            case "a":
                self._extend(self.pop_many(1))
            case "e":
                self._extend(self.pop_to_mark())
            case "u":
                self._update(self.pop_to_mark())
            case "s":
                self._update(self.pop_many(2))
            case "\x94":
                self._memo.append(self.pop())
                push(self._memo[-1])
            case "h":
                push(self.recall(self.number("B")))
            case "j":
                push(self.recall(self.number("I")))
            case "\x93":
                push(self._global(*self.pop_many(2)))
            case "\x81":
                push(self._new(*self.pop_many(2)))
            case "R":
                push(self._reduce(*self.pop_many(2)))
            case "b":
                state = self.pop()
                self._build(self._top(), state)
            case _:
                raise _Broken(f"opcode 0x{code:02x} at byte {self._at - 1} has no place in a list of arrays")

    def _text(self, length: int) -> str:
        try:
            return str(self.take(length), "utf-8")
        except UnicodeDecodeError:
            raise _Broken(f"text at byte {self._at} is not UTF-8") from None

    def _top(self) -> Any:  # noqa: ANN401
        top = self.pop()
        self._stack.append(top)
        return top

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise _Broken("expected a list to append to")
        target.extend(items)

    def _update(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(items) % 2 or not all(isinstance(key, str) for key in items[::2]):
            raise _Broken("expected a dictionary with text keys")
        target.update(zip(items[::2], items[1::2], strict=True))

    @staticmethod
    def _global(module: object, name: object) -> tuple[object, object]:
        if (module, name) not in (_WRAPPER, _NDARRAY, _DTYPE):
            raise _Broken(
                f"names {_shown(module)}.{_shown(name)}; only joblib's array wrapper and numpy's dtype are allowed"
            )
        return module, name

    @staticmethod
    def _new(kind: object, args: object) -> _Array:
        if kind != _WRAPPER or args != ():
            raise _Broken("makes an object that is not joblib's array wrapper")
        return _Array()

    @staticmethod
    def _reduce(function: object, args: object) -> _DType:
        if function != _DTYPE or not isinstance(args, tuple) or not args:
            raise _Broken("calls something other than numpy's dtype")
        return _DType(args[0])

    def _build(self, target: object, state: object) -> None:
        if isinstance(target, _DType):
            target.set_state(state)
        elif isinstance(target, _Array) and isinstance(state, dict):
            target.value = self._array(state)
        else:
            raise _Broken("sets the state of something other than an array")

    def _array(self, state: dict[str, Any]) -> NDArray[Any]:
        """Read the raw bytes that follow the description of an array."""
        shape, order, dtype = state.get("shape"), state.get("order"), state.get("dtype")
        if state.get("subclass") != _NDARRAY or order not in ("C", "F") or not isinstance(dtype, _DType):
            raise _Broken("describes something other than a plain array")
        if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
            raise _Broken("an array's shape is not one")
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
    except _Broken as error:
        raise ModelFileError(f"{source}: expected a joblib list of arrays, but it {error}") from error


def _filled(arrays: object) -> list[NDArray[Any]]:
    if not isinstance(arrays, list) or not all(isinstance(array, _Array) for array in arrays):
        raise _Broken("holds something other than one list of arrays")
    values = [array.value for array in arrays if array.value is not None]
    if len(values) < len(arrays):
        raise _Broken("describes an array without giving it")
    return values
