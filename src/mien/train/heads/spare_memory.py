"""Memory of a large gradient that the next one takes again."""

from __future__ import annotations

import math
import sys
from typing import Final

import numpy as np
import torch
from torch import Tensor

__all__ = ["SpareMemory"]

_KINDS: Final = (torch.float32, torch.float64)
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
        size = math.prod(shape) * like.element_size()
        if like.device.type != "cpu" or like.dtype not in _KINDS or size < _LEAST:
            return like.new_empty(shape)
        # A tensor in the block holds a reference to it, and so does every view of that tensor.
        if self._block is not None and sys.getrefcount(self._block) > 2:
            return like.new_empty(shape)  # to be added to the one that lies there, say; not kept, too
        if self._block is not None:
            known = torch.from_numpy(self._block)
            if known.shape == shape and known.dtype == like.dtype:
                return known
            self._block = None  # first, so that it does not lie beside the next
            del known
        # PyTorch's own memory: NumPy asks for huge pages, for which a system may search long.
        self._block = like.detach().new_empty(shape).numpy()
        return torch.from_numpy(self._block)

    def __deepcopy__(self, _known: object) -> SpareMemory:
        return SpareMemory()

    def __reduce__(self) -> tuple[type[SpareMemory], tuple[()]]:
        return SpareMemory, ()
