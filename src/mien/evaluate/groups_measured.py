"""Attributes that are measured from the pictures themselves, for those who have no list of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.groups_ranges import Ranges
from mien.evaluate.groups_values import valued
from mien.images import decode
from mien.models.session import available_cores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.evaluate.embeddings import Embedded
    from mien.evaluate.groups_values import Attribute
    from mien.evaluate.protocols.pictures import Picture
    from mien.types import Floats, Pixels

__all__ = ["MEASURED", "check_measured", "is_grey", "measured_attributes", "yaw"]

MEASURED: Final = ("colour", "size", "turn")
"""What can be measured: grey against colour, pixels between the eyes, and how far the head is turned."""

EYES: Final = Ranges("size", ("0-19 px", "20-39 px", "40+ px"), (0.0, 20.0, 40.0))
TURNS: Final = Ranges("turn", ("frontal", "half", "side"), (0.0, 15.0, 35.0))

NOSE: Final = 0.5
"""How far the tip of the nose stands before the line of the eyes, in distances between the eyes; of a mean head."""

GREY: Final = 6
"""Colour channels of a grey picture differ by less (99th percentile): JPEG's colour planes are not exact."""


def measured_attributes(names: Sequence[str], pictures: Sequence[Picture], embedded: Embedded) -> list[Attribute]:
    """Measure attributes.

    Args:
        names: which, of `MEASURED`.
        pictures: N pictures; they are only read again for "colour".
        embedded: where their faces are. Without a face nothing but the colour is known.

    Raises:
        InputError: there is no such attribute.
    """
    check_measured(names)
    found = []
    for name in dict.fromkeys(names):
        if name == "colour":
            found.append(valued("colour", _colours(pictures), order=("grey", "colour")))
        elif name == "size":
            eyes = np.hypot(*(embedded.landmarks[:, 1] - embedded.landmarks[:, 0]).T)
            found.append(_placed("size", eyes, EYES, embedded))
        else:
            found.append(_placed("turn", np.abs(yaw(embedded.landmarks)), TURNS, embedded))
    return found


def check_measured(names: Sequence[str]) -> None:
    """Raises InputError: a name is not in `MEASURED`."""
    for name in names:
        if name not in MEASURED:
            raise InputError(f"--measure: expected some of {', '.join(MEASURED)}, got {name!r}")


def yaw(landmarks: Floats) -> Floats:
    """How far heads are turned, in degrees; rough, and blind to what tells a face turned 60 from one turned 90.

    Seen from the front the nose lies between the eyes. Turned by an angle, it moves aside by the sine of it times its
    height above the eyes' line, and the eyes come together by the cosine.

    Args:
        landmarks: (N, 5, 2).

    Returns:
        (N,), positive where the nose points to the right of the picture; NaN where there are no landmarks.
    """
    left, right, nose = landmarks[:, 0], landmarks[:, 1], landmarks[:, 2]
    eyes = right - left
    length = np.maximum(np.einsum("nd,nd->n", eyes, eyes), 1e-6)
    aside = np.einsum("nd,nd->n", nose - (left + right) / 2, eyes) / length
    return np.asarray(np.degrees(np.arctan(aside / NOSE)), np.float32)


def is_grey(pixels: Pixels) -> bool:
    """Whether a picture (H, W, 3) has no colour worth the name."""
    part = pixels[:: max(1, pixels.shape[0] // 256), :: max(1, pixels.shape[1] // 256)].astype(np.int16)
    return bool(np.percentile(part.max(axis=2) - part.min(axis=2), 99) < GREY)


def _placed(name: str, values: Floats, ranges: Ranges, embedded: Embedded) -> Attribute:
    place = np.where(embedded.found, ranges.place(np.nan_to_num(values.astype(np.float64))), -1)
    return valued(name, [ranges.labels[p] if p >= 0 else "" for p in place.tolist()], order=ranges.labels)


def _colours(pictures: Sequence[Picture]) -> list[str]:
    def colour(picture: Picture) -> str:
        try:
            return "grey" if is_grey(decode(picture.source).pixels) else "colour"
        except InputError:
            return ""

    with ThreadPoolExecutor(available_cores(), thread_name_prefix="mien-colour") as pool:
        return list(pool.map(colour, pictures))
