"""The classification layer at any number of people: exact margin softmax, chunked, sharded and sampled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.errors import InputError
from mien.train.heads.chunked import Part, negatives_and_target, target_cosine
from mien.train.heads.sampling import sample_classes
from mien.train.heads.sharding import Group, all_sum, gather_labels, gather_rows, gather_shards, shard_bounds, world_of
from mien.train.heads.spare_memory import SpareMemory
from mien.train.losses.angles import row_norms, unit_rows, wide
from mien.train.losses.inputs import check_labels, check_number, check_rows
from mien.train.losses.margin_softmax import new_centres
from mien.train.losses.margins import Margin

__all__ = ["MarginHead"]

_LOGITS = 1 << 19
"""Logits held at a time, where ``chunk`` is not given: 2 MiB of float32, which stays in a core's cache."""
_ON_ACCELERATORS = 1 << 25
"""Numbers held at a time there, logits and centres together: 128 MiB of float32, for few and large kernels.

CurricularFace and sub-centres take some tables of a chunk's logits more."""


class MarginHead(nn.Module):
    """Class centres and the margin softmax over them, never holding B x C logits.

    ``L_i = -log( exp(s_i T(cos theta_y)) / ( exp(s_i T(cos theta_y)) + sum_{j != y} exp(s_i cos theta_j) ) )``

    T is the margin. The sum over the other classes is walked through in chunks, forward and again backward, with one
    matrix product more than the dense form; the result is the dense form's
    ([mien.train.losses.margin_softmax.margin_softmax][]) to rounding. Every margin works: it sees only the B target
    cosines and norms (CurricularFace's hard negatives are weighed chunk by chunk).

    **Sharded** (``group``): each process keeps an even share of the classes. All must call the head together, each with
    its own embeddings; numbers may differ. The loss is the mean over all processes' samples and the same on each.
    Gradients of embeddings come multiplied by the number of processes, so that averaging the network's gradients (DDP)
    gives the exact gradient; with ``averaged=False`` they are exact as they are. Centres' gradients are exact: keep the
    head out of DDP.

    **Sampled** (``sample_rate`` < 1, training mode only): the classes of the batch and random others share the step;
    the centres' gradient is sparse, for [mien.train.heads.RowSGD][]. The loss is the softmax over the sampled classes.

    Not thread-safe. On a processor the memory of a large gradient is kept for the next step's.

    Args:
        dim: D, numbers an embedding.
        classes: C, over all processes.
        margin: what becomes of the target's cosine; [Margin][mien.train.losses.Margin] itself is none.
        scale: s; SphereFace (``IntegerMargin``) takes 1 and the embeddings' norms.
        sub_centres: K centres a class, of which the nearest counts.
        sample_rate: share of the classes in a step, above 0 and up to 1.
        group: the processes (``torch.distributed.group.WORLD``), or None: this one alone.
        averaged: whether the network's gradients are averaged over processes.
        seed: of the sampling and, with the rank, of the first centres.
        chunk: classes at a time; None chooses.
        products: fp32, the embeddings' own type and exact; or bf16, for the three matrix products of each chunk only:
            faster where the processor has it, with loss and gradients to bfloat16's rounding.

    Raises:
        InputError: settings that make no sense.

    Source:
        Partial FC: An et al., CVPR 2022; log-sum-exp in chunks after Milakov, Gimelshein: Online normalizer, 2018.
    """

    step: Tensor

    def __init__(
        self,
        dim: int,
        classes: int,
        margin: Margin,
        scale: float = 64.0,
        *,
        sub_centres: int = 1,
        sample_rate: float = 1.0,
        group: Group = None,
        averaged: bool = True,
        seed: int = 0,
        chunk: int | None = None,
        products: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        super().__init__()
        check_number(dim, "dim", 1)
        check_number(classes, "classes", 1)
        check_number(scale, "scale", 1e-6)
        check_number(sub_centres, "sub_centres", 1)
        check_number(sample_rate, "sample_rate", 1e-9, 1.0)
        check_number(seed, "seed", 0)
        check_number(1 if chunk is None else chunk, "chunk", 1)
        if products not in ("fp32", "bf16"):
            raise InputError(f"products: expected fp32 or bf16, got {products!r}")
        self.products = products
        self.dim, self.classes, self.sub_centres = dim, classes, sub_centres
        self.margin, self.scale, self.sample_rate = margin, scale, sample_rate
        self.group, self.averaged, self.seed, self.chunk = group, averaged, seed, chunk
        world, rank = world_of(group)
        self.first, self.last = shard_bounds(classes, world, rank)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1_000_003 * rank)
            start = new_centres(max(self.last - self.first, 1), sub_centres, dim)
        self._spare = SpareMemory()
        self.centres = nn.Parameter(start.detach()[: self.last - self.first])
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (B, D) and labels (B,) in 0 to C - 1 -> the mean loss over all processes' samples (0-d).

        Raises:
            InputError: shapes or labels that do not fit.
        """
        check_rows(embeddings, "embeddings", self.dim)
        check_labels(labels, embeddings.shape[0], self.classes)
        with torch.autocast(embeddings.device.type, enabled=False):
            rows = gather_rows(wide(embeddings), self.group, averaged=self.averaged)
            labels = gather_labels(labels, self.group)
            losses = self._losses(rows, labels)
            if self.training:
                self.step += 1
            return losses.sum() / max(losses.shape[0], 1)

    def _losses(self, rows: Tensor, labels: Tensor) -> Tensor:
        norms, unit = row_norms(rows), unit_rows(rows)
        scale = self.margin.row_scale(norms, self.scale)
        part = self._part(labels)
        with torch.no_grad():
            cosine, nearest = target_cosine(unit, self.centres, part)
            if self.margin.training:
                self.margin.observe(cosine, norms)
            if (hardness := self.margin.hardness) is not None:
                threshold = self.margin.target(cosine, norms)
                part = replace(part, threshold=threshold, hardness=hardness.clone())
        negatives, cosine = negatives_and_target(unit, scale, self.centres, cosine=cosine, nearest=nearest, part=part)
        losses = -F.logsigmoid(scale * self.margin.target(cosine, norms) - negatives)
        penalty = self.margin.penalty(norms)
        return losses if penalty is None else losses + penalty

    def _part(self, labels: Tensor) -> Part:
        """Which classes take part here, and where each target is."""
        position = labels - self.first
        here = (labels >= self.first) & (labels < self.last)
        index = None
        if self.sample_rate < 1.0 and self.training and self.last > self.first:
            seed = (self.seed, world_of(self.group)[1], int(self.step))
            index = sample_classes(position[here], self.last - self.first, self.sample_rate, seed)
            position = torch.searchsorted(index, position)
        narrow = self.products == "bf16"
        on_cpu, a_class = labels.device.type == "cpu", labels.shape[0] * self.sub_centres
        held = _LOGITS if on_cpu else _ON_ACCELERATORS
        a_class += 0 if on_cpu else 2 * self.dim * self.sub_centres  # unit centres, and their gradient
        held = held // 2 if narrow else held  # what is kept in bf16 comes on top
        chunk = self.chunk or max(256, held // max(a_class, 1))
        return Part(index, torch.where(here, position, -1), chunk, self.group, narrow=narrow, spare=self._spare)

    @torch.no_grad()
    def initialise(self, batches: Iterable[tuple[Tensor, Tensor]]) -> int:
        """Put each centre at the mean of its class's unit embeddings; classes not met keep their random centre.

        All processes of the group call it together, each with batches of its own, of which there may be any number. All
        sub-centres of a class get the mean and a little noise, else they would stay equal for ever.

        Args:
            batches: embeddings (B, D) and labels (B,), say of one epoch through the network.

        Returns:
            How many classes, over all processes, were met.

        Raises:
            InputError: shapes or labels that do not fit.
        """
        total = torch.zeros_like(self.centres[:, 0], dtype=torch.float32)
        count = torch.zeros(total.shape[0], dtype=torch.int64, device=total.device)
        source = iter(batches)
        while True:
            batch = next(source, None)
            more = torch.tensor([batch is not None], dtype=torch.int64, device=total.device)
            if not int(all_sum(more, self.group)):
                break
            rows, labels = batch or (total.new_zeros(0, self.dim), count.new_zeros(0))
            check_rows(rows, "embeddings", self.dim)
            check_labels(labels, rows.shape[0], self.classes)
            rows = gather_rows(unit_rows(rows.float()), self.group, averaged=False)
            labels = gather_labels(labels, self.group)
            here = (labels >= self.first) & (labels < self.last)
            total.index_add_(0, labels[here] - self.first, rows[here])
            count += torch.bincount(labels[here] - self.first, minlength=total.shape[0])
        means = unit_rows(total)
        met = (count > 0) & (means.square().sum(1) > 0)
        fresh = means[met].unsqueeze(1).expand(-1, self.sub_centres, -1).to(self.centres.dtype)
        if self.sub_centres > 1:
            fresh = fresh + 0.1 * self.centres[met]
        self.centres[met] = fresh
        return int(all_sum(met.sum(), self.group))

    def gathered(self) -> Tensor:
        """All centres (C, K, D) in class order, on every process: a checkpoint for any number of processes."""
        return gather_shards(self.centres.detach(), self.group)

    @torch.no_grad()
    def scatter(self, centres: Tensor) -> None:
        """Take this process's share of all centres (C, K, D), as [gathered][] gave them.

        Raises:
            InputError: another shape.
        """
        if centres.shape != (self.classes, *self.centres.shape[1:]):
            want = (self.classes, *self.centres.shape[1:])
            raise InputError(f"centres: expected {want}, got {tuple(centres.shape)}")
        self.centres.copy_(centres[self.first : self.last])
