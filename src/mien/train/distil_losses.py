"""Losses that teach a student an old model's embeddings: where they lie, and how alike each two of them are."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.errors import InputError
from mien.train.heads.sharding import Group, gather_rows
from mien.train.losses.angles import wide

__all__ = ["Distillation", "feature_loss", "relation_loss"]


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of ``1 - cos(student, teacher)`` over the rows of (B, D): half the squared distance of unit vectors.

    Source:
        Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, on unit embeddings.
    """
    return (1.0 - F.cosine_similarity(student, teacher, dim=1, eps=1e-12)).mean()


def relation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the two matrices of cosines within the batch, without their diagonals.

    The numbers of columns may differ: only angles between pictures count, which is what recognition uses.

    Source:
        Park et al., "Relational Knowledge Distillation", CVPR 2019; Tung, Mori, "Similarity-Preserving Knowledge
        Distillation", ICCV 2019.
    """
    rows = student.shape[0]
    if rows < 2:
        return student.sum() * 0.0
    a, b = (F.normalize(x, dim=1, eps=1e-12) for x in (student, teacher))
    difference = a @ a.T - b @ b.T
    return (difference.square().sum() - difference.diagonal().square().sum()) / (rows * (rows - 1))


class Distillation(nn.Module):
    """The loss of a distillation over all processes' rows, as [mien.train.step.Stepper][] drives it.

    ``L = feature * mean(1 - cos(P s, t)) + relation * mean_{i != j} (cos(s_i, s_j) - cos(t_i, t_j))^2``

    P is a linear map that is learned along and left behind. Where student and teacher have as many numbers there is
    none, and the student's embeddings come to lie where the teacher's do. Not thread-safe.

    Args:
        dim: numbers of the student's embedding.
        teacher_dim: of the teacher's.
        feature: weight of the first term.
        relation: weight of the second.
        group: the processes, or None.
        seed: of P.

    Raises:
        InputError: weights below 0, or both 0.
    """

    head = None
    sparse = False
    coupled = True
    needs_old = True

    def __init__(
        self,
        dim: int,
        teacher_dim: int,
        *,
        feature: float = 1.0,
        relation: float = 1.0,
        group: Group = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not (feature >= 0 and relation >= 0 and 0 < feature + relation < float("inf")):
            raise InputError(
                f"feature and relation: expected weights of 0 or more, not both 0; got {feature}, {relation}"
            )
        self.feature, self.relation, self.group = feature, relation, group
        self.projection: nn.Linear | None = None
        if dim != teacher_dim and feature:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.projection = nn.Linear(dim, teacher_dim, bias=False)

    @property
    def dense(self) -> nn.Module | None:
        """Weights of the loss that are whole on each process, and whose gradients are averaged over them."""
        return self.projection

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        old: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (0-d) and its terms.

        Args:
            embeddings: (B, D) of the student.
            labels: not looked at.
            old: (B, T) of the teacher.
        """
        assert old is not None
        rows = gather_rows(wide(embeddings), self.group, averaged=True)
        wanted = gather_rows(wide(old.detach()), self.group, averaged=False)
        terms: dict[str, Tensor] = {}
        whole = rows.new_zeros(())
        if self.feature:
            placed = rows if self.projection is None else self.projection(rows)
            terms["feature"] = feature_loss(placed, wanted)
            whole = whole + self.feature * terms["feature"]
        if self.relation:
            terms["relation"] = relation_loss(rows, wanted)
            whole = whole + self.relation * terms["relation"]
        return whole, {name: term.detach() for name, term in terms.items()}
