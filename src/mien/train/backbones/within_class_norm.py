"""A last layer that makes small what one person's pictures differ in, fitted to what the network has learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mien.train.discriminant import evened_within

__all__ = ["WithinClassNorm"]


class WithinClassNorm(nn.Module):
    """Within-class covariance normalisation of embeddings: ``(x - mean) @ axes``. Does nothing until it is fitted.

    Args:
        dim: numbers an embedding, before and after.
        shrink: the more, the less is changed; as of [mien.train.discriminant.evened_within][].
    """

    def __init__(self, dim: int, shrink: float) -> None:
        super().__init__()
        self.shrink = shrink
        self.mean = nn.Parameter(torch.zeros(dim), requires_grad=False)
        self.axes = nn.Parameter(torch.eye(dim), requires_grad=False)

    @property
    def fitted(self) -> bool:
        """Whether it does anything."""
        return bool(self.mean.any())

    def reset(self) -> None:
        """Do nothing again."""
        nn.init.zeros_(self.mean)
        nn.init.eye_(self.axes)

    @torch.no_grad()
    def fit(self, embeddings: Tensor, labels: Tensor) -> None:
        """Fit it to embeddings (N, dim) and whose they are (N,).

        Raises:
            InputError: fewer than two people, nobody with two pictures, none that differ, or numbers not finite.
        """
        mean, axes = evened_within(embeddings, labels, shrink=self.shrink)
        self.mean.copy_(mean)
        self.axes.copy_(axes)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, dim) to (B, dim), not of unit length."""
        out: Tensor = (embeddings - self.mean) @ self.axes
        return out
