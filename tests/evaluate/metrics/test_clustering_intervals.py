"""Intervals of clusterings against a plain loop over faces and pairs, each weighted by the draws of its person."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from mien.errors import InputError
from mien.evaluate.metrics.clustering import agreement, cluster_agreement, contingency
from mien.evaluate.metrics.clustering_intervals import bootstrap_agreement, resampled_sums


def by_loop(people, clusters, weights):
    """Precision, recall and F, pairwise and B-cubed, of faces that count as often as their person was drawn."""
    right = found = there = 0.0
    for i, j in combinations(range(len(people)), 2):
        weight = (weights[people[i]] + weights[people[j]]) / 2
        found += weight * (clusters[i] == clusters[j])
        there += weight * (people[i] == people[j])
        right += weight * (clusters[i] == clusters[j] and people[i] == people[j])
    precision, recall, total = 0.0, 0.0, 0.0
    for i in range(len(people)):
        own = [j for j in range(len(people)) if clusters[j] == clusters[i]]
        same = [j for j in range(len(people)) if people[j] == people[i]]
        both = len(set(own) & set(same))
        weight = weights[people[i]]
        precision, recall, total = (
            precision + weight * both / len(own),
            recall + weight * both / len(same),
            total + weight,
        )
    rows = []
    for p, r in ((right / found if found else 1, right / there if there else 1), (precision / total, recall / total)):
        rows.append((p, r, 2 * p * r / (p + r) if p + r else 0))
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_percentiles_are_those_of_a_plain_loop(seed):
    random = np.random.default_rng(seed)
    people = np.sort(random.integers(0, 6, 30))
    people = np.unique(people, return_inverse=True)[1]
    clusters = np.where(random.random(30) < 0.7, people, random.integers(0, 8, 30))
    n, count = 40, int(people.max()) + 1
    draws = np.random.default_rng(seed + 100).multinomial(count, np.full(count, 1 / count), n)
    rows = np.array([by_loop(people.tolist(), clusters.tolist(), draw) for draw in draws])
    low, high = np.percentile(rows, [2.5, 97.5], axis=0)
    found = bootstrap_agreement(contingency(people, clusters), replicates=n, seed=seed + 100)
    np.testing.assert_allclose([found.pairwise, found.bcubed], np.stack([low, high], axis=2), rtol=0, atol=1e-12)
    once = by_loop(people.tolist(), clusters.tolist(), np.ones(count))
    whole = cluster_agreement(people, clusters)
    for numbers, row in zip((whole.pairwise, whole.bcubed), once, strict=True):
        np.testing.assert_allclose((numbers.precision, numbers.recall, numbers.f), row, rtol=0, atol=1e-12)


def test_draws_do_not_depend_on_how_they_are_split(monkeypatch):
    values = np.arange(12.0).reshape(6, 2)
    whole = resampled_sums(values, 50, 3)
    monkeypatch.setattr("mien.evaluate.metrics.clustering_intervals._CELLS", 12)
    np.testing.assert_array_equal(resampled_sums(values, 50, 3), whole)


def test_contingency_and_one_person():
    counts = contingency(["b", "a", "a", "b"], [1, 1, -1, -1])
    assert counts.by_subject.tolist() == [2, 2]
    assert sorted(counts.by_cluster.tolist()) == [1, 1, 2]
    assert agreement(counts).clusters == 3
    with pytest.raises(InputError, match="two or more people"):
        bootstrap_agreement(contingency(["a", "a"], [0, 1]))
