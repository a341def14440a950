"""Judging a new model against the present one: the rule, its verdicts, and the reasons in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from mien.errors import InputError
from mien.evaluate.model_change import compare_models

if TYPE_CHECKING:
    from mien.evaluate.protocols.sets import PairSet
    from mien.gallery.migration import BothModels
    from mien.types import ModelIdentity

__all__ = ["Gain", "Judgement", "Verdict", "judge", "judge_pairs"]

Verdict: TypeAlias = Literal["better", "not worse", "not shown", "worse", "too few"]
"""What the faces say of the new model; the first is let in, the second where a margin was given."""

RATES: Final = (1e-3, 1e-2, 5e-2)
"""False match rates that are tried in turn, where none is asked for: the strictest that the faces support."""


@dataclass(frozen=True, slots=True)
class Gain:
    """TAR of the new model above that of the present one.

    Attributes:
        fmr: at this false match rate.
        before, after: TAR of the present and the new model.
        value: after - before; `low` and `high` are its 95 % interval over people.
        low, high: see `value`.
    """

    fmr: float
    before: float
    after: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the faces say.

    Attributes:
        present, new: the models.
        verdict: see `Verdict`.
        margin: the loss that was allowed beforehand; None where the new model has to be better.
        gain: None where there are too few faces.
        people, faces: how many they are.
        data: which, in words.
        reasons: why the verdict is what it is.
    """

    present: ModelIdentity
    new: ModelIdentity
    verdict: Verdict
    margin: float | None
    gain: Gain | None
    people: int
    faces: int
    data: str
    reasons: tuple[str, ...]

    @property
    def let_in(self) -> bool:
        """Whether the new model may take the present one's place."""
        return self.verdict in ("better", "not worse")

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        g = self.gain
        gain = None if g is None else {key: getattr(g, key) for key in Gain.__slots__}
        return {
            "present": str(self.present),
            "new": str(self.new),
            "verdict": self.verdict,
            "let_in": self.let_in,
            "margin": self.margin,
            "gain": gain,
            "people": self.people,
            "faces": self.faces,
            "data": self.data,
            "reasons": list(self.reasons),
        }


def judge(
    both: BothModels,
    present: ModelIdentity,
    new: ModelIdentity,
    *,
    data: str,
    fmr: float | None = None,
    margin: float | None = None,
    replicates: int = 1000,
) -> Judgement:
    """Judge a new model on faces that both have embedded, all pairs of them.

    Args:
        both: the faces, by the present model (`live`) and the new one (`staged`).
        present: the present model.
        new: the new one.
        data: the faces in words.
        fmr: false match rate; None for the strictest of `RATES` that the faces support.
        margin: how much lower TAR may be; None where it has to be higher.
        replicates: of the bootstrap over people.

    Raises:
        InputError: a rate or margin that is none.
    """
    _check(fmr, margin)
    people, faces = len(np.unique(both.subjects)), len(both.subjects)
    gain, few = None, "nothing was compared"
    for rate in (fmr,) if fmr is not None else RATES:
        try:
            change = compare_models(both, fmr=rate, replicates=replicates)
        except InputError as error:
            few = str(error)
            break
        if change.gain is None or change.live.tar is None or change.staged.tar is None:
            few = (
                f"{change.impostor:,} pairs of different people are too few to tell the true accept rate at a false "
                f"match rate of {rate:g}"
            )
            continue
        before, after, found = change.live.tar.value, change.staged.tar.value, change.gain
        gain = Gain(rate, before, after, found.value, found.low, found.high)
        break
    return _judged(present, new, gain, margin, people, faces, data, few)


def judge_pairs(
    before: Any,  # noqa: ANN401 - embeddings or scores, see `pair_scores`
    after: Any,  # noqa: ANN401
    pairs: PairSet,
    present: ModelIdentity,
    new: ModelIdentity,
    *,
    fmr: float | None = None,
    margin: float | None = None,
    replicates: int = 1000,
) -> Judgement:
    """Judge a new model on a list of pairs; arguments as for `forgetting_report` and `judge`."""
    from mien.train.promotion_measures import compare_pairs, pair_scores

    _check(fmr, margin)
    old, other = pair_scores(before, pairs), pair_scores(after, pairs)
    changes = compare_pairs(old, other, fars=(fmr,) if fmr is not None else RATES, replicates=replicates)
    rates = [change for change in changes if change.rate.startswith("TAR")]
    gain = None
    if rates:
        first = rates[0]
        value = first.after - first.before
        gain = Gain(float(first.rate.rpartition(" ")[2]), first.before, first.after, value, first.low, first.high)
    few = f"{int((~pairs.same).sum()):,} pairs of different people are too few to tell a rate"
    people = len(np.unique(old.subjects))
    return _judged(present, new, gain, margin, people, len(pairs.pictures), pairs.name, few)


def _check(fmr: float | None, margin: float | None) -> None:
    if fmr is not None and not 0 < fmr < 1:
        raise InputError(f"fmr: expected a rate between 0 and 1, got {fmr}")
    if margin is not None and not 0 < margin < 1:
        raise InputError(f"margin: expected a share between 0 and 1, such as 0.01 for a point, got {margin}")


def _judged(  # noqa: PLR0917 - private
    present: ModelIdentity,
    new: ModelIdentity,
    gain: Gain | None,
    margin: float | None,
    people: int,
    faces: int,
    data: str,
    few: str,
) -> Judgement:
    verdict: Verdict
    if gain is None:
        verdict, reason = "too few", f"{few}; give more people (--images), or a looser rate (--fmr)"
    else:
        told = f"{100 * gain.value:+.2f} points ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})"
        rate = f"TAR at FMR {gain.fmr:g} changes from {gain.before:.4f} to {gain.after:.4f}, {told}"
        if gain.low > 0:
            verdict, reason = "better", f"{rate}: the whole interval lies above 0"
        elif gain.high < 0:
            verdict, reason = "worse", f"{rate}: the whole interval lies below 0"
            if margin is not None and gain.low > -margin:  # worse for sure, but by less than was allowed
                verdict, reason = "not worse", f"{rate}: lower, but by less than the margin of {100 * margin:g} points"
        elif margin is not None and gain.low > -margin:
            verdict, reason = "not worse", f"{rate}: no loss of the margin of {100 * margin:g} points"
        else:
            verdict, reason = "not shown", f"{rate}: the interval holds 0, so that it is not shown to be better"
            if margin is not None:
                reason = f"{rate}: the interval holds a loss of the margin of {100 * margin:g} points"
    return Judgement(present, new, verdict, margin, gain, people, faces, data, (reason,))
