"""The in-memory index follows the truth, and older snapshots never change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import GalleryFileError
from mien.gallery import owner_rows
from mien.gallery.index import Snapshot
from mien.gallery.records import Changes, Known, Position


def changes(rows=(), owners=(), people=(), removed=(), dimension=4, first=1, **more):
    return Changes(
        Position(face=first + len(owners) - 1),
        np.arange(first, first + len(owners)),
        np.asarray(rows, np.float32).reshape(len(owners), dimension),
        np.asarray(owners, np.int64),
        {i: Known() for i in people},
        set(removed),
        **more,
    )


def unit_rows(rng, n):
    rows = rng.standard_normal((n, 4))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "add", "add", "remove", "move"]), st.integers(0, 9)), max_size=60))
def test_any_history_gives_what_a_plain_list_gives(history):
    rng = np.random.default_rng(len(history))
    snapshot, faces, people, next_id, next_face = Snapshot(), {}, set(), 1, 1
    earlier = []
    probe = unit_rows(rng, 1)
    for action, number in history:
        if action == "add":
            rows = unit_rows(rng, number % 3 + 1)
            people.add(next_id)
            new = changes(rows, [next_id] * len(rows), [next_id], first=next_face)
            snapshot = snapshot.follow(new)
            faces |= {next_face + i: (next_id, row) for i, row in enumerate(rows)}
            next_id, next_face = next_id + 1, next_face + len(rows)
        elif people:
            chosen = sorted(people)[number % len(people)]
            if action == "remove":
                snapshot = snapshot.follow(changes(removed=[chosen], first=next_face))
                faces = {i: f for i, f in faces.items() if f[0] != chosen}
                people.remove(chosen)
            elif faces:
                face = sorted(faces)[number % len(faces)]
                snapshot = snapshot.follow(changes(moved={face: chosen}, first=next_face))
                faces[face] = (chosen, faces[face][1])
        earlier.append((snapshot, answers(snapshot, probe), [rows_of(snapshot, i) for i in range(1, next_id)]))
        best = {}
        for face, (owner, row) in sorted(faces.items()):
            best[owner] = max(best.get(owner, (-2, 0)), (float(row @ probe[0]), -face))
        expected = sorted(best.items(), key=lambda item: -item[1][0])[:5]
        assert [one.subject_id for one in snapshot.search(probe, k=5)[0]] == [owner for owner, _ in expected]
        assert [one.face_id for one in snapshot.search(probe, k=5)[0]] == [-face for _, (_, face) in expected]
        assert (len(snapshot), snapshot.people.ids.tolist()) == (len(faces), sorted(people))
        for owner in range(1, next_id):
            assert rows_of(snapshot, owner) == [row.tolist() for _, (o, row) in sorted(faces.items()) if o == owner]
    for old, answer, rows in earlier:
        assert answers(old, probe) == answer
        assert [rows_of(old, i + 1) for i in range(len(rows))] == rows


def answers(snapshot, probe):
    return [(one.subject_id, one.face_id, one.score) for one in snapshot.search(probe, k=5)[0]]


def rows_of(snapshot, owner):
    rows, owners = snapshot.faces_of([owner])
    assert (owners == owner).all()
    return rows.tolist()


def test_whose_faces_they_are_stays_right_as_the_gallery_grows(monkeypatch):
    monkeypatch.setattr(owner_rows, "_TAIL", 5)
    rng = np.random.default_rng(0)
    snapshot, owners = Snapshot(), []
    for i in range(300):
        owner = int(rng.integers(1, 40))
        snapshot = snapshot.follow(changes(unit_rows(rng, 1), [owner], [owner], first=i + 1))
        owners.append(owner)
        wanted = rng.integers(1, 40, 3)
        rows, whose = snapshot.faces_of(wanted.tolist())
        at = np.flatnonzero(np.isin(owners, wanted))
        np.testing.assert_array_equal(whose, np.array(owners)[at])
        np.testing.assert_array_equal(rows, snapshot.index.read(at))
    assert snapshot.faces_of([])[0].shape == (0, 4)


def test_growth_is_amortised():
    rng = np.random.default_rng(0)
    snapshot, buffers = Snapshot(), set()
    for i in range(2000):
        snapshot = snapshot.follow(changes(unit_rows(rng, 1), [i + 1], [i + 1], first=i + 1))
        buffers.add(id(snapshot.index.segments[0].buffer))
    assert len(buffers) <= 14  # doublings, not a copy per addition
    assert len(snapshot.index.segments[0].buffer) <= 4000


def test_removed_faces_leave_memory():
    rng = np.random.default_rng(0)
    snapshot = Snapshot().follow(changes(unit_rows(rng, 100), range(1, 101), range(1, 101)))
    for i in range(1, 100):
        snapshot = snapshot.follow(changes(removed=[i], first=101))
    assert (len(snapshot), snapshot.index.count, snapshot.face_ids.values.tolist()) == (1, 1, [100])
    assert snapshot.people.ids.tolist() == [100]


def test_equal_scores_go_to_who_was_first():
    row = np.array([[1, 0, 0, 0]], np.float32)
    snapshot = Snapshot().follow(changes(np.repeat(row, 3, 0), [3, 1, 2], [1, 2, 3]))
    assert [one.subject_id for one in snapshot.search(row, k=3)[0]] == [3, 1, 2]


def test_many_probes_are_answered_as_each_alone():
    rng = np.random.default_rng(0)
    snapshot = Snapshot().follow(changes(unit_rows(rng, 50), range(1, 51), range(1, 51)))
    probes = unit_rows(rng, 7)
    assert snapshot.search(probes, k=2) == [snapshot.search(probe[None], k=2)[0] for probe in probes]


def test_damaged_embeddings_are_refused():
    for row in ([[np.nan, 0, 0, 0]], [[2, 0, 0, 0]]):
        with pytest.raises(GalleryFileError, match=r"people\.db: rows: expected unit norm"):
            Snapshot().follow(changes(row, [1], [1]), "people.db")
