"""What the rates of groups are: one row a group, and what the worst group costs everybody. All immutable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mien.evaluate.results import rate_key
from mien.evaluate.twins import point_for

if TYPE_CHECKING:
    from mien.evaluate.groups_values import Coverage, Group
    from mien.evaluate.metrics.fixed_threshold import CountedRate
    from mien.evaluate.results import RateAt

__all__ = ["AttributeRates", "GroupAt", "GroupRow", "Groups", "WorstThreshold", "shown_point"]


@dataclass(frozen=True, slots=True)
class GroupAt:
    """One group at one stated rate of false alarms.

    Attributes:
        target: the stated rate.
        false: FMR (or FPIR) at the overall threshold.
        missed: FNMR (or FNIR) at the overall threshold.
        own: the rate of success at the threshold that the group alone would need.
    """

    target: float
    false: CountedRate
    missed: CountedRate
    own: RateAt


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One group.

    Attributes:
        group: which.
        people: how many people its pairs (or probes) are of; None where nobody knows.
        genuine, impostor: pairs of one person and of two; or known and unknown probes.
        at: one entry a stated rate, as `Groups.overall`.
    """

    group: Group
    people: int | None
    genuine: int
    impostor: int
    at: tuple[GroupAt, ...]


@dataclass(frozen=True, slots=True)
class WorstThreshold:
    """The lowest threshold at which every group with enough data keeps the stated rate of false alarms.

    Attributes:
        target: the stated rate.
        group: the one that needs it; None where no group has enough data.
        threshold: the score needed.
        false, success: what everybody together gets there.
        before: the success of everybody together at the overall threshold.
    """

    target: float
    group: str | None = None
    threshold: float | None = None
    false: float | None = None
    success: float | None = None
    before: float | None = None


@dataclass(frozen=True, slots=True)
class AttributeRates:
    """The groups of one attribute, in the order of its values, without empty ones.

    Attributes:
        name, kind: as those of `Attribute`.
        unknown: pictures (or probes) of which it is not known.
        rows: the groups.
        worst: one entry a stated rate.
    """

    name: str
    kind: str
    unknown: int
    rows: tuple[GroupRow, ...]
    worst: tuple[WorstThreshold, ...]

    def worst_first(self, index: int) -> list[GroupRow]:
        """The groups by falling rate of false alarms at one stated rate, then of misses; "insufficient data" last."""

        def order(row: GroupRow) -> tuple[float, float]:
            false, missed = row.at[index].false.value, row.at[index].missed.value
            return 1.0 if false is None else -false, 1.0 if missed is None else -missed

        return sorted(self.rows, key=order)


@dataclass(frozen=True, slots=True)
class Groups:
    """Error rates by group.

    Attributes:
        verification: whether rates are FMR and FNMR of pairs; otherwise FPIR and FNIR of probes.
        source: the file of attributes; "" where they were measured.
        coverage: how the file fits; None without a file.
        overall: the thresholds of everybody together, at the rates that enough data was there for.
        attributes: what the groups are by.
    """

    verification: bool
    source: str
    coverage: Coverage | None
    overall: tuple[RateAt, ...]
    attributes: tuple[AttributeRates, ...]

    def record(self) -> dict[str, Any]:
        """In JSON."""
        covered = self.coverage
        return {
            "source": self.source or None,
            "pictures": None if covered is None else {"matched": covered.matched, "unmatched": covered.unmatched},
            "unknown_keys": None
            if covered is None
            else {"count": covered.unknown_keys, "examples": list(covered.examples)},
            "attributes": [self._attribute(attribute) for attribute in self.attributes],
        }

    def _attribute(self, found: AttributeRates) -> dict[str, Any]:
        false, success, at, trials = self._words()
        kinds = ("genuine", "impostor") if self.verification else ("known", "unknown")
        return {
            "name": found.name,
            "kind": found.kind,
            "unknown": found.unknown,
            "groups": [
                {
                    "group": row.group.name,
                    "values": list(row.group.values),
                    "people": row.people,
                    **dict(zip(kinds, (row.genuine, row.impostor), strict=True)),
                    f"at_{at}": {
                        rate_key(one.target): {
                            false: one.false.record(trials),
                            "fnmr" if self.verification else "fnir": one.missed.record(trials),
                            "own": one.own.record(success, at),
                        }
                        for one in row.at
                    },
                }
                for row in found.rows
            ],
            "worst_group": {
                rate_key(w.target): {
                    "group": w.group,
                    "threshold": w.threshold,
                    at: w.false,
                    success: w.success,
                    f"{success}_before": w.before,
                }
                for w in found.worst
            },
        }

    def _words(self) -> tuple[str, str, str, str]:
        return ("fmr", "tar", "far", "pairs") if self.verification else ("fpir", "dir", "fpir", "probes")


def shown_point(groups: Groups) -> RateAt | None:
    """The stated rate that people are shown, if there is enough data for one: 0.001 of pairs, 0.01 of probes."""
    return point_for(groups.overall, 1e-3 if groups.verification else 1e-2)
