"""A network that learns, beside filters that do not: fixed Gabor filters see the same face, and err elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.errors import InputError, MienError
from mien.train.backbones.base import Backbone, full_precision
from mien.train.backbones.registry import build
from mien.train.backbones.saved import network_facts
from mien.train.backbones.spec import InputSpec, normalise
from mien.train.backbones.weights import State
from mien.train.backbones.within_class_norm import WithinClassNorm
from mien.train.data.framing import eye_distance, square
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
_CLOSER: Final = 0.95
_APART: Final = 0.02  # of the side: landmarks of two templates that are the same
_NOT_OPTIONS: Final = {"name", "dim", "size", "weights", "template", "pretrained", "checkpoint_activations"}
_MOST_VIEWS: Final = 16
_WITHIN: Final = 12.0
_MOST_WITHIN: Final = 1e6
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
    """A trunk that learns and views of fixed filters, side by side, and a last layer fitted to both.

    Trained on few people, a network and filters that were never trained err on different pairs, so that both together
    are better than either. The views are fitted once, in closed form, before the first step ([fit][]), the last layer
    each time before the network is measured or kept ([fit_last][]); training and its speed are the trunk's alone. Used
    as ``filters:TRUNK``; `dim` is the trunk's.

    Args:
        trunk: name of the network that learns: one of RGB pictures and ArcFace's template, however close.
        trunk_options: its options.
        trunk_size: side of the picture that it sees; None for its own.
        dim: numbers of the trunk's embedding; None for its own.
        size: side of the picture.
        closer: how much larger the face is than in ArcFace's template.
        views: (share, down) of every part that filters see; see [GaborView][].
        view_dim: numbers of a view's embedding.
        view_weight: what a view's cosine counts beside the trunk's, by its square.
        within: how gently the last layer makes small what one person's pictures differ in, [WithinClassNorm][]'s
            `shrink`; None for no such layer.

    Raises:
        InputError: settings that make no sense.
    """

    idle = ("last.",)

    scale: Tensor
    offset: Tensor

    def __init__(
        self,
        *,
        trunk: str = "iresnet-quick",
        trunk_options: dict[str, Any] | None = None,
        trunk_size: int | None = None,
        dim: int | None = None,
        size: int = 112,
        closer: float = _CLOSER,
        views: Sequence[Sequence[float]] = _VIEWS,
        view_dim: int = 256,
        view_weight: float = 0.5,
        within: float | None = _WITHIN,
    ) -> None:
        pairs = isinstance(views, list | tuple) and all(isinstance(view, list | tuple) for view in views)
        if not pairs or not 1 <= len(views) <= _MOST_VIEWS or any(len(view) != 2 for view in views):
            raise InputError(f"views: expected 1 to {_MOST_VIEWS} pairs of share and down, got {views!r}")
        if not all(_is_number(value) for value in (*(x for view in views for x in view), view_weight)):
            raise InputError(f"views, view_weight: expected numbers, got {views!r} and {view_weight!r}")
        if not isinstance(view_dim, int) or not 1 <= view_dim <= 4096 or not 0 < view_weight <= 10:
            raise InputError(f"view_dim: expected 1 to 4096, view_weight: 0 to 10; got {view_dim!r}, {view_weight!r}")
        if within is not None and not (_is_number(within) and 0 < within <= _MOST_WITHIN):
            raise InputError(f"within: expected a number above 0, at most {_MOST_WITHIN:g}, or None; got {within!r}")
        given = {} if trunk_options is None else trunk_options
        if not isinstance(given, dict) or (_NOT_OPTIONS & set(given)):
            raise InputError(f"trunk_options: expected settings of the network's form, got {given!r}")
        made = build(trunk, dim=dim, size=trunk_size, **given)
        super().__init__(InputSpec.plain(size, closer=closer), made.dim)
        _check_trunk(made.spec, self.spec, trunk)
        self.trunk = made
        self.view_weight = view_weight
        self.views = nn.ModuleList(GaborView(view_dim, share, down) for share, down in views)
        self.last = nn.Identity() if within is None else WithinClassNorm(self.test_dim, float(within))
        self._parts = {"size": size, "closer": closer, "views": [list(view) for view in views]}
        (mean, std), own = (made.spec.mean, made.spec.std), self.spec
        scale = [by / other for by, other in zip(own.std, std, strict=True)]
        offset = [(at - other) / by for at, other, by in zip(own.mean, mean, std, strict=True)]
        self._alike = (mean, std) == (own.mean, own.std)
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("offset", torch.tensor(offset).view(1, 3, 1, 1), persistent=False)

    @property
    def learner(self) -> Backbone:
        """The trunk."""
        return self.trunk

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
        """The trunk's stages; after the first one the views, which see the picture beside it; and the last layer."""
        first, *rest = self.trunk.stages()
        return [first, ("views", self.views), *rest, ("last", self.last)]

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, size, size) to the trunk's embeddings (B, dim): what is trained."""
        embeddings: Tensor = self.trunk(self._shown(pictures))
        return embeddings

    def test_features(self, pictures: Tensor) -> Tensor:
        """The trunk's and the views' embeddings, each of unit length, weighted, side by side, then the last layer.

        (B, test_dim), not of unit length.
        """
        learned = self._learned(self._shown(pictures))
        with full_precision(pictures):
            features: Tensor = self.last(torch.cat([learned, self._seen(pictures)], 1))
        return features

    def _learned(self, shown: Tensor) -> Tensor:
        return F.normalize(self.trunk.test_features(shown).float(), dim=1)

    def _seen(self, pictures: Tensor) -> Tensor:
        grey = _grey(pictures)
        return torch.cat([self.view_weight * view(grey) for view in self.views], 1)

    def _shown(self, pictures: Tensor) -> Tensor:
        """What the trunk sees: its own template and size, its own scale of colours."""
        side = round(self.trunk.spec.size * pictures.shape[-1] / self.spec.size)
        seen = part(pictures, eye_distance(self.spec) / eye_distance(self.trunk.spec), 0.0)
        x = F.interpolate(seen, (side, side), mode="bilinear", align_corners=False)
        return x if self._alike else x * self.scale + self.offset

    def load_weights(self, weights: str) -> None:
        """As of every network; views that were fitted to other parts of the face count as not fitted."""
        super().load_weights(weights)
        path = Path(weights)
        try:
            found = network_facts(path if path.is_dir() else path.parent)
        except MienError:
            found = {"size": None, "options": {}}
        options = {"closer": _CLOSER, "views": [list(view) for view in _VIEWS], **found["options"]}
        if any({**options, "size": found["size"]}[name] != value for name, value in self._parts.items()):
            for view in self._views():
                nn.init.zeros_(view.axes)
            if isinstance(self.last, WithinClassNorm):
                self.last.reset()

    def published(self, state: State, source: str) -> State:
        """Without the last layer, where this network has none."""
        return state if self.last_layer is not None else {k: v for k, v in state.items() if not k.startswith(self.idle)}

    @property
    def fitted(self) -> bool:
        """Whether the views have been fitted."""
        return all(bool(view.axes.any()) for view in self._views())

    def fit_bytes(self, pictures: int, people: int) -> int:
        """Features of all pictures in half precision; of one view, three matrices as large as people and as itself."""
        sizes = [len(view.mean) for view in self._views()]
        return 0 if self.fitted else 2 * pictures * sum(sizes) + 3 * 4 * max(sizes) * (people + max(sizes))

    @torch.no_grad()
    def fit(self, shown: Iterable[tuple[Tensor, Tensor]], pictures: int, tell: Callable[[int], None]) -> None:
        """Fit the views to pictures and whose they are; 0.6 GB for 20,000 pictures, and 0.3 GB to solve.

        Raises:
            InputError: fewer than two people, nobody with two pictures, or none that differ.
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

    @property
    def last_layer(self) -> nn.Module | None:
        """The normalisation within people, or None."""
        return self.last if isinstance(self.last, WithinClassNorm) else None

    def settled(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """The trunk's pictures, uint8 (B, H, W, 3), and the views' embeddings in half precision."""
        mean, std = (torch.tensor(v).to(pictures).view(1, 3, 1, 1) for v in (self.trunk.spec.mean, self.trunk.spec.std))
        pixels = self._shown(pictures) * std + mean
        return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1), self._seen(pictures).half()

    def settled_bytes(self, pictures: int) -> int:
        """As of every network."""
        size, dims = self.trunk.spec.size, self.test_dim - self.trunk.test_dim
        return 0 if self.last_layer is None else pictures * (3 * size * size + 2 * dims)

    @torch.no_grad()
    def fit_last(self, settled: Iterable[tuple[Tensor, ...]], labels: Tensor) -> None:
        """As of every network."""
        if isinstance(self.last, WithinClassNorm):
            rows = [
                torch.cat([self._learned(normalise(shown, self.trunk.spec)), seen.float()], 1)
                for shown, seen in settled
            ]
            self.last.fit(torch.cat(rows), labels.to(rows[0].device))


def part(pictures: Tensor, share: float, down: float) -> Tensor:
    """A square part of pictures (B, C, H, W), to the nearest pixel."""
    top, left, side = square(pictures.shape[-2], pictures.shape[-1], share, down)
    return pictures[..., top : top + side, left : left + side]


def _check_trunk(trunk: InputSpec, whole: InputSpec, name: str) -> None:
    """Refuse a trunk that does not see a square about the middle of the whole picture."""
    ratio = eye_distance(trunk) / eye_distance(whole)
    here, there = (
        [(value - (spec.size - 1) / 2) / spec.size for point in spec.template for value in point]
        for spec in (whole, trunk)
    )
    apart = max(abs(ratio * a - b) for a, b in zip(here, there, strict=True))
    if trunk.colour != "rgb" or ratio < 1 - 1e-6 or apart > _APART:
        raise InputError(
            f"trunk: expected a network of RGB pictures cut by ArcFace's template, no wider than the whole; got {name}"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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
