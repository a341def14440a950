"""Clusterings of faces, measured: agreement with the people, and where it fails worst."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from mien.errors import InputError
from mien.evaluate.metrics.clustering import ClusterAgreement, Contingency, agreement, contingency
from mien.evaluate.metrics.clustering_intervals import AgreementIntervals, bootstrap_agreement
from mien.evaluate.protocols.columns import PICTURE, Column, read_columns
from mien.evaluate.protocols.pairing import numbered
from mien.evaluate.protocols.sets import Exclusion
from mien.images import source_name

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mien.evaluate.measured import Call, Measured
    from mien.evaluate.results import Experiment, PairOfShots

__all__ = [
    "PARTS",
    "ClusterResult",
    "Kind",
    "Labelled",
    "MergedCluster",
    "Part",
    "SplitPerson",
    "cluster_result",
    "measure_clusters",
    "read_clusters",
]

WORST: Final = 12
Kind: TypeAlias = Literal["pairwise", "bcubed"]
Part: TypeAlias = Literal["precision", "recall", "f"]
PARTS: Final[tuple[Part, ...]] = ("precision", "recall", "f")
"""The numbers of either kind, in the order of `AgreementIntervals`."""

_DRAWS: Final = 20_000_000  # people drawn for the intervals: about a second

RULES: Final = (
    "Pairwise: of the pairs of faces in one cluster, how many are of one person (precision); of the pairs of one "
    "person, how many are in one cluster (recall). B-cubed: the same asked of each face about its own cluster, "
    "itself included, and averaged over faces. F is their harmonic mean. A face that was left alone is a cluster."
)

_COLUMNS: Final = (
    PICTURE,
    Column("face", needed=False),
    Column("label", ("subject", "person", "identity", "name", "truth")),
    Column("cluster", ("group", "cluster_id", "predicted")),
)
_ALONE: Final = frozenset({"", "-1"})


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Faces, whose they are, and where they were put.

    Attributes:
        people, subject: names, and (N,) positions among them.
        clusters, cluster: names, and (N,) positions among them; -1 for a face that was left alone.
        exclusions: faces that were left out.
    """

    people: tuple[str, ...]
    subject: NDArray[np.intp]
    clusters: tuple[str, ...]
    cluster: NDArray[np.intp]
    exclusions: tuple[Exclusion, ...] = ()


@dataclass(frozen=True, slots=True)
class SplitPerson:
    """A person in several clusters: name, faces, clusters, faces in the largest, and pairs that were parted."""

    person: str
    faces: int
    clusters: int
    largest: int
    lost_pairs: int


@dataclass(frozen=True, slots=True)
class MergedCluster:
    """A cluster of several people: name, faces, people, whose most are, how many of theirs, and pairs put wrongly."""

    cluster: str
    faces: int
    people: int
    most: str
    largest: int
    wrong_pairs: int


@dataclass(frozen=True, slots=True)
class ClusterResult:
    """What `evaluate cluster` found.

    Attributes:
        experiment: what was measured, and how.
        agreement: the numbers.
        intervals: 95 %; None where there is one person only.
        alone: faces in clusters of one.
        split: people in several clusters, by pairs that were lost.
        split_people: how many there are in all.
        merged: clusters of several people, by pairs that are wrong.
        merged_clusters: how many there are in all.
        method: how the faces were clustered, where this was done here; empty for a file.
        threshold: of that clustering.
        split_pairs, merged_pairs: pictures of the worst of both, where there are any.
    """

    experiment: Experiment | Measured
    agreement: ClusterAgreement
    intervals: AgreementIntervals | None
    alone: int
    split: tuple[SplitPerson, ...]
    split_people: int
    merged: tuple[MergedCluster, ...]
    merged_clusters: int
    method: str = ""
    threshold: float | None = None
    split_pairs: tuple[PairOfShots, ...] = field(default=())
    merged_pairs: tuple[PairOfShots, ...] = field(default=())

    def record(self) -> dict[str, Any]:
        """The JSON object."""
        found, i = self.agreement, self.intervals
        return {
            **self.experiment.record("clustering"),
            "method": self.method or None,
            "threshold": self.threshold,
            "faces": found.faces,
            "people": found.subjects,
            "clusters": found.clusters,
            "alone": self.alone,
            "pairwise": self._numbers("pairwise"),
            "bcubed": self._numbers("bcubed"),
            "interval": f"bootstrap over {found.subjects} people, {i.replicates} replicates" if i else None,
            "reason": None if i else "one person cannot be resampled",
            "split_people": self.split_people,
            "split": [{key: getattr(row, key) for key in row.__slots__} for row in self.split],
            "merged_clusters": self.merged_clusters,
            "merged": [{key: getattr(row, key) for key in row.__slots__} for row in self.merged],
        }

    def bounds(self, kind: Kind, part: Part) -> tuple[float, float] | tuple[None, None]:
        """The interval of a number; none for a 1 or a 0 that every replicate repeats, which says nothing."""
        if self.intervals is None:
            return None, None
        low, high = getattr(self.intervals, kind)[PARTS.index(part)]
        return (low, high) if low < high else (None, None)

    def _numbers(self, kind: Kind) -> dict[str, Any]:
        found = getattr(self.agreement, kind)
        record: dict[str, Any] = {}
        for part in PARTS:
            low, high = self.bounds(kind, part)
            record[part] = {"value": getattr(found, part), "low": low, "high": high}
        return record


def read_clusters(path: str | os.PathLike[str]) -> Labelled:
    """Read a CSV file with columns picture, label and cluster, and face where pictures hold several.

    A cluster that is empty or -1 is a face that was left alone; a face without a label is left out.

    Raises:
        InputError: the file is not such a table, names a face twice, or no face has a label.
    """
    seen: dict[tuple[str, str], str] = {}
    people: list[str] = []
    clusters: list[str] = []
    exclusions: list[Exclusion] = []
    for row in read_columns(path, _COLUMNS):
        key = (row.text("picture"), row.text("face"))
        if not key[0]:
            raise row.line.wrong("the name of a picture")
        if key in seen:
            raise row.line.wrong(f"a face that is not named before (at {seen[key]});")
        seen[key] = row.line.where.rpartition(", ")[2]
        if label := row.text("label"):
            people.append(label)
            clusters.append(row.text("cluster"))
        else:
            exclusions.append(Exclusion(" ".join(part for part in key if part), "has no label"))
    if not people:
        raise InputError(f"{source_name(path)}: no face has a label, so there is nothing to compare with")
    names, subject = numbered(people)
    groups, cluster = numbered(["" if name in _ALONE else name for name in clusters])
    if groups[0] == "":
        groups, cluster = groups[1:], cluster - 1
    return Labelled(names, subject, groups, cluster, tuple(exclusions))


def measure_clusters(faces: Labelled, name: str, call: Call) -> ClusterResult:
    """Measure clusters that were read from a file called `name`."""
    rules = f"{RULES} {len(faces.exclusions)} faces without a label are left out."
    measured = call.measured(name, rules, pictures=len(faces.subject), exclusions=faces.exclusions)
    return cluster_result(faces, measured, seed=call.seed)


def cluster_result(
    faces: Labelled, experiment: Experiment | Measured, *, seed: int, method: str = "", threshold: float | None = None
) -> ClusterResult:
    """The numbers of a clustering.

    Args:
        faces: at least one face.
        experiment: what is measured, and how.
        seed: of the resampling.
        method: how the faces were clustered, if that was done here.
        threshold: of that clustering.
    """
    counts = contingency(faces.subject, faces.cluster)
    people = len(counts.by_subject)
    replicates = max(100, min(1000, _DRAWS // people))
    split, merged = _split(faces, counts), _merged(faces, counts)
    return ClusterResult(
        experiment=experiment,
        agreement=agreement(counts),
        intervals=bootstrap_agreement(counts, replicates=replicates, seed=seed) if people > 1 else None,
        alone=int(np.count_nonzero(counts.by_cluster == 1)),
        split=split[0],
        split_people=split[1],
        merged=merged[0],
        merged_clusters=merged[1],
        method=method,
        threshold=threshold,
    )


def _split(faces: Labelled, counts: Contingency) -> tuple[tuple[SplitPerson, ...], int]:
    owners = np.unique(faces.subject)
    parts, largest, kept = _by(counts.subject, counts.together, len(owners))
    whole = counts.by_subject
    lost = (whole * (whole - 1) - kept) // 2
    worst = _worst(lost)
    rows = [
        SplitPerson(faces.people[owners[i]], int(whole[i]), int(parts[i]), int(largest[i]), int(lost[i])) for i in worst
    ]
    return tuple(rows), int(np.count_nonzero(parts > 1))


def _merged(faces: Labelled, counts: Contingency) -> tuple[tuple[MergedCluster, ...], int]:
    owners = np.unique(faces.subject)
    whole = counts.by_cluster
    parts, largest, kept = _by(counts.cluster, counts.together, len(whole))
    wrong = (whole * (whole - 1) - kept) // 2
    named = np.unique(faces.cluster[faces.cluster >= 0])  # faces left alone are numbered after these
    rows = []
    for i in _worst(wrong):
        cells = np.flatnonzero(counts.cluster == i)
        most = owners[counts.subject[cells[counts.together[cells].argmax()]]]
        name = faces.clusters[named[i]]
        rows.append(
            MergedCluster(name, int(whole[i]), int(parts[i]), faces.people[most], int(largest[i]), int(wrong[i]))
        )
    return tuple(rows), int(np.count_nonzero(parts > 1))


def _by(
    side: NDArray[np.int64], together: NDArray[np.int64], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of each subject or cluster: cells, faces in the largest one, and ordered pairs within cells."""
    largest = np.zeros(n, np.int64)
    np.maximum.at(largest, side, together)
    pairs = np.bincount(side, (together * (together - 1)).astype(np.float64), n)
    return np.bincount(side, minlength=n), largest, np.rint(pairs).astype(np.int64)


def _worst(values: NDArray[np.int64]) -> Sequence[int]:
    order = np.argsort(-values, kind="stable")[:WORST]
    worst: list[int] = order[values[order] > 0].tolist()
    return worst
