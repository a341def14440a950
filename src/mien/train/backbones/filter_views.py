"""A network that learns, beside filters that do not: fixed Gabor filters see the same face, and err elsewhere."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeGuard

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.errors import InputError, MienError
from mien.train.backbones.base import Backbone, full_precision
from mien.train.backbones.gabor_view import GaborView, part
from mien.train.backbones.registry import build
from mien.train.backbones.saved import network_facts
from mien.train.backbones.spec import InputSpec, normalise
from mien.train.backbones.weights import State
from mien.train.backbones.within_class_norm import WithinClassNorm
from mien.train.data.framing import eye_distance
from mien.train.discriminant import discriminants

__all__ = ["FilterViews"]

_CLOSER: Final = 0.95
_APART: Final = 0.02  # of the side: landmarks of two templates that are the same
_NOT_OPTIONS: Final = {"name", "dim", "size", "weights", "template", "pretrained", "checkpoint_activations"}
_MOST_VIEWS: Final = 16
_VIEW_WEIGHT: Final = 0.3
_WITHIN: Final = 5.0
_LOOKS: Final = (0.94, 1.0, 1.06)
_MOST_LOOKS: Final = 9
_MOST_WITHIN: Final = 1e6
_MOST_DIMS: Final = 8192  # that the last layer takes: a matrix of as many by as many, which no file need hold
_VIEWS: Final = ((1.0, 0.0), (0.79, 0.0), (0.5, 0.1))


class FilterViews(Backbone):
    """A trunk that learns and views of fixed filters, side by side, and a last layer fitted to both.

    Trained on few people, a network and filters that were never trained err on different pairs, so that both together
    are better than either. The views are fitted once, in closed form, before the first step ([fit][]), the last layer
    each time before the network is measured or kept ([fit_last][]); training and its speed are the trunk's alone, and
    where it is used the trunk looks three times. Used
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
        looks: how large a part of the picture the trunk sees where the network is used, times the one that it was
            trained on, but no more than there is: its embeddings of all of them are averaged, each of unit length.
            (1,) for one look, in a third of the trunk's time.

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
        view_weight: float = _VIEW_WEIGHT,
        within: float | None = _WITHIN,
        looks: Sequence[float] = _LOOKS,
    ) -> None:
        pairs = isinstance(views, list | tuple) and all(isinstance(view, list | tuple) for view in views)
        if not pairs or not 1 <= len(views) <= _MOST_VIEWS or any(len(view) != 2 for view in views):
            raise InputError(f"views: expected 1 to {_MOST_VIEWS} pairs of share and down, got {views!r}")
        if not all(_is_number(value) for view in views for value in view):
            raise InputError(f"views: expected numbers, got {views!r}")
        if not isinstance(view_dim, int) or not 1 <= view_dim <= 4096:
            raise InputError(f"view_dim: expected 1 to 4096, got {view_dim!r}")
        _check_use(within, view_weight, looks)
        given = {} if trunk_options is None else trunk_options
        if not isinstance(given, dict) or (_NOT_OPTIONS & set(given)):
            raise InputError(f"trunk_options: expected settings of the network's form, got {given!r}")
        made = build(trunk, dim=dim, size=trunk_size, **given)
        super().__init__(InputSpec.plain(size, closer=closer), made.dim)
        _check_trunk(made.spec, self.spec, trunk)
        self.trunk = made
        self.view_weight = view_weight
        self.looks = tuple(float(look) for look in looks)
        self.views = nn.ModuleList(GaborView(view_dim, share, down) for share, down in views)
        if within is not None and self.test_dim > _MOST_DIMS:
            raise InputError(
                f"within: expected at most {_MOST_DIMS} numbers to be normalised together, got {self.test_dim}; take a "
                "smaller view_dim, or None for no such layer"
            )
        self.last = nn.Identity() if within is None else WithinClassNorm(self.test_dim, float(within))
        self._parts = {"size": size, "closer": closer, "views": [list(view) for view in views]}
        (mean, std), own = (made.spec.mean, made.spec.std), self.spec
        scale = [by / other for by, other in zip(own.std, std, strict=True)]
        offset = [(at - other) / by for at, other, by in zip(own.mean, mean, std, strict=True)]
        self._alike = (mean, std) == (own.mean, own.std)
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("offset", torch.tensor(offset).view(1, 3, 1, 1), persistent=False)

    @property
    def lasting(self) -> dict[str, Any]:
        """`within`, `view_weight` and `looks`."""
        within = self.last.shrink if isinstance(self.last, WithinClassNorm) else None
        return {"within": within, "view_weight": self.view_weight, "looks": self.looks}

    def older(self, names: Iterable[str]) -> dict[str, Any]:
        """As of every network."""
        had_last = any(name.startswith(self.idle) for name in names)
        return {"within": 8.0 if had_last else None, "view_weight": 0.3 if had_last else 0.5, "looks": (1.0,)}

    def take_lasting(self, options: Mapping[str, Any]) -> None:
        """As of every network; a last layer stays, though there was none then."""
        super().take_lasting(options)
        _check_use(options["within"], options["view_weight"], options["looks"])
        self.view_weight, self.looks = options["view_weight"], tuple(options["looks"])
        if isinstance(self.last, WithinClassNorm) and options["within"] is not None:
            self.last.shrink = options["within"]
        self.options["within"] = self.lasting["within"]

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
        return [first, ("views", self.views), *rest, ("within", self.last)]

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, size, size) to the trunk's embeddings (B, dim): what is trained."""
        embeddings: Tensor = self.trunk(self._shown(pictures))
        return embeddings

    def test_features(self, pictures: Tensor) -> Tensor:
        """The trunk's and the views' embeddings, each of unit length, weighted, side by side, then the last layer.

        (B, test_dim), not of unit length.
        """
        learned = self._learned(pictures)
        with full_precision(pictures):
            features: Tensor = self.last(torch.cat([learned, self._seen(pictures)], 1))
        return features

    def _learned(self, pictures: Tensor) -> Tensor:
        """The sum of all looks, each a row of unit length, made of unit length: (B, trunk's test_dim)."""
        if not torch.compiler.is_exporting():  # one after another: the memory of one
            rows = (self._unit_rows(self._shown(pictures, look)) for look in self.looks)
            return F.normalize(functools.reduce(torch.add, rows), dim=1)
        looks = torch.cat([self._shown(pictures, look) for look in self.looks])  # together: faster for one picture
        together = self._unit_rows(looks)
        return F.normalize(together.view(len(self.looks), -1, together.shape[1]).sum(0), dim=1)

    def _unit_rows(self, shown: Tensor) -> Tensor:
        return F.normalize(self.trunk.test_features(shown).float(), dim=1)

    def _seen(self, pictures: Tensor) -> Tensor:
        grey = _grey(pictures)
        return torch.cat([self.view_weight * view(grey) for view in self.views], 1)

    def _shown(self, pictures: Tensor, look: float = 1.0) -> Tensor:
        """What the trunk sees: its own template and size, its own scale of colours; no more than there is."""
        side = round(self.trunk.spec.size * pictures.shape[-1] / self.spec.size)
        seen = part(pictures, look * eye_distance(self.spec) / eye_distance(self.trunk.spec), 0.0)
        x = F.interpolate(seen, (side, side), mode="bilinear", align_corners=False)
        return x if self._alike else x * self.scale + self.offset

    def load_weights(self, weights: str) -> None:
        """As of every network; what was fitted to other parts of the face, or weights, counts as not fitted."""
        super().load_weights(weights)
        path = Path(weights)
        try:
            found = network_facts(path if path.is_dir() else path.parent)
        except MienError:
            found = {"size": None, "options": {}}
        then = self.older(self.idle)  # a file that has a last layer
        options = {"closer": _CLOSER, "views": [list(view) for view in _VIEWS], **then, **found["options"]}
        other = any({**options, "size": found["size"]}[name] != value for name, value in self._parts.items())
        if other:
            for view in self._views():
                nn.init.zeros_(view.axes)
        weighed_so = options["view_weight"] == self.view_weight
        if isinstance(self.last, WithinClassNorm) and (other or not weighed_so):
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
        """The pictures, uint8 (B, size, size, 3), and the views' embeddings in half precision."""
        mean, std = (torch.tensor(v).to(pictures).view(1, 3, 1, 1) for v in (self.spec.mean, self.spec.std))
        pixels = pictures * std + mean
        return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1), self._seen(pictures).half()

    def settled_bytes(self, pictures: int) -> int:
        """As of every network."""
        size, dims = self.spec.size, self.test_dim - self.trunk.test_dim
        return 0 if self.last_layer is None else pictures * (3 * size * size + 2 * dims)

    @torch.no_grad()
    def fit_last(self, settled: Iterable[tuple[Tensor, ...]], labels: Tensor) -> None:
        """As of every network."""
        if isinstance(self.last, WithinClassNorm):
            rows = [torch.cat([self._learned(normalise(shown, self.spec)), seen.float()], 1) for shown, seen in settled]
            self.last.fit(torch.cat(rows), labels.to(rows[0].device))


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


def _check_use(within: Any, view_weight: Any, looks: Any) -> None:  # noqa: ANN401
    """Of options about what is done with rows, not about weights."""
    if within is not None and not (_is_number(within) and 0 < within <= _MOST_WITHIN):
        raise InputError(f"within: expected a number above 0, at most {_MOST_WITHIN:g}, or None; got {within!r}")
    if not (_is_number(view_weight) and 0 < view_weight <= 10):
        raise InputError(f"view_weight: expected a number above 0, at most 10; got {view_weight!r}")
    some = isinstance(looks, list | tuple) and 1 <= len(looks) <= _MOST_LOOKS
    if not some or not all(_is_number(look) and 0.5 <= look <= 1.5 for look in looks):
        raise InputError(f"looks: expected 1 to {_MOST_LOOKS} numbers from 0.5 to 1.5, got {looks!r}")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _grey(x: Tensor) -> Tensor:
    """RGB from -1 to 1 to grey of 0 to 255."""
    red, green, blue = x.float().unbind(1)
    return ((0.299 * red + 0.587 * green + 0.114 * blue) * 127.5 + 127.5).unsqueeze(1)
