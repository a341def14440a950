"""Pairs of pictures that are copies of one: the same file, the same picture, or another cut of it.

Three ways, each exact about what it looks at:

- the same content;
- whole pictures whose fingerprints differ in a few bits, either way round, and whose faces do not contradict;
- faces that are alike in embedding and fingerprint, and whose pictures correlate when one is laid over the other. This
  finds cropped copies, which look different as wholes, and tells them from other photos of the same moment.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import local
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from mien.images.fingerprint import bit_distance, near_pairs
from mien.models.session import available_cores
from mien.prepare.prints import face_distances
from mien.prepare.registration import SamePicture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mien.match import Calibration
    from mien.prepare.prints import Prints
    from mien.types import Floats

__all__ = ["Copy", "CopyRules", "Faced", "How", "find_copies"]

How: TypeAlias = Literal["same file", "same picture", "same photo"]
"""In what way two pictures are one: identical content, the whole picture, or another cut of it around the face."""

_AT_ONCE: Final = 1 << 22  # scores in a block
_BLANK: Final = 1.0  # edges of a picture that shows nothing: its fingerprint says nothing either
_JOB: Final = 256


class Copy(NamedTuple):
    """Two pictures by position, `a` < `b`; in what way they are one, and whether one is mirrored."""

    a: int
    b: int
    how: How
    mirrored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRules:
    """The limits.

    Attributes:
        bits: in which fingerprints of copies may differ, of 64, where their faces agree.
        bits_alone: and where there is no face to ask.
        alike: least cosine of the faces of copies.
        face: largest share of bits in which fingerprints of their faces differ.
        candidates: pictures that each is laid over, at most: those most alike.
    """

    alike: float
    bits: int = 4
    bits_alone: int = 2
    face: float = 0.38
    candidates: int = 4

    @classmethod
    def of(cls, calibration: Calibration) -> CopyRules:
        """The rules for a model: copies score at least one standard deviation above the mean of one person's pairs."""
        mean, sd = calibration.genuine.mean, calibration.genuine.sd
        return cls(alike=mean + min(sd, (1 - mean) / 2))


@dataclass(frozen=True, slots=True, eq=False)
class Faced:
    """N pictures: where they are, and what is known of their faces. Immutable by agreement.

    Attributes:
        path: gives the file of a position.
        prints: their fingerprints.
        vectors: (N, D) unit rows, zero where there is no face.
        landmarks: (N, 5, 2).
    """

    path: Callable[[int], Path]
    prints: Prints
    vectors: Floats
    landmarks: Floats


def find_copies(
    pictures: Faced,
    rules: CopyRules,
    *,
    part: NDArray[np.intp],
    between: Literal["same", "different", "any"] = "any",
    advance: Callable[[int], None] = lambda _n: None,
) -> list[Copy]:
    """Find pairs of copies, each once. Chains are not closed: A and B, B and C may be copies, and A and C not be found.

    Args:
        pictures: N pictures.
        rules: the limits.
        part: (N,) the part that each belongs to, such as its person or its set.
        between: compare pictures of the same part, of different ones, or any.
        advance: is told how many more pictures are compared.
    """
    allowed = _Allowed(part, between)
    found: dict[tuple[int, int], Copy] = {}
    for copy in _same_files(pictures.prints, allowed):
        found.setdefault(copy[:2], copy)
    for copy in _same_wholes(pictures, rules, allowed):
        found.setdefault(copy[:2], copy)
    for copy in _same_photos(pictures, rules, allowed, found.keys(), advance):
        found.setdefault(copy[:2], copy)
    return [found[key] for key in sorted(found)]


@dataclass(frozen=True, slots=True, eq=False)
class _Allowed:
    part: NDArray[np.intp]
    between: str

    def __call__(self, a: NDArray[np.intp], b: NDArray[np.intp]) -> NDArray[np.bool_]:
        if self.between == "any":
            return np.ones(len(a), np.bool_)
        allowed: NDArray[np.bool_] = (self.part[a] == self.part[b]) == (self.between == "same")
        return allowed

    def blocks(self, usable: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Rows, and the columns to compare each with, small enough for their scores to be held."""
        everything = np.flatnonzero(usable)
        if self.between == "any":
            groups = [(everything, everything)]
        else:
            order = np.argsort(self.part[everything], kind="stable")
            rows = everything[order]
            cuts = np.flatnonzero(np.diff(self.part[rows])) + 1
            parts = np.split(rows, cuts)
            if self.between == "same":
                groups = [(p, p) for p in parts]
            else:
                groups = [(p, np.concatenate(parts[i + 1 :])) for i, p in enumerate(parts[:-1])]
        for rows, columns in groups:
            step = max(1, _AT_ONCE // max(len(columns), 1))
            for start in range(0, len(rows), step):
                yield rows[start : start + step], columns


def _same_files(prints: Prints, allowed: _Allowed) -> Iterator[Copy]:
    by_content: dict[str, list[int]] = {}
    for i, content in enumerate(prints.sha256):
        if content is not None:
            by_content.setdefault(content, []).append(i)
    for rows in by_content.values():
        # All with the first, and with their neighbour: joined into groups, nothing is lost, and nothing grows squared.
        for a, b in {*itertools.pairwise(rows), *((rows[0], b) for b in rows[1:])}:
            if allowed(np.array([a]), np.array([b]))[0]:
                yield Copy(a, b, "same file")


def _same_wholes(pictures: Faced, rules: CopyRules, allowed: _Allowed) -> Iterator[Copy]:
    rows, n = pictures.prints.rows, len(pictures.prints)
    telling = rows["readable"] & (rows["sharpness"] > _BLANK)
    both = np.concatenate([rows["whole"], rows["mirrored"]])
    for block in near_pairs(both, most=rules.bits):
        a, b = block[:, 0], block[:, 1]
        # A mirrored with a mirrored says what the plain ones say; a plain one with another's mirror is new.
        keep = (a < n) & (a != b - n)
        a, mirrored = a[keep], b[keep] >= n
        b = np.where(mirrored, b[keep] - n, b[keep])
        a, b = np.minimum(a, b), np.maximum(a, b)
        keep = telling[a] & telling[b] & allowed(a, b)
        a, b, mirrored = a[keep], b[keep], mirrored[keep]
        ours, theirs = rows["whole"][a], np.where(mirrored, rows["mirrored"][b], rows["whole"][b])
        faces = rows["has_face"][a] & rows["has_face"][b]
        cosine = np.einsum("nd,nd->n", pictures.vectors[a], pictures.vectors[b])
        good = np.where(faces, cosine >= rules.alike, bit_distance(ours, theirs) <= rules.bits_alone)
        for i, j, flipped in zip(a[good].tolist(), b[good].tolist(), mirrored[good].tolist(), strict=True):
            yield Copy(i, j, "same picture", flipped)


def _same_photos(
    pictures: Faced,
    rules: CopyRules,
    allowed: _Allowed,
    known: Iterable[tuple[int, int]],
    advance: Callable[[int], None],
) -> Iterator[Copy]:
    done = set(known)
    with ThreadPoolExecutor(available_cores(), thread_name_prefix="mien-copies") as pool:
        state = local()

        def same(pairs: Sequence[Copy]) -> list[Copy]:
            if not hasattr(state, "compare"):
                state.compare = SamePicture()
            path, points = pictures.path, pictures.landmarks
            return [
                pair
                for pair in pairs
                if state.compare(path(pair.a), points[pair.a], path(pair.b), points[pair.b], mirrored=pair.mirrored)
            ]

        for rows, columns in allowed.blocks(pictures.prints.rows["has_face"]):
            todo = [p for p in _candidates(pictures, rules, rows, columns) if p[:2] not in done]
            done.update(p[:2] for p in todo)
            for confirmed in pool.map(same, [todo[i : i + _JOB] for i in range(0, len(todo), _JOB)]):
                yield from confirmed
            advance(len(rows))


def _candidates(pictures: Faced, rules: CopyRules, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> list[Copy]:
    """Pairs whose faces are alike in both ways: of each row at most some, the most alike."""
    prints = pictures.prints.rows
    scores = pictures.vectors[rows] @ pictures.vectors[columns].T
    i, j = np.nonzero(scores >= rules.alike)
    keep = rows[i] != columns[j]
    i, j = i[keep], j[keep]
    a, b, cosine = rows[i], columns[j], scores[i, j]
    pairs: list[Copy] = []
    for start in range(0, len(a), _AT_ONCE // 64):  # unpacked bits take much room
        x, y = a[start : start + _AT_ONCE // 64], b[start : start + _AT_ONCE // 64]
        plain = face_distances(prints["face"][x], prints["face"][y])
        turned = face_distances(prints["face"][x], prints["face_mirrored"][y])
        near = np.minimum(plain, turned)
        # Both ways of being alike count: where the landmarks are poor, fingerprints differ more than embeddings.
        unlike = near / rules.face + (1 - cosine[start : start + len(x)]) / max(1 - rules.alike, 1e-6)
        order = np.lexsort((unlike, x))
        order = order[near[order] <= rules.face]
        first = np.searchsorted(x[order], x[order])  # where the row's candidates begin
        order = order[np.arange(len(order)) - first < rules.candidates]
        pairs += [
            Copy(min(p, q), max(p, q), "same photo", flipped)
            for p, q, flipped in zip(
                x[order].tolist(), y[order].tolist(), (turned < plain)[order].tolist(), strict=True
            )
        ]
    return list({pair[:2]: pair for pair in pairs}.values())
