"""Memory of a large gradient that the next one takes again."""

from __future__ import annotations

import math
import sys
from typing import Final

import numpy as np
import torch
from torch import Tensor

__all__ = ["SpareMemory"]

_KINDS: Final = {torch.float32: np.float32, torch.float64: np.float64}
_LEAST: Final = 32 << 20  # bytes; what is smaller the C library keeps by itself


class SpareMemory:
    """One block of memory on the processor, given out again once no tensor lies in it any more.

    A freed gradient of gigabytes goes back to the system, which clears a page at each first touch of the next one: up
    to a third of a step over a million classes. Kept, it is that gradient's memory for ever. Not thread-safe; a copy of
    it is empty.
    """

    def __init__(self) -> None:
        self._block: np.ndarray | None = None

    def empty(self, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A tensor with anything in it, of the shape, on the device and of the type of `like`."""
        kind = _KINDS.get(like.dtype)
        if like.device.type != "cpu" or kind is None or math.prod(shape) * like.element_size() < _LEAST:
            return like.new_empty(shape)
        # A tensor in the block holds a reference to it, and so does every view of that tensor.
        taken = self._block is not None and sys.getrefcount(self._block) > 2
        if self._block is None or taken or self._block.shape != shape or self._block.dtype != kind:
            self._block = np.empty(shape, kind)
        return torch.from_numpy(self._block)

    def __deepcopy__(self, _known: object) -> SpareMemory:
        return SpareMemory()

    def __reduce__(self) -> tuple[type[SpareMemory], tuple[()]]:
        return SpareMemory, ()
