"""The default embedder: dlib's ResNet-29, on one or several views of each face; also with weights of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mien.embed.probe import probe_chips
from mien.embed.views import (
    CHIP,
    DETECTOR_TEMPLATE,
    PRESETS,
    TREES_TEMPLATE,
    Points,
    View,
    need_trees,
    place,
    settings_digest,
)
from mien.errors import CardError, InputError, ModelError
from mien.images.align import invert, similarity, transform_points, warp
from mien.models.catalogue import DEFAULT_EMBEDDER
from mien.models.graphs.dlib_resnet import dlib_resnet_graph
from mien.models.opening import find_card
from mien.models.packaged import PACKAGED, read_packaged
from mien.models.readers.dlib_resnet import read_dlib_resnet
from mien.models.session import open_session
from mien.models.store import ModelStore
from mien.types import ModelIdentity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mien.interfaces import Landmarker
    from mien.models.card import ModelCard
    from mien.models.session import Engine, Precision, Session
    from mien.types import Faces, Floats, Pixels, Preset

__all__ = ["DlibResNet"]

_NAME: Final = DEFAULT_EMBEDDER
_WEIGHTS: Final = "dlib-resnet"
_BATCH: Final = 32  # forward passes a run: more gain no speed, and one pass holds about 2 MB of maps


class DlibResNet:
    """Embeds faces with dlib's ResNet-29: 128 numbers a face, compared by cosine.

    Presets: "fast" looks twice, aligned by the detector's landmarks; "accurate" looks four times, aligned by those and
    by the landmarks the network was trained with. Half of the looks are mirror images; the outputs are averaged.

    Thread-safe: nothing changes after construction, sessions and landmarkers may be called from several threads.

    Args:
        preset: "fast" or "accurate"; see `mien.embed.views.PRESETS`.
        landmarker: finds dlib's five points in grey chips cut by `mien.embed.views.DETECTOR_TEMPLATE`, such as
            `mien.detect.trees.RegressionTrees`; not needed where no view is placed by them (see `need_trees`).
        views: replaces the preset's views, for experiments; the identity then names the preset "custom".
        threads: threads of one run; None for all cores.
        callers: how many threads will call at the same time.
        engine: what runs the network.
        precision: what it computes with; by default bf16 only where it is shown to give the same answers.
        card: a card of family "dlib-resnet", or its name: weights that were fine-tuned, which look at faces in the same
            way. Its file is an ONNX graph from uint8 RGB chips (N, 150, 150, 3) to (N, D), normalisation included.

    Raises:
        ModelFileError: the weights are missing or damaged.
        CardError: the card is of another family, or of chips of another size.
        InputError: there is no such preset, no view, or no landmarker where one is needed.

    Source:
        D. E. King, "High Quality Face Recognition with Deep Metric Learning", dlib blog, 2017; K. He et al., "Deep
        Residual Learning for Image Recognition", CVPR 2016.
    """

    def __init__(
        self,
        preset: Preset = "accurate",
        *,
        landmarker: Landmarker | None = None,
        views: Sequence[View] | None = None,
        threads: int | None = None,
        callers: int = 1,
        engine: Engine = "auto",
        precision: Precision = "auto",
        card: ModelCard | str | None = None,
    ) -> None:
        self._name, weights, self._dimension, model = _weights(card)
        if preset not in PRESETS:
            raise InputError(f"{self._name}: preset: expected one of {', '.join(PRESETS)}; got {preset!r}")
        self._views = PRESETS[preset] if views is None else tuple(views)
        if not self._views:
            raise InputError(f"{self._name}: views: expected at least one")
        if landmarker is None and need_trees(self._views):
            raise InputError(f"{self._name}: landmarker: expected one, for some views are placed by its landmarks")
        self._landmarker = landmarker
        self._session: Session = open_session(
            model,
            threads=threads,
            callers=callers,
            engine=engine,
            precision=precision,
            probe=None if engine == "onnxruntime" or (probe := probe_chips()) is None else [probe],
            name=self._name,
        )
        used = landmarker.identity if landmarker and need_trees(self._views) else ""
        checksum = settings_digest(self._views, weights, used)
        self._identity = ModelIdentity(self._name, preset if views is None else "custom", checksum, self._dimension)

    @property
    def identity(self) -> ModelIdentity:
        """What makes two embeddings comparable; its checksum covers weights, landmarker, templates and views."""
        return self._identity

    def chips(self, image: Pixels, faces: Faces) -> Pixels:
        """Cut and align the faces of one picture.

        Args:
            image: RGB uint8 (H, W, 3).
            faces: N faces with landmarks.

        Returns:
            uint8 (N, V, 150, 150, 3): the views of each face.

        Raises:
            InputError: the landmarks of a face coincide.
        """
        chips = np.empty((len(faces), len(self._views), CHIP, CHIP, 3), np.uint8)
        if len(faces):
            placed = self.matrices(image, faces.landmarks)
            chips[:] = warp(image, placed.reshape(-1, 2, 3), (CHIP, CHIP)).reshape(chips.shape)
        return chips

    def matrices(self, image: Pixels, landmarks: Floats) -> NDArray[np.float64]:
        """Where the views lie: (N, V, 2, 3) matrices, picture to chip, for landmarks (N, 5, 2)."""
        plain: dict[Points, NDArray[np.float64]] = {"detector": similarity(landmarks, DETECTOR_TEMPLATE)}
        if self._landmarker and need_trees(self._views):
            upright = plain["detector"]
            found = self._landmarker.points(_grey(warp(image, upright, (CHIP, CHIP))))
            plain["trees"] = similarity(transform_points(found, invert(upright)), TREES_TEMPLATE)
        return np.stack([place(view, plain[view.points]) for view in self._views], axis=1)

    def embed(self, chips: Pixels) -> Floats:
        """Embed aligned chips of any number of faces.

        Args:
            chips: uint8 (N, V, 150, 150, 3) from `chips`.

        Returns:
            float32 (N, 128), unit norm.

        Raises:
            ModelError: the network fails.
            ValueError: the chips have another shape.
        """
        expected = (len(self._views), CHIP, CHIP, 3)
        if chips.dtype != np.uint8 or chips.shape[1:] != expected:
            raise ValueError(f"{self._name}: expected uint8 chips (N, {expected}), got {chips.dtype} {chips.shape}")
        result = np.empty((len(chips), self._identity.dimension), np.float32)
        views = len(self._views)
        step = max(1, _BATCH // views)
        for start in range(0, len(chips), step):
            part = np.ascontiguousarray(chips[start : start + step])
            outputs: Floats = self._session.run(part.reshape(-1, CHIP, CHIP, 3))[0]
            if outputs.size != len(part) * views * self._dimension:
                raise ModelError(f"{self._name}: expected {self._dimension} numbers a chip, got {outputs.shape}")
            # Summed before normalising: the lengths of the outputs hardly differ, and it is one division less.
            result[start : start + step] = outputs.reshape(len(part), views, -1).sum(axis=1)
        norms = np.linalg.norm(result, axis=1, keepdims=True)
        if not (np.isfinite(norms).all() and (norms > 0).all()):
            raise ModelError(f"{self._name}: the network answers with NaN, infinity or nothing but zeros")
        result /= norms
        return result


def _weights(card: ModelCard | str | None) -> tuple[str, str, int, bytes | Path]:
    """Name, checksum of the weights, numbers an embedding and ONNX graph: of the card, or of the packaged weights."""
    found = None if card in (None, _NAME) else find_card(card, "dlib-resnet")
    if found is None or found.name == _NAME:
        net = read_dlib_resnet(read_packaged(_WEIGHTS), source=_WEIGHTS)
        return _NAME, PACKAGED[_WEIGHTS].sha256, net.dimension, dlib_resnet_graph(net)
    if found.input_size != (CHIP, CHIP) or found.colour != "rgb" or len(found.files) != 1:
        raise CardError(
            f"{found.name}: expected one file and rgb chips of {CHIP} x {CHIP} for family 'dlib-resnet', got "
            f"{len(found.files)} and {found.colour} {found.input_size}"
        )
    (path,) = ModelStore().paths(found)
    if found.files[0].sha256 is None:
        raise CardError(f"{found.name}: files.sha256: expected a checksum; it identifies the embeddings")
    assert found.dimension is not None  # the card saw to it
    return found.name, found.files[0].sha256, found.dimension, path


def _grey(chips: Pixels) -> Pixels:
    """The mean of the three channels, rounded down, as dlib takes it: (N, H, W, 3) to (N, H, W)."""
    grey: Pixels = (chips.sum(axis=-1, dtype=np.uint16) // 3).astype(np.uint8)
    return grey
