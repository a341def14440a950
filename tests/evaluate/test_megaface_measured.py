"""MegaFace against a plain loop over probes, mates and distractors, in any number of stretches."""

from __future__ import annotations

import numpy as np
import pytest

from mien.errors import InputError
from mien.evaluate.distractor_sources import PictureDistractors, StoredDistractors
from mien.evaluate.embeddings import Embedded
from mien.evaluate.experiment import Setup
from mien.evaluate.megaface import measure_megaface
from mien.evaluate.protocols import FolderPictures, IdentificationSet, Templates
from mien.evaluate.results import ModelFacts

PEOPLE = ("Ada", "Bo", "Cy")
SUBJECT = np.array([0, 0, 0, 1, 1, 2, 2])
MODEL = ModelFacts("m", "fast", "ab" * 32, 8, "CC0-1.0", "d", "MIT")


def rows(n, seed, dimension=8):
    values = np.random.default_rng(seed).normal(size=(n, dimension)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def embedded(vectors, found=None):
    found = np.ones(len(vectors), np.bool_) if found is None else found
    return Embedded(np.where(found[:, None], vectors, 0), found, np.zeros((len(vectors), 5, 2), np.float32))


@pytest.fixture
def data():
    names = [f"{PEOPLE[s]}/{i}.png" for i, s in enumerate(SUBJECT)]
    everyone = np.arange(7)
    return IdentificationSet(
        "MegaFace", "rules", FolderPictures("x", names), Templates.single(names, PEOPLE, SUBJECT), everyone, everyone,
        everyone[:0], (), "each-mate",
    )  # fmt: skip


def loop(probes, found, strangers, threshold=None):
    """Rank 1 and TAR, pair by pair; a pair without two faces is a miss."""
    first = passed = pairs = 0
    for i in range(7):
        for j in range(7):
            if i != j and SUBJECT[i] == SUBJECT[j]:
                pairs += 1
                if found[i] and found[j]:
                    score = probes[i] @ probes[j]
                    first += all(score > probes[i] @ other for other in strangers)
                    passed += threshold is not None and score >= threshold
    return first / pairs, passed / pairs


@pytest.mark.parametrize("lost", [(), (1,), (1, 4, 5)])
@pytest.mark.parametrize("policy", ["error", "exclude"])
def test_ranks_and_tar_are_those_of_a_plain_loop(data, lost, policy, monkeypatch):
    monkeypatch.setattr("mien.evaluate.distractor_sources._STRETCH", 7)
    monkeypatch.setattr(PictureDistractors, "stretch", 7)
    probes, strangers, found = rows(7, 1), rows(40, 2), np.ones(7, np.bool_)
    probes[[0, 1, 2]] += 1.2  # so that some are right
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    found[list(lost)] = False
    there = np.arange(40) % 5 > 0
    pictures = FolderPictures("y", [f"{i}.png" for i in range(40)])

    def embed(part):
        at = np.array([int(name.split(".")[0]) for name in part.names])
        return embedded(strangers[at], there[at])

    result = measure_megaface(
        data, embedded(probes, found), PictureDistractors(pictures, embed), Setup(MODEL, policy), sizes=(5, 12, 100),
        fars=(0.1, 0.01, 1e-4),
    )  # fmt: skip
    counted = np.array([found[i] or policy == "error" for i in range(7)])
    share = 1.0
    if policy == "exclude":
        kept = [int((counted & (SUBJECT == s)).sum()) for s in range(3)]
        share = sum(n * (n - 1) for n in kept) / 10
    assert [row.distractors for row in result.ranks] == [5, 12, 40]
    for row in result.ranks:
        inside = strangers[: row.distractors][there[: row.distractors]]
        assert row.searched == len(inside)
        assert row.rate == pytest.approx(loop(probes, found, inside)[0] / share)
        assert row.low <= row.rate <= row.high
    assert result.pairs == round(10 * share)
    every = np.sort((probes[found] @ strangers[there].T).ravel())
    assert result.impostors == len(every)
    for row in result.tar_at_far:
        allowed = int(row.target * len(every) + 1e-9)
        if allowed < 1:
            assert row.rate is None
            assert "insufficient" in row.reason
            continue
        least = row.threshold + 1e-6  # products of other shapes are rounded otherwise
        assert int((every >= least).sum()) <= allowed <= int((every >= row.threshold - 1e-6).sum())
        assert row.rate == pytest.approx(loop(probes, found, strangers, least)[1] / share)


def test_stored_embeddings_say_the_same(data, tmp_path):
    probes, strangers = rows(7, 1), rows(40, 2)
    np.save(tmp_path / "rows.npy", strangers)
    pictures = PictureDistractors(
        FolderPictures("y", [str(i) for i in range(40)]), lambda part: embedded(strangers[[int(n) for n in part.names]])
    )
    sources = (pictures, StoredDistractors(tmp_path / "rows.npy", 8))
    a, b = (measure_megaface(data, embedded(probes), s, Setup(MODEL), sizes=(3, 40), fars=(0.1,)) for s in sources)
    assert [row.record() for row in a.ranks] == [row.record() for row in b.ranks]
    assert a.tar_at_far == b.tar_at_far


def test_a_rate_that_needs_too_many_scores_says_so(data, tmp_path, monkeypatch):
    monkeypatch.setattr("mien.evaluate.megaface._TAIL", 10)
    np.save(tmp_path / "rows.npy", rows(40, 2))
    stored = StoredDistractors(tmp_path / "rows.npy", 8)
    result = measure_megaface(data, embedded(rows(7, 1)), stored, Setup(MODEL), fars=(0.5, 0.01))
    assert [row.rate is None for row in result.tar_at_far] == [True, False]
    assert "needs more" in result.tar_at_far[0].reason


def test_nobody_to_measure(data, tmp_path):
    np.save(tmp_path / "rows.npy", rows(4, 2))
    stored = StoredDistractors(tmp_path / "rows.npy", 8)
    with pytest.raises(InputError, match="nobody can be measured"):
        measure_megaface(data, embedded(rows(7, 1), np.arange(7) == 0), stored, Setup(MODEL))
    with pytest.raises(InputError, match="sizes"):
        measure_megaface(data, embedded(rows(7, 1)), stored, Setup(MODEL), sizes=(0,))
