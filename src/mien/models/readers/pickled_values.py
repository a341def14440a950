"""Reads plain values out of a pickle without unpickling it.

Unpickling runs whatever the file names. This reader interprets only the opcodes that strings, numbers and containers
need, on a stack that holds nothing else; it imports, calls and constructs nothing on the file's behalf. A format that
needs more (an array, an encoded string) subclasses it and decides by name what a call stands for.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import mmap

__all__ = ["PickleFault", "PickledValues", "shown_value"]

_MARK: Final = object()
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.?))", re.DOTALL)
_PLAIN: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b"'": b"'", b'"': b'"'}


class PickleFault(Exception):  # noqa: N818 - readers turn it into an error that names the file
    """What is wrong with the stream, as the end of a sentence that begins with the file's name."""


def shown_value(value: object) -> str:
    """Text for a message; never the repr of a container, which a hostile file can make exponentially long."""
    return value[:60] if isinstance(value, str) else f"a {type(value).__name__}"


class PickledValues:
    """The pickle stack machine, cut down to values; protocols 0 to 5.

    Byte strings come out as memoryviews into `data`, so that nothing large is copied. One reader belongs to one thread.

    Args:
        data: the pickle.
        most_steps: how many opcodes are read before the file is refused. An opcode of one byte can make an object of
            64, so this bounds the memory that a hostile file can take.
    """

    def __init__(self, data: bytes | mmap.mmap, *, most_steps: int = 1_000_000) -> None:
        self._data = memoryview(data)
        self._find = data.find
        self._most_steps = most_steps
        self._at = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    # What a format that needs more than values overrides.

    def named(self, module: object, name: object) -> object:
        """What stands for a global that the file names. Raises PickleFault: no global is allowed here."""
        raise PickleFault(f"names {shown_value(module)}.{shown_value(name)}; only plain values are allowed")

    def called(self, function: object, args: object) -> object:
        """What a call of something that `named` gave stands for."""
        raise PickleFault("calls a function")

    def made(self, kind: object, args: object) -> object:
        """What an object of a class that `named` gave stands for."""
        raise PickleFault("makes an object")

    def built(self, target: object, state: object) -> None:
        """Set the state of something that `called` or `made` gave."""
        raise PickleFault("sets the state of an object")

    # Bytes of the stream.

    def take(self, count: int) -> memoryview:
        """The next `count` bytes."""
        if count > len(self._data) - self._at:
            raise PickleFault(f"ends after {len(self._data)} bytes, {count} more expected at byte {self._at}")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, form: str) -> int:
        """The next little-endian number, of a `struct` form."""
        value: int = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]
        return value

    def run(self) -> Any:  # noqa: ANN401
        """Interpret the stream up to its end mark and return what it leaves.

        Raises:
            PickleFault: the stream is broken, too long, or asks for more than values.
        """
        for _ in range(self._most_steps):
            code = self.take(1)[0]
            if code == ord("."):
                return self._pop()
            self._step(code)
        raise PickleFault(f"has more than {self._most_steps} instructions")

    def _step(self, code: int) -> None:
        push = self._stack.append
        match chr(code):
            case "T" | "B":
                push(self.take(self.number("I")))  # signed in T, but then it exceeds every file
            case "U" | "C":
                push(self.take(self.number("B")))
            case "\x8e" | "\x96":
                push(self.take(self.number("Q")))
            case "q":
                self._memo[self.number("B")] = self._top()
            case "r":
                self._memo[self.number("I")] = self._top()
            case "\x94":
                self._memo[len(self._memo)] = self._top()
            case "\x88":
                push(True)
            case "\x89":
                push(False)
            case "\x80":  # protocol
                self.take(1)
            case "\x95":  # frame: a hint for buffering
                self.take(8)
            case "(":
                push(_MARK)
            case "N":
                push(None)
            case "K":
                push(self.number("B"))
            case "M":
                push(self.number("H"))
            case "J":
                push(self.number("i"))
            case "\x8a":
                push(self._long())
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
                push(tuple(self._pop_many(code - 0x84)))
            case "t":
                push(tuple(self._pop_to_mark()))
            case "l":
                push(self._pop_to_mark())
            case "d":
                items = self._pop_to_mark()
                push({})
                self._update(items)
            case "a":
                self._extend(self._pop_many(1))
            case "e":
                self._extend(self._pop_to_mark())
            case "u":
                self._update(self._pop_to_mark())
            case "s":
                self._update(self._pop_many(2))
            case "h":
                push(self._recall(self.number("B")))
            case "j":
                push(self._recall(self.number("I")))
            case "\x93":
                push(self.named(*self._pop_many(2)))
            case "\x81":
                push(self.made(*self._pop_many(2)))
            case "R":
                push(self.called(*self._pop_many(2)))
            case "b":
                state = self._pop()
                self.built(self._top(), state)
            case _:
                self._step_of_lines(code)

    def _step_of_lines(self, code: int) -> None:
        """Opcodes of protocol 0, whose arguments are lines of text."""
        push = self._stack.append
        match chr(code):
            case "c":
                push(self.named(self._line_of_text(), self._line_of_text()))
            case "V":
                push(self._line_of_text())
            case "S":
                push(memoryview(self._quoted()))
            case "I":
                line = bytes(self._line())
                push(line == b"01" if line in (b"00", b"01") else self._integer(line))
            case "L":
                push(self._integer(bytes(self._line()).removesuffix(b"L")))
            case "p":
                self._memo[self._integer(bytes(self._line()))] = self._top()
            case "g":
                push(self._recall(self._integer(bytes(self._line()))))
            case _:
                raise PickleFault(f"has opcode 0x{code:02x} at byte {self._at - 1}, which has no place in plain values")

    def _line(self) -> memoryview:
        end = self._find(b"\n", self._at)
        if end < 0:
            raise PickleFault(f"ends within a line that starts at byte {self._at}")
        line = self._data[self._at : end]
        self._at = end + 1
        return line

    def _line_of_text(self) -> str:
        line = self._line()
        try:
            return str(line, "raw_unicode_escape")
        except UnicodeDecodeError:
            raise PickleFault(f"has a broken line of text before byte {self._at}") from None

    def _quoted(self) -> bytes:
        """The bytes that a Python 2 string literal stands for."""
        line = bytes(self._line())
        if len(line) < 2 or line[:1] not in b"'\"" or line[-1:] != line[:1]:
            raise PickleFault(f"has a string without quotes before byte {self._at}")

        def plain(found: re.Match[bytes]) -> bytes:
            if found[1]:
                return bytes([int(found[1], 16)])
            if found[2] not in _PLAIN:
                raise PickleFault(f"has an unknown escape in a string before byte {self._at}")
            return _PLAIN[found[2]]

        return _ESCAPE.sub(plain, line[1:-1])

    def _integer(self, line: bytes) -> int:
        if not re.fullmatch(rb"-?[0-9]{1,19}", line):
            raise PickleFault(f"has a broken number before byte {self._at}")
        return int(line)

    def _long(self) -> int:
        count = self.number("B")
        if count > 8:
            raise PickleFault(f"has a number of {count} bytes at byte {self._at}")
        return int.from_bytes(self.take(count), "little", signed=True)

    def _text(self, length: int) -> str:
        try:
            return str(self.take(length), "utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise PickleFault(f"has text that is not UTF-8 before byte {self._at}") from None

    # The stack and the memo.

    def _pop(self) -> Any:  # noqa: ANN401 - a stack of anything
        if not self._stack or self._stack[-1] is _MARK:
            raise PickleFault(f"takes from an empty stack at byte {self._at}")
        return self._stack.pop()

    def _top(self) -> Any:  # noqa: ANN401
        top = self._pop()
        self._stack.append(top)
        return top

    def _pop_many(self, count: int) -> list[Any]:
        return [self._pop() for _ in range(count)][::-1]

    def _pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while self._stack and self._stack[-1] is not _MARK:
            items.append(self._stack.pop())
        if not self._stack:
            raise PickleFault(f"has no mark at byte {self._at}")
        self._stack.pop()
        return items[::-1]

    def _recall(self, index: int) -> Any:  # noqa: ANN401
        if index not in self._memo:
            raise PickleFault(f"recalls the unknown entry {index} at byte {self._at}")
        return self._memo[index]

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise PickleFault("appends to something other than a list")
        target.extend(items)

    def _update(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(items) % 2 or not all(isinstance(key, str) for key in items[::2]):
            raise PickleFault("expected a dictionary with text keys")
        target.update(zip(items[::2], items[1::2], strict=True))
