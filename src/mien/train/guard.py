"""The guard against NaN: says where it came from, before any weight has taken it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from mien.errors import TrainingError
from mien.train.data import Batch

__all__ = ["check_finite"]

_SHOWN: Final = 8


def check_finite(
    *,
    epoch: int,
    step: int,
    batch: Batch,
    name: Callable[[int], str],
    embeddings: int,
    loss: float,
    norm: float,
    terms: dict[str, float],
) -> None:
    """Stop where a step's numbers are not finite.

    Args:
        epoch: from 1, as people count.
        step: likewise.
        batch: this process's share.
        name: of a picture, by its number in the set.
        embeddings: how many rows of all processes' embeddings are not finite.
        loss: over all processes.
        norm: of the whole gradient.
        terms: parts of the loss by name.

    Raises:
        TrainingError: names epoch, step, the first quantity that is not finite on the way from pictures to gradients,
            and the batch's pictures.
    """
    bad_terms = [name for name, value in terms.items() if not math.isfinite(value)]
    if embeddings:
        what, do = (
            f"{embeddings} embeddings",
            "the network's weights are too large: lower optimizer.lr, or warm up longer",
        )
    elif bad_terms:
        what, do = f"the loss ({', '.join(bad_terms)})", "lower the loss's scale or margin, or optimizer.lr"
    elif not math.isfinite(loss):
        what, do = "the loss", "lower the loss's scale or margin, or optimizer.lr"
    elif not math.isfinite(norm):
        what, do = "the gradient", "set optimizer.clip, lower optimizer.lr, or take loop.precision=fp32"
    else:
        return
    numbers = list(dict.fromkeys(batch.indices.tolist()))
    more = len(numbers) - _SHOWN
    shown = ", ".join(map(name, numbers[:_SHOWN])) + (f" and {more:,} more" if more > 0 else "")
    raise TrainingError(
        f"epoch {epoch}, step {step}: NaN or infinity in {what}; pictures of this process's batch: {shown}. No "
        f"weight has taken it. To go on: {do}, and start again"
    )
