"""Sources as one numbered set of aligned pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from mien.images import decode
from mien.images.augment import evened
from mien.train.data.framing import eye_distance, square

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mien.train.data.sources import PictureRecords, PictureSpec
    from mien.types import Evening, Pixels

__all__ = ["Decoding", "LeftOut", "Pictures", "Shelf", "TrainingSet", "fitted"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A picture that is not in the set.

    Attributes:
        name: the picture.
        reason: why.
    """

    name: str
    reason: str


class Shelf(Protocol):
    """The pictures of one source, ready to train on. Implementations can be pickled."""

    def __len__(self) -> int: ...

    def picture(self, i: int) -> Pixels:
        """uint8 (size, size, C)."""

    def name(self, i: int) -> str:
        """What messages call it."""


class Decoding:
    """Pictures decoded whenever they are asked for, and resized where their size is another one.

    Safe to use from several threads at once.
    """

    def __init__(self, records: PictureRecords, size: int, channels: int) -> None:
        self._records, self._size, self._channels = records, size, channels

    def __len__(self) -> int:
        return len(self._records)

    def name(self, i: int) -> str:
        """The picture's name in messages."""
        return self._records.name(i)

    def picture(self, i: int) -> Pixels:
        """uint8 (size, size, C). Raises ImageError."""
        encoded = self._records.encoded(i)
        image = decode(encoded, name=None if isinstance(encoded, str) else self._records.name(i))
        return fitted(image.pixels, self._size, self._channels)


def fitted(pixels: Pixels, size: int, channels: int) -> Pixels:
    """An RGB picture as square of `size` with 3 channels or, as luma, 1; shrunk by area, enlarged bilinearly."""
    if pixels.shape[:2] != (size, size):
        way = cv2.INTER_AREA if min(pixels.shape[:2]) > size else cv2.INTER_LINEAR
        pixels = np.asarray(cv2.resize(pixels, (size, size), interpolation=way))
    if channels == 1:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))[:, :, None]
    return pixels


class Pictures:
    """The pictures of several sources, numbered through: what a worker needs. Can be pickled."""

    def __init__(
        self, shelves: Sequence[Shelf], evening: tuple[Evening, ...] = (), *, middle: tuple[float, int] | None = None
    ) -> None:
        self._shelves, self._evening, self._middle = tuple(shelves), evening, middle
        self._starts = np.cumsum([0, *(len(shelf) for shelf in shelves)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def picture(self, i: int) -> Pixels:
        """uint8 (size, size, C). Raises ImageError."""
        shelf, inner = self._place(i)
        pixels = evened(shelf.picture(inner), self._evening)
        if self._middle is None:
            return pixels
        share, size = self._middle
        top, left, side = square(pixels.shape[0], pixels.shape[1], share)
        middle = pixels[top : top + side, left : left + side]
        return np.asarray(cv2.resize(middle, (size, size), interpolation=cv2.INTER_LINEAR)).reshape(size, size, -1)

    def middle(self, share: float, size: int) -> Pictures:
        """The same pictures' middles, a share of their sides, brought to `size`."""
        return Pictures(self._shelves, self._evening, middle=(share, size))

    def uneven(self) -> Pictures:
        """The same pictures in the light that they were taken in."""
        return Pictures(self._shelves, middle=self._middle)

    def name(self, i: int) -> str:
        """What messages call a picture."""
        shelf, inner = self._place(i)
        return shelf.name(inner)

    def _place(self, i: int) -> tuple[Shelf, int]:
        if not 0 <= i < len(self):
            raise IndexError(f"expected a picture from 0 to {len(self) - 1}, got {i}")
        number = int(np.searchsorted(self._starts, i, side="right")) - 1
        return self._shelves[number], i - int(self._starts[number])


class TrainingSet:
    """Aligned pictures of people, numbered over all sources; see `open_training_set`.

    Pictures are RGB whatever the network's colour order is (or one grey channel). Immutable, and safe to use from
    several threads at once.

    Attributes:
        spec: the network's input.
        labels: int64 (N,), read-only: each picture's person, 0 to C - 1.
        origins: int16 (N,), read-only: the number of each picture's source.
        people: the person's name by label; "" where a format holds numbers only.
        proportions: of each source, as its `Source.proportion`.
        left_out: pictures that are not in the set, and why.
        notes: what whoever trains on it should know of how its sources were read.
        shared_names: how many names occur in several sources; those count as different people unless `same_names`.
    """

    def __init__(
        self,
        pictures: Pictures,
        labels: NDArray[np.int64],
        origins: NDArray[np.int16],
        people: tuple[str, ...],
        *,
        spec: PictureSpec,
        proportions: tuple[float | None, ...],
        left_out: tuple[LeftOut, ...] = (),
        notes: tuple[str, ...] = (),
        shared_names: int = 0,
    ) -> None:
        self.pictures, self.labels, self.origins, self.people = pictures, labels, origins, people
        self.spec, self.proportions, self.left_out, self.shared_names = spec, proportions, left_out, shared_names
        self.notes = notes
        for array in (labels, origins):
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.labels)

    def picture(self, i: int) -> Pixels:
        """uint8 (size, size, 3), or (size, size, 1) for a grey network. Raises ImageError."""
        return self.pictures.picture(i)

    def name(self, i: int) -> str:
        """What messages call a picture."""
        return self.pictures.name(i)

    def cut_to(self, spec: PictureSpec) -> TrainingSet:
        """The same set as a network sees it that looks at the middle of these pictures; itself where that is all.

        Args:
            spec: that network's input; its template is this set's, larger and about the same middle.
        """
        if (spec.size, spec.template) == (self.spec.size, self.spec.template):
            return self
        return self._of(self.pictures.middle(eye_distance(self.spec) / eye_distance(spec), spec.size), spec)

    def uneven(self) -> TrainingSet:
        """The same set in the light that its pictures were taken in: for whoever evens it out itself, or not at all."""
        return self._of(self.pictures.uneven(), self.spec)

    def _of(self, pictures: Pictures, spec: PictureSpec) -> TrainingSet:
        return TrainingSet(
            pictures,
            self.labels,
            self.origins,
            self.people,
            spec=spec,
            proportions=self.proportions,
            left_out=self.left_out,
            notes=self.notes,
            shared_names=self.shared_names,
        )

    def close(self) -> None:
        """Let go of all files; the pictures cannot be read afterwards."""
        self.pictures = Pictures(())
