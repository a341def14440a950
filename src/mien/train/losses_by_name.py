"""Every loss by its name in a config, and the options it takes: one small function each."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from torch import nn

from mien.errors import InputError
from mien.train import losses as L  # noqa: N812
from mien.train.losses.angles import GradientMode, PastPi
from mien.train.losses.mining import Mining
from mien.train.losses.triplets import Distance
from mien.train.settings import nearest, typed

__all__ = ["LOSSES", "LossParts", "loss_parts"]

_MOST: Final = 1e6  # far beyond what makes sense, and far below what float32 can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class LossParts:
    """What a loss is made of.

    Attributes:
        margin: of a margin softmax, for the exact head; None where there is none.
        scale: of that head.
        sub_centres: of that head.
        dense: makes a module (dim, classes) -> loss with weights of its own, which every process holds whole.
        pairs: a loss over pairs within the batch, without weights.
        pairs_weight: what it is multiplied by.
        needs_old: whether ``pairs`` wants a second model's embeddings between embeddings and labels.
        coupled: whether a sample's loss depends on the rest of the batch, which must not be taken apart then.
        annealing: options of [mien.train.losses.annealed_lambda][] for integer margins; None where nothing anneals.
    """

    margin: L.Margin | None = None
    scale: float = 64.0
    sub_centres: int = 1
    dense: Callable[[int, int], nn.Module] | None = None
    pairs: nn.Module | None = None
    pairs_weight: float = 1.0
    needs_old: bool = False
    coupled: bool = False
    annealing: Mapping[str, float] | None = field(default=None)


def _softmax(*, bias: bool = False) -> LossParts:
    return LossParts(dense=lambda dim, classes: L.Softmax(dim, classes, bias=bias))


def _center(*, weight: float = 0.003, rate: float = 0.5, bias: bool = False) -> LossParts:
    return LossParts(dense=lambda d, c: L.CenterSoftmax(d, c, weight, rate, bias=bias), coupled=True)


def _l_softmax(
    *, m: int = 4, start: float = 1000.0, least: float = 5.0, gamma: float = 0.12, power: float = 1.0
) -> LossParts:
    annealing = {"start": start, "least": least, "gamma": gamma, "power": power}
    return LossParts(dense=lambda d, c: L.LSoftmax(d, c, m, start), annealing=annealing)


def _sphereface(
    *, m: int = 4, start: float = 1000.0, least: float = 5.0, gamma: float = 0.12, power: float = 1.0
) -> LossParts:
    annealing = {"start": start, "least": least, "gamma": gamma, "power": power}
    return LossParts(margin=L.IntegerMargin(m, start), scale=1.0, annealing=annealing)


def _normface(*, scale: float = 30.0) -> LossParts:
    return LossParts(margin=L.Margin(), scale=scale)


def _cosface(*, scale: float = 64.0, margin: float = 0.35) -> LossParts:
    return LossParts(margin=L.CombinedMargin(m3=margin), scale=scale)


def _arcface(
    *, scale: float = 64.0, margin: float = 0.5, gradient: GradientMode = "true", past_pi: PastPi = "published"
) -> LossParts:
    return LossParts(margin=L.CombinedMargin(m2=margin, gradient=gradient, past_pi=past_pi), scale=scale)


def _combined(
    *,
    scale: float = 64.0,
    m1: float = 1.0,
    m2: float = 0.3,
    m3: float = 0.2,
    gradient: GradientMode = "true",
    past_pi: PastPi = "published",
) -> LossParts:
    return LossParts(margin=L.CombinedMargin(m1, m2, m3, gradient=gradient, past_pi=past_pi), scale=scale)


def _sub_center(
    *,
    scale: float = 64.0,
    margin: float = 0.5,
    sub_centres: int = 3,
    gradient: GradientMode = "true",
    past_pi: PastPi = "published",
) -> LossParts:
    rule = L.CombinedMargin(m2=margin, gradient=gradient, past_pi=past_pi)
    return LossParts(margin=rule, scale=scale, sub_centres=sub_centres)


def _curricularface(
    *, scale: float = 64.0, margin: float = 0.5, momentum: float = 0.01, past_pi: PastPi = "published"
) -> LossParts:
    return LossParts(margin=L.CurricularMargin(margin, momentum, past_pi=past_pi), scale=scale, coupled=True)


def _magface(
    *,
    scale: float = 64.0,
    norm_range: tuple[float, float] = (10.0, 110.0),
    margin_range: tuple[float, float] = (0.45, 0.8),
    penalty_weight: float = 35.0,
    past_pi: PastPi = "published",
) -> LossParts:
    low, high = norm_range
    least, most = margin_range
    rule = L.MagnitudeMargin((low, high), (least, most), penalty_weight, past_pi=past_pi)
    return LossParts(margin=rule, scale=scale)


def _adaface(
    *, scale: float = 64.0, margin: float = 0.4, sharpness: float = 0.333, momentum: float = 0.01
) -> LossParts:
    return LossParts(margin=L.AdaptiveMargin(margin, sharpness, momentum), scale=scale, coupled=True)


def _triplet(
    *,
    margin: float = 0.2,
    mining: Mining = "semi-hard",
    distance: Distance = "squared",
    soft: bool = False,
    normalise: bool = True,
) -> LossParts:
    pairs = L.Triplet(margin, mining=mining, distance=distance, soft=soft, normalise=normalise)
    return LossParts(pairs=pairs, coupled=True)


def _contrastive(*, margin: float = 1.0, normalise: bool = True) -> LossParts:
    return LossParts(pairs=L.Contrastive(margin, normalise=normalise), coupled=True)


def _harmonic_triplet(
    *, margin: float = 0.2, mining: Mining = "semi-hard", distance: Distance = "squared", soft: bool = False
) -> LossParts:
    pairs = L.HarmonicTriplet(margin, mining=mining, distance=distance, soft=soft)
    return LossParts(pairs=pairs, coupled=True, needs_old=True)


def _arcface_triplet(
    *,
    scale: float = 64.0,
    margin: float = 0.5,
    weight: float = 1.0,
    triplet_margin: float = 0.2,
    mining: Mining = "semi-hard",
    distance: Distance = "squared",
    gradient: GradientMode = "true",
    past_pi: PastPi = "published",
) -> LossParts:
    if weight < 0:
        raise InputError(f"weight: expected 0 or more, got {weight!r}")
    rule = L.CombinedMargin(m2=margin, gradient=gradient, past_pi=past_pi)
    near = L.Triplet(triplet_margin, mining=mining, distance=distance)
    return LossParts(margin=rule, scale=scale, pairs=near, pairs_weight=weight, coupled=True)


LOSSES: Final[Mapping[str, Callable[..., LossParts]]] = MappingProxyType(
    {
        "softmax": _softmax,
        "center": _center,
        "normface": _normface,
        "l-softmax": _l_softmax,
        "sphereface": _sphereface,
        "cosface": _cosface,
        "arcface": _arcface,
        "combined": _combined,
        "sub-center": _sub_center,
        "curricularface": _curricularface,
        "magface": _magface,
        "adaface": _adaface,
        "triplet": _triplet,
        "contrastive": _contrastive,
        "harmonic-triplet": _harmonic_triplet,
        "arcface-triplet": _arcface_triplet,
    }
)
"""Name -> function of the options; their defaults are those of the losses themselves ([mien.train.losses][])."""


def loss_parts(name: str, options: Mapping[str, Any]) -> LossParts:
    """The parts of a loss by name.

    Raises:
        InputError: an unknown name or option, with the nearest known one, or a value that makes no sense.
    """
    make = LOSSES.get(name)
    if make is None:
        raise InputError(f"loss.name: there is no {name!r}{nearest(name, LOSSES)}")
    known = inspect.signature(make).parameters
    kinds, given = typing.get_type_hints(make), {}
    for option, value in options.items():
        if option not in known:
            raise InputError(f"loss.options: {name} takes no {option!r}{nearest(option, known)}")
        where = f"loss.options.{option}"
        given[option] = found = typed(kinds[option], value, where)
        if any(isinstance(part, float | int) and abs(part) > _MOST for part in np.ravel(found).tolist()):
            raise InputError(f"{where}: expected up to {_MOST:,.0f}, got {value!r}")
    try:
        return make(**given)
    except (InputError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"loss.options: {name}: {error}") from error
