"""Plain values (as JSON and TOML hold them) to frozen dataclasses and back, by the dataclasses' own types."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union

from mien.errors import InputError, NotFoundError

__all__ = ["difference", "from_plain", "merged", "nearest", "read_settings", "to_plain", "typed", "with_setting"]

T = TypeVar("T")

_MOST_BYTES: Final = 1 << 20
_MOST_WHOLE: Final = 2**53  # above it floats skip whole numbers


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean lr?``, or the known words.

    >>> nearest("lrr", ["lr", "momentum"])
    '; did you mean lr?'
    """
    known = sorted(known)
    close = difflib.get_close_matches(word, known, 1, 0.5)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def to_plain(value: Any) -> Any:  # noqa: ANN401
    """Dataclasses as dicts, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(v) for v in value]
    return value


@functools.cache
def _fields(cls: Any) -> dict[str, Any]:  # noqa: ANN401
    return typing.get_type_hints(cls)


def from_plain(cls: type[T], plain: Mapping[str, Any], path: str = "") -> T:
    """An instance of a dataclass.

    Raises:
        InputError: unknown keys or wrong types, by their path.
    """
    if not isinstance(plain, Mapping):
        raise InputError(f"{path or cls.__name__}: expected a table of settings, got {plain!r}")
    owner: Any = cls
    known = _fields(owner)
    made = {}
    for key, value in plain.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in known:
            raise InputError(f"{where}: there is no such setting{nearest(str(key), known)}")
        made[key] = typed(known[key], value, where)
    missing = [
        f.name
        for f in dataclasses.fields(cls)  # type: ignore[arg-type]
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and f.name not in made
    ]
    if missing:
        raise InputError(f"{path or cls.__name__}: expected {', '.join(missing)} to be given")
    return cls(**made)


def typed(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401
    """A plain value as a type asks for it: lists as tuples, whole numbers as floats where those are asked for.

    Raises:
        InputError: it is of another type; says `where`.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return _frozen_plain(value, where)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return typed(next(k for k in inner if k is not type(None)), value, where)
    if origin is Literal:
        if value not in inner:
            text = ", ".join(map(str, inner))
            raise InputError(f"{where}: expected one of {text}; got {value!r}{_hint(value, inner)}")
        return value
    if dataclasses.is_dataclass(kind):
        return from_plain(typing.cast("type[Any]", kind), value, where)
    if origin is tuple:
        return _tuple(inner, value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise InputError(f"{where}: expected a table, got {value!r}")
        return {str(k): typed(inner[1], v, f"{where}.{k}") for k, v in value.items()}
    return _scalar(kind, value, where)


def _hint(value: object, known: Iterable[object]) -> str:
    close = difflib.get_close_matches(str(value), [str(k) for k in known], 1, 0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _tuple(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:  # noqa: ANN401
    if isinstance(value, str) and typing.get_origin(inner[0]) is Literal:
        return (typed(inner[0], value, where),)  # one word of a known few needs no brackets
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise InputError(f"{where}: expected a list, got {value!r}")
    kinds = [inner[0]] * len(value) if len(inner) == 2 and inner[1] is Ellipsis else list(inner)
    if len(kinds) != len(value):
        raise InputError(f"{where}: expected {len(kinds)} values, got {len(value)}")
    return tuple(typed(k, v, f"{where}.{i}") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))


def _scalar(kind: type, value: Any, where: str) -> Any:  # noqa: ANN401
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and isinstance(value, int) and abs(value) > _MOST_WHOLE:
        raise InputError(f"{where}: expected a whole number of up to 2**53, got one of {value.bit_length()} bits")
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and number and float(value).is_integer() and abs(value) <= _MOST_WHOLE:
        return int(value)
    if kind is float and number and not math.isnan(value):
        return float(value)
    if kind is str and isinstance(value, str):
        return value
    raise InputError(f"{where}: expected {names.get(kind, kind.__name__)}, got {value!r}")


def _frozen_plain(value: Any, where: str) -> Any:  # noqa: ANN401
    """Options of any kind, as long as JSON can hold them."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{where}: expected a finite number, got {value!r}")
        return value
    if isinstance(value, Mapping):
        return {str(k): _frozen_plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_frozen_plain(v, f"{where}.{i}") for i, v in enumerate(value))
    raise InputError(f"{where}: expected a plain value, got {type(value).__name__}")


def with_setting(cls: type, plain: dict[str, Any], setting: str) -> None:
    """Put one ``a.b=value`` into plain values. The value is TOML (``0.02``, ``true``, ``[1, 2]``), or text as it is.

    Raises:
        InputError: no ``=``, or a path that does not exist.
    """
    path, equals, text = setting.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise InputError(f"--set {setting}: expected NAME=VALUE, such as optimizer.lr=0.02")
    value, here, kind = _value(text.strip()), plain, Any
    kinds: dict[str, Any] = _fields(cls)
    for depth, key in enumerate(keys):
        inside: Any = here
        last = depth == len(keys) - 1
        if isinstance(inside, list):
            if not key.isdigit() or int(key) >= len(inside):
                raise InputError(f"--set {setting}: expected a position below {len(inside)}, got {key!r}")
            at: Any = int(key)
        else:
            if kinds and key not in kinds:
                raise InputError(f"--set {setting}: there is no {key!r}{nearest(key, kinds)}")
            at = key
            if kinds:
                kind = kinds[key]
        if last:
            inside[at] = None if value == "none" and _takes_none(kind) else value
            return
        kinds = _fields_of(kind)
        if isinstance(inside, dict) and inside.get(at) is None:
            inside[at] = {}
        here = inside[at]
        if not isinstance(here, dict | list):
            raise InputError(
                f"--set {setting}: {'.'.join(keys[: depth + 1])} is a value and holds no {keys[depth + 1]!r}"
            )


def merged(cls: type, base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of `cls` after others that state only some: tables are merged, all else is replaced.

    As in [with_setting][], ``"none"`` stands for no value where there may be none: TOML has no word for it. Keys that
    `cls` does not have are kept, for [from_plain][] to refuse.
    """
    return _merged(_fields(cls), base, over)


def _merged(kinds: Mapping[str, Any], base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    plain = dict(base)
    for key, value in over.items():
        kind, inside = kinds.get(key, Any), base.get(key)
        if isinstance(value, Mapping):
            plain[key] = _merged(_fields_of(kind), inside if isinstance(inside, Mapping) else {}, value)
        else:
            plain[key] = None if value == "none" and _takes_none(kind) else value
    return plain


def _takes_none(kind: Any) -> bool:  # noqa: ANN401
    return type(None) in typing.get_args(kind)


def _fields_of(kind: Any) -> dict[str, Any]:  # noqa: ANN401
    """Fields of the dataclass that a type speaks of, through unions and tuples; empty for dicts of options."""
    for inner in (kind, *typing.get_args(kind)):
        if dataclasses.is_dataclass(inner):
            return _fields(typing.cast("type", inner))
    return {}


def _value(text: str) -> Any:  # noqa: ANN401
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except (tomllib.TOMLDecodeError, RecursionError):
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def read_settings(path: Path) -> dict[str, Any]:
    """The table of a ``.json`` or ``.toml`` file.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is too large or neither.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: there is no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if len(data) > _MOST_BYTES:
        raise InputError(f"{path}: expected at most {_MOST_BYTES} bytes of settings")
    try:
        plain = json.loads(data) if path.suffix == ".json" else tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected settings as TOML, or JSON in a file named .json ({error})") from error
    if not isinstance(plain, dict):
        raise InputError(f"{path}: expected a table of settings")
    return plain


def difference(old: Any, new: Any, path: str = "") -> list[str]:  # noqa: ANN401
    """What differs between two plain values, a line each.

    >>> difference({"a": {"b": 1}}, {"a": {"b": 2}})
    ['a.b: 1 -> 2']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in dict.fromkeys([*old, *new]):
            lines += difference(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        return lines
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]
