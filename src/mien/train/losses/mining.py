"""Which pairs and triplets of a batch to learn from: online mining over distances and labels, no gradients."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from mien.errors import InputError
from mien.train.losses.inputs import check_choice, check_labels

__all__ = ["Mining", "Triplets", "all_pairs", "batch_all", "batch_hard", "mine", "semi_hard"]

Mining: TypeAlias = Literal["batch-all", "batch-hard", "semi-hard"]


class Triplets(NamedTuple):
    """Rows of a batch: anchors (T,), positives (T,), negatives (T,), all int64."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor


def all_pairs(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of a batch: first rows (P,), second rows (P,), whether they are one person (P,), P = B (B - 1) / 2.

    >>> [part.tolist() for part in all_pairs(torch.tensor([7, 7, 3]))]
    [[0, 0, 1], [1, 2, 2], [True, False, False]]
    """
    check_labels(labels, labels.shape[0] if labels.ndim else 0, None)
    first, second = torch.triu_indices(labels.shape[0], labels.shape[0], 1, device=labels.device)
    return first, second, labels[first] == labels[second]


def _masks(distances: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which (anchor, other) are positives and which are negatives, (B, B) each."""
    count = distances.shape[0]
    if distances.shape != (count, count):
        raise InputError(f"distances: expected a square matrix, got {tuple(distances.shape)}")
    check_labels(labels, count, None)
    same = labels.unsqueeze(1) == labels.unsqueeze(0)
    return same & ~torch.eye(count, dtype=torch.bool, device=labels.device), ~same


@torch.no_grad()
def batch_all(distances: Tensor, labels: Tensor) -> Triplets:
    """Every triplet the batch holds: each anchor, each other picture of its person, each picture of others.

    Takes one byte for each of (positive pairs) x B candidates.

    Args:
        distances: (B, B), anchors in rows.
        labels: int64 (B,).
    """
    positives, negatives = _masks(distances, labels)
    anchor, positive = positives.nonzero(as_tuple=True)
    pair, negative = negatives[anchor].nonzero(as_tuple=True)
    return Triplets(anchor[pair], positive[pair], negative)


@torch.no_grad()
def batch_hard(distances: Tensor, labels: Tensor) -> Triplets:
    """For each anchor its farthest positive and its nearest negative; anchors without either are left out.

    Args:
        distances: (B, B), anchors in rows.
        labels: int64 (B,).
    """
    positives, negatives = _masks(distances, labels)
    anchor = (positives.any(1) & negatives.any(1)).nonzero().squeeze(1)
    rows = distances[anchor]
    farthest = rows.masked_fill(~positives[anchor], -torch.inf)
    nearest = rows.masked_fill(~negatives[anchor], torch.inf)
    if anchor.numel() == 0:
        return Triplets(anchor, anchor, anchor)
    return Triplets(anchor, farthest.argmax(1), nearest.argmin(1))


@torch.no_grad()
def semi_hard(distances: Tensor, labels: Tensor, margin: float) -> Triplets:
    """For each positive pair the nearest negative with ``d_ap < d_an < d_ap + margin``; pairs without one are left out.

    Those are the negatives that violate the margin yet lie farther than the positive: harder ones let the embedding
    collapse early in training.

    Args:
        distances: (B, B), anchors in rows.
        labels: int64 (B,).
        margin: in the distance's units.
    """
    positives, negatives = _masks(distances, labels)
    anchor, positive = positives.nonzero(as_tuple=True)
    if anchor.numel() == 0:
        return Triplets(anchor, positive, anchor)
    rows, limit = distances[anchor], distances[anchor, positive].unsqueeze(1)
    fit = negatives[anchor] & (rows > limit) & (rows < limit + margin)
    negative = rows.masked_fill(~fit, torch.inf).argmin(1)
    kept = fit.any(1)
    return Triplets(anchor[kept], positive[kept], negative[kept])


def mine(distances: Tensor, labels: Tensor, mining: Mining, margin: float) -> Triplets:
    """Triplets by the named rule.

    Raises:
        InputError: an unknown name, or shapes that do not fit.
    """
    check_choice(mining, "mining", ("batch-all", "batch-hard", "semi-hard"))
    if mining == "batch-all":
        return batch_all(distances, labels)
    return batch_hard(distances, labels) if mining == "batch-hard" else semi_hard(distances, labels, margin)
