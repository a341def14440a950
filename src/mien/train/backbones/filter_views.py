"""A network that learns, beside filters that do not: fixed Gabor filters see the same face, and err elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.errors import InputError
from mien.train.backbones.base import Backbone, full_precision
from mien.train.backbones.registry import build
from mien.train.backbones.spec import InputSpec, normalise
from mien.train.discriminant import discriminants

__all__ = ["FilterViews", "GaborView"]

_SIDE: Final = 80  # pixels that the filters see, whatever part of the face it is
_CELLS: Final = 10  # by as many: where in the part a response lies
_REACH: Final = 5  # pixels from a filter's middle to its edge
_WAVES: Final = (4.0, 4.0 * math.sqrt(2.0))  # lengths in pixels; of every octave
_OCTAVES: Final = 3
_TURNS: Final = 8
_WIDTH: Final = 0.375  # of the Gaussian, in wave lengths
_NEAR: Final = 10  # pixels each way: the neighbourhood whose light is taken out
_FLAT: Final = 6.0  # grey levels: what counts as no contrast
_MOST_VIEWS: Final = 16
_VIEWS: Final = ((1.0, 0.0), (0.79, 0.0), (0.5, 0.1))


class GaborView(nn.Module):
    """One part of the face as fixed filters see it, brought to the directions that tell people apart.

    Grey; light and contrast taken out of every neighbourhood; Gabor filters of six wave lengths and eight turns, the
    sizes of their responses averaged in 10 x 10 cells; linear discriminants of the square roots. Until it is fitted,
    its embeddings are zeros.

    Args:
        dim: numbers an embedding.
        share: side of the part, a square about the middle, as a share of the picture's.
        down: how far the part lies below the middle, as a share of the picture's side.

    Source:
        Liu and Wechsler, "Gabor feature based classification using the enhanced Fisher linear discriminant model for
        face recognition", IEEE TIP 2002.
    """

    filters: Tensor

    def __init__(self, dim: int, share: float, down: float) -> None:
        super().__init__()
        if not 0.1 <= share <= 1 or not share / 2 - 0.5 - 1e-9 <= down <= 0.5 - share / 2 + 1e-9:
            raise InputError(f"views: expected squares inside the picture as (share, down), got ({share}, {down})")
        self.share, self.down = share, down
        size = len(_WAVES) * _TURNS * _OCTAVES * _CELLS * _CELLS
        self.mean = nn.Parameter(torch.zeros(size), requires_grad=False)
        self.axes = nn.Parameter(torch.zeros(size, dim), requires_grad=False)
        self.register_buffer("filters", _filters(), persistent=False)

    def features(self, grey: Tensor) -> Tensor:
        """(B, 1, H, W) of 0 to 255 to (B, F)."""
        x = F.interpolate(part(grey, self.share, self.down), (_SIDE, _SIDE), mode="bilinear", align_corners=False)
        x = x - _neighbourhood(x)
        x = x / (_neighbourhood(x * x).sqrt() + _FLAT)
        seen = []
        for octave in range(_OCTAVES):
            if octave:
                x = F.avg_pool2d(x, 2)
            waves = F.conv2d(F.pad(x, [_REACH] * 4, mode="reflect"), self.filters, stride=2 if octave == 0 else 1)
            even, odd = waves.chunk(2, 1)
            size = (even * even + odd * odd + 1e-6).sqrt()
            seen.append(F.avg_pool2d(size, size.shape[-1] // _CELLS).sqrt().flatten(1))
        return torch.cat(seen, 1)

    def forward(self, grey: Tensor) -> Tensor:
        """(B, 1, H, W) of 0 to 255 to embeddings (B, dim) of unit length."""
        return F.normalize((self.features(grey) - self.mean) @ self.axes, dim=1)


class FilterViews(Backbone):
    """A trunk that learns and views of fixed filters; a cosine of what they give together mixes all their cosines.

    Trained on few people, a network and filters that were never trained err on different pairs, so that both together
    are better than either. The views are fitted once, in closed form, before the first step ([fit][]); training and
    its speed are the trunk's alone. Used as ``filters:TRUNK``; `dim` is the trunk's.

    Args:
        trunk: name of the network that learns.
        trunk_options: its options.
        trunk_size: side of the part of the picture that it sees.
        dim: numbers of the trunk's embedding.
        size: side of the picture.
        closer: how much larger the face is than in ArcFace's template.
        views: (share, down) of every part that filters see; see [GaborView][].
        view_dim: numbers of a view's embedding.
        view_weight: what a view's cosine counts beside the trunk's, by its square.

    Raises:
        InputError: settings that make no sense.
    """

    def __init__(
        self,
        *,
        trunk: str = "iresnet-quick",
        trunk_options: dict[str, Any] | None = None,
        trunk_size: int = 64,
        dim: int = 256,
        size: int = 112,
        closer: float = 0.95,
        views: Sequence[Sequence[float]] = _VIEWS,
        view_dim: int = 256,
        view_weight: float = 0.5,
    ) -> None:
        super().__init__(InputSpec.plain(size, closer=closer), dim)
        if not 1 <= len(views) <= _MOST_VIEWS or any(len(view) != 2 for view in views):
            raise InputError(f"views: expected 1 to {_MOST_VIEWS} pairs of share and down, got {views!r}")
        if not 1 <= view_dim <= 4096 or not 0 < view_weight <= 10:
            raise InputError(f"view_dim: expected 1 to 4096, view_weight: 0 to 10; got {view_dim!r}, {view_weight!r}")
        given = dict(trunk_options or {})
        if odd := sorted({"dim", "size", "weights", "template", "pretrained", "checkpoint_activations"} & set(given)):
            raise InputError(f"trunk_options: expected settings of the network's form, got {', '.join(odd)}")
        self.trunk = build(trunk, dim=dim, size=trunk_size, **given)
        if self.trunk.spec.colour != "rgb":
            raise InputError(f"trunk: expected a network of RGB pictures, got {trunk}")
        self.view_weight = view_weight
        self.views = nn.ModuleList(GaborView(view_dim, float(share), float(down)) for share, down in views)
        self._share = min(_eyes(self.trunk.spec) / _eyes(self.spec), 1.0)

    @property
    def test_dim(self) -> int:
        """The trunk's numbers and all views'."""
        return self.trunk.test_dim + sum(view.axes.shape[1] for view in self._views())

    def _views(self) -> list[GaborView]:
        return [view for view in self.views if isinstance(view, GaborView)]

    def set_checkpointing(self, *, wanted: bool) -> None:
        """The trunk's."""
        self.trunk.set_checkpointing(wanted=wanted)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """The trunk's stages; after the first one the views, which see the picture beside it and do not learn."""
        first, *rest = self.trunk.stages()
        return [first, ("views", self.views), *rest]

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, size, size) to the trunk's embeddings (B, dim): what is trained."""
        embeddings: Tensor = self.trunk(self._shown(pictures))
        return embeddings

    def test_features(self, pictures: Tensor) -> Tensor:
        """The trunk's and the views' embeddings, each of unit length, weighted, side by side: (B, test_dim)."""
        learned = F.normalize(self.trunk.test_features(self._shown(pictures)).float(), dim=1)
        with full_precision(pictures):
            grey = _grey(pictures)
            seen = [self.view_weight * view(grey) for view in self.views]
        return torch.cat([learned, *seen], 1)

    def _shown(self, pictures: Tensor) -> Tensor:
        """What the trunk sees: its own template and size, its own scale of colours."""
        side = self.trunk.spec.size
        x = F.interpolate(part(pictures, self._share, 0.0), (side, side), mode="bilinear", align_corners=False)
        mean, std = self.trunk.spec.mean, self.trunk.spec.std
        if (mean, std) == (self.spec.mean, self.spec.std):
            return x
        scale = x.new_tensor([own / of for own, of in zip(self.spec.std, std, strict=True)]).view(1, 3, 1, 1)
        middle = [(own - of) / by for own, of, by in zip(self.spec.mean, mean, std, strict=True)]
        return x * scale + x.new_tensor(middle).view(1, 3, 1, 1)

    @property
    def fitted(self) -> bool:
        """Whether the views have been fitted."""
        return all(bool(view.axes.any()) for view in self._views())

    @torch.no_grad()
    def fit(self, shown: Iterable[tuple[Tensor, Tensor]], pictures: int, tell: Callable[[int], None]) -> None:
        """Fit the views to pictures and whose they are; 0.6 GB for 20,000 pictures, and 0.3 GB to solve.

        Raises:
            InputError: fewer than two people, or nobody with two pictures.
        """
        kept = [torch.zeros(pictures, len(view.mean), dtype=torch.float16) for view in self._views()]
        labels = torch.zeros(pictures, dtype=torch.int64)
        count = 0
        for found, people in shown:
            some = slice(count, count + len(people[: pictures - count]))
            x = _grey(normalise(found[: pictures - count].to(self._views()[0].filters.device), self.spec))
            for view, rows in zip(self._views(), kept, strict=True):
                rows[some] = view.features(x).half().cpu()
            labels[some] = people[: pictures - count]
            count = some.stop
            tell(count)
            if count == pictures:
                break
        for view in self._views():
            mean, axes = discriminants(kept.pop(0)[:count], labels[:count], view.axes.shape[1])
            view.mean.copy_(mean)
            view.axes.copy_(axes)


def part(pictures: Tensor, share: float, down: float) -> Tensor:
    """A square part of pictures (B, C, H, W), to the nearest pixel."""
    height, width = pictures.shape[-2:]
    side = max(round(share * width), 1)
    left = (width - side) // 2
    top = min(max(round((height - side) / 2 + down * height), 0), height - side)
    return pictures[..., top : top + side, left : left + side]


def _eyes(spec: InputSpec) -> float:
    """Distance between the eyes, in parts of the picture's side; its inverse says how much of a face is seen."""
    (x0, y0), (x1, y1) = spec.template[0], spec.template[1]
    return spec.size / math.hypot(x1 - x0, y1 - y0)


def _grey(x: Tensor) -> Tensor:
    """RGB from -1 to 1 to grey of 0 to 255."""
    red, green, blue = x.float().unbind(1)
    return ((0.299 * red + 0.587 * green + 0.114 * blue) * 127.5 + 127.5).unsqueeze(1)


def _neighbourhood(x: Tensor) -> Tensor:
    """Means over squares about each pixel: along rows, then along columns, which is a tenth of the work."""
    window = 2 * _NEAR + 1
    x = F.avg_pool2d(F.pad(x, [_NEAR, _NEAR, 0, 0], mode="reflect"), (1, window), 1)
    return F.avg_pool2d(F.pad(x, [0, 0, _NEAR, _NEAR], mode="reflect"), (window, 1), 1)


def _filters() -> Tensor:
    """(2 W T, 1, K, K): the even waves, then the odd ones; without a mean, so that flat light gives nought."""
    line = torch.arange(-_REACH, _REACH + 1, dtype=torch.float32)
    y, x = torch.meshgrid(line, line, indexing="ij")
    even, odd = [], []
    for wave in _WAVES:
        bell = torch.exp(-(x * x + y * y) / (2 * (_WIDTH * wave) ** 2))
        bell = bell / bell.sum()
        for turn in range(_TURNS):
            angle = math.pi * turn / _TURNS
            phase = (x * math.cos(angle) + y * math.sin(angle)) * (2 * math.pi / wave)
            cosine = bell * torch.cos(phase)
            even.append(cosine - bell * cosine.sum())
            odd.append(bell * torch.sin(phase))
    return torch.stack(even + odd).unsqueeze(1)
