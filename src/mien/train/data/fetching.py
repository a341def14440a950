"""The pictures of one batch, read and changed: what a worker does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.images.augment import augmented, generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.images.augment import Augmentation
    from mien.train.data.training_set import Pictures
    from mien.types import Pixels

__all__ = ["Fetcher"]


class Fetcher:
    """Reads and changes pictures. Can be pickled."""

    def __init__(self, pictures: Pictures, augment: Augmentation | None, seed: int) -> None:
        self._pictures, self._augment, self._seed = pictures, augment, seed

    def fetch(self, epoch: int, indices: NDArray[np.int64]) -> Pixels:
        """uint8 (b, size, size, C)."""
        return np.stack([self._one(epoch, i) for i in indices.tolist()])

    def _one(self, epoch: int, i: int) -> Pixels:
        pixels = self._pictures.picture(i)
        if self._augment is None:
            return pixels
        return augmented(pixels, self._augment, generator(self._seed, epoch, i))
