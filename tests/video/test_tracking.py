"""Faces followed: by place, by looks, and never two of one frame in one track."""

from __future__ import annotations

import numpy as np
import pytest

from mien.errors import InputError
from mien.types import Faces
from mien.video import Tracker


def faces(*boxes):
    n = len(boxes)
    return Faces(np.array(boxes, np.float32).reshape(n, 4), np.ones(n, np.float32), np.zeros((n, 5, 2), np.float32))


def unit(seed):
    v = np.random.default_rng(seed).standard_normal(64)
    return (v / np.linalg.norm(v)).astype(np.float32)


A, B = unit(1), unit(2)


def ids(tracks):
    return [track.id for track in tracks]


def test_two_faces_that_move_keep_their_tracks():
    tracker = Tracker()
    for i in range(20):
        found = tracker.update(i / 25, faces((10 + 3 * i, 10, 50 + 3 * i, 50), (200 - 3 * i, 12, 240 - 3 * i, 52)))
        assert ids(found) == [1, 2]
    assert [len(t.times) for t in tracker.tracks] == [20, 20]


def test_a_face_that_is_gone_too_long_begins_anew():
    tracker = Tracker(patience=0.5)
    assert ids(tracker.update(0.0, faces((0, 0, 10, 10)))) == [1]
    assert ids(tracker.update(0.4, faces((0, 0, 10, 10)))) == [1]
    assert ids(tracker.update(1.0, faces((0, 0, 10, 10)))) == [2]


def test_a_jump_is_followed_by_looks():
    tracker = Tracker(alike=0.5)
    tracker.update(0.0, faces((0, 0, 10, 10)), A[None])
    assert ids(tracker.update(0.1, faces((300, 0, 310, 10)), A[None])) == [1]
    assert ids(Tracker().update(0.0, faces((0, 0, 10, 10)))) == [1]


def test_somebody_else_in_the_same_place_is_another_track():
    tracker = Tracker(alike=0.5)
    tracker.update(0.0, faces((0, 0, 10, 10)), A[None])
    assert ids(tracker.update(0.1, faces((0, 0, 10, 10)), B[None])) == [2]
    assert ids(tracker.update(0.2, faces((0, 0, 10, 10)), A[None])) == [1]


def test_two_who_cross_are_told_apart_by_looks():
    tracker = Tracker(alike=0.5)
    for i in range(21):
        x = 4 * i
        found = tracker.update(i / 25, faces((x, 0, x + 30, 30), (80 - x, 0, 110 - x, 30)), np.stack([A, B]))
        assert ids(found) == [1, 2]


def test_two_faces_of_one_frame_never_share_a_track():
    tracker = Tracker(alike=0.5)
    tracker.update(0.0, faces((0, 0, 10, 10)), A[None])
    assert ids(tracker.update(0.1, faces((0, 0, 10, 10), (1, 0, 11, 10)), np.stack([A, A]))) == [1, 2]


def test_frames_without_faces():
    tracker = Tracker()
    assert tracker.update(0.0, faces()) == []
    tracker.update(0.1, faces((0, 0, 10, 10)))
    assert tracker.update(0.2, faces()) == []
    assert ids(tracker.update(0.3, faces((0, 0, 10, 10)))) == [1]


def test_the_embedding_is_the_mean():
    tracker = Tracker(alike=-1.0)
    for i, v in enumerate((A, B)):
        tracker.update(i / 10, faces((0, 0, 10, 10)), v[None])
    mean = A + B
    np.testing.assert_allclose(tracker.tracks[0].embedding, mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize("bad", [{"overlap": 0.0}, {"alike": 2.0}, {"patience": -1.0}, {"overlap": float("nan")}])
def test_settings_that_make_no_sense(bad):
    with pytest.raises(InputError, match="tracker"):
        Tracker(**bad)


def test_a_track_keeps_as_much_history_as_is_asked_for():
    trackers = [Tracker(history=history) for history in (None, 1, 3)]
    for i in range(5):
        found = [tracker.update(i / 10, faces((i, 0, 40 + i, 40)))[0] for tracker in trackers]
    assert [track.times for track in found] == [[0.0, 0.1, 0.2, 0.3, 0.4], [0.4], [0.2, 0.3, 0.4]]
    assert [len(track.boxes) for track in found] == [5, 1, 3]
    assert [(track.seen, track.id) for track in found] == [(5, 1)] * 3
    with pytest.raises(InputError, match="history"):
        Tracker(history=0)
