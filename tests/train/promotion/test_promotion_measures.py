"""Two models on the same pairs, against rates that are known from how the scores were made."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError
from mien.evaluate.metrics.bootstrap import bootstrap_tar_difference, listed_subject_pairs
from mien.evaluate.metrics.folds import fold_accuracy
from mien.evaluate.protocols.pictures import Picture
from mien.evaluate.protocols.sets import PairSet
from mien.train.promotion_measures import compare_pairs, forgetting_report, pair_scores


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def made_pairs(people=60, each=3, folds=1, told=True, seed=0):
    """Every genuine pair, and as many impostor pairs again five times over."""
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(people), each)
    genuine = [(i, j) for i in range(people * each) for j in range(i + 1, people * each) if subject[i] == subject[j]]
    impostor = set()
    while len(impostor) < 10 * len(genuine):
        i, j = sorted(rng.integers(0, people * each, 2).tolist())
        if subject[i] != subject[j]:
            impostor.add((i, j))
    pairs = np.array(genuine + sorted(impostor))
    same = np.arange(len(pairs)) < len(genuine)
    names = tuple(f"p{i}" for i in range(people)) if told else ()
    pictures = [Picture(f"{i}.jpg", "") for i in range(people * each)]
    numbers = np.arange(len(pairs)) % folds
    return PairSet("made up", "", pictures, pairs, same, numbers, names, subject if told else None)


def vectors_of(data, noise, seed=0):
    """Embeddings of a model: people at random places, pictures around them; more noise is a worse model."""
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(60), 3)
    centres = unit(rng.normal(size=(60, 24)))
    return unit(centres[subject] + noise * rng.normal(size=(len(subject), 24)) / 24**0.5)


@pytest.mark.parametrize("folds", [1, 10])
@pytest.mark.parametrize("told", [True, False])
def test_rates_are_those_of_the_evaluation_room(folds, told):
    data = made_pairs(folds=folds, told=told)
    old, new = vectors_of(data, 1.2), vectors_of(data, 0.8)
    changes = compare_pairs(pair_scores(old, data), pair_scores(new, data), replicates=100)
    assert [c.rate for c in changes] == ["accuracy", "TAR at FAR 0.01"]
    by_hand = [np.einsum("pd,pd->p", v[data.pairs[:, 0]], v[data.pairs[:, 1]]) for v in (old, new)]
    accuracy, tar = changes
    if folds > 1:
        assert accuracy.before == fold_accuracy(by_hand[0], data.same, data.folds).mean
        assert accuracy.after == fold_accuracy(by_hand[1], data.same, data.folds).mean
    else:  # the best of all thresholds, tried one by one
        for scores, found in zip(by_hand, (accuracy.before, accuracy.after), strict=True):
            best = max(float(((scores >= t) == data.same).mean()) for t in (*scores, np.inf))
            assert found == pytest.approx(best)
    for scores, found in zip(by_hand, (tar.before, tar.after), strict=True):
        strangers = np.sort(scores[~data.same])[::-1]
        limit = strangers[int(0.01 * len(strangers))]
        assert found == pytest.approx(float((scores[data.same] > limit).mean()))
    if told:
        who = data.subject[data.pairs]
        paired = [listed_subject_pairs(s, who[:, 0], who[:, 1]) for s in by_hand]
        expected = bootstrap_tar_difference(*paired, 0.01, replicates=100)
        assert (tar.low, tar.high) == (expected.low, expected.high)
    assert accuracy.low <= accuracy.after - accuracy.before <= accuracy.high


def test_what_was_forgotten_is_told_and_what_was_not_is_not():
    data = made_pairs()
    good, bad = vectors_of(data, 0.8), vectors_of(data, 2.5)
    lost = forgetting_report(good, bad, data, replicates=100)
    assert lost.forgot
    assert "accuracy" in lost.worse
    assert lost.warning.startswith("the model forgets: ")
    won = forgetting_report(bad, good, data, replicates=100)
    assert not won.forgot
    assert won.warning == ""
    same = forgetting_report(good, good.copy(), data, replicates=50)
    assert all(c.before == c.after and c.low == c.high == 0 for c in same.changes)
    assert same.warning == ""


def test_scores_may_be_given_in_place_of_embeddings_and_widths_may_differ():
    data = made_pairs()
    old = vectors_of(data, 1.0)
    wide = np.concatenate([old, np.zeros_like(old)], axis=1)
    scores = np.einsum("pd,pd->p", old[data.pairs[:, 0]], old[data.pairs[:, 1]])
    report = forgetting_report(scores, wide, data, replicates=20)
    assert all(abs(c.after - c.before) < 1e-9 for c in report.changes)


def test_a_picture_without_a_face_scores_as_a_stranger():
    data = made_pairs()
    rows = vectors_of(data, 0.5)
    rows[0] = 0
    found = pair_scores(rows, data)
    touched = (data.pairs == 0).any(axis=1)
    assert (found.scores[touched] == -1).all()
    assert (found.scores[~touched] > -1).all()


@pytest.mark.parametrize("broken", ["rows", "nan", "shape", "allowed"])
def test_other_inputs_are_refused(broken):
    data = made_pairs()
    rows = vectors_of(data, 1.0)
    bad = {"rows": rows[:-1], "nan": np.full_like(rows, np.nan), "shape": rows[None], "allowed": rows}[broken]
    with pytest.raises(InputError):
        forgetting_report(rows, bad, data, allowed=-1 if broken == "allowed" else 0.0)
