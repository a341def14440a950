"""What a protocol yields: pictures that are embedded once, and who is compared with whom, by their numbers.

All sets are read-only and validated at construction, so safe to use from several threads at once. `pictures` is always
a sequence of `Picture` without repetition; every other array speaks of its positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mien.evaluate.protocols.pictures import Picture

__all__ = [
    "DetectionSet",
    "Exclusion",
    "IdentificationSet",
    "Indices",
    "PairSet",
    "Scheme",
    "SubjectSet",
    "TemplateSet",
    "Templates",
]

Indices: TypeAlias = NDArray[np.intp]
"""Positions in a sequence."""

Scheme: TypeAlias = Literal["gallery", "leave-one-out", "each-mate"]
"""How an `IdentificationSet` is searched; see there."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Something that the protocol's files name and that is left out, and why."""

    what: str
    why: str


def _frozen(owner: str, name: str, value: object, dtype: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:  # noqa: ANN401
    array = np.asarray(value, dtype=dtype).view()  # read-only without a copy: there may be many millions of pairs
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        raise ValueError(f"{owner}.{name}: expected shape {shape}, got {array.shape}")
    array.flags.writeable = False
    return array


def _numbers(owner: str, name: str, value: object, below: int, shape: tuple[int | None, ...]) -> Indices:
    array: Indices = _frozen(owner, name, value, np.intp, shape)
    if array.size and (int(array.min()) < 0 or int(array.max()) >= below):
        raise ValueError(f"{owner}.{name}: expected numbers from 0 to {below - 1}, got {array.min()} to {array.max()}")
    return array


@dataclass(frozen=True, slots=True, eq=False)
class PairSet:
    """Verification: pairs of pictures, in folds.

    Attributes:
        name: the protocol's name.
        rules: what is measured and how, in the words that a report prints.
        pictures: N pictures.
        pairs: (P, 2) positions in `pictures`; never the same picture twice.
        same: bool (P,): whether both show one person.
        folds: (P,) fold of each pair, from 0; all 0 where there are no folds.
        people: the persons' names; empty where the protocol does not tell them.
        subject: (N,) position in `people` of each picture, or None.
        exclusions: what was left out.
    """

    name: str
    rules: str
    pictures: Sequence[Picture]
    pairs: Indices
    same: NDArray[np.bool_]
    folds: Indices
    people: tuple[str, ...] = ()
    subject: Indices | None = None
    exclusions: tuple[Exclusion, ...] = ()

    def __post_init__(self) -> None:
        put, n = object.__setattr__, len(self.pictures)
        put(self, "pairs", _numbers("PairSet", "pairs", self.pairs, n, (None, 2)))
        p = len(self.pairs)
        put(self, "same", _frozen("PairSet", "same", self.same, np.bool_, (p,)))
        put(self, "folds", _numbers("PairSet", "folds", self.folds, max(p, 1), (p,)))
        if self.subject is not None:
            put(self, "subject", _numbers("PairSet", "subject", self.subject, len(self.people), (n,)))


@dataclass(frozen=True, slots=True, eq=False)
class SubjectSet:
    """Verification of every picture against every other: pairs are implied, for they may be many millions.

    Attributes:
        name, rules, pictures, exclusions: as in `PairSet`.
        people: the persons' names.
        subject: (N,) position in `people` of each picture.
    """

    name: str
    rules: str
    pictures: Sequence[Picture]
    people: tuple[str, ...]
    subject: Indices
    exclusions: tuple[Exclusion, ...] = ()

    def __post_init__(self) -> None:
        subject = _numbers("SubjectSet", "subject", self.subject, len(self.people), (len(self.pictures),))
        object.__setattr__(self, "subject", subject)

    @property
    def genuine(self) -> int:
        """How many pairs show one person."""
        counts = np.bincount(self.subject, minlength=len(self.people))
        return int((counts * (counts - 1) // 2).sum())

    @property
    def impostor(self) -> int:
        """How many pairs show two persons."""
        n = len(self.pictures)
        return n * (n - 1) // 2 - self.genuine


@dataclass(frozen=True, slots=True, eq=False)
class Templates:
    """T templates: the faces by which a person is known together, such as the frames of a video.

    Template t holds the faces ``members[offsets[t]:offsets[t + 1]]``.

    Attributes:
        names: (T,) their names.
        members: (M,) positions in the set's pictures, template by template.
        media: (M,) number of the photo or video that a face comes from; within a template, equal numbers are adjacent.
        offsets: (T + 1,) where each template begins in `members`.
        people: the persons' names.
        subject: (T,) position in `people` of each template.
    """

    names: Sequence[str]
    members: Indices
    media: Indices
    offsets: Indices
    people: Sequence[str]
    subject: Indices

    def __post_init__(self) -> None:
        put, t = object.__setattr__, len(self.names)
        put(self, "members", _frozen("Templates", "members", self.members, np.intp, (None,)))
        put(self, "media", _frozen("Templates", "media", self.media, np.intp, (len(self.members),)))
        put(self, "offsets", _numbers("Templates", "offsets", self.offsets, len(self.members) + 1, (t + 1,)))
        put(self, "subject", _numbers("Templates", "subject", self.subject, len(self.people), (t,)))
        o = self.offsets
        if o[0] != 0 or o[-1] != len(self.members) or not (np.diff(o) > 0).all():
            raise ValueError("Templates.offsets: expected every template to hold a face, and every face to be in one")

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def single(cls, names: Sequence[str], people: Sequence[str], subject: Indices) -> Templates:
        """One template for each picture, in the pictures' order."""
        n = np.arange(len(names), dtype=np.intp)
        return cls(names, n, n, np.arange(len(names) + 1, dtype=np.intp), people, subject)


@dataclass(frozen=True, slots=True, eq=False)
class TemplateSet:
    """Verification: pairs of templates, in folds.

    Attributes:
        name, rules, pictures, exclusions: as in `PairSet`.
        templates: the templates.
        pairs: (P, 2) positions in `templates`.
        same: bool (P,): whether both are of one person.
        folds: (P,) fold of each pair, from 0.
    """

    name: str
    rules: str
    pictures: Sequence[Picture]
    templates: Templates
    pairs: Indices
    same: NDArray[np.bool_]
    folds: Indices
    exclusions: tuple[Exclusion, ...] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        _numbers("TemplateSet", "templates.members", self.templates.members, len(self.pictures), (None,))
        put(self, "pairs", _numbers("TemplateSet", "pairs", self.pairs, len(self.templates), (None, 2)))
        p = len(self.pairs)
        put(self, "same", _frozen("TemplateSet", "same", self.same, np.bool_, (p,)))
        put(self, "folds", _numbers("TemplateSet", "folds", self.folds, max(p, 1), (p,)))


@dataclass(frozen=True, slots=True, eq=False)
class IdentificationSet:
    """Identification: probes are searched in a gallery.

    Attributes:
        name, rules, pictures, exclusions: as in `PairSet`.
        templates: the templates of gallery and probes (a single picture is a template too).
        gallery: (G,) templates that are enrolled; several may be of one person.
        known: (K,) probes whose person is enrolled.
        unknown: (U,) probes whose person is not.
        distractors: pictures of people who are neither; searched besides the gallery.
        scheme: "gallery": each probe is searched in the gallery and the distractors. "leave-one-out": so too, but a
            probe's own template is taken out of the gallery for its search. "each-mate": for every probe, each *other*
            gallery template of its person in turn is enrolled alone among the distractors; the rank is the mate's.
    """

    name: str
    rules: str
    pictures: Sequence[Picture]
    templates: Templates
    gallery: Indices
    known: Indices
    unknown: Indices
    distractors: Sequence[Picture] = ()
    scheme: Scheme = "gallery"
    exclusions: tuple[Exclusion, ...] = ()

    def __post_init__(self) -> None:
        owner = "IdentificationSet"
        _numbers(owner, "templates.members", self.templates.members, len(self.pictures), (None,))
        for name in ("gallery", "known", "unknown"):
            numbers = _numbers(owner, name, getattr(self, name), len(self.templates), (None,))
            object.__setattr__(self, name, numbers)
        enrolled = np.unique(self.templates.subject[self.gallery])
        if not np.isin(self.templates.subject[self.known], enrolled).all():
            raise ValueError(f"{owner}.known: expected probes of enrolled people")
        if np.isin(self.templates.subject[self.unknown], enrolled).any():
            raise ValueError(f"{owner}.unknown: expected probes of people who are not enrolled")

    @property
    def gallery_size(self) -> int:
        """How many people are enrolled, distractors included."""
        return len(np.unique(self.templates.subject[self.gallery])) + len(self.distractors)


@dataclass(frozen=True, slots=True, eq=False)
class DetectionSet:
    """Detection: the true faces of pictures.

    The faces of picture i are rows ``offsets[i]:offsets[i + 1]`` of `boxes`, `ignore` and each attribute.

    Attributes:
        name, rules, pictures, exclusions: as in `PairSet`.
        boxes: float32 (M, 4) xyxy pixels.
        ignore: bool (M,): faces that are neither missed when not found nor wrong when found.
        offsets: (N + 1,) where the faces of each picture begin.
        attributes: (M,) numbers by name, such as ``blur``; their meaning is the protocol's.
        folds: (N,) fold of each picture, from 0.
        landmarks: float32 (M, 5, 2) points in image order (left eye, right eye, nose, corners of the mouth), NaN for
            faces without them; None where the protocol has none.
    """

    name: str
    rules: str
    pictures: Sequence[Picture]
    boxes: NDArray[np.float32]
    ignore: NDArray[np.bool_]
    offsets: Indices
    attributes: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    folds: Indices | None = None
    exclusions: tuple[Exclusion, ...] = ()
    landmarks: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        put, n = object.__setattr__, len(self.pictures)
        put(self, "boxes", _frozen("DetectionSet", "boxes", self.boxes, np.float32, (None, 4)))
        m = len(self.boxes)
        put(self, "ignore", _frozen("DetectionSet", "ignore", self.ignore, np.bool_, (m,)))
        if self.landmarks is not None:
            put(self, "landmarks", _frozen("DetectionSet", "landmarks", self.landmarks, np.float32, (m, 5, 2)))
        put(self, "offsets", _numbers("DetectionSet", "offsets", self.offsets, m + 1, (n + 1,)))
        put(self, "attributes", {k: _frozen("DetectionSet", k, v, None, (m,)) for k, v in self.attributes.items()})
        folds = np.zeros(n, np.intp) if self.folds is None else self.folds
        put(self, "folds", _numbers("DetectionSet", "folds", folds, max(n, 1), (n,)))
        if not np.isfinite(self.boxes).all():
            raise ValueError("DetectionSet.boxes: expected finite numbers")
        if self.offsets[0] != 0 or self.offsets[-1] != m or (np.diff(self.offsets) < 0).any():
            raise ValueError("DetectionSet.offsets: expected ascending positions from 0 to the number of boxes")
