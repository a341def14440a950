"""The decision and its reason."""

from __future__ import annotations

import pytest

from mien.match import Candidate, decide

ADA = Candidate(1, "Ada", 0.95, "ada.jpg")
BOB = Candidate(2, "Bob", 0.90, "bob.jpg")


def test_known():
    match = decide([ADA, BOB], threshold=0.93, fpir=1e-3)
    assert (match.name, match.subject_id, match.nearest, match.nearest_name) == ("Ada", 1, "ada.jpg", "Ada")
    assert (match.runner_up, match.runner_up_score) == ("Bob", 0.90)
    assert match.margin == pytest.approx(0.05)
    assert match.reason == "0.950 reaches the threshold 0.930"


def test_unknown_still_tells_who_was_nearest():
    match = decide([BOB], threshold=0.93, fpir=1e-3)
    assert (match.name, match.subject_id, match.known, match.nearest_name) == (None, None, False, "Bob")
    assert (match.runner_up, match.margin) == (None, None)
    assert match.reason == "0.900 is below the threshold 0.930"


def test_exactly_at_the_threshold_is_known():
    assert decide([BOB], threshold=0.90).known


def test_the_reason_shows_a_difference_where_there_is_one():
    match = decide([Candidate(1, "Ada", 0.92999, "a")], threshold=0.93)
    assert match.reason == "0.92999 is below the threshold 0.93000"


def test_empty_gallery():
    match = decide([], threshold=0.93)
    assert (match.name, match.score, match.fpir, match.reason) == (None, -1.0, None, "the gallery is empty")


def test_an_extrapolated_threshold_is_said():
    assert decide([ADA], threshold=0.5, extrapolated=True).reason.endswith("(extrapolated beyond the calibration)")


def test_a_face_that_two_people_fit_is_said_to_be_so():
    match = decide([ADA, BOB], threshold=0.85)
    assert match.reason == "0.950 reaches the threshold 0.850; so does Bob with 0.900"
