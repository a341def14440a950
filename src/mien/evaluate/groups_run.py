"""From a result to its rates by group: which attributes a run has, and the pairs or probes of each group."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.evaluate.groups import probe_rates, verification_rates
from mien.evaluate.groups_measured import measured_attributes
from mien.evaluate.groups_pairs import all_group_pairs, listed_group_pairs
from mien.evaluate.groups_results import Groups
from mien.evaluate.groups_values import column_attributes
from mien.evaluate.metrics.identification import fnir_at, fpir_at
from mien.evaluate.metrics.thresholds import float32_at_least
from mien.evaluate.metrics.verification import fmr_at, fnmr_at
from mien.evaluate.protocols.sets import PairSet, SubjectSet, TemplateSet
from mien.evaluate.verification import listed_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mien.evaluate.embeddings import Embedded
    from mien.evaluate.groups_csv import AttributeTable
    from mien.evaluate.groups_pairs import GroupPairs
    from mien.evaluate.groups_ranges import Ranges
    from mien.evaluate.groups_values import Attribute, Coverage
    from mien.evaluate.protocols.pictures import Picture
    from mien.evaluate.protocols.sets import IdentificationSet
    from mien.evaluate.results import Experiment, IdentificationResult, RateAt, VerificationResult
    from mien.evaluate.verification import ListedScores, VerificationSet

__all__ = ["GroupRequest", "with_probe_groups", "with_verification_groups"]


@dataclass(frozen=True, slots=True)
class GroupRequest:
    """What the groups are by.

    Attributes:
        table: a file of attributes; None for none.
        bins: ranges of its columns that are numbers.
        gaps: ranges of the difference of the two sides of a pair.
        measured: attributes to measure from the pictures, see `mien.evaluate.groups_measured`.

    Raises:
        InputError: ranges of a file that is not given.
    """

    table: AttributeTable | None = None
    bins: tuple[Ranges, ...] = ()
    gaps: tuple[Ranges, ...] = ()
    measured: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.table is None and (self.bins or self.gaps):
            raise InputError("--bin and --gap: expected the file of their columns too (--groups attributes.csv)")
        columns = [ranges.column for ranges in self.bins], [ranges.column for ranges in self.gaps]
        for option, names in zip(("--bin", "--gap"), columns, strict=True):
            for name in names:
                if names.count(name) > 1:
                    raise InputError(f"{option} {name}: expected ranges of a column once")
                if self.table is not None:
                    self.table.column(name)  # raises before the work where there is none

    def attributes(
        self, pictures: Sequence[Picture], people: Sequence[str] | None, embedded: Embedded
    ) -> tuple[list[Attribute], Coverage | None]:
        """The attributes of a protocol's pictures, and how its file fits."""
        found: list[Attribute] = []
        coverage = None
        if self.table is not None:
            names = [picture.name for picture in pictures]
            found, coverage = column_attributes(self.table, names, people, bins=self.bins, gaps=self.gaps)
        return [*found, *measured_attributes(self.measured, pictures, embedded)], coverage


def with_verification_groups(
    data: VerificationSet, embedded: Embedded, result: VerificationResult, request: GroupRequest
) -> VerificationResult:
    """The result of `verify_set`, with rates by group.

    Raises:
        InputError: the attributes do not fit the protocol.
    """
    began = time.monotonic()
    attributes, coverage = request.attributes(data.pictures, _people(data), embedded)
    points = tuple(row for row in result.tar_at_far if row.threshold is not None)
    floor = _floor(points)
    failed, seed = result.experiment.failure_policy == "error", result.experiment.seed

    def overall(threshold: float) -> tuple[float, float]:
        false, missed = fmr_at(result.scores, threshold), fnmr_at(result.scores, threshold)
        return false.count / false.trials, 1 - missed.count / missed.trials

    listed = None if isinstance(data, SubjectSet) else listed_scores(data, embedded)
    found = []
    for each in attributes:
        attribute = each
        if isinstance(data, SubjectSet):
            parts = all_group_pairs(embedded.vectors, data.subject, each, embedded.found, floor=floor, failed=failed)
        else:
            assert listed is not None
            if isinstance(data, TemplateSet):
                attribute = each.of_templates(data.templates.members, data.templates.offsets)
            parts = _listed(data, listed, attribute, floor, failed=failed)
        found.append(verification_rates(attribute, parts, points, overall, seed=seed))
    groups = Groups(True, _source(request), coverage, points, tuple(found))
    return replace(result, experiment=_longer(result.experiment, began), groups=groups)


def with_probe_groups(
    data: IdentificationSet, embedded: Embedded, result: IdentificationResult, request: GroupRequest
) -> IdentificationResult:
    """The result of `identify_set`, with rates by group of the probe.

    Args:
        data: the protocol's set.
        embedded: the embeddings of `all_pictures` of it.
        result: what was found.
        request: what the groups are by; it has no gaps, for a probe has no other side.

    Raises:
        InputError: the attributes do not fit the protocol, or gaps are asked for.
    """
    if request.gaps:
        raise InputError("--gap: a probe is compared with everybody enrolled, so it has no gap to one other side")
    assert result.probes is not None
    began = time.monotonic()
    templates, own = data.templates, len(data.pictures)
    whose = np.zeros(own, np.intp)
    whose[templates.members] = np.repeat(templates.subject, np.diff(templates.offsets))
    mine = replace(
        embedded, vectors=embedded.vectors[:own], found=embedded.found[:own], landmarks=embedded.landmarks[:own]
    )
    people = [templates.people[i] for i in whose.tolist()]
    attributes, coverage = request.attributes(data.pictures, people, mine)
    points = tuple(row for row in result.dir_at_fpir if row.threshold is not None)
    search, seed = result.search, result.experiment.seed

    def overall(threshold: float) -> tuple[float, float]:
        false, missed = fpir_at(search, threshold), fnir_at(search, threshold)
        return false.count / false.trials, 1 - missed.count / missed.trials

    found = []
    for attribute in attributes:
        each = attribute.of_templates(templates.members, templates.offsets)
        probed = replace(each, codes=each.codes[result.probes])
        subjects = templates.subject[result.probes]
        found.append(probe_rates(probed, search, subjects, points, overall, seed=seed))
    groups = Groups(False, _source(request), coverage, points, tuple(found))
    return replace(result, experiment=_longer(result.experiment, began), groups=groups)


def _people(data: VerificationSet) -> list[str] | None:
    if isinstance(data, TemplateSet):
        t = data.templates
        names = [""] * len(data.pictures)
        for position, subject in zip(
            t.members.tolist(), np.repeat(t.subject, np.diff(t.offsets)).tolist(), strict=True
        ):
            names[position] = t.people[subject]
        return names
    if data.subject is None:
        return None
    return [data.people[i] for i in data.subject.tolist()]


def _listed(
    data: PairSet | TemplateSet, pairs: ListedScores, attribute: Attribute, floor: np.float32, *, failed: bool
) -> list[GroupPairs]:
    counts: NDArray[np.bool_] = np.ones_like(pairs.both) if failed else pairs.both
    subjects = None if pairs.subjects is None else pairs.subjects[counts]
    return listed_group_pairs(
        pairs.scores[counts], pairs.same[counts], data.pairs[counts], subjects, attribute, floor=floor
    )


def _floor(points: Sequence[RateAt]) -> np.float32:
    thresholds = [row.threshold for row in points if row.threshold is not None]
    return float32_at_least(min(thresholds)) if thresholds else np.float32(np.inf)


def _longer(experiment: Experiment, began: float) -> Experiment:
    return replace(experiment, seconds=experiment.seconds + time.monotonic() - began)


def _source(request: GroupRequest) -> str:
    return "" if request.table is None else request.table.source
