"""The values that pass between mien's rooms: frozen, slotted, and validated at construction.

Conventions, everywhere: images are RGB uint8 (H, W, 3); boxes are xyxy float32 pixels; landmarks are (N, 5, 2) float32
(x, y) in image order (left-most eye, right-most eye, nose tip, left-most and right-most mouth corner); embeddings are
float32 (N, D) of unit norm, compared by cosine; sizes are (width, height); rates are fractions; times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mien.errors import MienError

__all__ = [
    "EVENINGS",
    "Analysis",
    "Evening",
    "Face",
    "Faces",
    "Floats",
    "Identification",
    "Image",
    "Match",
    "ModelIdentity",
    "Pixels",
    "Preset",
    "Subject",
    "Verification",
]

Pixels: TypeAlias = NDArray[np.uint8]
"""An RGB picture: uint8 (H, W, 3)."""

Floats: TypeAlias = NDArray[np.float32]
"""float32 numbers; the shape is given where it is used."""

Preset: TypeAlias = Literal["fast", "accurate"]
"""How much work an embedder spends on a face; part of the model's identity."""

Evening: TypeAlias = Literal["gamma", "clahe", "self-quotient"]
"""How the light of an aligned face is evened out, in training and in use: see `mien.images.augment.evened`."""
EVENINGS: Final[tuple[Evening, ...]] = get_args(Evening)


def _floats(owner: str, name: str, value: object, shape: tuple[int | None, ...]) -> Floats:
    """Return `value` as a read-only float32 array of `shape` (None matches any length), or raise ValueError."""
    array = np.array(value, dtype=np.float32)  # a copy: the value must not change under its owner
    got = array.shape
    # Several of these are made for every picture: no generators, no calls that can be spared.
    if len(got) != len(shape) or [want for want, has in zip(shape, got, strict=True) if want not in (None, has)]:
        raise ValueError(f"{owner}.{name}: expected shape {shape}, got {got}")
    if array.size and not np.logical_and.reduce(np.isfinite(array), axis=None):
        raise ValueError(f"{owner}.{name}: expected finite numbers, got NaN or infinity")
    array.flags.writeable = False
    return array


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One decoded picture.

    Attributes:
        pixels: RGB uint8 (H, W, 3), already turned upright by its EXIF orientation.
        source: its name for messages and reports: a path, or a tag such as ``<array>``.
    """

    pixels: Pixels
    source: str = "<array>"

    def __post_init__(self) -> None:
        p = self.pixels
        if p.dtype != np.uint8 or p.ndim != 3 or p.shape[2] != 3 or 0 in p.shape:
            raise ValueError(f"{self.source}: expected RGB uint8 (H, W, 3), got {p.dtype} {p.shape}")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True, slots=True)
class Face:
    """One face in one picture.

    Attributes:
        box: (x0, y0, x1, y1) in pixels; may reach over the picture's border.
        score: the detector's confidence, 0 to 1.
        landmarks: five (x, y) points in image order.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: tuple[tuple[float, float], ...]

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return self.box[3] - self.box[1]


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """The N faces found in one picture, in the detector's order (largest first).

    Attributes:
        boxes: float32 (N, 4) xyxy pixels.
        scores: float32 (N,) confidences, 0 to 1.
        landmarks: float32 (N, 5, 2) pixels, image order.

    >>> len(Faces.none())
    0
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", _floats("Faces", "boxes", self.boxes, (None, 4)))
        n = len(self.boxes)
        object.__setattr__(self, "scores", _floats("Faces", "scores", self.scores, (n,)))
        object.__setattr__(self, "landmarks", _floats("Faces", "landmarks", self.landmarks, (n, 5, 2)))

    @classmethod
    def none(cls) -> Faces:
        """No faces."""
        return cls(*(np.zeros(shape, np.float32) for shape in ((0, 4), (0,), (0, 5, 2))))

    @classmethod
    def of(cls, *faces: Face) -> Faces:
        """The given faces, in the given order."""
        n = len(faces)
        return cls(
            np.array([face.box for face in faces], np.float32).reshape(n, 4),
            np.array([face.score for face in faces], np.float32),
            np.array([face.landmarks for face in faces], np.float32).reshape(n, 5, 2),
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, i: int) -> Face:
        box, points = self.boxes[i].tolist(), self.landmarks[i].tolist()
        return Face((box[0], box[1], box[2], box[3]), float(self.scores[i]), tuple((x, y) for x, y in points))

    def __iter__(self) -> Iterator[Face]:
        return (self[i] for i in range(len(self)))

    def take(self, keep: NDArray[np.intp] | NDArray[np.bool_] | list[int]) -> Faces:
        """The faces at the given indices or where the mask is true, in that order."""
        index: Any = np.asarray(keep, dtype=np.intp) if isinstance(keep, list) else keep
        return Faces(self.boxes[index], self.scores[index], self.landmarks[index])

    def largest_first(self) -> Faces:
        """The same faces ordered by area, then by score, then from the top left: a deterministic order."""
        if len(self) < 2:
            return self
        b = self.boxes
        area = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
        return self.take(np.lexsort((b[:, 0], b[:, 1], -self.scores, -area)))

    def main(self, size: tuple[int, int]) -> int:
        """Index of the face a portrait is of: large and near the middle of a picture of `size` (width, height).

        Area is weighed against the squared distance from the picture's centre, so that a passer-by at the edge does not
        win by a few pixels; by how much was chosen on LFW View 1. Raises ValueError when there is no face.
        """
        if not len(self):
            raise ValueError("Faces.main: there is no face")
        b = self.boxes
        area = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
        centre = (b[:, :2] + b[:, 2:]) / 2 - np.array(size, np.float32) / 2
        return int(np.argmax(area - 3.0 * (centre**2).sum(axis=1)))


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What makes two embeddings comparable: a gallery pins it, a calibration belongs to it.

    Attributes:
        name: the model's name in the catalogue.
        preset: the preset that made the embedding.
        sha256: checksum of the weights (lower-case hex); where light is evened first, of them and of how.
        dimension: length of an embedding.
    """

    name: str
    preset: str
    sha256: str
    dimension: int

    def __str__(self) -> str:
        return f"{self.name}/{self.preset} ({self.dimension}-d, {self.sha256[:12]})"


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """Everything found in one picture.

    Attributes:
        source: the picture's name.
        size: (width, height); (0, 0) when the picture could not be read.
        faces: the faces, largest first.
        embeddings: float32 (N, D), one row a face; (N, 0) when embeddings were not asked for.
        turns: quarter turns counter-clockwise after which faces were found (boxes refer to the picture as decoded).
        error: why the picture could not be analysed, or None.
        image: the decoded picture, when the caller asked to keep it.
    """

    source: str
    size: tuple[int, int]
    faces: Faces
    embeddings: Floats
    turns: int = 0
    error: MienError | None = None
    image: Image | None = None

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "embeddings", _floats("Analysis", "embeddings", self.embeddings, (len(self.faces), None))
        )

    @classmethod
    def failed(cls, source: str, error: MienError) -> Analysis:
        """The analysis of a picture that could not be read."""
        return cls(source, (0, 0), Faces.none(), np.zeros((0, 0), np.float32), error=error)

    def main(self) -> int:
        """Index of the main face (see `Faces.main`). Raises ValueError when there is none."""
        return self.faces.main(self.size)


@dataclass(frozen=True, slots=True)
class Match:
    """The answer to "who is this?" for one face.

    Attributes:
        name: the subject's name, or None for unknown.
        subject_id: the subject's id in the gallery, or None.
        score: cosine to the best subject, known or not; -1 in an empty gallery.
        threshold: the score needed to be named.
        fpir: the false-positive identification rate the threshold stands for; None when the caller gave the threshold.
        nearest: name of the nearest enrolled picture, or None.
        nearest_name: name of the best subject even when the answer is unknown.
        runner_up: name of the second-best subject, or None.
        runner_up_score: its score, or None.
        reason: why the answer is what it is, in a few words.
    """

    name: str | None
    subject_id: int | None
    score: float
    threshold: float
    fpir: float | None
    nearest: str | None = None
    nearest_name: str | None = None
    runner_up: str | None = None
    runner_up_score: float | None = None
    reason: str = ""

    @property
    def known(self) -> bool:
        """Whether the face was named."""
        return self.name is not None

    @property
    def margin(self) -> float | None:
        """Distance in score to the runner-up, or None when there is no second subject."""
        return None if self.runner_up_score is None else self.score - self.runner_up_score


@dataclass(frozen=True, slots=True)
class Identification:
    """One face of a photo and who it is."""

    face: Face
    match: Match

    @property
    def name(self) -> str | None:
        """The subject's name, or None for unknown."""
        return self.match.name


@dataclass(frozen=True, slots=True)
class Verification:
    """The answer to "is this the same person?".

    Attributes:
        matched: the decision: score >= threshold.
        score: cosine of the two embeddings.
        threshold: the score needed.
        fmr: the false match rate the threshold stands for; None when the caller gave the threshold.
        face_a, face_b: the faces that were compared.
        faces_in_a, faces_in_b: how many faces each picture held.
        provisional: whether the threshold's calibration is; False when the caller gave the threshold.
    """

    matched: bool
    score: float
    threshold: float
    fmr: float | None
    face_a: Face
    face_b: Face
    faces_in_a: int = 1
    faces_in_b: int = 1
    provisional: bool = True


@dataclass(frozen=True, slots=True)
class Subject:
    """A person in a gallery.

    Attributes:
        id: stable number within the gallery.
        name: display name (Unicode NFC).
        faces: number of enrolled faces.
        created: seconds since the epoch.
        pictures: names of the enrolled pictures, in order of enrolment.
        external_id: what another system calls the person, or None.
        told: "person", or "ignored" for a known stranger who is not to be named.
        groups: names of the groups the person belongs to, sorted.
        metadata: anything else, as a JSON object.
        expires: when the person is to be forgotten, in seconds since the epoch, or None.
        consent: what the person agreed to, in words.
    """

    id: int
    name: str
    faces: int
    created: float
    pictures: tuple[str, ...] = ()
    external_id: str | None = None
    told: str = "person"
    groups: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    expires: float | None = None
    consent: str = ""
