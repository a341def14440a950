"""Directions in which people differ most, compared with how much pictures of one person do: in closed form."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from mien.errors import InputError

__all__ = ["discriminants"]

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
    # In coordinates in which `within` is white, the directions are those of the centres' largest singular values.
    white = torch.linalg.solve_triangular(root, (centres * counts.sqrt()[:, None]).T, upper=False)
    leading = _leading(white, count)
    axes = centres.new_zeros(size, count)
    axes[:, : leading.shape[1]] = torch.linalg.solve_triangular(root.T, leading, upper=True)
    return mean, axes


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
