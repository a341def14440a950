"""What of a run's settings and facts may be published: models are handed on, whose machine made them is not."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any, Final

__all__ = ["without_folders"]

_ABSOLUTE: Final = re.compile(r"[/\\~]|[A-Za-z]:[/\\]|file:", re.IGNORECASE)


def without_folders(value: Any) -> Any:  # noqa: ANN401 - any plain value
    """Text that is an absolute path is told by its last part; in lists and tables, too, and as a name in a table.

    >>> without_folders({"path": "/home/ann/people", "sizes": [80, "C:/Users/ann/x.txt"], "part": "a/b"})
    {'path': 'people', 'sizes': [80, 'x.txt'], 'part': 'a/b'}
    """
    if isinstance(value, str):
        return PurePath(value.replace("\\", "/")).name if _ABSOLUTE.match(value) else value
    if isinstance(value, dict):
        return {without_folders(key): without_folders(item) for key, item in value.items()}
    return [without_folders(item) for item in value] if isinstance(value, list | tuple) else value
