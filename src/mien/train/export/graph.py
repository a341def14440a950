"""A network as an ONNX graph, and the proof that the graph computes what the network does."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import MissingExtraError, ModelError
from mien.train.backbones import Backbone, normalise

if TYPE_CHECKING:
    from mien.types import Floats, Pixels

__all__ = ["MIN_COSINE", "Agreement", "check_graph", "graph_input", "run_graph", "to_onnx"]

MIN_COSINE: Final = 0.9999
"""The least cosine between the graph's and the network's embedding of a picture."""
MAX_DIFFERENCE: Final = 1e-3
"""The most that a number may differ by, in parts of the largest number."""

_OPSET: Final = 18
_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well a graph agrees with the network it was made of.

    Attributes:
        pictures: how many were compared.
        difference: the largest difference of two numbers, in parts of the network's largest number.
        cosine: the smallest cosine of two embeddings.
    """

    pictures: int
    difference: float
    cosine: float

    @property
    def good(self) -> bool:
        """Whether it is within the bounds that a float32 graph has to keep."""
        return self.difference <= MAX_DIFFERENCE and self.cosine >= MIN_COSINE


class _AtTest(nn.Module):
    """What is exported: the features of the test; from pixels, normalisation included, where `pixels` says so."""

    def __init__(self, network: Backbone, *, pixels: bool) -> None:
        super().__init__()
        self.network = network
        self.pixels = pixels

    def forward(self, x: Tensor) -> Tensor:
        if self.pixels:
            mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (self.network.spec.mean, self.network.spec.std))
            x = x.permute(0, 3, 1, 2).float()
            x = ((x.flip(1) if self.network.spec.colour == "bgr" else x) - mean) / std
        return self.network.test_features(x)


def to_onnx(network: Backbone, *, pixels: bool = False) -> bytes:
    """Write a network as ONNX: any batch, batch norms folded into the layers before them.

    Args:
        network: on the CPU, in eval mode.
        pixels: whether the graph takes uint8 RGB pictures (N, size, size, C), as models of the family "dlib-resnet" do;
            else float32 (N, C, size, size), normalised as the card says.

    Returns:
        A serialized ONNX model, ``pictures`` (or ``pixels``) to float32 ``embedding`` (N, D), not of unit length. The
        same network gives the same bytes; nothing of this machine is in them.

    Raises:
        MissingExtraError: onnxscript is not installed.
        ModelError: the network holds something that ONNX cannot say.
    """
    if find_spec("onnxscript") is None:
        raise MissingExtraError("Writing ONNX", "train")
    side, channels = network.spec.size, network.spec.channels
    example = torch.zeros((2, side, side, channels), dtype=torch.uint8)
    if not pixels:
        example = torch.zeros((2, channels, side, side))
    name = "pixels" if pixels else "pictures"
    whole = _AtTest(network, pixels=pixels).eval()
    try:
        with _quiet(), torch.no_grad():
            made = torch.onnx.export(
                whole,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("N", min=1, max=65536)},),
                input_names=[name],
                output_names=["embedding"],
                opset_version=_OPSET,
                verbose=False,
            )
            assert made is not None
            model = made.model_proto
    except Exception as error:  # the exporter's errors have no base of their own
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{network.name}: cannot be written as ONNX ({first[:300]})") from error
    return _bare(model)


def _bare(model: Any) -> bytes:  # noqa: ANN401 - onnx.ModelProto
    """The model without the exporter's notes on the source code it came from: they name folders of this machine."""
    graphs = [model.graph]
    for holder in (model, *graphs):
        del holder.metadata_props[:]
        holder.doc_string = ""
    del graphs[0].value_info[:]
    for graph in graphs:
        for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
            part.doc_string = ""
            del part.metadata_props[:]
    model.producer_name, model.producer_version = "mien", ""
    model.graph.name = "embedder"
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks on stdout and warns of its own parts."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def graph_input(network: Backbone, pictures: Pixels, *, pixels: bool) -> Any:  # noqa: ANN401 - uint8 or float32
    """What a graph of `to_onnx` is given for uint8 RGB or grey pictures (N, size, size, C)."""
    if pixels:
        return np.ascontiguousarray(pictures)
    return normalise(torch.from_numpy(np.ascontiguousarray(pictures)), network.spec).contiguous().numpy()


def run_graph(model: bytes, network: Backbone, pictures: Pixels, *, pixels: bool) -> Floats:
    """The outputs of a graph for N pictures: float32 (N, D)."""
    from mien.models.session import open_session

    session = open_session(model, threads=1, engine="onnxruntime", name=f"{network.name} (exported)")
    parts = [
        session.run(graph_input(network, pictures[i : i + _AT_ONCE], pixels=pixels))[0]
        for i in range(0, len(pictures), _AT_ONCE)
    ]
    return np.concatenate(parts)


def check_graph(model: bytes, network: Backbone, pictures: Pixels, *, pixels: bool = False) -> Agreement:
    """Compare a graph with its network.

    Args:
        model: of `to_onnx`, or a variant of it.
        network: the one it was made of.
        pictures: uint8 (N, size, size, C), RGB or grey.
        pixels: as given to `to_onnx`.

    Raises:
        ModelFileError, ModelError: the graph does not run, or not give numbers.
    """
    found = run_graph(model, network, pictures, pixels=pixels).astype(np.float64)
    with torch.no_grad():
        parts = [
            network.test_features(normalise(torch.from_numpy(pictures[i : i + _AT_ONCE].copy()), network.spec))
            for i in range(0, len(pictures), _AT_ONCE)
        ]
    wanted = torch.cat(parts).double().numpy()
    if found.shape != wanted.shape:
        raise ModelError(f"{network.name}: the graph gives {found.shape}, the network {wanted.shape}")
    if not np.isfinite(found).all() or not np.isfinite(wanted).all():
        raise ModelError(f"{network.name}: the exported network answers with NaN or infinity")
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    if not (lengths > 0).all():
        raise ModelError(f"{network.name}: the exported network answers with nothing but zeros")
    cosines = (found * wanted).sum(axis=1) / lengths
    return Agreement(len(pictures), float(np.abs(found - wanted).max() / np.abs(wanted).max()), float(cosines.min()))
