"""Pictures of one size at several scales, each resized once and shared by the three stages of MTCNN.

Two families of scales serve two needs. *Mips* (1, 1/2, 1/4, ...) are what faces are cut from: halving is the cheapest
good resize there is, and a cut from the right mip never shrinks by much more than two, where bilinear sampling is
still clean. *Levels* (the detector's own scales) are each resized from the next larger mip and thrown away after use.

Coordinates are edge-based: the first pixel covers 0 to 1, and a point scales by the ratio of the sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mien.types import Floats, Pixels

__all__ = ["Pyramid", "scales_for"]

_REMAP_SIDE = 32_000  # OpenCV's remap refuses sides of 32,767 and more, of the source and of the result
_REMAP_STEPS = 32  # OpenCV's remap interpolates between this many places in a pixel
_SMALLEST_MIP = 24


def scales_for(size: tuple[int, int], min_face: float, factor: float, cell: int = 12) -> list[float]:
    """The scales at which a window of `cell` pixels covers faces from `min_face` up to the whole picture.

    Args:
        size: (width, height) of the picture.
        min_face: side of the smallest face, in pixels.
        factor: ratio of one scale to the one before, between 0 and 1.
        cell: side of the window.

    Returns:
        Falling scales; empty when the picture is smaller than the window or than `min_face`.
    """
    scales = []
    scale = cell / min_face
    while min(size) * scale >= cell:
        scales.append(scale)
        scale *= factor
    return scales


class Pyramid:
    """Mips of n pictures of one size, stacked. Not shared between threads: each call of the detector makes its own.

    Args:
        images: n RGB uint8 (H, W, 3) of one shape; a single picture is used in place, several are copied.
    """

    def __init__(self, images: Sequence[Pixels]) -> None:
        height, width = images[0].shape[:2]
        self.count, self.width, self.height = len(images), width, height
        # A black row and column between stacked pictures: a cut that reaches out of one does not see the next.
        self._gap = int(len(images) > 1)
        self._mips: list[Pixels] = [self._stack(images)]
        while min(self._sides(len(self._mips))) >= _SMALLEST_MIP:
            finer = self._pictures(len(self._mips) - 1)
            self._mips.append(self._resized(finer, self._sides(len(self._mips)), self._gap))

    @staticmethod
    def at_once(shape: tuple[int, ...]) -> int:
        """How many pictures of a shape are worth stacking: small ones by the dozen, large ones alone."""
        height, width = shape[:2]
        return max(1, min(2_000_000 // (height * width), _REMAP_SIDE // (height + 1)))

    def level(self, scale: float) -> Pixels:
        """All pictures at one scale: uint8 (n, h, w, 3), contiguous."""
        width, height = max(1, round(self.width * scale)), max(1, round(self.height * scale))
        mip = 0
        while mip + 1 < len(self._mips) and all(
            s >= want for s, want in zip(self._sides(mip + 1), (width, height), strict=True)
        ):
            mip += 1
        return self._resized(self._pictures(mip), (width, height), 0)

    def crops(self, pictures: NDArray[np.intp], squares: Floats, side: int) -> Pixels:
        """Cut squares out of the pictures and resize them; what lies outside a picture is black.

        Args:
            pictures: (N,) which picture each square lies in.
            squares: (N, 4) xyxy in picture pixels.
            side: side of the result.

        Returns:
            uint8 (N, side, side, 3).
        """
        out = np.empty((len(squares), side, side, 3), np.uint8)
        shrink = np.maximum((squares[:, 2] - squares[:, 0]) / side, 1)
        mips = np.clip(np.floor(np.log2(shrink) + 0.15), self._finest(), len(self._mips) - 1).astype(np.intp)
        at_once = _REMAP_SIDE // side
        for mip in np.unique(mips).tolist():
            here = np.flatnonzero(mips == mip)
            for start in range(0, len(here), at_once):
                some = here[start : start + at_once]
                out[some] = self._cut(mip, pictures[some], squares[some], side)
        return out

    def _cut(self, mip: int, pictures: NDArray[np.intp], squares: Floats, side: int) -> Pixels:
        width, height = self._sides(mip)
        steps = (np.arange(side, dtype=np.float32) + 0.5) / side
        scale = np.array([width / self.width, height / self.height], np.float32)
        low, span = squares[:, :2] * scale, (squares[:, 2:] - squares[:, :2]) * scale
        x = low[:, :1] + span[:, :1] * steps - 0.5
        y = low[:, 1:] + span[:, 1:] * steps - 0.5
        np.clip(x, -1, width, out=x)  # -1 and `width` are black: the gap, or outside everything
        np.clip(y, -1, height, out=y)
        # The grid that remap rounds to: there, adding whole rows is exact, and crops do not depend on neighbours.
        np.rint(x * _REMAP_STEPS, out=x)
        np.rint(y * _REMAP_STEPS, out=y)
        x /= _REMAP_STEPS
        y /= _REMAP_STEPS
        y += (pictures * (height + self._gap)).astype(np.float32)[:, None]
        shape = (len(squares), side, side)
        map_x, map_y = np.empty(shape, np.float32), np.empty(shape, np.float32)
        map_x[:], map_y[:] = x[:, None, :], y[:, :, None]
        stack = self._mips[mip]
        return np.asarray(
            cv2.remap(
                stack.reshape(-1, *stack.shape[2:]),
                map_x.reshape(-1, side),
                map_y.reshape(-1, side),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
            )
        ).reshape(*shape, 3)

    def _sides(self, mip: int) -> tuple[int, int]:
        return self.width >> mip, self.height >> mip

    def _finest(self) -> int:
        """The finest mip that remap accepts; above 0 only for a picture with a side beyond its limit."""
        mip = 0
        while mip + 1 < len(self._mips) and max(self._sides(mip)) > _REMAP_SIDE:
            mip += 1
        return mip

    def _pictures(self, mip: int) -> list[Pixels]:
        width, height = self._sides(mip)
        return [picture[:height, :width] for picture in self._mips[mip]]

    def _stack(self, images: Sequence[Pixels]) -> Pixels:
        if len(images) == 1:
            return np.ascontiguousarray(images[0])[None]
        stack = np.zeros((len(images), self.height + 1, self.width + 1, 3), np.uint8)
        for picture, image in zip(stack, images, strict=True):
            picture[: self.height, : self.width] = image
        return stack

    @staticmethod
    def _resized(pictures: list[Pixels], size: tuple[int, int], gap: int) -> Pixels:
        width, height = size
        make = np.zeros if gap else np.empty
        out: Pixels = make((len(pictures), height + gap, width + gap, 3), np.uint8)
        for picture, to in zip(pictures, out, strict=True):
            if picture.shape[:2] == (height, width):
                to[:height, :width] = picture
            else:
                cv2.resize(picture, size, dst=to[:height, :width], interpolation=cv2.INTER_LINEAR)
        return out
