"""What a run minimises: a loss by name, over the embeddings of all processes, with what changes as training goes on."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mien.errors import InputError
from mien.train.config import LossConfig
from mien.train.heads import MarginHead
from mien.train.heads.sharding import Group, gather_labels, gather_rows
from mien.train.losses import AdaptiveMargin, CombinedMargin, IntegerMargin, LSoftmax, MagnitudeMargin, annealed_lambda
from mien.train.losses.angles import wide
from mien.train.losses_by_name import LossParts, loss_parts
from mien.train.schedules import margin_share

__all__ = ["Objective", "fixed_scale", "idle_told", "without_idle_settings"]

_BLOCK: Final = 4096  # classes that get their first centres from one seed, whichever process has them


class Objective(nn.Module):
    """A loss over all processes' rows: N processes get one process's value and gradients.

    Margin losses go through [MarginHead][mien.train.heads.MarginHead], whose centres are shared out over the processes;
    other weights are whole on each. Keep it out of DistributedDataParallel: gradients of embeddings come so that
    averaging the network's over processes makes them exact, those of the loss's own weights are exact already. Not
    thread-safe.

    Args:
        config: which loss.
        dim: numbers an embedding.
        classes: people.
        group: the processes, or None.
        seed: of the first centres, which do not depend on the number of processes, and of the sampling, which does.

    Raises:
        InputError: an unknown loss or option, or options that do not go together.
    """

    def __init__(self, config: LossConfig, dim: int, classes: int, *, group: Group = None, seed: int = 0) -> None:
        super().__init__()
        self.config, self.group = config, group
        self._first_scale = config.first_scale or fixed_scale(classes)
        self.parts: LossParts = loss_parts(config.name, config.options)
        self.head: MarginHead | None = None
        self.dense: nn.Module | None = None
        try:
            self._make(dim, classes, seed)
        except InputError as error:
            raise InputError(f"loss.options: {config.name}: {error}") from error
        self.pairs = self.parts.pairs
        self._full = _margins(self.parts.margin)
        self._check_idle()

    def _make(self, dim: int, classes: int, seed: int) -> None:
        """The class centres: in a margin head, or with a loss that has its own."""
        if self.parts.margin is not None:
            self.head = MarginHead(
                dim,
                classes,
                self.parts.margin,
                self.parts.scale,
                sub_centres=self.parts.sub_centres,
                sample_rate=self.config.sample_rate,
                group=self.group,
                seed=seed,
                products=self.config.products,
            )
            _start(self.head, seed)
        elif self.parts.dense is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.dense = self.parts.dense(dim, classes)

    def _check_idle(self) -> None:
        """Refuse settings that this loss would pass over in silence."""
        config, name = self.config, self.config.name
        centres = {
            "sample_rate": config.sample_rate < 1,
            "centres": config.centres != "random",
            "products": config.products != "fp32",
        }
        margin = {"margin_start": config.margin_start > 0, "margin_warm_up": config.margin_warm_up > 0}
        scale = {"scale_warm_up": config.scale_warm_up > 0}
        grows = self.head is not None and not isinstance(self.parts.margin, IntegerMargin)
        rules = (
            (self.head is not None, centres, f"for margin losses; {name} has no class centres of that kind"),
            (bool(self._full), margin, f"for losses whose margin can grow; {name} has none"),
            (grows, scale, f"for losses whose scale can grow; {name} has none"),
            (config.scale_warm_up > 0, {"first_scale": config.first_scale is not None}, "for loss.scale_warm_up"),
            (
                self.needs_old,
                {"old": config.old is not None},
                f"for loss.keep, or a loss across models; {name} is none",
            ),
        )
        for fits, settings, what in rules:
            asked = [setting for setting, given in settings.items() if given]
            if asked and not fits:
                names = " and ".join(f"loss.{setting}" for setting in asked)
                idle = " and ".join(f"loss.{one}={str(getattr(LossConfig(), one)).lower()}" for one in asked)
                raise InputError(f"{names}: {'is' if len(asked) == 1 else 'are'} {what}; take {idle}")

    @property
    def sparse(self) -> bool:
        """Whether gradients of the centres are sparse."""
        return self.head is not None and self.config.sample_rate < 1.0

    @property
    def needs_old(self) -> bool:
        """Whether an old network's embeddings of the same pictures are wanted."""
        return self.parts.needs_old or self.config.keep > 0

    @property
    def coupled(self) -> bool:
        """Whether a sample's loss depends on the rest of the batch."""
        return self.parts.coupled

    def at(self, step: int, progress: float) -> None:
        """Set what changes: lambda of the integer margins by the step, other margins and the scale by the progress."""
        margin, config = self.parts.margin, self.config
        share = margin_share(progress, config.margin_warm_up, config.margin_start)
        if self.head is not None and config.scale_warm_up and not isinstance(margin, IntegerMargin):
            first, full = min(self._first_scale, self.parts.scale), self.parts.scale
            self.head.scale = first + (full - first) * margin_share(progress, config.scale_warm_up)
        if self.parts.annealing is not None:
            blend = annealed_lambda(step, **self.parts.annealing)
            for owner in (margin, self.dense):
                if isinstance(owner, IntegerMargin | LSoftmax):
                    owner.blend = blend
        elif isinstance(margin, CombinedMargin):
            m1, m2, m3 = self._full
            margin.m1, margin.m2, margin.m3 = 1.0 + (m1 - 1.0) * share, m2 * share, m3 * share
        elif isinstance(margin, AdaptiveMargin):
            margin.margin = self._full[0] * share
        elif isinstance(margin, MagnitudeMargin):
            margin.margin_range = self._full[0] * share, self._full[1] * share

    def forward(
        self, embeddings: Tensor, labels: Tensor, old: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss over all processes' rows (0-d, the same on each) and its terms, without gradients.

        Args:
            embeddings: (B, D) of this process.
            labels: int64 (B,).
            old: (B, D') of the old network, where [needs_old][] says so.
        """
        terms: dict[str, Tensor] = {}
        whole = embeddings.new_zeros((), dtype=torch.float32)
        if self.head is not None:
            whole = terms["classes"] = self.head(embeddings, labels)
        if self.dense is not None or self.pairs is not None or old is not None:
            rows = gather_rows(wide(embeddings), self.group, averaged=True)
            people = gather_labels(labels, self.group)
            before = None if old is None else gather_rows(wide(old.detach()), self.group, averaged=False)
            if self.dense is not None:
                terms["classes"] = self.dense(rows, people)
                whole = whole + terms["classes"]
            if self.pairs is not None:
                given = (rows, before, people) if self.parts.needs_old else (rows, people)
                terms["pairs"] = self.pairs(*given)
                whole = whole + self.parts.pairs_weight * terms["pairs"]
            if self.config.keep and before is not None:
                terms["keep"] = (1.0 - F.cosine_similarity(rows, before, dim=1, eps=1e-12)).mean()
                whole = whole + self.config.keep * terms["keep"]
        return whole, {name: term.detach() for name, term in terms.items()}


def without_idle_settings(config: LossConfig) -> LossConfig:
    """The same without settings that did nothing, and once were taken in silence; [Objective][] refuses them now.

    They are ``margin_start`` and ``margin_warm_up`` where the loss has no margin that grows, and ``old`` where nobody
    looks at an old network.
    """
    if not (config.margin_start or config.margin_warm_up or config.old):
        return config
    try:
        parts = loss_parts(config.name, config.options)
    except InputError:  # said where the loss is made
        return config
    if not _margins(parts.margin):
        config = replace(config, margin_start=0.0, margin_warm_up=0.0)
    return config if parts.needs_old or config.keep else replace(config, old=None)


def idle_told(given: LossConfig, left: LossConfig) -> str:
    """The names of the settings that [without_idle_settings][] left out."""
    differ = [one.name for one in fields(LossConfig) if getattr(given, one.name) != getattr(left, one.name)]
    return ", ".join(f"loss.{name}" for name in differ)


def fixed_scale(classes: int) -> float:
    """The scale that gives 45 degrees to the own centre and 90 to all others even odds: sqrt(2) ln(classes - 1).

    A larger one from the start leaves a new network no gradient to learn by, a smaller one hardly a preference.

    Source:
        Zhang et al., "AdaCos: Adaptively Scaling Cosine Logits for Effectively Learning Deep Face Representations",
        CVPR 2019, equation 9.
    """
    return max(math.sqrt(2.0) * math.log(max(classes - 1, 1)), 1.0)


def _margins(margin: nn.Module | None) -> tuple[float, ...]:
    if isinstance(margin, CombinedMargin):
        return margin.m1, margin.m2, margin.m3
    if isinstance(margin, AdaptiveMargin):
        return (margin.margin,)
    return margin.margin_range if isinstance(margin, MagnitudeMargin) else ()


@torch.no_grad()
def _start(head: MarginHead, seed: int) -> None:
    """First centres N(0, 1/D), block by block, so that each class starts alike whatever the number of processes."""
    draw = torch.Generator()
    _, subs, dim = head.centres.shape
    for block in range(head.first // _BLOCK, -(-head.last // _BLOCK)):
        draw.manual_seed(seed * 1_000_003 + block)
        fresh = torch.randn(_BLOCK, subs, dim, generator=draw) / dim**0.5
        low, high = max(head.first, block * _BLOCK), min(head.last, (block + 1) * _BLOCK)
        head.centres[low - head.first : high - head.first] = fresh[low - block * _BLOCK : high - block * _BLOCK]
