"""Directions weighed by how much pictures of one person differ in them: in closed form."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from mien.errors import InputError

__all__ = ["discriminants", "evened_within"]

_ROWS: Final = 2048  # at a time, where a whole copy would double the memory or more
_MORE: Final = 32  # directions that are followed besides those that are wanted, for accuracy
_ROUNDS: Final = 5  # of subspace iteration
_ROUNDING: Final = 1e-10  # scatter within people, compared with that of their means, that is none


@torch.no_grad()
def discriminants(features: Tensor, labels: Tensor, count: int, *, shrink: float = 0.1) -> tuple[Tensor, Tensor]:
    """Linear discriminant analysis with a regularised scatter within people.

        (x - mean) @ axes: within people as if white, and the `count` directions with most scatter between them

    The scatter within people gets `shrink` times its mean eigenvalue on the diagonal, so that directions in which the
    few pictures happen not to differ do not count for everything. Where there are fewer directions than asked for (at
    most one less than people), the last axes are zeros. Always the same result for the same input on one machine.

    Args:
        features: (N, F) of any floating type; worked on in float32, some rows at a time.
        labels: int64 (N,), any whole numbers.
        count: axes wanted.
        shrink: above 0.

    Returns:
        mean (F,) and axes (F, count), float32.

    Raises:
        InputError: fewer than two people, nobody with two pictures, or numbers that are not finite.

    Source:
        R. A. Fisher, "The use of multiple measurements in taxonomic problems", 1936; the regularised form: J. H.
        Friedman, "Regularized discriminant analysis", 1989; the subspace iteration: Halko, Martinsson and Tropp,
        "Finding structure with randomness", 2011, algorithm 4.4.
    """
    mean, root, centres = _within_people(features, labels, shrink)
    # In coordinates in which `within` is white, the directions are those of the centres' largest singular values.
    leading = _leading(torch.linalg.solve_triangular(root, centres.T, upper=False), count)
    axes = centres.new_zeros(len(mean), count)
    axes[:, : leading.shape[1]] = torch.linalg.solve_triangular(root.T, leading, upper=True)
    return mean, axes


@torch.no_grad()
def evened_within(features: Tensor, labels: Tensor, *, shrink: float) -> tuple[Tensor, Tensor]:
    """Within-class covariance normalisation: as many directions as before, those in which one person varies made small.

        (x - mean) @ axes: within people as if white, were it not for `shrink`

    Args:
        features: (N, F) of any floating type; worked on in float32, some rows at a time.
        labels: int64 (N,), any whole numbers.
        shrink: above 0: the more, the less is changed; times the mean eigenvalue of the scatter within people, on the
            diagonal.

    Returns:
        mean (F,) and axes (F, F), float32; an average direction keeps its scale, none grows by more than
        ``((1 + shrink) / shrink) ** 0.5``.

    Raises:
        InputError: fewer than two people, nobody with two pictures, or numbers that are not finite.

    Source:
        A. O. Hatch, S. Kajarekar and A. Stolcke, "Within-class covariance normalization for SVM-based speaker
        recognition", Interspeech 2006.
    """
    mean, root, _ = _within_people(features, labels, shrink)
    level = root.square().sum() / len(mean)  # the regularised scatter's mean eigenvalue
    axes = torch.linalg.solve_triangular(root, torch.eye(len(mean)).to(root), upper=False).T
    return mean, axes * level.sqrt()


def _within_people(features: Tensor, labels: Tensor, shrink: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (F,), Cholesky factor (F, F) of the regularised scatter within people, and what lies between people.

    The last one, (P, F), are the people's means about the mean, times the square roots of their pictures.
    """
    people, which, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    total, size = features.shape
    if len(people) < 2 or total <= len(people):
        raise InputError(f"expected two people or more, some with two pictures; got {total} of {len(people)}")
    blocks = [slice(start, start + _ROWS) for start in range(0, total, _ROWS)]
    centres = features.new_zeros(len(people), size, dtype=torch.float32)
    for block in blocks:
        centres.index_add_(0, which[block], features[block].float())
    mean = centres.sum(0).div_(total)
    centres.div_(counts[:, None])
    within = centres.new_zeros(size, size)
    for block in blocks:
        rows = features[block].float() - centres[which[block]]
        within.addmm_(rows.T, rows)
    within.div_(total - len(people))
    centres.sub_(mean)
    level = within.diagonal().mean()
    if not torch.isfinite(level) or not torch.isfinite(mean).all():
        raise InputError("expected finite features, got NaN or infinity")
    within.diagonal().add_(shrink * level)
    root, failed = torch.linalg.cholesky_ex(within)
    if failed or level <= _ROUNDING * centres.square().mean():
        raise InputError("expected features that differ within people, got none that do")
    return mean, root, centres.mul_(counts.sqrt()[:, None])


def _leading(table: Tensor, count: int) -> Tensor:
    """The left singular vectors (F, at most count) of the largest singular values that are not nought."""
    wanted = count + _MORE
    if wanted >= min(table.shape):
        basis, values, _ = torch.linalg.svd(table, full_matrices=False)
    else:
        draw = torch.Generator().manual_seed(0)
        start = torch.randn(table.shape[1], wanted, generator=draw).to(table)
        followed = torch.linalg.qr(table @ start)[0]
        for _ in range(_ROUNDS):
            followed = torch.linalg.qr(table @ (table.T @ followed))[0]
        inner, values, _ = torch.linalg.svd(followed.T @ table, full_matrices=False)
        basis = followed @ inner
    found = int((values[:count] > values[0] * 1e-5).sum())
    leading: Tensor = basis[:, :found]
    return leading
