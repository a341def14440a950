"""The networks of MTCNN, from the weights that the package ``mtcnn`` carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mien.models.graphs.mtcnn import onet_graph, pnet_graph, rnet_graph
from mien.models.packaged import read_packaged
from mien.models.readers.joblib_arrays import read_joblib_arrays

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.types import Floats, Pixels

__all__ = ["PackagedNets"]

_REFINE_AT_ONCE, _OUTPUT_AT_ONCE = 32, 12  # crops a run: their maps then stay in the cache


class PackagedNets:
    """The three networks, ready to run. Safe to call from several threads at once.

    Args:
        threads: threads that one run may use.

    Raises:
        ModelFileError: the weights are missing or damaged.
    """

    def __init__(self, *, threads: int = 1) -> None:
        self._pnet = _opened("mtcnn-pnet", pnet_graph, threads)
        self._rnet = _opened("mtcnn-rnet", rnet_graph, threads)
        self._onet = _opened("mtcnn-onet", onet_graph, threads)

    def propose(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Probabilities (N, h, w) and offsets (N, h, w, 4) of every window of uint8 (N, H, W, 3)."""
        probability, offsets = self._pnet.run(["probability", "offsets"], {"pixels": pixels})
        return probability, offsets

    def refine(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Probabilities (N,) and offsets (N, 4) of uint8 (N, 24, 24, 3)."""
        probability, offsets = _run(self._rnet, ["probability", "offsets"], pixels, _REFINE_AT_ONCE)
        return probability, offsets

    def output(self, pixels: Pixels) -> tuple[Floats, Floats, Floats]:
        """Probabilities (N,), offsets (N, 4) and landmarks (N, 5, 2) of uint8 (N, 48, 48, 3)."""
        probability, offsets, points = _run(
            self._onet, ["probability", "offsets", "landmarks"], pixels, _OUTPUT_AT_ONCE
        )
        return probability, offsets, points


def _opened(name: str, graph: Callable[[list[Any]], bytes], threads: int) -> Any:  # noqa: ANN401 - untyped library
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    model = graph(read_joblib_arrays(read_packaged(name), source=name))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run(session: Any, names: list[str], pixels: Pixels, at_once: int) -> list[Floats]:  # noqa: ANN401
    parts = [session.run(names, {"pixels": pixels[i : i + at_once]}) for i in range(0, len(pixels), at_once)]
    return [np.concatenate(values) for values in zip(*parts, strict=True)]
