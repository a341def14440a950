"""What a network costs: parameters, arithmetic, and the table of docs/backbones.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mien.train.backbones.registry import build, names

__all__ = ["NetworkFacts", "describe", "table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFacts:
    """What a network is and costs.

    Attributes:
        name: what `build` knows it by.
        size: side of the picture.
        colour: "rgb", "bgr" or "grey".
        dim: numbers an embedding.
        parameters: how many, frozen ones included.
        flops: of one picture forward as in training; a multiplication and an addition count as two. A step costs about
            three times this; used, a network may look again, in a mirror or closer.
        stages: names of the parts, input side first.
    """

    name: str
    size: int
    colour: str
    dim: int
    parameters: int
    flops: int
    stages: tuple[str, ...]


def describe(name: str, *, dim: int | None = None, size: int | None = None, **options: Any) -> NetworkFacts:  # noqa: ANN401
    """Count parameters and arithmetic without memory for either: on torch's meta device.

    Raises:
        InputError: as of [build][mien.train.backbones.build].
    """
    with torch.device("meta"):
        network = build(name, dim=dim, size=size, **options).eval()
        pictures = torch.empty(1, network.spec.channels, network.spec.size, network.spec.size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(pictures)
    return NetworkFacts(
        name=name,
        size=network.spec.size,
        colour=network.spec.colour,
        dim=network.dim,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        flops=counter.get_total_flops(),
        stages=tuple(stage for stage, _ in network.stages()),
    )


def table(which: Iterable[str] | None = None) -> str:
    """A Markdown table of networks: the one of docs/backbones.md for all of `names`."""
    lines = ["| Name | Picture | Embedding | Parameters (M) | GFLOP a picture |", "|---|---|--:|--:|--:|"]
    for facts in map(describe, names() if which is None else which):
        picture = f"{facts.size} x {facts.size} {facts.colour}"
        cost = f"{facts.parameters / 1e6:.2f} | {facts.flops / 1e9:.2f}"
        lines.append(f"| `{facts.name}` | {picture} | {facts.dim} | {cost} |")
    return "\n".join(lines)
