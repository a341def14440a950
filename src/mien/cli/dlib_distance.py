"""The raw distances of dlib's network, as `face_recognition` takes them: one chip a face, cut as dlib cuts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mien.detect.trees import RegressionTrees
from mien.images import invert, similarity, warp
from mien.models.graphs.dlib_resnet import dlib_resnet_graph
from mien.models.packaged import PACKAGED, read_packaged
from mien.models.readers.dlib_resnet import read_dlib_resnet
from mien.models.session import open_session
from mien.types import ModelIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.recognizer import Recognizer
    from mien.types import Faces, Floats, Pixels

__all__ = ["DlibRaw", "dlib_recognizer"]

_SIDE: Final = 150
_BOX: Final = (0.1, 0.1, 0.9, 0.9)  # where the face's box lies in the chip that the trees look at
_LOOK: Final = 200  # side of that chip in pixels
# Where dlib's face detector would put its square, from MTCNN's box: centre and side in units of the box's mean side.
# Medians over 8,900 faces that both found (LFW View 1 and web portraits); spread 0.07 and 0.08.
_SHIFT: Final = (0.02, 0.08)
_SCALE: Final = 0.95
# The mean face of dlib's five-point model in the unit square, in the order of `RegressionTrees`.
_MEAN_FACE: Final = np.array(
    [
        (0.8595674595992, 0.2134981538014),
        (0.6460604764104, 0.2289674387677),
        (0.1205750620789, 0.2137274526848),
        (0.3340850613712, 0.2290642403242),
        (0.4901123135679, 0.6277975316475),
    ]
)
_PADDING: Final = 0.25


def dlib_recognizer(min_face: float | None = None) -> Recognizer:
    """A recognizer whose embeddings are dlib's own: not normalised, compared by Euclidean distance."""
    from mien.recognizer import Recognizer

    return Recognizer("fast", min_face=min_face, embedder=DlibRaw())


class DlibRaw:
    """An embedder that gives what `face_recognition.face_encodings` gives: not of unit norm.

    Thread-safe: nothing changes after construction.
    """

    def __init__(self) -> None:
        graph = dlib_resnet_graph(read_dlib_resnet(read_packaged("dlib-resnet"), source="dlib-resnet"))
        self._session = open_session(graph, threads=1, engine="onnxruntime", name="dlib-resnet")
        self._landmarks = RegressionTrees(_BOX)

    @property
    def identity(self) -> ModelIdentity:
        """What makes two embeddings comparable."""
        return ModelIdentity("dlib-resnet29-raw", "fast", PACKAGED["dlib-resnet"].sha256, 128)

    def chips(self, image: Pixels, faces: Faces) -> Pixels:
        """Cut the faces of one picture as dlib does.

        Args:
            image: RGB uint8 (H, W, 3).
            faces: N faces.

        Returns:
            uint8 (N, 1, 150, 150, 3).
        """
        squares = _dlib_squares(faces.boxes.astype(np.float64))
        low, side = squares[:, :2], squares[:, 2]
        scale = _LOOK * (_BOX[2] - _BOX[0]) / side
        look = np.zeros((len(faces), 2, 3))
        look[:, 0, 0] = look[:, 1, 1] = scale
        look[:, :, 2] = _LOOK * _BOX[0] - low * scale[:, None]
        views = warp(image, look, (_LOOK, _LOOK))
        grey = (views.astype(np.uint16).sum(axis=3) // 3).astype(np.uint8)  # dlib's grey is the mean of the channels
        points = (self._landmarks.points(grey) - look[:, None, :, 2]) / scale[:, None, None]
        # dlib fits the template to the face, not the face to the template, which gives another scale; and it stretches
        # the chip from the centres of its corner pixels, so that 149 steps span 150 units.
        template = (_PADDING + _MEAN_FACE) / (2 * _PADDING + 1) * (_SIDE - 1)
        return warp(image, invert(similarity(template, points)), (_SIDE, _SIDE))[:, None]

    def embed(self, chips: Pixels) -> Floats:
        """Embed chips: uint8 (N, 1, 150, 150, 3) to float32 (N, 128), not of unit norm."""
        vectors: Floats = self._session.run(np.ascontiguousarray(chips[:, 0]))[0]
        return vectors


def _dlib_squares(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(left, top, side) of the squares that dlib's detector would give: (N, 3) from boxes (N, 4)."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    mean = np.sqrt(np.maximum(width * height, 1.0))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + mean[:, None] * _SHIFT
    side = _SCALE * mean
    return np.column_stack([centre - side[:, None] / 2, side])
