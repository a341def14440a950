"""People who do not exist, made of those who do: for sets of few people, which a network soon knows by heart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np

from mien.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.train.data.training_set import Pictures
    from mien.types import Floats, Pixels

__all__ = ["REAL", "VirtualPeople", "virtual_each"]

REAL: Final = -1
"""In place of a virtual person's number: the person as it is."""

_MOST: Final = 10_000  # virtual people in all: beyond that there are enough real ones, and the head grows
_MASKS: Final = 5
_ROWS: Final = 5  # brows, eyes, nose, mouth, chin
_WIDER: Final = 0.12  # most by which a row of the face becomes wider or narrower
_LOWER: Final = 0.045  # most by which a row moves up or down, as a share of the side
_CANDIDATES: Final = 4  # pictures of the other person, of which the most alike is taken
_THUMB: Final = 8


class _Recipe(NamedTuple):
    """What makes a virtual person."""

    other: int  # who lends a part; the person itself for none
    part: int
    wider: NDArray[np.float32]  # (5,) by row
    lower: NDArray[np.float32]


class VirtualPeople:
    """To each person of a set, some who share its pictures: with other proportions, with a part of another's face.

    Person p's are the numbers p * each to (p + 1) * each - 1. Each is always made in the same way, which (seed, number)
    decides: rows of the face are wider or narrower, higher or lower; and half have another's part (the upper half, the
    eyes, the mouth, the middle of the face, or the nose), in the light of the picture that it comes into. To tell them
    from each other and from the person, a network cannot do with the one feature that gives somebody away.

    Immutable, safe to use from several threads at once, and can be pickled.

    Args:
        labels: int64 (N,): each picture's person, 0 to C - 1.
        origins: (N,): each picture's source; parts are lent within a source only.
        template: (5, 2): where the landmarks of the aligned pictures lie.
        side: of the pictures, in pixels.
        each: virtual people to a person.
        seed: 0 or more.

    Attributes:
        each: as given.
        count: of all virtual people.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        origins: NDArray[np.int16],
        template: Floats,
        side: int,
        *,
        each: int,
        seed: int,
    ) -> None:
        if each < 1:
            raise InputError(f"virtual people: expected 1 or more to a person, got {each}")
        people = int(labels.max()) + 1 if len(labels) else 0
        self.each, self.count, self._seed, self._side = each, each * people, seed, side
        self._by_person = np.argsort(labels, kind="stable")
        self._starts = np.searchsorted(labels[self._by_person], np.arange(people + 1))
        self._origin = np.zeros(people, np.int64)
        self._origin[labels] = origins
        self._of_origin = {int(o): np.flatnonzero(self._origin == o) for o in np.unique(self._origin)}
        self._masks = _part_masks(np.asarray(template, np.float64), side)
        self._rows = _row_weights(np.asarray(template, np.float64), side)

    def draw(self, labels: NDArray[np.int64], share: float, rng: np.random.Generator) -> NDArray[np.int64]:
        """A virtual person, or [REAL][], for each picture of a batch: the same for all of one person's.

        Args:
            labels: int64 (b,).
            share: of the people that a virtual one stands in for, on average.
            rng: decides.
        """
        people, place = np.unique(labels, return_inverse=True)
        chosen = people * self.each + rng.integers(self.each, size=len(people))
        return np.where(rng.random(len(people)) < share, chosen, REAL)[place]

    def picture(self, number: int, pixels: Pixels, pictures: Pictures, rng: np.random.Generator) -> Pixels:
        """A picture of a virtual person.

        Args:
            number: who, 0 to `count` - 1.
            pixels: uint8 (side, side, C): a picture of the person it is made from.
            pictures: the set's, for the part of another person.
            rng: decides which of the other's pictures.

        Raises:
            ImageError: the other's picture cannot be read.
        """
        made = self._recipe(number)
        out = pixels
        if made.other != number // self.each:
            lent = self._lent(made.other, pixels, pictures, rng)
            mask = self._masks[made.part]
            shape = out.shape
            out = cv2.blendLinear(np.ascontiguousarray(out), lent.reshape(shape), 1 - mask, mask).reshape(shape)
        return self._warped(np.asarray(out, np.uint8), made.wider, made.lower)

    def _recipe(self, number: int) -> _Recipe:
        rng = np.random.Generator(np.random.SFC64([self._seed, number]))
        person = number // self.each
        others = self._of_origin[int(self._origin[person])]
        lends = rng.random()
        other = int(others[rng.integers(len(others) - 1)]) if len(others) > 1 else person
        if other == person and len(others) > 1:
            other = int(others[-1])  # the draw leaves out the last one, which stands in for the person itself
        if lends >= 0.5:
            other = person
        part = int(rng.integers(_MASKS))
        wider, lower = rng.uniform(-1, 1, (2, _ROWS)).astype(np.float32)
        return _Recipe(other, part, _WIDER * wider, _LOWER * self._side * lower)

    def _lent(self, person: int, pixels: Pixels, pictures: Pictures, rng: np.random.Generator) -> Pixels:
        """The other's picture that is most like this one (turned and lit alike), in this one's light."""
        low, high = self._starts[person], self._starts[person + 1]
        found = self._by_person[low + rng.integers(high - low, size=_CANDIDATES)]
        candidates = [pictures.picture(int(i)) for i in dict.fromkeys(found.tolist())]
        here, there = _thumb(pixels), [_thumb(each) for each in candidates]
        best = int(np.argmin([float(np.square(here - each).sum()) for each in there]))
        inner = slice(self._side // 4, self._side - self._side // 4)
        (mean, spread), (own, wide) = _light(pixels[inner, inner]), _light(candidates[best][inner, inner])
        gain = float(np.clip(spread / max(wide, 1.0), 0.6, 1.6))
        shifted = candidates[best] * np.float32(gain) + (mean - gain * own).astype(np.float32)
        lent: Pixels = np.clip(shifted, 0, 255).astype(np.uint8)
        return lent

    def _warped(self, pixels: Pixels, wider: NDArray[np.float32], lower: NDArray[np.float32]) -> Pixels:
        half = np.float32((self._side - 1) / 2)
        grid = np.arange(self._side, dtype=np.float32)
        across = (grid - half) / half
        bulge = 2 * half * across * (1 - np.abs(across))  # nothing at the middle and at the border
        x = grid[None, :] + (self._rows @ wider)[:, None] * bulge[None, :]
        y = np.broadcast_to((grid + self._rows @ lower)[:, None], x.shape)
        out = cv2.remap(pixels, x, np.ascontiguousarray(y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(out).reshape(pixels.shape)


def virtual_each(asked: int, people: int) -> int:
    """How many virtual people each of so many real ones gets: fewer than asked for where they would be many in all."""
    return min(asked, _MOST // max(people, 1))


def _thumb(pixels: Pixels) -> NDArray[np.float32]:
    """The middle of a face, very small, without its brightness and contrast: says how it is turned and lit."""
    side = pixels.shape[0]
    inner = pixels[side // 5 : side - side // 5, side // 5 : side - side // 5]
    grey = cv2.resize(np.ascontiguousarray(inner), (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).reshape(
        _THUMB, _THUMB, -1
    )
    plain = grey.mean(2, dtype=np.float32)
    plain -= plain.mean()
    plain /= np.float32(max(float(plain.std()), 1.0))
    return np.asarray(plain, np.float32)


def _light(pixels: Pixels) -> tuple[NDArray[np.float64], float]:
    """Mean of each channel, and the spread of all."""
    mean, deviation = cv2.meanStdDev(np.ascontiguousarray(pixels))
    return mean[:, 0], float(deviation.mean())


def _part_masks(template: NDArray[np.float64], side: int) -> list[NDArray[np.float32]]:
    """Soft masks (side, side): upper half, eyes, mouth, middle of the face, nose."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float64)
    eyes, nose, mouth = template[:2, 1].mean(), template[2, 1], template[3:, 1].mean()
    middle, unit = template[:, 0].mean(), mouth - eyes
    hard = [
        y < eyes + 0.3 * unit,
        (y > eyes - 0.4 * unit) & (y < eyes + 0.35 * unit),
        y > mouth - 0.25 * unit,
        ((x - middle) / (0.85 * unit)) ** 2 + ((y - (eyes + mouth) / 2) / unit) ** 2 < 1,
        (np.abs(x - middle) < 0.45 * unit) & (y > eyes) & (y < nose + 0.3 * unit),
    ]
    return [cv2.GaussianBlur(each.astype(np.float32), (0, 0), 0.12 * float(unit)) for each in hard]


def _row_weights(template: NDArray[np.float64], side: int) -> NDArray[np.float32]:
    """(side, 5): how much each row of pixels follows brows, eyes, nose, mouth and chin; nothing at the borders."""
    eyes, nose, mouth = template[:2, 1].mean(), template[2, 1], template[3:, 1].mean()
    unit = mouth - eyes
    knots = np.array([0.0, eyes - 0.38 * unit, eyes, nose, mouth, mouth + 0.45 * unit, side - 1.0])
    knots = np.maximum.accumulate(np.clip(knots, 0, side - 1))
    grid = np.arange(side)
    weights = np.stack([np.interp(grid, knots, row) for row in np.eye(len(knots))[1:-1]], axis=1)
    smooth = cv2.GaussianBlur(weights.astype(np.float32), (1, 0), sigmaX=0.01, sigmaY=0.07 * float(unit))
    return np.asarray(smooth, np.float32)
