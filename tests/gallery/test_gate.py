import math
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import ImageError, InputError
from mien.gallery.gate import GateFace, GateLimits, GateThresholds, OwnFaces, ReasonCode, judge
from mien.gallery.gate_faces import gate_face
from mien.gallery.gate_identity import consensus
from mien.match import Candidate, calibration_for
from mien.quality import FaceQuality, measure_quality
from mien.types import Analysis, Faces, Image

GOOD = FaceQuality(
    eye_distance=50.0, width=110.0, height=130.0, yaw=0.1, pitch=-0.1, roll=0.0, visible=1.0, sharpness=0.17,
    brightness=0.5, contrast=0.15, clipped=0.0, unevenness=0.05, detection=0.999, score=0.9, fingerprint=bytes(32),
)  # fmt: skip
AT = GateThresholds(own=0.9, collision=0.97, margin_one=0.03, margin_several=0.015)


def near(angle: float, wobble: float = 0.0) -> np.ndarray:
    """A unit vector: people are told apart by `angle`, pictures of one person by a little `wobble`."""
    v = np.array([math.cos(angle), math.sin(angle), wobble], np.float32)
    return v / np.linalg.norm(v)


def faces(*vectors: np.ndarray, quality: FaceQuality | None = GOOD) -> list[GateFace]:
    # Every picture gets a fingerprint of its own.
    marks = [np.random.default_rng(i).bytes(32) for i in range(len(vectors))]
    return [
        GateFace(f"{i}.jpg", v, quality and replace(quality, fingerprint=m))
        for i, (v, m) in enumerate(zip(vectors, marks, strict=True))
    ]


def one(face: GateFace, **options):
    return judge([face], **{"name": "Ada", "thresholds": AT} | options)[0]


def other(name: str, score: float) -> Candidate:
    return Candidate(7, name, score, f"{name}.jpg")


def test_a_good_first_face_passes_without_a_word():
    verdict = one(faces(near(0))[0])
    assert verdict.accepted
    assert verdict.reasons == ()
    assert str(verdict) == "accepted"


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"eye_distance": 8.0}, "too_small", "8 pixels between the eyes, at least 12"),
        ({"eye_distance": 0.0, "sharpness": 0.0, "brightness": 0.0, "score": 0.0}, "too_small", "larger picture"),
        ({"sharpness": 0.05}, "blurred", "sharpness 0.050, at least 0.070"),
        ({"sharpness": math.nan}, "blurred", "sharpness nan"),
        ({"brightness": 0.03}, "dark", "brightness 0.03, at least 0.08"),
        ({"brightness": 0.95}, "bright", "brightness 0.95 (at most 0.88)"),
        ({"brightness": 0.8, "clipped": 0.4}, "bright", "40% of it pure white"),
        ({"contrast": 0.01}, "flat", "at least 0.030"),
        ({"yaw": -1.0}, "turned_away", "57 degrees to the left, at most 46"),
        ({"yaw": 1.0}, "turned_away", "to the right"),
        ({"pitch": 0.9}, "turned_away", "52 degrees up, at most 34"),
        ({"pitch": -0.9}, "turned_away", "degrees down"),
        ({"visible": 0.5}, "cut_off", "only 50% of the face"),
        ({"score": 0.01}, "low_quality", "quality 0.010"),
    ],
)
def test_each_flaw_is_refused_with_its_numbers_and_what_to_do(change, code, words):
    face = GateFace("a.jpg", near(0), replace(GOOD, **change))
    verdict = one(face)
    assert not verdict.accepted
    assert verdict.codes == (code,)
    assert words in str(verdict)
    warned = one(face, policy="warn")
    assert warned.accepted
    assert warned.reasons == verdict.reasons
    assert one(face, policy="off").accepted


def test_no_face_is_refused_under_every_policy():
    for policy in ("strict", "warn", "off"):
        verdict = one(GateFace("a.jpg", faces=0), policy=policy)
        assert not verdict.accepted
        assert verdict.codes == ("no_face",)


def test_several_faces():
    face = GateFace("group.jpg", near(0), GOOD, faces=3)
    taken = one(face)
    assert taken.accepted
    assert taken.codes == ("several_faces",)
    assert "the main one was taken" in str(taken)
    refused = one(face, limits=GateLimits(several_faces="refuse"))
    assert not refused.accepted
    assert "cut the right one out" in str(refused)


def test_a_face_unlike_the_enrolled_ones():
    own = OwnFaces(np.stack([near(0), near(0.1)]))
    assert one(faces(near(0.2))[0], own=own).accepted
    verdict = one(faces(near(1.0))[0], own=own)
    assert not verdict.accepted
    assert verdict.codes == ("unlike_own_faces",)
    expected = (math.cos(1.0) + math.cos(0.9)) / 2
    assert verdict.reasons[0].value == pytest.approx(expected, abs=1e-5)
    assert verdict.reasons[0].limit == 0.9
    assert f"Ada's 2 other faces: score {expected:.3f}, at least 0.900" in str(verdict)


def test_a_new_subject_that_looks_like_somebody_else():
    face = replace(faces(near(0))[0], others=[other("Bob", 0.98)])
    verdict = one(face)
    assert not verdict.accepted
    assert (verdict.codes, verdict.reasons[0].other) == (("looks_like_somebody_else",), "Bob")
    assert "looks like Bob: score 0.980" in str(verdict)
    assert one(replace(face, others=[other("Bob", 0.96)])).accepted


@pytest.mark.parametrize(
    ("own", "score", "refused"),
    [
        (1, 0.949 + 0.04, True),  # cos 0.32 = 0.949: over the collision's threshold and nearer
        (1, 0.949 + 0.01, False),  # nearer, but neither sure nor by much
        (2, 0.949 + 0.018, True),  # by much, for somebody with two faces
        (2, 0.949 + 0.01, False),
    ],
)
def test_a_face_nearer_to_somebody_else_than_to_its_own(own, score, refused):
    held = OwnFaces(np.stack([near(0)] * own))
    verdict = one(replace(faces(near(0.32))[0], others=[other("Bob", score)]), own=held)
    assert verdict.accepted is not refused
    assert verdict.codes == (("looks_like_somebody_else",) if refused else ())


def test_one_person_under_two_names_may_grow_by_its_own_faces():
    # At the collision's threshold, but nearer to its own: that is a matter of the first picture, not of this one.
    held = OwnFaces(near(0)[None])
    assert one(replace(faces(near(0.05))[0], others=[other("Bob", 0.99)]), own=held).accepted


def test_a_wrong_face_that_names_its_person_gives_both_reasons():
    held = OwnFaces(near(0)[None])
    verdict = one(replace(faces(near(1))[0], others=[other("Bob", 0.99)]), own=held)
    assert verdict.codes == ("unlike_own_faces", "looks_like_somebody_else")


@pytest.mark.parametrize("wrong_at", range(4))
@pytest.mark.parametrize("count", [3, 4])
def test_the_odd_one_out_of_a_folder(count, wrong_at):
    vectors = [near(0, 0.1 * i) for i in range(count)]
    wrong_at %= count
    vectors[wrong_at] = near(1.2)
    verdicts = judge(faces(*vectors), name="Ada", thresholds=AT)
    assert [v.accepted for v in verdicts] == [i != wrong_at for i in range(count)]
    assert verdicts[wrong_at].codes == ("unlike_own_faces",)


def test_two_pictures_that_disagree_cannot_be_decided():
    verdicts = judge(faces(near(0), near(1)), name="Ada", thresholds=AT)
    assert [v.codes for v in verdicts] == [("people_disagree",)] * 2
    assert not any(v.accepted for v in verdicts)
    assert "these two pictures do not look like one person (score 0.540" in str(verdicts[0])
    assert "which shows Ada" in str(verdicts[0])
    assert all(v.accepted for v in judge(faces(near(0), near(0.2)), name="Ada", thresholds=AT))
    held = OwnFaces(near(0.1)[None])  # with an enrolled face it can be decided
    decided = judge(faces(near(0), near(1)), name="Ada", thresholds=AT, own=held)
    assert [v.accepted for v in decided] == [True, False]


@pytest.mark.parametrize("angles", [(0, 0.05, 1, 1.05), (0, 1, 2), (0, 1, 2, 3)])
def test_no_majority_is_no_person(angles):
    verdicts = judge(faces(*map(near, angles)), name="Ada", thresholds=AT)
    assert {v.codes for v in verdicts} == {("people_disagree",)}
    assert f"these {len(angles)} pictures" in str(verdicts[0])


def test_a_useless_picture_has_no_vote():
    blurred = replace(GOOD, sharpness=0.01)
    mixed = [*faces(near(0), near(0.1)), *faces(near(2), near(2.05), near(2.1), quality=blurred)]
    verdicts = judge(mixed, name="Ada", thresholds=AT)
    assert [v.accepted for v in verdicts] == [True, True, False, False, False]
    assert verdicts[3].codes == ("blurred",)


def test_without_thresholds_or_quality_only_what_is_known_is_judged():
    mixed = [*faces(near(0), near(1), quality=None), GateFace("none.jpg", faces=0)]
    assert [v.accepted for v in judge(mixed, name="Ada", thresholds=None)] == [True, True, False]
    assert [v.accepted for v in judge(faces(near(0), near(1)), name="Ada", thresholds=None)] == [True, True]
    assert judge([], name="Ada", thresholds=AT) == []


def test_copies_are_said_but_let_in():
    mark = replace(GOOD, fingerprint=bytes([255]) * 32)
    slightly = replace(GOOD, fingerprint=bytes([254]) + bytes([255]) * 31)
    same = [GateFace("a.jpg", near(0), mark), GateFace("b.jpg", near(0, 0.01), slightly)]
    verdicts = judge(same, name="Ada", thresholds=AT)
    assert all(v.accepted for v in verdicts)
    assert [v.codes for v in verdicts] == [(), ("duplicate_picture",)]
    assert verdicts[1].reasons[0].other == "a.jpg"
    held = OwnFaces(near(0)[None], ["old.jpg"], [mark.fingerprint])
    assert one(same[1], own=held).reasons[0].other == "old.jpg"
    # Alike in one way only is another picture.
    assert one(GateFace("c.jpg", near(0), GOOD), own=held).codes == ()
    assert one(GateFace("d.jpg", near(0.3), slightly), own=held).codes == ()
    assert one(GateFace("e.jpg", near(0), slightly), own=OwnFaces(near(0)[None])).codes == ()


def test_bad_input_is_named():
    with pytest.raises(InputError, match="policy: expected one of strict, warn, off; got 'lax'"):
        judge([], name="Ada", thresholds=AT, policy="lax")
    with pytest.raises(InputError, match="embeddings to enrol: expected rows of unit length"):
        judge([GateFace("a.jpg", near(0) * 2)], name="Ada", thresholds=AT)
    with pytest.raises(InputError, match="embeddings to enrol: expected rows of unit length"):
        judge([GateFace("a.jpg", near(0) * np.float32("nan"))], name="Ada", thresholds=AT)
    with pytest.raises(InputError, match=r"own faces: expected shape \(N, 3\)"):
        judge(faces(near(0)), name="Ada", thresholds=AT, own=OwnFaces(np.eye(2, dtype=np.float32)))
    for wrong in ({"score": 2}, {"yaw": -1}, {"contrast": math.nan}, {"own_fmr": "1"}, {"several_faces": "all"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            GateLimits(**wrong)


def test_thresholds_follow_from_the_calibration(fast_identity):
    calibration = calibration_for(fast_identity)
    small, large = (GateThresholds.of(calibration, GateLimits(), gallery_size=n) for n in (1, 10_000))
    assert small.own == large.own == calibration.threshold(fmr=0.05)
    assert large.collision == calibration.threshold_for(fpir=1e-3, gallery_size=10_000) > small.collision
    assert GateThresholds.of(calibration, GateLimits(own_fmr=1e-3), gallery_size=1).own > small.own


@pytest.fixture
def fast_identity():
    from mien.recognizer import Recognizer

    return Recognizer("fast").identity


def test_the_face_of_an_analysis():
    points = np.array([[40, 40], [80, 42], [60, 65], [45, 85], [78, 84]], np.float32)
    small = Faces(np.array([[2, 2, 12, 12]]), np.array([0.9]), points[None] / 10)
    pixels = np.random.default_rng(0).integers(0, 255, (120, 120, 3), dtype=np.uint8)
    large = Faces(np.array([[20, 20, 100, 110]]), np.array([0.99]), points[None])
    both = Faces(*(np.concatenate([getattr(f, n) for f in (small, large)]) for n in ("boxes", "scores", "landmarks")))
    vectors = np.stack([near(1), near(0)])
    found = gate_face(Analysis("a.jpg", (120, 120), both, vectors, image=Image(pixels)), others=[other("Bob", 0.5)])
    assert (found.picture, found.faces, found.others[0].name) == ("a.jpg", 2, "Bob")
    assert np.array_equal(found.embedding, vectors[1])
    assert found.quality == measure_quality(pixels, large)[0]
    assert gate_face(Analysis("a.jpg", (120, 120), both, vectors)).quality is None
    empty = gate_face(Analysis("b.jpg", (9, 9), Faces.none(), np.zeros((0, 3), np.float32)))
    assert (empty.embedding, empty.faces) == (None, 0)
    with pytest.raises(ImageError, match="not a picture"):
        gate_face(Analysis.failed("c.txt", ImageError("c.txt", "not a picture")))


def test_the_example_of_the_documentation(capsys):
    page = (Path(__file__).parents[2] / "docs" / "enrolment.md").read_text(encoding="utf-8")
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "judge(" in c)
    exec(code, {})
    assert capsys.readouterr().out == "False ('unlike_own_faces',)\n"


def test_the_documentation_names_every_reason():
    page = (Path(__file__).parents[2] / "docs" / "enrolment.md").read_text(encoding="utf-8")
    assert all(f"`{code}`" in page for code in get_args(ReasonCode))


@pytest.mark.data
def test_real_faces(mien_data, fast_identity):
    """Twelve people of LFW View 1, four pictures each: right folders pass, and a wrong picture is found."""
    from mien.recognizer import Recognizer

    lines = (mien_data / "lists" / "peopleDevTest.txt").read_text().splitlines()[1:]
    people = [name for name, count in (line.split("\t") for line in lines) if int(count) >= 4][:12]
    pictures = [str(mien_data / "lfw" / p / f"{p}_{n:04d}.jpg") for p in people for n in range(1, 5)]
    asked = [gate_face(found) for found in Recognizer("fast").analyze(pictures, keep_images=True)]
    thresholds = GateThresholds.of(calibration_for(fast_identity), GateLimits(), gallery_size=48)
    right = [v for k in range(12) for v in judge(asked[4 * k : 4 * k + 4], name=people[k], thresholds=thresholds)]
    assert sum(not v.accepted for v in right) <= 1
    caught = 0
    for k in range(12):
        mixed = [*asked[4 * k : 4 * k + 3], asked[(4 * k + 7) % 48]]
        caught += not judge(mixed, name=people[k], thresholds=thresholds)[3].accepted
    assert caught >= 11


def gather_slowly(vectors, threshold, own):
    """The consensus as its docstring tells it, a face at a time."""
    left, group, told = list(range(len(vectors))), [("own", v) for v in own], {}
    if not group:
        if len(vectors) < 2:
            return set(left)
        support = []
        for i in left:
            rest = sorted((float(vectors[i] @ vectors[j]) for j in left if j != i), reverse=True)
            support.append(np.mean(rest[: len(vectors) // 2]))
        seed = int(np.argmax(support))
        left.remove(seed)
        group = [(seed, vectors[seed])]
    while left:
        means = {i: np.mean([float(vectors[i] @ v) for _, v in group]) for i in left}
        best = max(left, key=lambda i: means[i])
        told[best] = means[best]
        if means[best] < threshold:
            break
        left.remove(best)
        group.append((best, vectors[best]))
    return {i for i, _ in group if i != "own"}


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(0, 3), st.floats(0.3, 0.99))
def test_consensus_against_a_plain_loop(seed, count, held, threshold):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(2, 6))
    vectors = centres[rng.integers(0, 2, count + held)] + rng.normal(0, 0.4, (count + held, 6))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = consensus(vectors[:count], threshold, own=vectors[count:])
    assert set(np.flatnonzero(found.member).tolist()) == gather_slowly(vectors[:count], threshold, vectors[count:])
    assert np.isfinite(found.score).all()
    if held:
        assert found.decided


@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
def test_the_order_of_a_folder_does_not_matter(seed, count):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 4)) + np.array([2, 0, 0, 0])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    order = rng.permutation(count)
    plain, mixed = (judge(faces(*v), name="A", thresholds=AT) for v in (vectors, vectors[order]))
    assert [mixed[i].accepted for i in range(count)] == [plain[j].accepted for j in order]
