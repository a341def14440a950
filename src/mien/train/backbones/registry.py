"""Networks by name."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mien.errors import InputError
from mien.train.backbones.base import Backbone
from mien.train.backbones.spec import Template

__all__ = ["build", "names"]


@dataclass(frozen=True, slots=True)
class _Kind:
    """Where a network's class is, and what the name stands for."""

    module: str
    maker: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def _iresnet(*blocks: int, **settings: Any) -> _Kind:  # noqa: ANN401
    return _Kind("iresnet", "IResNet", {"blocks": blocks, **settings})


_QUICK: Final = {
    "widths": (32, 64, 128, 256), "size": 64, "dim": 256, "stem_stride": 2, "first_stride": 1, "halve_early": True,
    "act": "leaky", "dropout": 0.3, "init": "kaiming", "closer": 1.2,
}  # fmt: skip

_KINDS: Final[Mapping[str, _Kind]] = MappingProxyType(
    {
        "iresnet18": _iresnet(2, 2, 2, 2),
        "iresnet34": _iresnet(3, 4, 6, 3),
        "iresnet50": _iresnet(3, 4, 14, 3),
        "iresnet100": _iresnet(3, 13, 30, 3),
        "iresnet200": _iresnet(6, 26, 60, 6),
        "iresnet-quick": _iresnet(1, 2, 3, 2, **_QUICK),
        "iresnet-quick-silu": _iresnet(1, 2, 3, 2, **{**_QUICK, "act": "silu"}),
        "iresnet-small": _iresnet(1, 2, 3, 2, widths=(32, 64, 128, 256), dim=256, stem_stride=2),
        "sphereface20": _Kind("sphereface", "SphereFaceNet", {"blocks": (1, 2, 4, 1)}),
        "sphereface36": _Kind("sphereface", "SphereFaceNet", {"blocks": (2, 4, 8, 2)}),
        "sphereface64": _Kind("sphereface", "SphereFaceNet", {"blocks": (3, 8, 16, 3)}),
        "inception-resnet-v1": _Kind("inception_resnet_v1", "InceptionResNetV1"),
        "mobilefacenet": _Kind("mobilefacenet", "MobileFaceNet"),
        "resface18": _Kind("resface", "ResFace"),
        "dlib-resnet29": _Kind("dlib_resnet", "DlibResNet29"),
        "densenet121": _Kind("torchvision_models", "DenseNet121"),
        "mobilenetv2": _Kind("torchvision_models", "MobileNetV2"),
    }
)
_ALIASES: Final[Mapping[str, str]] = MappingProxyType({"resnet20": "sphereface20", "resnet36": "sphereface36"})
_TIMM: Final = "timm:"
_FILTERS: Final = "filters:"
_START_ONLY: Final = ("pretrained",)  # how weights begin; not what the network is, so not saved with it


def names() -> tuple[str, ...]:
    """What `build` knows.

    Besides these, ``timm:NAME`` for any model of timm, and ``filters:NAME`` for any of all those beside fixed filters
    (see [FilterViews][mien.train.backbones.filter_views.FilterViews]).
    """
    return (*_KINDS, *_ALIASES)


def build(
    name: str,
    *,
    dim: int | None = None,
    size: int | None = None,
    weights: Path | str | None = None,
    template: Template | None = None,
    checkpoint_activations: bool = False,
    **options: Any,  # noqa: ANN401
) -> Backbone:
    """Make a network, in training mode.

    Args:
        name: one of `names`, ``timm:NAME``, or ``filters:`` before one of those.
        dim: numbers an embedding; None for the network's own.
        size: side of the picture; None for the network's own.
        weights: a file of released weights, a folder of [save_network][mien.train.backbones.save_network], or a name
            the network knows (``default``, ``imagenet``); None: new weights from torch's random numbers.
        template: where the five landmarks of aligned pictures lie, at `size`; None for the network's own.
        checkpoint_activations: trade time for memory, see [Backbone][mien.train.backbones.Backbone].
        **options: the network's own; see its class.

    Raises:
        InputError: no such network or option, values that make no sense, or no such weights.
        ModelFileError: weights that are damaged or of another network.
        MissingExtraError: a ``timm:`` network without timm.
    """
    kind = _kind(name)
    maker: type[Backbone] = getattr(importlib.import_module(f"{__package__}.{kind.module}"), kind.maker)
    known = [key for key in inspect.signature(maker).parameters if key not in ("dim", "size", "timm_name", "trunk")]
    for key, value in options.items():
        if key not in known:
            raise InputError(f"{name}: options: expected one of {', '.join(known)}; got {key!r}")
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name}: {key}: expected plain numbers, words and lists, got {value!r}") from error
    given = {key: value for key, value in (("dim", dim), ("size", size)) if value is not None}
    try:
        network = maker(**{**kind.settings, **options, **given})
        if template is not None:
            points = tuple((float(x), float(y)) for x, y in template)
            network.spec = dataclasses.replace(network.spec, template=points)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        if not options:
            raise
        asked = ", ".join(f"{key}={value!r}" for key, value in options.items())[:200]
        raise InputError(
            f"{name}: options: a value of another kind than the network takes: {asked} ({error})"
        ) from error
    network.name = name
    kept = {**network.lasting, **{k: v for k, v in options.items() if k not in _START_ONLY}}
    network.options = json.loads(json.dumps(kept))
    if weights is not None:
        network.load_weights(str(weights))
    network.set_checkpointing(wanted=checkpoint_activations)
    return network


def _kind(name: str) -> _Kind:
    if isinstance(name, str) and name.startswith(_TIMM):
        return _Kind("timm_model", "TimmModel", {"timm_name": name.removeprefix(_TIMM)})
    if isinstance(name, str) and name.startswith(_FILTERS):
        trunk = name.removeprefix(_FILTERS)
        if trunk.startswith(_FILTERS):
            raise InputError(f"network: expected {_FILTERS} once, got {name[:80]!r}")
        _kind(trunk)
        return _Kind("filter_views", "FilterViews", {"trunk": trunk})
    try:
        return _KINDS[_ALIASES.get(name, name)]
    except (KeyError, TypeError):
        known = ", ".join((*names(), f"{_TIMM}NAME", f"{_FILTERS}NAME"))
        raise InputError(f"network: expected one of {known}; got {name!r}") from None
