"""Whose folder is it? Of each photo the face that is most like those in the folder's other photos."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mien.prepare.cropping_cut import Piece
    from mien.types import Floats

__all__ = ["BLOCK", "chosen_by_folder", "votes"]

BLOCK: Final = 2000
"""Photos of a folder that are compared with each other; a larger folder is taken in so many blocks."""

_ROWS: Final = 1024  # of the matrix of similarities at a time
_FEW: Final = 3  # other photos, below which nobody is turned away


def votes(embeddings: Floats, photos: Sequence[int]) -> Floats:
    """How like each face is to the other photos: the mean, over those, of the similarity to the most alike face there.

    A bystander is in few of the photos, the one whom the folder is of in most.

    Args:
        embeddings: float32 (N, D), unit rows.
        photos: N numbers, ascending: which photo a face is in.

    Returns:
        float32 (N,); 0 where there is no other photo.
    """
    owners = np.asarray(photos)
    starts = np.flatnonzero(np.diff(owners, prepend=owners[0] - 1)) if len(owners) else np.zeros(0, np.intp)
    result = np.zeros(len(owners), np.float32)
    if len(starts) < 2:
        return result
    own = np.searchsorted(starts, np.arange(len(owners)), side="right") - 1
    for begin in range(0, len(owners), _ROWS):
        rows = slice(begin, begin + _ROWS)
        best = np.maximum.reduceat(embeddings[rows] @ embeddings.T, starts, axis=1)
        others = best.sum(axis=1) - best[np.arange(len(best)), own[rows]]
        result[rows] = others / (len(starts) - 1)
    return result


def chosen_by_folder(pieces: Iterable[Piece], threshold: float | None) -> Iterator[Piece]:
    """Leave one face in each photo; pieces come in the order of their folders, with all faces as candidates.

    Where there are at least three other photos and none of their faces reaches the threshold, no face is chosen.

    Args:
        pieces: of one folder after another.
        threshold: similarity of two pictures of one person; None to turn nobody away.
    """
    for _, folder in itertools.groupby(pieces, key=lambda piece: piece.photo.path.parent):
        for block in _blocks(folder):
            yield from _choose(block, threshold)


def _blocks(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    source = iter(pieces)
    while block := list(itertools.islice(source, BLOCK)):
        yield block


def _choose(pieces: Sequence[Piece], threshold: float | None) -> Iterator[Piece]:
    with_faces = [piece for piece in pieces if len(piece.faces)]
    owners = [number for number, piece in enumerate(with_faces) for _ in range(len(piece.faces))]
    vectors = np.concatenate([p.embeddings for p in with_faces]) if with_faces else np.zeros((0, 1), np.float32)
    likeness = votes(vectors, owners)
    at = 0
    for piece in pieces:
        count = len(piece.faces)
        if not count:
            yield piece
            continue
        mine = slice(at, at + count)
        at += count
        if len(with_faces) == 1:  # nobody to compare with
            yield piece.only(max(piece.main, 0), 1.0)
            continue
        best = int(likeness[mine].argmax())
        alone = threshold is not None and len(with_faces) > _FEW
        if alone and _nearest(vectors, mine.start + best, mine) < (threshold or 0.0):
            yield piece.without("like nobody else in the folder")
        else:
            yield piece.only(best, float(likeness[mine][best]))


def _nearest(vectors: Floats, face: int, own: slice) -> float:
    """Similarity of a face to the most alike one in another photo."""
    scores = vectors @ vectors[face]
    scores[own] = -1.0
    return float(scores.max())
