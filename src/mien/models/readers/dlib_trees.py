"""Reads dlib's shape predictor: a cascade of regression trees that moves a mean face onto a picture's face.

Source: Kazemi and Sullivan, "One Millisecond Face Alignment with an Ensemble of Regression Trees", CVPR 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import ModelFileError
from mien.models.readers.dlib_stream import all_integers, as_floats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.types import Floats

__all__ = ["RegressionTrees", "read_shape_predictor"]

_DEPTH_LIMIT: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class RegressionTrees:
    """A shape predictor's numbers: C cascades of T trees with S splits and S + 1 leaves, F pixels, P points.

    Coordinates are relative to the face box: (0, 0) is its top left and (1, 1) its bottom right corner. In a tree,
    split i is followed by split 2i + 1 where pixel[first] - pixel[second] > threshold, else by 2i + 2; numbers from S
    on are leaves. All arrays are read-only.

    Attributes:
        initial_shape: float32 (P, 2) mean face, (x, y).
        split_pixels: int32 (C, T, S, 2) indices of the two pixels a split compares.
        thresholds: float32 (C, T, S) grey levels.
        leaves: float32 (C, T, S + 1, 2P) what to add to the shape, x and y of each point in turn.
        anchors: int32 (C, F) the point that each pixel is placed relative to.
        deltas: float32 (C, F, 2) the pixel's place relative to its anchor, in the mean face's frame.
    """

    initial_shape: Floats
    split_pixels: NDArray[np.int32]
    thresholds: Floats
    leaves: Floats
    anchors: NDArray[np.int32]
    deltas: Floats

    def __post_init__(self) -> None:
        for name in self.__slots__:
            getattr(self, name).flags.writeable = False


class _Cursor:
    """Walks over the file's integers, checking each announced count against what is left."""

    def __init__(self, tokens: NDArray[np.int64], source: str) -> None:
        self.tokens, self.at, self.source = tokens, 0, source

    def fail(self, problem: str) -> ModelFileError:
        return ModelFileError(f"{self.source}: {problem}; the file is damaged or not a dlib shape predictor")

    def take(self, *shape: int) -> NDArray[np.int64]:
        count = math.prod(shape)
        if count > len(self.tokens) - self.at:
            raise self.fail(f"expected {count} more numbers, found {len(self.tokens) - self.at}")
        self.at += count
        return self.tokens[self.at - count : self.at].reshape(shape)

    def one(self) -> int:
        return int(self.take(1)[0])

    def peek(self, ahead: int) -> int:
        if not 0 <= self.at + ahead < len(self.tokens):
            raise self.fail("ends too early")
        return int(self.tokens[self.at + ahead])

    def expect(self, found: NDArray[np.int64], value: int, what: str) -> None:
        if (found != value).any():
            raise self.fail(f"expected {what} to be {value} everywhere")

    def count(self, what: str) -> int:
        value = self.one()
        if not 0 < value <= len(self.tokens):
            raise self.fail(f"expected the number of {what}, found {value}")
        return value

    def floats(self, pairs: NDArray[np.int64]) -> Floats:
        return as_floats(pairs, source=self.source)

    def indices(self, values: NDArray[np.int64], limit: int, what: str) -> NDArray[np.int32]:
        if values.min() < 0 or values.max() >= limit:
            raise self.fail(f"expected each {what} index to be in 0..{limit - 1}")
        return values.astype(np.int32)


def read_shape_predictor(data: bytes, *, source: str) -> RegressionTrees:
    """Read a shape predictor.

    Args:
        data: the file's bytes.
        source: the file's name, for messages.

    Returns:
        The predictor's arrays.

    Raises:
        ModelFileError: the bytes are not a shape predictor with trees of one size, or are cut short.
    """
    cursor = _Cursor(all_integers(data, source=source), source)
    cursor.expect(cursor.take(1), 1, "the version")
    length = -cursor.peek(0)  # a matrix starts with its rows and columns, negated
    if length <= 0 or length % 2:
        raise cursor.fail("expected a column of x, y pairs as initial shape")
    initial = cursor.floats(_matrices(cursor, cursor.take(2 + 2 * length)[None], length)[0])

    cascades = cursor.count("cascades")
    trees = cursor.peek(0)
    splits = cursor.peek(1)
    if not 0 < trees <= len(cursor.tokens) or splits not in {2**depth - 1 for depth in range(1, _DEPTH_LIMIT)}:
        raise cursor.fail(f"expected full binary trees, found {trees} trees of {splits} splits")
    forest = cursor.take(cascades, 1 + trees * (2 + 4 * splits + (splits + 1) * (2 + 2 * length)))
    cursor.expect(forest[:, 0], trees, "the number of trees")
    tree = forest[:, 1:].reshape(cascades, trees, -1)
    cursor.expect(tree[:, :, 0], splits, "the number of splits")
    nodes = tree[:, :, 1 : 1 + 4 * splits].reshape(cascades, trees, splits, 4)
    cursor.expect(tree[:, :, 1 + 4 * splits], splits + 1, "the number of leaves")
    leaves = tree[:, :, 2 + 4 * splits :].reshape(cascades, trees, splits + 1, 2 + 2 * length)

    cursor.expect(cursor.take(1), cascades, "the number of cascades")
    pixels = cursor.peek(0)
    if not 0 < pixels <= len(cursor.tokens):
        raise cursor.fail(f"expected the number of pixels, found {pixels}")
    anchors = cursor.take(cascades, 1 + pixels)
    cursor.expect(anchors[:, 0], pixels, "the number of pixels")
    cursor.expect(cursor.take(1), cascades, "the number of cascades")
    deltas = cursor.take(cascades, 1 + 4 * pixels)
    cursor.expect(deltas[:, 0], pixels, "the number of pixels")
    if cursor.at != len(cursor.tokens):
        raise cursor.fail(f"expected the end, found {len(cursor.tokens) - cursor.at} more numbers")
    return RegressionTrees(
        initial_shape=initial.reshape(-1, 2),
        split_pixels=cursor.indices(nodes[..., :2], pixels, "pixel"),
        thresholds=cursor.floats(nodes[..., 2:]),
        leaves=cursor.floats(_matrices(cursor, leaves, length)),
        anchors=cursor.indices(anchors[:, 1:], length // 2, "point"),
        deltas=cursor.floats(deltas[:, 1:].reshape(cascades, pixels, 2, 2)),
    )


def _matrices(cursor: _Cursor, tokens: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """The (mantissa, exponent) pairs of columns of `length` floats: (..., 2 + 2 length) to (..., length, 2)."""
    cursor.expect(tokens[..., 0], -length, "the rows of a shape, negated,")
    cursor.expect(tokens[..., 1], -1, "the columns of a shape, negated,")
    return tokens[..., 2:].reshape(*tokens.shape[:-1], length, 2)
