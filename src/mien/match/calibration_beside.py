"""Calibrations that lie beside the cards of users' models, such as `mien export` writes them.

A folder is looked at when a model of it is opened, never before. Safe to call from several threads at once.
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING, Final

from mien.match.calibration_file import read

if TYPE_CHECKING:
    from pathlib import Path

    from mien.match.calibration import Calibration
    from mien.types import ModelIdentity

__all__ = ["SUFFIX", "found_beside", "offer_calibrations"]

SUFFIX: Final = ".calibration.toml"
"""How the names of calibration files end."""

_MOST: Final = 64  # files of one folder, and folders
_lock = threading.Lock()
_folders: dict[Path, None] = {}


def offer_calibrations(folder: Path) -> None:
    """Let calibrations of this folder be found; the folder that was offered last is looked at first."""
    with _lock:
        place = folder.absolute()
        _folders.pop(place, None)
        _folders[place] = None
        while len(_folders) > _MOST:
            _folders.pop(next(iter(_folders)))


def found_beside(identity: ModelIdentity) -> Calibration | None:
    """The calibration of this model, preset and weights in the offered folders, or None.

    Raises:
        CardError: a file there of that name is no calibration.
    """
    with _lock:
        folders = list(reversed(_folders))
    for folder in folders:
        for path in sorted(islice(folder.glob(f"*{SUFFIX}"), _MOST)):
            calibration = read(path)
            if calibration.belongs_to(identity):
                return calibration
    return None
