import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import InputError
from mien.evaluate.metrics.folds import best_threshold, fold_accuracy


def loop(scores, same, folds):
    """The same with plain loops over candidate thresholds."""
    accuracies = []
    for fold in sorted(set(folds)):
        train = [(s, y) for s, y, f in zip(scores, same, folds, strict=True) if f != fold]
        candidates = sorted({s for s, _ in train})
        candidates.append(np.nextafter(candidates[-1], np.float32(np.inf)))
        right = [sum((s >= t) == y for s, y in train) for t in candidates]
        best = [t for t, r in zip(candidates, right, strict=True) if r == max(right)]
        threshold = best[(len(best) - 1) // 2]
        test = [(s >= threshold) == y for s, y, f in zip(scores, same, folds, strict=True) if f == fold]
        accuracies.append((sum(test) / len(test), float(threshold)))
    return accuracies


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(4, 12), st.sampled_from([1, 2, 7]), st.floats(0, 2))
def test_equals_a_plain_loop(seed, folds, size, decimals, gap):
    rng = np.random.default_rng(seed)
    same = np.tile([True, False], folds * size)[: folds * size]
    scores = (rng.normal(size=len(same)) + gap * same).round(decimals).astype(np.float32)
    ids = np.repeat(np.arange(folds) * 3 - 1, size)
    order = rng.permutation(len(ids))
    found = fold_accuracy(scores[order], same[order], ids[order])
    want = loop(scores, same, ids)
    assert [(f.accuracy, f.threshold) for f in found.folds] == want
    assert [f.fold for f in found.folds] == sorted(set(ids.tolist()))
    values = [a for a, _ in want]
    assert abs(found.mean - np.mean(values)) < 1e-12
    assert abs(found.standard_error - np.std(values, ddof=1) / np.sqrt(folds)) < 1e-12


def test_the_test_fold_does_not_choose_its_threshold():
    # The second fold alone would choose 0.5 and be perfect; the first one tells it 0.8.
    scores, same = [0.1, 0.7, 0.8, 0.9, 0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1, 0, 0, 1, 1]
    found = fold_accuracy(scores, same, [0] * 4 + [1] * 4)
    assert found.folds[1].threshold == pytest.approx(0.8)
    assert found.folds[1].accuracy == 0.5


def test_the_middle_of_a_plateau():
    # Impostors at 0, genuine at 1, and one of either kind in turn between: five thresholds are equally good.
    scores = [0, 0, 0.1, 0.2, 0.3, 0.4, 1, 1]
    assert best_threshold(scores, [0, 0, 1, 0, 1, 0, 1, 1]) == pytest.approx(np.float32(0.3))
    assert best_threshold([1, 2], [1, 0]) == 1  # accept both, or refuse both: the lower of two middles


def test_a_rising_change_of_the_scores_changes_nothing():
    rng = np.random.default_rng(0)
    same = rng.random(600) < 0.5
    scores, folds = rng.normal(size=600) + same, np.repeat(np.arange(10), 60)
    before, after = fold_accuracy(scores, same, folds), fold_accuracy(np.exp(scores), same, folds)
    assert [f.accuracy for f in before.folds] == [f.accuracy for f in after.folds]


@pytest.mark.parametrize(
    ("scores", "same", "folds", "message"),
    [
        ([1, 2], [0, 1], [0, 0], "at least 2"),
        ([], [], [], "folds"),
        ([1, np.nan], [0, 1], [0, 1], "finite"),
        ([1, 2], [0, 1], [0, 1], "expected genuine and impostor pairs to choose it on"),
        ([1, 2], [0, 1, 1], [0, 1], "same"),
        ([1, 2], [0, 1], [0], "folds"),
        ([1, 2], [0, 1], [0.0, 1.0], "folds"),
    ],
)
def test_refuses(scores, same, folds, message):
    with pytest.raises(InputError, match=message):
        fold_accuracy(np.array(scores), np.array(same, int), np.array(folds) if folds else np.zeros(0, int))
