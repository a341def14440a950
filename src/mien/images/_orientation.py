"""The EXIF orientation tag: finding it in hostile bytes, and turning pixels upright by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EXIF_HEADER", "ORIENTATION_TAG", "exif_orientation", "turn_upright", "valid_orientation"]

EXIF_HEADER: Final = b"Exif\0\0"
ORIENTATION_TAG: Final = 0x0112


def valid_orientation(value: object) -> int:
    """Return `value` if it is one of the eight orientations, else 1 (upright)."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def exif_orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, that an EXIF block states; 1 when it states none or is damaged.

    Reads the first image file directory only, never follows a link, and stops at the block's end: an EXIF block that
    points at itself or announces millions of entries costs nothing.
    """
    block = exif.removeprefix(EXIF_HEADER)
    if block[:4] == b"II*\0":
        order = "little"
    elif block[:4] == b"MM\0*":
        order = "big"
    else:
        return 1
    start = int.from_bytes(block[4:8], order)  # type: ignore[arg-type]
    count = int.from_bytes(block[start : start + 2], order)  # type: ignore[arg-type]
    for at in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        tag, kind = (int.from_bytes(block[at + i : at + i + 2], order) for i in (0, 2))  # type: ignore[arg-type]
        if tag == ORIENTATION_TAG:
            width = {3: 2, 4: 4}.get(kind, 0)  # SHORT, or LONG as some writers have it
            return valid_orientation(int.from_bytes(block[at + 8 : at + 8 + width], order))  # type: ignore[arg-type]
    return 1


def turn_upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return the upright picture of `pixels` (H, W, 3) stored in EXIF `orientation`."""
    turned = pixels
    match orientation:
        case 2:
            turned = cv2.flip(pixels, 1)
        case 3:
            turned = cv2.rotate(pixels, cv2.ROTATE_180)
        case 4:
            turned = cv2.flip(pixels, 0)
        case 5:
            turned = cv2.transpose(pixels)
        case 6:
            turned = cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            turned = cv2.transpose(cv2.rotate(pixels, cv2.ROTATE_180))
        case 8:
            turned = cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return turned
