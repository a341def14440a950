"""The losses of the figures in the plane: how each is made, how its margin comes in, and how it classifies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.errors import InputError
from mien.train.losses import (
    ArcFace,
    CenterSoftmax,
    CosFace,
    LSoftmax,
    Margin,
    MarginSoftmax,
    Softmax,
    SphereFace,
    annealed_lambda,
)
from mien.train.losses.angles import unit_rows

__all__ = ["PLANE_LOSSES", "PlaneLoss", "arcface_in_plane", "chosen_losses", "class_logits"]

_WARM_UP: Final = 0.5  # share of the steps over which an added margin grows: at once it would fold classes together
_LAMBDA: Final = 240.0  # gamma of lambda's fall, times all steps: from 1000 it is at 5 after about 0.8 of them


@dataclass(frozen=True, slots=True)
class PlaneLoss:
    """One loss as the figures use it. Immutable.

    Attributes:
        title: what its panel is called.
        settings: said in the record.
        make: builds the module for so many classes of 2-D features.
        prepare: moves what is annealed: called before each step with the module, the step, and how many there are.
    """

    title: str
    settings: str
    make: Callable[[int], nn.Module]
    prepare: Callable[[Any, int, int], None] = lambda _loss, _step, _steps: None


def _grown(field: str, margin: float) -> Callable[[Any, int, int], None]:
    def prepare(loss: MarginSoftmax, step: int, steps: int) -> None:
        setattr(loss.margin, field, margin * min(1.0, step / (_WARM_UP * steps)))

    return prepare


def _annealed(loss: SphereFace | LSoftmax, step: int, steps: int) -> None:
    loss.blend = annealed_lambda(step, gamma=_LAMBDA / steps)


_SCALE: Final = 30.0
_ANNEALED: Final = "m 4, lambda annealed from 1000 to 5"


def arcface_in_plane(margin: float) -> PlaneLoss:
    """ArcFace with a margin in radians that grows over half of the steps."""
    told = f"s {_SCALE:g}, m {margin:g} grown over half the steps"
    return PlaneLoss("ArcFace", told, lambda c: ArcFace(2, c, _SCALE, margin), _grown("m2", margin))


PLANE_LOSSES: Final = {
    "softmax": PlaneLoss("softmax", "no bias", lambda c: Softmax(2, c)),
    "center": PlaneLoss("softmax + center", "lambda 0.1, alpha 0.5", lambda c: CenterSoftmax(2, c, weight=0.1)),
    "sphereface": PlaneLoss("SphereFace", _ANNEALED, lambda c: SphereFace(2, c), _annealed),
    "l-softmax": PlaneLoss("L-Softmax", _ANNEALED, lambda c: LSoftmax(2, c), _annealed),
    "cosface": PlaneLoss(
        "CosFace", "s 30, m 0.1 grown over half the steps", lambda c: CosFace(2, c, _SCALE, 0.1), _grown("m3", 0.1)
    ),
    "arcface": arcface_in_plane(0.3),
    "normalised-softmax": PlaneLoss("normalised softmax", "s 30", lambda c: MarginSoftmax(2, c, Margin(), _SCALE)),
}
"""By name. The margins are smaller than for faces: in the plane ten classes have 36 degrees each, and no more."""


def chosen_losses(names: Iterable[str]) -> dict[str, PlaneLoss]:
    """The losses of those names, in that order.

    Raises:
        InputError: one is not known, or none was named.
    """
    wanted = tuple(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in PLANE_LOSSES]
    if unknown or not wanted:
        raise InputError(f"losses: expected some of {', '.join(PLANE_LOSSES)}; got {', '.join(unknown) or 'none'}")
    return {name: PLANE_LOSSES[name] for name in wanted}


def class_logits(loss: nn.Module, features: Tensor) -> Tensor:
    """Logits (B, C), up to their scale, by which the loss's own classifier decides, without margin."""
    if isinstance(loss, MarginSoftmax):
        return unit_rows(features) @ unit_rows(loss.centres).T
    linear = loss.softmax if isinstance(loss, CenterSoftmax) else loss
    weight = linear.weight
    assert isinstance(weight, Tensor)
    return F.linear(features, weight)
