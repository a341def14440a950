"""Trunks made for ImageNet, with an embedding on top: pooling, linear layer, batch norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from mien.errors import InputError, ModelFileError
from mien.train.backbones.base import Backbone, full_precision
from mien.train.backbones.spec import InputSpec
from mien.train.backbones.weights import State

__all__ = ["EmbeddingHead", "PooledBackbone", "imagenet_spec", "mean_of_maps"]

_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)


def imagenet_spec(size: int, colour: str, means: Sequence[float] = _MEAN, stds: Sequence[float] = _STD) -> InputSpec:
    """The input of a network whose files expect RGB from 0 to 1 with these means and stds; for grey, their averages."""
    plain = InputSpec.plain(size, colour)  # checks both
    mean, std = (tuple(255 * value for value in values) for values in (means, stds))
    if colour == "bgr":
        mean, std = mean[::-1], std[::-1]
    if colour == "grey":
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    return InputSpec(size=size, channels=plain.channels, colour=colour, mean=mean, std=std)


class EmbeddingHead(nn.Module):
    """Pooled features (B, F) to embeddings (B, dim): dropout, linear layer N(0, 1 / F), norm with a factor of 1."""

    def __init__(self, inputs: int, dim: int, *, dropout: float, norm: str) -> None:
        super().__init__()
        if not 0 <= dropout < 1 or norm not in ("batch", "none"):
            raise InputError(
                f"dropout: expected 0 to below 1, got {dropout!r}; head_norm: expected batch or none, got {norm!r}"
            )
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(inputs, dim, bias=norm == "none")
        nn.init.normal_(self.fc.weight, 0.0, inputs**-0.5)
        if norm == "none":
            nn.init.zeros_(self.fc.bias)
        self.features = nn.BatchNorm1d(dim) if norm == "batch" else nn.Identity()
        if isinstance(self.features, nn.BatchNorm1d):
            self.features.weight.requires_grad = False

    def forward(self, pooled: Tensor) -> Tensor:
        """Embeddings, float32."""
        with full_precision(pooled):
            embeddings: Tensor = self.features(self.fc(self.dropout(pooled.float())))
        return embeddings


class PooledBackbone(Backbone):
    """A trunk and an [EmbeddingHead][]; released files fill the trunk, their classifier is dropped.

    A file for three channels also fills a grey trunk: the first convolution's channels are summed, so that a grey
    picture gives what the same picture in three equal channels gives, up to the channels' slightly different std.
    """

    fresh = ("head.",)
    classifier: str = "classifier."
    trunk: nn.Module
    head: EmbeddingHead

    def published(self, state: State, source: str) -> State:
        """The trunk's tensors under the names they have here."""
        found = {f"trunk.{key}": value for key, value in state.items() if not key.startswith(self.classifier)}
        own = self.state_dict()
        for key, value in found.items():
            wanted = own.get(key)
            if wanted is not None and wanted.ndim == value.ndim == 4 and wanted.shape[1] == 1 and value.shape[1] == 3:
                if wanted.shape[0] != value.shape[0] or wanted.shape[2:] != value.shape[2:]:
                    raise ModelFileError(f"{source}: {key}: expected {tuple(wanted.shape)}, found {tuple(value.shape)}")
                found[key] = value.sum(1, keepdim=True)
        return found

    def pooled(self, x: Tensor) -> Tensor:
        """The trunk's maps, averaged over the picture: (B, F)."""
        raise NotImplementedError

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, size, size) to embeddings (B, dim), float32, not of unit length."""
        embeddings: Tensor = self.head(self.pooled(pictures))
        return embeddings


def mean_of_maps(x: Tensor) -> Tensor:
    """(B, F, h, w) to (B, F), in float32 whatever the maps are."""
    return torch.mean(x, (2, 3), dtype=torch.float32)
