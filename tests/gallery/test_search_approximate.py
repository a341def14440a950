"""Approximate search: true scores, a recall that is as reported, and the exact index's rows, owners and removals."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from mien.errors import GalleryError, InputError, MissingExtraError
from mien.gallery import Gallery
from mien.gallery.search import ApproximateIndex, ExactIndex


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def made():
    pytest.importorskip("faiss", reason="needs faiss-cpu")
    rng = np.random.default_rng(0)
    people = unit(rng.standard_normal((2000, 32)))
    rows = unit(np.repeat(people, 5, 0) * 0.74 + 0.67 * unit(rng.standard_normal((10_000, 32))))
    index = ExactIndex(compiled=False).append(rows, np.arange(10_000) // 5)
    probes = unit(people[:300] * 0.74 + 0.67 * unit(rng.standard_normal((300, 32))))
    return ApproximateIndex.built(index, samples=400), index, rows, probes


def test_recall_is_as_reported(made):
    approximate, index, rows, probes = made
    hits = approximate.search(index, probes, k=1)
    exact = index.search(probes, k=1)
    assert approximate.report.samples == 200
    assert approximate.report.recall >= 0.97
    recall = (hits.owners == exact.owners).mean()
    assert recall >= approximate.report.recall - 0.05
    found = hits.rows[:, 0] == exact.rows[:, 0]
    assert (hits.scores[found] == exact.scores[found]).all()
    np.testing.assert_allclose(hits.scores[:, 0], np.einsum("ij,ij->i", rows[hits.rows[:, 0]], probes), atol=1e-6)


def test_removed_added_and_filtered_rows(made):
    _, index, _, probes = made
    approximate = ApproximateIndex.built(index, samples=20)
    best = index.search(probes[:1], k=1).rows[0]
    without = index.remove(best)
    assert best[0] not in approximate.search(without, probes[:1], k=5, by_owner=False).rows[0]
    grown = without.append(probes[:1], np.array([5000]))
    hits = approximate.search(grown, probes[:1], k=2)
    assert (hits.rows[0, 0], hits.owners[0, 0]) == (10_000, 5000)
    allowed = np.zeros(grown.count, bool)
    allowed[[3, 7, 9999]] = True
    few = approximate.search(grown, probes[:2], k=3, by_owner=False, allowed=allowed)
    assert [set(row) for row in few.rows.tolist()] == [{3, 7, 9999}] * 2
    with pytest.raises(GalleryError, match="built anew"):
        approximate.search(ExactIndex(), probes, k=1)
    for bad in (probes[:, :5], np.full((1, 32), np.nan, np.float32)):
        with pytest.raises(InputError):
            approximate.search(grown, bad, k=1)


def test_memory(made):
    approximate, index, *_ = made
    assert (approximate.nbytes + index.resident_bytes) / index.count <= 2.5 * 32 + 60


def test_too_few_rows():
    pytest.importorskip("faiss", reason="needs faiss-cpu")
    with pytest.raises(InputError, match="at least 4096"):
        ApproximateIndex.built(ExactIndex())


def test_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert importlib.util.find_spec("mien.gallery.search.approximate")
    with pytest.raises(MissingExtraError, match=r"mien\[large\]"):
        ApproximateIndex.built(ExactIndex())


def test_a_gallery_searches_approximately_when_asked(tmp_path, fakes):
    pytest.importorskip("faiss", reason="needs faiss-cpu")
    with Gallery.open(tmp_path / "people.db", identity=fakes.IDENTITY) as gallery:
        gallery.add_many(
            [(f"p{i}", np.stack([fakes.embedding(f"p{i}", str(j)) for j in range(3)])) for i in range(1500)]
        )
        probes = np.stack([fakes.embedding(f"p{i}", "probe") for i in range(0, 1500, 15)])
        exact = gallery.search(probes, k=1)
        assert (gallery.recall, gallery.capabilities.exact) == (None, True)
        report = gallery.search_approximately()
        assert report.recall >= 0.97
        assert (gallery.recall, gallery.capabilities.exact) == (report, False)
        assert np.mean([a == b for a, b in zip(gallery.search(probes, k=1), exact, strict=True)]) >= 0.97
        gallery.add("new", fakes.embedding("new", "0"))
        assert gallery.search(fakes.embedding("new", "x"), k=1)[0][0].name == "new"
        gallery.remove("p0")
        assert gallery.search(probes[:1], k=1)[0][0].name != "p0"
        for i in range(1, 600):
            gallery.remove(f"p{i}")  # compacted by then: other places
        assert gallery.search(probes[-1:], k=1) == exact[-1:]
        assert gallery.search_approximately(recall=None) is None
        assert (gallery.recall, gallery.capabilities.exact) == (None, True)
        with pytest.raises(InputError, match="recall"):
            gallery.search_approximately(recall=1.5)
