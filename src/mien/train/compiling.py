"""`torch.compile` around a network, and mien's own words where this machine cannot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import nn

from mien.errors import InputError

__all__ = ["compile_errors", "compiled"]

_ROOMS: Final = ("torch._dynamo", "torch._inductor", "torch._functorch")


def compiled(network: nn.Module) -> nn.Module:
    """The network behind `torch.compile`; it is compiled at the first step, inside [compile_errors][].

    Raises:
        InputError: this Python or platform has no `torch.compile`.
    """
    try:
        made: nn.Module = torch.compile(network)  # type: ignore[assignment]
    except RuntimeError as error:
        raise _told(error) from error
    return made


@contextmanager
def compile_errors() -> Iterator[None]:
    """What the compiler raises inside, at forward or backward, is an InputError outside; other errors stay."""
    try:
        yield
    except Exception as error:
        if any(kind.__module__.startswith(_ROOMS) for kind in type(error).__mro__):
            raise _told(error) from error
        raise


def _told(error: Exception) -> InputError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    torn = "; or remove the folder torchinductor_* among temporary files, if a compiler was stopped in its work before"
    return InputError(
        f"loop.compile: the network could not be compiled on this machine ({reason[:200]}); leave out loop.compile"
        f"{torn if '.so:' in reason else ''}"
    )
