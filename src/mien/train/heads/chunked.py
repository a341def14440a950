"""The log-sum-exp over all classes but the target, and its gradients, without ever holding B x C logits.

Forward walks over the classes in chunks and carries the sum of exponentials; backward walks again, makes each chunk's
probabilities anew and turns them into gradients at once. One matrix product more than the dense form, in exchange for
its memory; buffers are written in place and stay in cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mien.train.heads.sharding import Group, all_sum, merged_lse
from mien.train.heads.spare_memory import SpareMemory
from mien.train.losses.angles import ZERO_NORM

__all__ = ["Part", "negatives_and_target", "target_cosine"]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """This process's share of the step; all constants.

    Attributes:
        index: int64 (n,), sorted, the classes of the shard that take part, or None: all of them.
        position: int64 (B,), where each row's target stands among those, or -1: on another process.
        chunk: classes at a time.
        group: the processes, or None.
        threshold: (B,) margined target cosines, above which a negative counts as hard; None without ``hardness``.
        hardness: 0-d t: hard negatives' cosines become ``c (t + c)``.
        narrow: matrix products take and give bfloat16; sums within one are float32, as is all that is between them.
        spare: where the centres' gradient is written.
    """

    index: Tensor | None
    position: Tensor
    chunk: int
    group: Group
    threshold: Tensor | None = None
    hardness: Tensor | None = None
    narrow: bool = False
    spare: SpareMemory = field(default_factory=SpareMemory)


def target_cosine(unit: Tensor, centres: Tensor, part: Part) -> tuple[Tensor, Tensor]:
    """Cosine to the own class (B,), from whichever process has it, and its nearest sub-centre (B,); no gradient."""
    cosine = unit.new_zeros(unit.shape[0])
    nearest = torch.zeros_like(part.position)
    here = (part.position >= 0).nonzero().squeeze(1)
    if here.numel():
        at = part.position[here]
        own = centres[at if part.index is None else part.index[at]].to(unit.dtype)
        norms = torch.linalg.vector_norm(own, dim=-1)
        dots = torch.einsum("bd,bkd->bk", unit[here], own) * _inverse(norms)
        best = dots.max(1)
        cosine[here], nearest[here] = best.values, best.indices
    return all_sum(cosine, part.group).clamp_(-1.0, 1.0), nearest


def _inverse(norms: Tensor) -> Tensor:
    return torch.where(norms > ZERO_NORM, norms.reciprocal(), 0.0)


class _Walk:
    """One walk over the chunks of centres (n, K, D): gives unit centres and scaled logits, in buffers used again."""

    def __init__(self, unit: Tensor, scale: Tensor, centres: Tensor, part: Part) -> None:
        scaled = unit * scale.unsqueeze(1)
        self.scaled, self.scale, self.centres, self.part = scaled, scale, centres, part
        self.subs, dim = centres.shape[1], centres.shape[2]
        self.count = centres.shape[0] if part.index is None else part.index.shape[0]
        self.chunk = max(1, min(part.chunk, self.count))
        rows = self.chunk * self.subs
        self.unit = scaled.new_empty(rows, dim)
        self.logits = scaled.new_empty(scaled.shape[0] * rows)
        if part.narrow:
            self.narrow_scaled = scaled.bfloat16()
            self.narrow_unit = torch.empty_like(self.unit, dtype=torch.bfloat16)
            self.narrow_logits = torch.empty_like(self.logits, dtype=torch.bfloat16)
        # Targets in order of class: each chunk's are a stretch of them.
        order = part.position.sort()
        starts = torch.arange(0, self.count + self.chunk, self.chunk, device=order.values.device)
        self.order, self.cuts = order, torch.searchsorted(order.values, starts).tolist()

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for low in range(0, self.count, self.chunk):
            yield low, min(low + self.chunk, self.count)

    def centres_of(self, low: int, high: int) -> Tensor:
        """Raw centres of a chunk, (rows, D) in their own type: a view, or a copy where classes are sampled."""
        index = self.part.index
        taken = self.centres[low:high] if index is None else self.centres[index[low:high]]
        return taken.reshape(-1, taken.shape[2])

    def logits_of(self, inverse: Tensor, raw: Tensor, minus: Tensor) -> tuple[Tensor, Tensor]:
        """Unit centres (rows, D) and logits (B, rows) of a chunk, less ``minus`` (B,)."""
        rows = raw.shape[0]
        unit = torch.mul(raw, inverse.unsqueeze(1), out=self.unit[:rows])
        batch = self.scaled.shape[0]
        logits = self.logits[: batch * rows].view(batch, rows)
        if self.part.narrow:
            ends = self.narrow_unit[:rows].copy_(unit)
            product = torch.mm(self.narrow_scaled, ends.T, out=self.narrow_logits[: batch * rows].view(batch, rows))
            torch.sub(product, minus.unsqueeze(1), out=logits)
        else:
            torch.addmm(minus.unsqueeze(1), self.scaled, unit.T, beta=-1, out=logits)
        return unit, logits

    def pull(self, weights: Tensor, unit: Tensor, rows: Tensor) -> Tensor:
        """Add to rows (B, D) the chunk's unit centres times weights (B, rows); gives these in the products' type."""
        if not self.part.narrow:
            rows.addmm_(weights, unit)
            return weights
        taken = self.narrow_logits[: weights.numel()].view_as(weights).copy_(weights)
        rows += taken @ self.narrow_unit[: unit.shape[0]]  # where logits_of has put them
        return taken

    def targets_in(self, low: int) -> tuple[Tensor, Tensor]:
        """Batch rows whose target is in the chunk, and its place in the chunk."""
        at = low // self.chunk
        span = slice(self.cuts[at], self.cuts[at + 1])
        return self.order.indices[span], self.order.values[span] - low


def _negatives(walk: _Walk, low: int, high: int, minus: Tensor, logits: Tensor) -> tuple[Tensor, Any]:
    """From logits less ``minus``: logits (B, c) of the classes, nearest sub-centre and hardness applied, and the rest.

    The rest is (nearest (B, c) or None, slope (B, c) or None).
    """
    part, scale, nearest, slope = walk.part, walk.scale, None, None
    if walk.subs > 1:
        best = logits.view(logits.shape[0], high - low, walk.subs).max(2)
        logits, nearest = best.values, best.indices
    if part.hardness is not None and part.threshold is not None:
        cosine = (logits + minus.unsqueeze(1)) / scale.unsqueeze(1)
        hard = cosine > part.threshold.unsqueeze(1)
        t = part.hardness.to(logits.dtype)
        slope = torch.where(hard, t + 2.0 * cosine, 1.0)
        logits = torch.where(hard, scale.unsqueeze(1) * cosine * (t + cosine) - minus.unsqueeze(1), logits)
    return logits, (nearest, slope)


def _local_lse(walk: _Walk, inverse: Tensor, *, careful: bool) -> Tensor:
    """Log-sum-exp of this process's negatives (B,), and the centres' inverse norms written along the way.

    The reference that exponents are taken against is each row's maximum of the first chunk; only where that overflows
    or leaves nothing is the walk done again with a reference that moves along (``careful``).
    """
    batch = walk.scaled.shape[0]
    top = walk.scaled.new_zeros(batch)
    total = walk.scaled.new_zeros(batch)
    for low, high in walk:
        span = slice(low * walk.subs, high * walk.subs)
        raw = walk.centres_of(low, high)
        inverse[span] = _inverse(torch.linalg.vector_norm(raw, dim=1, dtype=inverse.dtype))
        _, logits = walk.logits_of(inverse[span], raw, top)
        logits, _ = _negatives(walk, low, high, top, logits)
        rows, places = walk.targets_in(low)
        if low == 0 or careful:
            logits[rows, places] = -torch.inf
            rise = logits.amax(1)
            rise = torch.where(rise.isfinite() & ((total == 0) | (rise > 0)), rise, 0.0)
            total *= torch.exp(-rise).where(total > 0, torch.ones_like(total))
            top += rise
            logits -= rise.unsqueeze(1)
        logits.exp_()
        logits[rows, places] = 0.0
        total += logits.sum(1)
    return total.log() + top


class _NegativesAndTarget(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any,  # noqa: ANN401
        unit: Tensor,
        scale: Tensor,
        centres: Tensor,
        cosine: Tensor,
        nearest: Tensor,
        part: Part,
    ) -> tuple[Tensor, Tensor]:
        walk = _Walk(unit, scale, centres, part)
        inverse = unit.new_empty(walk.count * walk.subs)
        local = _local_lse(walk, inverse, careful=False)
        if walk.count > 1 and not bool(local.isfinite().all()):
            local = _local_lse(walk, inverse, careful=True)
        lse = merged_lse(local, part.group)
        ctx.save_for_backward(unit, scale, centres, nearest, lse, inverse)
        ctx.part = part
        return lse, cosine.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, lse_grad: Tensor, cosine_grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        with torch.autocast(lse_grad.device.type, enabled=False):
            return _gradients(ctx, lse_grad, cosine_grad)


def _gradients(ctx: Any, lse_grad: Tensor, cosine_grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    unit, scale, centres, nearest, lse, inverse = ctx.saved_tensors
    part: Part = ctx.part
    walk = _Walk(unit, scale, centres, part)
    minus = torch.where(lse.isfinite(), lse, 0.0)
    weighted = (lse_grad * scale).unsqueeze(1) * unit  # what a unit of probability pulls centres towards
    weighted = weighted.bfloat16() if part.narrow else weighted
    unit_grad = torch.zeros_like(unit)
    aim_grad = torch.zeros_like(unit)
    wanted = (walk.count, *centres.shape[1:])
    centre_grad = part.spare.empty(centres, wanted) if ctx.needs_input_grad[2] else None
    product = torch.empty_like(walk.unit)
    flat = None if centre_grad is None else centre_grad.view(-1, centres.shape[2])
    for low, high in walk:
        span = slice(low * walk.subs, high * walk.subs)
        ends, logits = walk.logits_of(inverse[span], walk.centres_of(low, high), minus)
        chosen, (which, slope) = _negatives(walk, low, high, minus, logits)
        chosen.exp_()
        if slope is not None:
            chosen *= slope
        rows, places = walk.targets_in(low)
        chosen[rows, places] = 0.0
        if which is not None:  # each class's probability belongs to its nearest sub-centre
            logits.zero_().view(*chosen.shape, walk.subs).scatter_(2, which.unsqueeze(2), chosen.unsqueeze(2))
        else:
            logits = chosen
        taken = walk.pull(logits, ends, unit_grad)
        places = places * walk.subs + nearest[rows]
        aim_grad[rows] = ends[places]
        if flat is None:
            continue
        same = flat.dtype == unit.dtype
        grad = torch.mm(taken.T, weighted, out=flat[span] if same and not part.narrow else None)
        if part.narrow:
            grad = flat[span].copy_(grad) if same else grad.to(unit.dtype)
        grad.index_add_(0, places, cosine_grad[rows].unsqueeze(1) * unit[rows])
        along = torch.mul(grad, ends, out=product[: ends.shape[0]]).sum(1)
        grad.addcmul_(ends, along.unsqueeze(1), value=-1).mul_(inverse[span].unsqueeze(1))
        if not same:
            flat[span] = grad
    scale_grad = None
    if ctx.needs_input_grad[1]:
        scale_grad = all_sum((unit * unit_grad).sum(1), part.group) * lse_grad
    unit_grad.mul_((lse_grad * scale).unsqueeze(1)).addcmul_(aim_grad, cosine_grad.unsqueeze(1))
    all_sum(unit_grad, part.group)
    if centre_grad is not None and part.index is not None:
        index, size = part.index.unsqueeze(0), centres.shape
        centre_grad = torch.sparse_coo_tensor(index, centre_grad, size, is_coalesced=True, check_invariants=False)
    return unit_grad, scale_grad, centre_grad, None, None, None


def negatives_and_target(
    unit: Tensor, scale: Tensor, centres: Tensor, *, cosine: Tensor, nearest: Tensor, part: Part
) -> tuple[Tensor, Tensor]:
    """``log sum_{j != y} exp(s cos theta_j)`` over all processes' classes, and ``cos theta_y``: (B,) each.

    Every process of the group must call this with the same rows, and go on alike: the gradients that come back must be
    equal on all of them. Gradients of ``unit`` and ``scale`` are whole on each process, that of ``centres`` is its
    shard's; sparse, rows of ``part.index`` only, where classes are sampled.

    Args:
        unit: (B, D) float32 or float64, unit rows (or zero).
        scale: (B,), what cosines are multiplied by, 0 or more.
        centres: (n, K, D) of this shard, of any length, in the rows' type or a narrower one.
        cosine: (B,) from [target_cosine][].
        nearest: (B,) from [target_cosine][].
        part: the rest.
    """
    lse, target = _NegativesAndTarget.apply(unit, scale, centres, cosine, nearest, part)
    return lse, target
