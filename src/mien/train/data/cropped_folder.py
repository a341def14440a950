"""Folders that `mien crop` made: whether their crops are what a network expects, by their manifest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.embed.views import CHIP, DETECTOR_TEMPLATE
from mien.images import ARCFACE_112

if TYPE_CHECKING:
    from pathlib import Path

    from mien.train.data.sources import PictureSpec

__all__ = ["misfit", "was_cropped"]

_MANIFEST: Final = "manifest.jsonl"
_LONGEST: Final = 1 << 20
_TEMPLATES: Final = {"arcface112": (ARCFACE_112, 112), "dlib150": (DETECTOR_TEMPLATE, CHIP)}
_FAR: Final = 0.02  # of the side: landmarks are no more exact than that


def was_cropped(folder: Path) -> dict[str, Any] | None:
    """The settings of `mien crop` for this folder, or None for another folder."""
    try:
        with (folder / _MANIFEST).open("rb") as file:
            head = json.loads(file.readline(_LONGEST))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(head, dict) or head.get("verb") != "crop" or not isinstance(head.get("settings"), dict):
        return None
    settings: dict[str, Any] = head["settings"]
    return settings


def misfit(settings: dict[str, Any], spec: PictureSpec) -> str | None:
    """Why crops made with these settings are not what the network expects; None when they are."""
    if settings.get("align") is not True:
        return "its crops are not aligned"
    template = _TEMPLATES.get(str(settings.get("template")))
    if template is None:
        return f"its template {settings.get('template')!r:.40} is not known"
    points, base = template
    try:
        width, height = settings.get("size") or (base, base)
        width, height, margin = float(width), float(height), float(settings.get("margin") or 0.0)
    except (TypeError, ValueError):
        return "its manifest is damaged"
    if width != height or width < 1:
        return f"its crops are {width:g} x {height:g} pixels, not square"
    # Both in shares of the side, from the outer corner of the first pixel, so that the size does not matter.
    lie = (np.asarray(points, np.float64) + 0.5 - base / 2) / base / (1 + 2 * margin) + 0.5
    wanted = (np.asarray(spec.template, np.float64) + 0.5) / spec.size
    off = float(np.abs(lie - wanted).max())
    if off > _FAR:
        shown = f"template {settings['template']}, margin {margin:g}"
        return f"its faces lie elsewhere than the network expects ({shown}; landmarks are {off:.0%} of the side off)"
    return None
