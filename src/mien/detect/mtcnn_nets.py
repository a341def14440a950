"""The networks of MTCNN, from the weights that the package ``mtcnn`` carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mien.models.graphs.mtcnn import onet_graph, pnet_graph, rnet_graph
from mien.models.packaged import read_packaged
from mien.models.readers.joblib_arrays import read_joblib_arrays
from mien.models.session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.models.session import Engine, Session
    from mien.types import Floats, Pixels

__all__ = ["PackagedNets"]

_REFINE_AT_ONCE, _OUTPUT_AT_ONCE = 16, 4  # crops a run: their maps then stay in the cache


class PackagedNets:
    """The three networks, ready to run. Safe to call from several threads at once.

    Args:
        threads: threads that one run may use.
        engine: what runs the second and third network; the first, whose input is of any size, stays with onnxruntime.

    Raises:
        ModelFileError: the weights are missing or damaged.
        MissingExtraError: OpenVINO was asked for and is not installed.
    """

    def __init__(self, *, threads: int = 1, engine: Engine = "onnxruntime") -> None:
        self._pnet = _opened("mtcnn-pnet", pnet_graph, threads, "onnxruntime")
        self._rnet = _opened("mtcnn-rnet", rnet_graph, threads, engine)
        self._onet = _opened("mtcnn-onet", onet_graph, threads, engine)

    def propose(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Probabilities (N, h, w) and offsets (N, h, w, 4) of every window of uint8 (N, H, W, 3)."""
        probability, offsets = self._pnet.run(pixels)
        return probability, offsets

    def refine(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Probabilities (N,) and offsets (N, 4) of uint8 (N, 24, 24, 3)."""
        probability, offsets = _run(self._rnet, pixels, _REFINE_AT_ONCE)
        return probability, offsets

    def output(self, pixels: Pixels) -> tuple[Floats, Floats, Floats]:
        """Probabilities (N,), offsets (N, 4) and landmarks (N, 5, 2) of uint8 (N, 48, 48, 3)."""
        probability, offsets, landmarks = _run(self._onet, pixels, _OUTPUT_AT_ONCE)
        return probability, offsets, landmarks


def _opened(name: str, graph: Callable[[list[Any]], bytes], threads: int, engine: Engine) -> Session:
    model = graph(read_joblib_arrays(read_packaged(name), source=name))
    return open_session(model, threads=threads, engine=engine, name=name)


def _run(session: Session, pixels: Pixels, at_once: int) -> list[Floats]:
    parts = [session.run(pixels[i : i + at_once]) for i in range(0, len(pixels), at_once)]
    return [np.concatenate(values) for values in zip(*parts, strict=True)]
