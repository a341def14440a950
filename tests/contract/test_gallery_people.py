"""What a gallery says and does about people beyond naming them, whatever its home."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from mien.errors import GalleryError, InputError, NoFaceError, NotFoundError, UnsupportedError
from mien.gallery import Gallery, Sighting
from mien.gallery.rules import RULES, means_of
from mien.match import calibrate

_spec = importlib.util.spec_from_file_location("fakes", Path(__file__).parents[1] / "gallery" / "fakes.py")
fakes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fakes)

HOMES = ("sqlite", "memory", "postgresql")


@pytest.fixture(params=HOMES)
def opened(request, tmp_path):
    if request.param == "postgresql":
        place = request.getfixturevalue("postgres_url")()
    else:
        place = ":memory:" if request.param == "memory" else tmp_path / "people.db"
    with Gallery.open(place, recognizer=fakes.FakeAnalyzer()) as gallery:
        yield gallery


def faces_of(person, count=3):
    return np.stack([fakes.embedding(person, str(i)) for i in range(count)])


def named(gallery, *probes, **options):
    rows = np.stack([fakes.embedding(person, variation) for person, variation in probes])
    return [m.name for m in gallery.identify_embeddings(rows, threshold=0.6, **options)]


def test_what_is_said_of_somebody(opened):
    opened.add("Ada", faces_of("Ada"))
    said = opened.describe(
        "Ada", external_id=" e-7 ", groups=["staff", "Zoe\u0308", "staff"], metadata={"n": [1, None]}, expires=5,
        consent="yes, by letter",
    )  # fmt: skip
    assert (said.external_id, said.groups, said.metadata) == ("e-7", ("Zo\u00eb", "staff"), {"n": [1, None]})
    assert (said.expires, said.consent, said.told) == (5.0, "yes, by letter", "person")
    assert opened.subject_of("e-7") == opened.subject("Ada") == said
    assert opened.describe("Ada", consent="").groups == ("Zo\u00eb", "staff")  # the rest stays
    opened.add("Bob", faces_of("Bob"))
    with pytest.raises(GalleryError, match="belongs to 'Ada'"):
        opened.describe("Bob", external_id="e-7")
    opened.describe("Ada", external_id=None)
    assert opened.describe("Bob", external_id="e-7").external_id == "e-7"


@pytest.mark.parametrize(
    "changes",
    [
        {"told": "friend"}, {"groups": "staff"}, {"groups": [""]}, {"groups": [1]}, {"metadata": [1]},
        {"metadata": {"x": math.nan}}, {"metadata": {"x": "y" * 70_000}}, {"metadata": {"x": object()}},
        {"expires": math.inf}, {"expires": "tomorrow"}, {"expires": True}, {"consent": 1}, {"external_id": ""},
        {"external_id": 7}, {"height": 2},
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused(opened, changes):
    before = opened.add("Ada", faces_of("Ada"))
    with pytest.raises(InputError):
        opened.describe("Ada", **changes)
    assert opened.subject("Ada") == before


def test_a_search_among_a_group(opened):
    for person in ("Ada", "Bob", "Eve"):
        opened.add(person, faces_of(person))
    opened.describe("Bob", groups=["night"])
    assert named(opened, ("Ada", "x"), ("Bob", "x"), group="night") == [None, "Bob"]
    assert [s.name for s in opened.subjects(group="night")] == ["Bob"]
    opened.describe("Bob", groups=[])
    assert named(opened, ("Bob", "x"), group="night") == [None]
    assert named(opened, ("Bob", "x")) == ["Bob"]


def test_a_known_stranger_stays_unnamed(opened):
    opened.add("Ada", faces_of("Ada"))
    poster = opened.ignore("poster in the hall", [b"poster/0", b"poster/1"])
    assert (poster.told, poster.faces, len(opened), opened.stats.ignored) == ("ignored", 2, 1, 1)
    (match,) = opened.identify_embeddings(fakes.embedding("poster", "x"), threshold=0.6)
    assert (match.name, match.subject_id, match.nearest_name) == (None, None, "poster in the hall")
    assert "looks like poster in the hall, a known stranger" in match.reason
    assert named(opened, ("Ada", "x")) == ["Ada"]
    with pytest.raises(GalleryError, match="enrolled as a person"):
        opened.ignore("Ada", fakes.embedding("Ada", "y"))
    with pytest.raises(NoFaceError):
        opened.ignore("wall", b"nobody")
    opened.describe("poster in the hall", told="person")
    assert named(opened, ("poster", "x")) == ["poster in the hall"]


def test_not_this_person_is_remembered(opened):
    """The twin is taken for Ada; once rejected the twin is not, and Ada still is."""
    twin = fakes.unit(0.75 * fakes.embedding("Ada", "0") + 0.66 * fakes.embedding("twin"))
    again = fakes.unit(twin + 0.1 * fakes.embedding("light"))
    opened.add("Ada", faces_of("Ada"))
    opened.add("Bob", faces_of("Bob"))
    assert [m.name for m in opened.identify_embeddings(np.stack([twin, again]), threshold=0.6)] == ["Ada", "Ada"]
    face = opened.reject("Ada", twin, picture="party.jpg")
    assert (face.negative, face.picture) == (True, "party.jpg")
    for probe in (twin, again):
        (match,) = opened.identify_embeddings(probe, threshold=0.6)
        assert match.name is None
        assert "not Ada: " in match.reason
    assert named(opened, ("Ada", "x"), ("Bob", "x")) == ["Ada", "Bob"]
    assert (opened.subject("Ada").faces, opened.stats.negatives) == (3, 1)
    opened.remove_faces([face.id])
    assert opened.identify_embeddings(twin, threshold=0.6)[0].name == "Ada"


def test_a_rejected_picture_means_the_face_that_is_like_the_person(opened):
    opened.add("Ada", faces_of("Ada"))
    face = opened.reject("Ada", b"Bob/0+Ada/7")
    np.testing.assert_array_equal(opened.home.embeddings([face.id])[0], fakes.embedding("Ada", "7"))
    assert named(opened, ("Ada", "7"), ("Ada", "0")) == [None, "Ada"]
    with pytest.raises(NotFoundError):
        opened.reject("Nobody", b"Bob/0")
    with pytest.raises(NoFaceError):
        opened.reject("Ada", b"nobody")


def test_the_one_behind_a_rejected_person_is_named(opened):
    for name in ("Ada", "Bea", "Cleo", "Dora", "Emma", "Fay"):  # all nearly the same face
        opened.add(name, fakes.unit(fakes.embedding("face") + 0.05 * fakes.embedding(name)))
    probe = fakes.embedding("face")
    order = [c.name for c in opened.search(probe, k=6)[0]]
    for name in order[:5]:
        opened.reject(name, probe)
    assert opened.identify_embeddings(probe, threshold=0.6)[0].name == order[5]
    opened.reject(order[5], probe)
    assert opened.identify_embeddings(probe, threshold=0.6)[0].name is None


def test_merge_split_and_move(opened):
    opened.add("Ada", faces_of("Ada"), pictures=["a0", "a1", "a2"], sha256=["a" * 64, "b" * 64, "c" * 64])
    opened.add("Ada L.", faces_of("Ada", 2), pictures=["l0", "l1"], sha256=["a" * 64, "d" * 64])
    assert opened.merge("Ada L.", "Ada").pictures == ("a0", "a1", "a2", "l1")  # a content is kept once
    with pytest.raises(NotFoundError):
        opened.subject("Ada L.")
    for one, other in (("Ada", "Ada"), ("Ada", " Ada ")):
        with pytest.raises(InputError):
            opened.merge(one, other)
    ids = [face.id for face in opened.faces("Ada")]
    new = opened.split("Ada", ids[:2], "Bea")
    assert (new.pictures, opened.subject("Ada").pictures) == (("a0", "a1"), ("a2", "l1"))
    for wrong, name, error in [
        (ids[:1], "Cleo", InputError),
        (ids[2:], "Cleo", InputError),
        (ids[2:3], "Bea", GalleryError),
        ([], "C", InputError),
    ]:
        with pytest.raises(error):
            opened.split("Ada", wrong, name)
    assert opened.move_faces(ids[2:], "Bea").faces == 4
    assert opened.subject("Ada").faces == 0
    with pytest.raises(NotFoundError):
        opened.move_faces([*ids, 10_000], "Zed")
    assert opened.remove_faces(ids[:3]) == 3
    assert [s.name for s in opened.subjects()] == ["Ada", "Bea"]
    assert named(opened, ("Ada", "1")) == ["Bea"]


def test_people_expire(opened):
    for name, expires in (("Ada", None), ("Bob", 100.0), ("Eve", 200.0)):
        opened.add(name, faces_of(name))
        opened.describe(name, expires=expires)
    assert [s.name for s in opened.expire(100.0)] == ["Bob"]
    assert opened.expire(100.0) == []
    assert named(opened, ("Bob", "x"), ("Eve", "x")) == [None, "Eve"]
    assert [s.name for s in opened.expire()] == ["Eve"]


def test_who_was_seen_when(opened):
    ids = {name: opened.add(name, faces_of(name)).id for name in ("Ada", "Bob")}
    seen = [(10.0, "Ada"), (20.0, "Bob"), (30.0, None), (40.0, "Ada"), (25.0, "Bob")]
    opened.log([Sighting(t, ids.get(name), 0.5 + t / 100, f"{t}.jpg") for t, name in seen])
    opened.rename("Bob", "Bobby")
    assert [(s.time, s.name) for s in opened.sightings(since=20.0, until=40.0)] == [
        (20.0, "Bobby"), (25.0, "Bobby"), (30.0, None),
    ]  # fmt: skip
    assert [s.source for s in opened.sightings(name="Ada")] == ["10.0.jpg", "40.0.jpg"]
    sheet = [(a.name, a.first, a.last, a.times, round(a.best, 2)) for a in opened.attendance()]
    assert sheet == [("Ada", 10.0, 40.0, 2, 0.9), ("Bobby", 20.0, 25.0, 2, 0.75)]
    opened.remove("Ada")
    assert [s.name for s in opened.sightings()] == ["Bobby", "Bobby", None]
    with pytest.raises(InputError):
        opened.log([Sighting(math.nan, None, 0.5, "x")])


def test_a_calibration_kept_with_the_gallery_comes_before_the_shipped_one(opened):
    rng = np.random.default_rng(0)

    def made(identity, on):
        impostor = np.clip(rng.normal(0.2, 0.1, 200_000), -1, 1)
        genuine = np.clip(rng.normal(0.9, 0.02, 1000), -1, 1)
        return calibrate(identity, genuine=genuine, impostor=impostor, made_on=on, date="2026-01-01")

    opened.add("Ada", faces_of("Ada"))
    with pytest.raises(InputError, match="no calibration"):
        opened.identify_embeddings(fakes.embedding("Ada", "x"))
    kept = made(fakes.IDENTITY, "here")
    opened.keep_calibration(kept)
    (match,) = opened.identify_embeddings(fakes.embedding("Ada", "x"), fpir=1e-2)
    assert match.threshold == pytest.approx(kept.threshold_for(fpir=1e-2, gallery_size=3))
    assert opened.calibration == kept
    opened.keep_calibration(None)
    with pytest.raises(InputError, match="no calibration"):
        opened.identify_embeddings(fakes.embedding("Ada", "x"))
    other = type(fakes.IDENTITY)("fake", "fast", "9" * 64, 32)
    with pytest.raises(InputError):
        opened.keep_calibration(made(other, "elsewhere"))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0])
def test_rules_agree_with_their_definition(opened, rule, spread):
    rng = np.random.default_rng(int(spread * 10))
    centres = rng.standard_normal((120, 32))
    rows = {f"p{i}": fakes.unit(centres[i] + spread * rng.standard_normal((1 + i % 5, 32))) for i in range(120)}
    opened.add_many(rows.items())
    probes = fakes.unit(centres[:9] + spread * rng.standard_normal((9, 32)))
    for probe, found in zip(probes, opened.search(probes, k=3, rule=rule), strict=True):
        expected = {}
        for name, own in rows.items():
            cosines = sorted((float(np.dot(v, probe)) for v in own), reverse=True)
            mean = own.astype(float).sum(axis=0)
            expected[name] = {
                "max": cosines[0],
                "top3": sum(cosines[:3]) / len(cosines[:3]),
                "mean": float(mean @ probe / np.linalg.norm(mean)),
                "blend": (cosines[0] + float(mean @ probe / np.linalg.norm(mean))) / 2,
            }[rule]
        if rule == "blend":  # of the 32 whose nearest face is nearest
            near = sorted(rows, key=lambda name: -max(float(np.dot(v, probe)) for v in rows[name]))[:32]
            expected = {name: expected[name] for name in near}
        best = sorted(expected.items(), key=lambda item: -item[1])[:3]
        assert [c.name for c in found] == [name for name, _ in best]
        np.testing.assert_allclose([c.score for c in found], [score for _, score in best], atol=1e-5)
    if rule not in ("blend", "max"):
        with pytest.raises(InputError, match="no calibration is right"):
            opened.identify_embeddings(probes, rule=rule)
    with pytest.raises(InputError, match="rule"):
        opened.search(probes, rule="best")


def test_means_are_of_unit_norm_and_in_order():
    rows = fakes.unit(np.random.default_rng(0).standard_normal((7, 4)))
    ids, means = means_of(rows, np.array([5, 2, 5, 9, 2, 2, 5]))
    assert ids.tolist() == [2, 5, 9]
    for i, mean in zip((2, 5, 9), means, strict=True):
        total = rows[np.array([5, 2, 5, 9, 2, 2, 5]) == i].sum(axis=0)
        np.testing.assert_allclose(mean, total / np.linalg.norm(total), atol=1e-6)


def test_an_answer_is_explained(opened):
    opened.add("Ada", faces_of("Ada"), pictures=["a0", "a1", "a2"])
    opened.add("Bob", faces_of("Bob", 1))
    opened.reject("Ada", fakes.embedding("Ada", "no"), picture="no.jpg")
    probe = fakes.embedding("Ada", "1")
    (row,) = opened.search(probe, k=3, rule="blend")
    assert [w.candidate.score for w in opened.explain(probe, threshold=0.6).witnesses] == [c.score for c in row]
    told = opened.explain(probe, threshold=0.6, exemplars=4)
    assert told.match.name == "Ada"
    assert [w.candidate.name for w in told.witnesses] == ["Ada", "Bob"]
    nearest = told.witnesses[0].exemplars
    assert (nearest[0].face.picture, nearest[0].score) == ("a1", pytest.approx(1.0))
    assert [e.face.negative for e in nearest].count(True) == 1
    assert [e.score for e in nearest] == sorted((e.score for e in nearest), reverse=True)
    with pytest.raises(InputError):
        opened.explain(faces_of("Ada"), threshold=0.6)


def test_what_was_done_is_logged_without_names(opened):
    if not opened.capabilities.audit:
        with pytest.raises(UnsupportedError):
            opened.audit()
        return
    opened.add("Ada", faces_of("Ada"))
    opened.describe("Ada", expires=1.0)
    opened.reject("Ada", fakes.embedding("x"))
    opened.expire(2.0)
    entries = list(opened.audit())
    assert [e.action for e in entries] == ["enrol", "describe", "reject", "expire"]
    assert len({e.pseudonym for e in entries}) == 1
    assert "Ada" not in repr(entries)
