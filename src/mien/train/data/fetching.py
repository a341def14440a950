"""The pictures of one batch, read and changed: what a worker does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import cv2
import numpy as np

from mien.errors import InputError, MienError
from mien.images.augment import augmented, generator
from mien.train.data.virtual_people import REAL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.images.augment import Augmentation
    from mien.train.data.training_set import Pictures
    from mien.train.data.virtual_people import VirtualPeople
    from mien.types import Floats, Pixels

__all__ = ["Fetched", "Fetcher", "Work"]

_MOST_SKIPPED: Final = 100  # unreadable pictures in a row


class Work(NamedTuple):
    """One share of a batch.

    Attributes:
        epoch: which.
        indices: int64 (b,): the pictures.
        repeats: int64 (b,): how often each came before in this epoch.
        virtual: int64 (b,): the virtual person that each is made into, or REAL; None for none.
    """

    epoch: int
    indices: NDArray[np.int64]
    repeats: NDArray[np.int64]
    virtual: NDArray[np.int64] | None = None


class Fetched(NamedTuple):
    """What became of it.

    Attributes:
        pictures: uint8 (b, size, size, C), or (b, V, size, size, C) with several views.
        indices: int64 (b,): the pictures; others than were asked for where one was unreadable.
        skipped: what was unreadable and why.
        virtual: int64 (b,): whom each shows, or REAL for the person whose picture it is.
    """

    pictures: NDArray[np.uint8]
    indices: NDArray[np.int64]
    skipped: list[str]
    virtual: NDArray[np.int64]


class Fetcher:
    """Reads and changes pictures. Immutable, safe to use from several threads at once, and can be pickled.

    Args:
        pictures: the set's.
        augment: how they are changed; None for not at all.
        seed: decides the changes, with the epoch and the picture's number.
        views: how many versions of each picture.
        skip: take the next picture that can be read in place of an unreadable one, instead of raising.
        landmarks: float32 (5, 2): where those of an aligned face lie, for changes that need them.
        virtual: makes pictures of people who do not exist, for works that ask for them.
    """

    def __init__(
        self,
        pictures: Pictures,
        augment: Augmentation | None,
        *,
        seed: int,
        views: int = 1,
        skip: bool = False,
        landmarks: Floats | None = None,
        virtual: VirtualPeople | None = None,
    ) -> None:
        self._pictures, self._augment, self._seed, self._views, self._skip = pictures, augment, seed, views, skip
        self._landmarks, self._virtual = landmarks, virtual

    def fetch(self, work: Work) -> Fetched:
        """The pictures of a share of a batch.

        Raises:
            InputError: a picture cannot be read (with `skip`: a hundred in a row).
        """
        indices = work.indices.copy()
        virtual = np.full(len(indices), REAL) if work.virtual is None else work.virtual.copy()
        skipped: list[str] = []
        out: NDArray[np.uint8] | None = None
        for place, (index, repeat) in enumerate(zip(indices.tolist(), work.repeats.tolist(), strict=True)):
            pixels, found = self._read(index, skipped)
            indices[place] = found
            pixels, virtual[place] = self._imagined(pixels, work, place, found, skipped)
            for view in range(self._views):
                changed = self._changed(pixels, work.epoch, found, repeat * self._views + view)
                if out is None:
                    out = np.empty((len(indices), self._views, *changed.shape), np.uint8)
                out[place, view] = changed
        if out is None:
            raise ValueError("expected at least one picture")
        return Fetched(out[:, 0] if self._views == 1 else out, indices, skipped, virtual)

    def _read(self, index: int, skipped: list[str]) -> tuple[Pixels, int]:
        """A picture and its number: the next one's that can be read, where unreadable ones are skipped."""
        for further in range(_MOST_SKIPPED):
            found = (index + further) % len(self._pictures)
            try:
                return self._pictures.picture(found), found
            except MienError as error:
                if not self._skip:
                    raise
                skipped.append(str(error))
        raise InputError(f"{_MOST_SKIPPED} pictures in a row cannot be read; the last one: {skipped[-1]}")

    def _imagined(self, pixels: Pixels, work: Work, place: int, found: int, skipped: list[str]) -> tuple[Pixels, int]:
        """A picture of the virtual person that is asked for, and who; as it is where nobody is, or it cannot be."""
        number = REAL if work.virtual is None else int(work.virtual[place])
        if self._virtual is None or number == REAL or found != work.indices[place]:
            return pixels, REAL
        words: Any = [self._seed, work.epoch, found, int(work.repeats[place]), number]
        try:
            rng = np.random.Generator(np.random.SFC64(words))
            return self._virtual.picture(number, pixels, self._pictures, rng), number
        except MienError as error:  # the picture that a part is taken from
            if not self._skip:
                raise
            skipped.append(str(error))
            return pixels, REAL

    def _changed(self, pixels: Pixels, epoch: int, index: int, version: int) -> Pixels:
        if self._augment is None:
            return pixels
        rng = generator(self._seed, epoch, index) if not version else _again(self._seed, epoch, index, version)
        try:
            if pixels.shape[2] == 3:
                return augmented(pixels, self._augment, rng, landmarks=self._landmarks)
            coloured = augmented(np.repeat(pixels, 3, axis=2), self._augment, rng, landmarks=self._landmarks)
            return np.asarray(cv2.cvtColor(coloured, cv2.COLOR_RGB2GRAY))[:, :, None]
        except Exception as error:
            error.add_note(f"while changing {self._pictures.name(index)}")
            raise


def _again(seed: int, epoch: int, index: int, version: int) -> np.random.Generator:
    """As `generator`, for a further version of a picture in one epoch."""
    words: Any = [seed, epoch, index, version]
    return np.random.Generator(np.random.SFC64(words))
