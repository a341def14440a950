"""Any network of timm, with an embedding on top."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Final

import torch
from torch import Tensor, nn

from mien.errors import InputError, MissingExtraError, ModelError
from mien.train.backbones.pooled import EmbeddingHead, PooledBackbone, imagenet_spec
from mien.train.backbones.spec import InputSpec
from mien.train.backbones.weights import State

__all__ = ["TimmModel"]

_NAME: Final = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")
_DEFAULT_SIZE: Final = 112


class _Loose(nn.Module):
    """Parameters that belong to no layer, such as a class token."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.items = nn.ParameterList(parameters)


class TimmModel(PooledBackbone):
    """A network of timm by name, without its classifier, and an embedding on top.

    When: another architecture is to be tried, or a transformer trained. Nothing is fetched unless ``pretrained=True``
    asks for it; ``weights=FILE`` takes timm's files. Activation checkpointing is timm's own: running statistics of
    batch norms count twice under it.

    Initial weights: timm's; head as in [EmbeddingHead][mien.train.backbones.pooled.EmbeddingHead].

    Args:
        timm_name: what timm calls it; the network's name here is ``timm:`` and this.
        size: side of the picture; None: what the architecture was made for where it insists, otherwise 112.
        dim: numbers an embedding.
        colour: "rgb", "bgr" or "grey".
        pretrained: fetch timm's weights from the web.
        dropout: share of the pooled numbers dropped while training.
        head_norm: "batch" or "none", on the embedding.

    Raises:
        InputError: no such network, or settings that it refuses.
        MissingExtraError: timm is not installed.
        ModelError: its weights cannot be fetched.

    Source:
        Wightman, "PyTorch Image Models", 2019; each network's paper is named in timm.
    """

    def __init__(
        self,
        timm_name: str,
        *,
        size: int | None = None,
        dim: int = 512,
        colour: str = "rgb",
        pretrained: bool = False,
        dropout: float = 0.0,
        head_norm: str = "batch",
    ) -> None:
        try:
            import timm
        except ImportError as error:
            raise MissingExtraError("A network of timm", "train") from error
        # Names with a scheme ("hf-hub:", "local-dir:") would read configurations from elsewhere.
        if not _NAME.fullmatch(timm_name) or not timm.is_model(timm_name):
            close = timm.list_models(f"*{re.sub(r'[^a-z0-9_]', '', timm_name)}*")[:4]
            raise InputError(f"timm has no network {timm_name!r}{'; near: ' if close else ''}{', '.join(close)}")
        found = timm.get_pretrained_cfg(timm_name, allow_unregistered=True)
        config: dict[str, Any] = {} if found is None else dataclasses.asdict(found)
        fixed = bool(config.get("fixed_input_size"))
        size = size or (int(config["input_size"][-1]) if fixed else _DEFAULT_SIZE)
        super().__init__(imagenet_spec(size, colour, *_moments(config)), dim)
        settings: dict[str, Any] = {"in_chans": self.spec.channels, **({"img_size": size} if fixed else {})}
        try:
            trunk = timm.create_model(timm_name, pretrained=pretrained, num_classes=0, **settings)
        except (OSError, RuntimeError, ImportError) as error:
            if not pretrained:
                raise InputError(f"timm refuses: {str(error)[:200]}") from error
            raise ModelError(f"{timm_name}: its weights cannot be fetched: {str(error)[:200]}") from error
        except (TypeError, ValueError, AssertionError, KeyError) as error:
            raise InputError(f"timm refuses: {str(error)[:200]}") from error
        self.trunk = trunk
        self._classifier = config.get("classifier") or ()
        self.head = EmbeddingHead(_features(trunk, self.spec), dim, dropout=dropout, norm=head_norm)

    def set_checkpointing(self, *, wanted: bool) -> None:
        """Turn timm's own activation checkpointing on or off."""
        super().set_checkpointing(wanted=wanted)
        try:
            self.trunk.set_grad_checkpointing(wanted)  # type: ignore[operator]
        except (AttributeError, AssertionError) as error:
            if wanted:
                raise InputError(f"{self.name}: checkpoint_activations: this network of timm cannot") from error

    def published(self, state: State, source: str) -> State:
        """Timm's names without the classifier's."""
        names = (self._classifier,) if isinstance(self._classifier, str) else tuple(self._classifier)
        beginnings = tuple(f"{name}." for name in names)
        kept = {key: value for key, value in state.items() if not (beginnings and key.startswith(beginnings))}
        return super().published(kept, source)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Stem (all before the first row of blocks, and loose parameters), each block or stage, tail, head."""
        stem: list[nn.Module] = [_Loose(list(self.trunk.parameters(recurse=False)))]
        blocks: list[tuple[str, nn.Module]] = []
        tail: list[nn.Module] = []
        for name, child in self.trunk.named_children():
            if isinstance(child, nn.Sequential | nn.ModuleList) and len(child) > 1 and name != "stem":
                blocks += [(f"{name}.{place}", module) for place, module in enumerate(child)]
            else:
                (tail if blocks else stem).append(child)
        stages = [("stem", nn.ModuleList(stem)), *blocks, ("tail", nn.ModuleList(tail)), ("head", self.head)]
        return [(name, module) for name, module in stages if any(True for _ in module.parameters())]

    def pooled(self, x: Tensor) -> Tensor:
        """(B, F)."""
        result: Tensor = self.trunk(x)
        return result


def _moments(config: dict[str, Any]) -> list[tuple[float, ...]]:
    """Means and stds of the pictures the weights saw, of RGB from 0 to 1; one half where timm does not say."""
    return [tuple(map(float, config.get(key) or ())) or (0.5,) * 3 for key in ("mean", "std")]


def _features(trunk: nn.Module, spec: InputSpec) -> int:
    """Numbers the trunk gives a picture; some networks' num_features leaves out a last layer, so it is run once."""
    device = next(trunk.parameters()).device
    training = trunk.training
    try:
        with torch.no_grad():
            output = trunk.eval()(torch.zeros(1, spec.channels, spec.size, spec.size, device=device))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(f"size: this network of timm refuses {spec.size}: {str(error)[:200]}") from error
    finally:
        trunk.train(training)
    if output.ndim != 2:
        raise InputError(f"this network of timm gives {tuple(output.shape)}; expected one row of numbers a picture")
    return int(output.shape[1])
