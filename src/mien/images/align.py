"""Cutting faces out upright: similarities between point sets, and warping a picture by them.

Points are (x, y) in pixels, and whole numbers are the centres of pixels. A matrix is (2, 3) and maps a point of the
picture to a point of the chip. Every function here is pure, and safe to call from several threads at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import cv2
import numpy as np

from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from mien.types import Floats, Pixels

__all__ = ["ARCFACE_112", "Border", "invert", "similarity", "transform_points", "warp"]

Border: TypeAlias = Literal["constant", "replicate", "reflect"]
"""What a chip shows beyond the picture: black, the picture's outermost pixels, or its mirror image."""

_EPSILON: Final = 1e-12  # of their distance from the origin: points that are nearer to each other are one
# OpenCV warps four channels in half the time of three, to the same values: worth a copy of up to so many chips' pixels.
_FOURTH: Final = 4
_BORDERS: Final = {
    "constant": cv2.BORDER_CONSTANT,
    "replicate": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
}


def _template(points: list[tuple[float, float]]) -> Floats:
    array = np.array(points, np.float32)
    array.flags.writeable = False
    return array


ARCFACE_112: Final = _template(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
"""Where ArcFace-style models want the five landmarks in a 112 x 112 chip: float32 (5, 2), read-only."""


def similarity(src: ArrayLike, dst: ArrayLike) -> NDArray[np.float64]:
    """Fit the similarity (rotation, uniform scale, shift; no reflection) that takes `src` closest to `dst`.

    Least squares in closed form. Written with complex numbers z = x + iy, a similarity is z -> a z + b, and
    a = sum(conj(z - mean z) (w - mean w)) / sum |z - mean z|^2. Points on one line are enough: two distinct ones
    decide.

    Args:
        src: (..., P, 2) points, P >= 2.
        dst: (..., P, 2) points; leading dimensions broadcast against those of `src`.

    Returns:
        float64 (..., 2, 3) matrices.

    Raises:
        InputError: a point is NaN or infinite, all `src` points coincide, or the best fit collapses to a single point
            (all `dst` points coincide): there is no chip to cut then.
        ValueError: the shapes do not fit.

    Source:
        S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991, eq. 40-42.
    """
    p, q = np.asarray(src, np.float64), np.asarray(dst, np.float64)
    if p.ndim < 2 or q.ndim < 2 or p.shape[-1] != 2 or p.shape[-2:] != q.shape[-2:] or p.shape[-2] < 2:
        raise ValueError(f"similarity: expected two arrays (..., P, 2) with the same P >= 2, got {p.shape}, {q.shape}")
    if p.size == q.size == 2 * p.shape[-2]:  # one face: plain numbers take a tenth of the time of arrays so small
        here, there = p.ravel().tolist(), q.ravel().tolist()
        a, b, x, y, usable = _fit(here[::2], here[1::2], there[::2], there[1::2])
        fitted = np.array([(a, -b, x), (b, a, y)]).reshape(*(1,) * (max(p.ndim, q.ndim) - 2), 2, 3)
    else:
        arrays = [list(np.moveaxis(points[..., i], -1, 0)) for points in (p, q) for i in (0, 1)]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            a, b, x, y, usable = _fit(*arrays)
        fitted = np.stack([a, -b, x, b, a, y], axis=-1).reshape(*a.shape, 2, 3)
    if not np.all(usable):
        if not (np.isfinite(p).all() and np.isfinite(q).all()):
            raise InputError("similarity: expected finite points, got NaN or infinity")
        raise InputError("similarity: expected distinct points that can be aligned, got points that (nearly) coincide")
    return fitted


def _fit(xs: Sequence[Any], ys: Sequence[Any], us: Sequence[Any], vs: Sequence[Any]) -> tuple[Any, Any, Any, Any, Any]:
    """Fit P points (x, y) to P points (u, v); coordinates are all numbers or all arrays, and the same to the last bit.

    Returns:
        The matrix as ((a, -b, x), (b, a, y)), and whether it can be used.
    """
    count = len(xs)
    x_mean, y_mean, u_mean, v_mean = (sum(values) / count for values in (xs, ys, us, vs))
    along = across = spread = 0.0
    for x, y, u, v in zip(xs, ys, us, vs, strict=True):
        x, y, u, v = x - x_mean, y - y_mean, u - u_mean, v - v_mean  # noqa: PLW2901
        along, across, spread = along + (x * u + y * v), across + (x * v - y * u), spread + (x * x + y * y)
    # Rounding leaves a spread of about eps * magnitude where the points are in truth equal; and where a point is NaN or
    # infinite, so is what is compared.
    least = _EPSILON * (1.0 + abs(x_mean) + abs(y_mean)), _EPSILON * (1.0 + abs(u_mean) + abs(v_mean))
    apart = spread > least[0] * least[0]
    if apart is False:
        return 0.0, 0.0, 0.0, 0.0, False
    a, b, square = along / spread, across / spread, along * along + across * across
    fits = apart & (square > spread * (least[1] * least[1])) & (square < math.inf) & (spread < math.inf)
    return a, b, u_mean - (a * x_mean - b * y_mean), v_mean - (b * x_mean + a * y_mean), fits


def transform_points(points: ArrayLike, matrices: ArrayLike) -> NDArray[np.float64]:
    """Apply matrices to points.

    Args:
        points: (..., P, 2).
        matrices: (..., 2, 3); leading dimensions broadcast against those of `points`.

    Returns:
        float64 (..., P, 2).

    >>> transform_points([[1.0, 2.0]], [[2.0, 0.0, 10.0], [0.0, 2.0, 20.0]]).tolist()
    [[12.0, 24.0]]
    """
    p, m = np.asarray(points, np.float64), np.asarray(matrices, np.float64)
    result: NDArray[np.float64] = p @ m[..., :2].swapaxes(-1, -2) + m[..., None, :, 2]
    return result


def invert(matrices: ArrayLike) -> NDArray[np.float64]:
    """Return the matrices that undo `matrices`, both (..., 2, 3).

    Raises:
        InputError: a matrix is not finite or cannot be undone.

    >>> invert([[2.0, 0.0, 10.0], [0.0, 2.0, 20.0]]).tolist()
    [[0.5, 0.0, -5.0], [0.0, 0.5, -10.0]]
    """
    m = np.asarray(matrices, np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        det = m[..., 0, 0] * m[..., 1, 1] - m[..., 0, 1] * m[..., 1, 0]
        linear = np.empty((*m.shape[:-2], 2, 2))
        linear[..., 0, 0], linear[..., 1, 1] = m[..., 1, 1] / det, m[..., 0, 0] / det
        linear[..., 0, 1], linear[..., 1, 0] = 0.0 - m[..., 0, 1] / det, 0.0 - m[..., 1, 0] / det
        shift = 0.0 - linear @ m[..., 2:]
    result = np.concatenate([linear, shift], -1)
    if not np.isfinite(result).all():
        raise InputError("invert: expected matrices that can be undone, got a singular one, NaN or infinity")
    return result


def warp(
    image: NDArray[np.uint8],
    matrices: ArrayLike,
    size: tuple[int, int],
    *,
    border: Border = "constant",
    antialias: bool = True,
) -> Pixels:
    """Cut chips out of a picture: every chip pixel is the picture at the place that its matrix maps there.

    Bilinear. Where a chip is at least twice smaller than its part of the picture, that part is first shrunk by area
    averaging, so that large faces do not alias; the cost stays proportional to the part, not to the picture.

    Args:
        image: uint8 (H, W, 3) or (H, W).
        matrices: (N, 2, 3), picture to chip (see `similarity`).
        size: (width, height) of the chips.
        border: what lies beyond the picture.
        antialias: False samples the full-size picture always.

    Returns:
        uint8 (N, height, width, 3), or (N, height, width) of a grey picture.

    Raises:
        InputError: a matrix is not finite or singular.
        ValueError: the shapes do not fit.
    """
    m = np.asarray(matrices, np.float64)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"warp: expected a uint8 picture (H, W, 3) or (H, W), got {image.dtype} {image.shape}")
    if m.ndim != 3 or m.shape[1:] != (2, 3):
        raise ValueError(f"warp: expected matrices (N, 2, 3), got {m.shape}")
    width, height = size
    if width < 1 or height < 1:
        raise ValueError(f"warp: expected a chip of at least 1 x 1 pixels, got {size}")
    chips = np.empty((len(m), height, width, *image.shape[2:]), np.uint8)
    if not len(m):
        return chips
    mode, flags = _BORDERS[border], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for chip, rows in zip(chips, m.tolist(), strict=True):
        _warp_one(image, rows, chip, antialias=antialias, flags=flags, mode=mode)
    return chips


def _warp_one(
    image: NDArray[np.uint8],
    rows: list[list[float]],
    chip: NDArray[np.uint8],
    *,
    antialias: bool,
    flags: int,
    mode: int,
) -> None:
    """One chip of `warp`; in plain numbers, for arrays so small cost more to handle than to compute."""
    height, width = chip.shape[:2]
    (xx, xy, dx), (yx, yy, dy), shrinks = _inverse(rows)
    factor = max(1, math.floor(shrinks + 1e-9)) if antialias else 1
    # The part of the picture that the chip can see, with a margin for interpolation, clipped to the picture.
    x0, x1 = _seen(dx, xx * (width - 1), xy * (height - 1), 2 * factor + 2, image.shape[1])
    y0, y1 = _seen(dy, yx * (width - 1), yy * (height - 1), 2 * factor + 2, image.shape[0])
    part, back = image[y0:y1, x0:x1], np.array([(xx, xy, dx - x0), (yx, yy, dy - y0)])
    if factor >= 2:
        part, back = _shrink(part, back, factor)
    if part.ndim == 3 and part.shape[2] == 3 and part.shape[0] * part.shape[1] <= _FOURTH * width * height:
        part = cv2.cvtColor(part, cv2.COLOR_RGB2RGBA)
        drawn = cv2.warpAffine(part, back, (width, height), flags=flags, borderMode=mode)
        cv2.cvtColor(drawn, cv2.COLOR_RGBA2RGB, dst=chip)
    else:
        cv2.warpAffine(part, back, (width, height), dst=chip, flags=flags, borderMode=mode)


def _inverse(rows: list[list[float]]) -> tuple[tuple[float, float, float], tuple[float, float, float], float]:
    """As `invert`, of one matrix, and how many times smaller the matrix makes a length."""
    (a, b, c), (d, e, f) = rows
    det = a * e - b * d
    if det and math.isfinite(det):
        xx, xy, yx, yy = e / det, -b / det, -d / det, a / det
        dx, dy = -(xx * c + xy * f), -(yx * c + yy * f)
        if all(map(math.isfinite, (xx, xy, yx, yy, dx, dy))):
            return (xx, xy, dx), (yx, yy, dy), 1 / math.sqrt(abs(det))
    raise InputError("warp: expected matrices that can be undone, got a singular one, NaN or infinity")


def _seen(start: float, along: float, across: float, margin: float, edge: int) -> tuple[int, int]:
    """First and last pixel, and one, that a parallelogram covers on one axis, inside the picture."""
    least = start + min(along, 0.0) + min(across, 0.0) - margin
    most = start + max(along, 0.0) + max(across, 0.0) + margin
    low = math.floor(min(max(least, 0), edge - 1))
    return low, math.ceil(min(max(most + 1, low + 1), edge))


def _shrink(
    part: NDArray[np.uint8], inverse: NDArray[np.float64], factor: float
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return `part` about `factor` times smaller, and the chip-to-part matrix for it."""
    h, w = part.shape[:2]
    small = max(1, math.ceil(w / factor)), max(1, math.ceil(h / factor))
    ratio = np.array([small[0] / w, small[1] / h])
    # Pixel i covers [i - 1/2, i + 1/2]: scale about the picture's outer corner, not about the first pixel's centre.
    scaled = inverse * ratio[:, None]
    scaled[:, 2] += (ratio - 1) / 2
    return cv2.resize(part, small, interpolation=cv2.INTER_AREA), scaled
