"""Checks of what is said of a subject before it is kept."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from mien.errors import InputError
from mien.images import person_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["checked_changes"]

_LONGEST = 65_536  # characters of a consent note, and of metadata as JSON
_MOST_GROUPS = 1000


def checked_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """What `Home.describe` is given, cleaned.

    Raises:
        InputError: a key is not one of those that can be changed, or its value cannot be kept.

    >>> checked_changes({"groups": ["staff", "night", "staff"]})
    {'groups': ('night', 'staff')}
    """
    unknown = sorted(changes.keys() - _CHECKS.keys())
    if unknown:
        raise InputError(f"describe: expected some of {', '.join(_CHECKS)}, got {', '.join(unknown)}")
    return {key: _CHECKS[key](value) for key, value in changes.items()}


def _external_id(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"external_id: expected text or None, got {value!r:.60}")
    return person_name(value)  # one form of it is stored and found


def _told(value: object) -> str:
    if value not in ("person", "ignored"):
        raise InputError(f"told: expected 'person' or 'ignored', got {value!r:.60}")
    return str(value)


def _groups(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise InputError(f"groups: expected a list of names, got {value!r:.60}")
    if len(value) > _MOST_GROUPS or not all(isinstance(name, str) for name in value):
        raise InputError(f"groups: expected at most {_MOST_GROUPS} names")
    return tuple(sorted({person_name(name) for name in value}))


def _metadata(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(f"metadata: expected a JSON object, got {value!r:.60}")
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"metadata: cannot be kept as JSON ({error})") from error
    if len(text) > _LONGEST:
        raise InputError(f"metadata: expected at most {_LONGEST} characters of JSON, got {len(text)}")
    return dict(json.loads(text))


def _expires(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"expires: expected seconds since the epoch or None, got {value!r:.60}")
    return float(value)


def _consent(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise InputError(f"consent: expected text of at most {_LONGEST} characters, got {value!r:.60}")
    return value


_CHECKS: Mapping[str, Callable[[object], Any]] = {
    "external_id": _external_id,
    "told": _told,
    "groups": _groups,
    "metadata": _metadata,
    "expires": _expires,
    "consent": _consent,
}
