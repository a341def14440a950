"""Enrolment from pictures: what is taken, what is skipped and why, and that nothing is enrolled twice."""

from __future__ import annotations

import io
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from mien.errors import GalleryError, ImageError, InputError, NoFaceError, NotFoundError
from mien.gallery import Gallery
from mien.gallery.sources import readable_again
from mien.images import decode


@pytest.fixture
def analyzer(fakes):
    return fakes.FakeAnalyzer(eager=5)


@pytest.fixture
def gallery(tmp_path, analyzer, calibration):
    with Gallery.open(tmp_path / "people.db", recognizer=analyzer, calibration=calibration) as opened:
        yield opened


def test_a_folder_of_people(gallery, analyzer, fakes, tmp_path):
    root = fakes.people_folder(tmp_path / "people", {"Ada": 3, "Grace": 2, "Zoë": 1})
    (root / "Ada" / "bad.jpg").write_text("broken")
    (root / "Ada" / "copy.jpg").write_text("Ada/0")
    (root / "Ada" / "group.jpg").write_text("Ada/9+Bob/1")
    (root / "Nobody").mkdir()
    (root / "Nobody" / "wall.jpg").write_text("nobody")
    (root / "Empty").mkdir()
    seen = []
    report = gallery.enrol_folder(root, progress=lambda person, done, total: seen.append((person.name, done, total)))
    assert analyzer.calls == 1  # batches reach across people
    assert [p.name for p in report.people] == ["Ada", "Empty", "Grace", "Nobody", "Zoë"]
    assert seen == [("Ada", 6, 10), ("Empty", 6, 10), ("Grace", 8, 10), ("Nobody", 9, 10), ("Zoë", 10, 10)]
    ada, empty, _, nobody, _ = report.people
    assert [(p.outcome, p.reason) for p in ada.pictures] == [
        ("added", ""),
        ("added", ""),
        ("added", ""),
        ("skipped", "is not a picture"),
        ("known", "this picture is already enrolled"),
        ("added", "the main one of 2 faces"),
    ]
    assert (nobody.subject, nobody.skipped[0].reason, empty.subject) == (None, "no face found", None)
    assert (report.added, report.known, len(report.skipped)) == (7, 1, 2)
    assert {s.name: s.faces for s in gallery.subjects()} == {"Ada": 4, "Grace": 2, "Zoë": 1}
    assert ada.subject.pictures[0].endswith("Ada/0.jpg")


def test_a_second_run_takes_only_what_is_new(gallery, analyzer, fakes, tmp_path):
    root = fakes.people_folder(tmp_path / "people", {"Ada": 3, "Grace": 2})
    gallery.enrol_folder(root)
    analyzer.analysed = 0
    again = gallery.enrol_folder(root)
    assert (again.added, again.known, analyzer.analysed) == (0, 5, 0)
    assert again.people[0].subject.faces == 3
    (root / "Grace" / "new.jpg").write_text("Grace/new")
    (root / "Ada" / "0.jpg").rename(root / "Ada" / "renamed.jpg")  # the same content under another name
    more = gallery.enrol_folder(root)
    assert (more.added, more.known, analyzer.analysed) == (1, 5, 1)


def test_a_flat_folder_is_named_by_its_files(gallery, tmp_path):
    root = tmp_path / "flat"
    root.mkdir()
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "Zoë" if form == "NFC" else "Amélie")
        (root / f"{name}.jpg").write_text(f"{form}/0")
    gallery.enrol_folder(root)
    assert [s.name for s in gallery.subjects()] == [unicodedata.normalize("NFC", n) for n in ("Amélie", "Zoë")]


def test_reports_come_as_people_are_stored(gallery, fakes, tmp_path):
    root = fakes.people_folder(tmp_path / "people", {"Ada": 3, "Grace": 2, "Zoe": 2})
    people = [(n, sorted((root / n).iterdir())) for n in ("Ada", "Grace", "Zoe")]
    with Gallery.open(tmp_path / "people.db") as other:
        for report in gallery.enrol_people(people):
            assert other.subject(report.name).faces == len(people[[n for n, _ in people].index(report.name)][1])
            if report.name == "Grace":
                break
        assert [s.name for s in other.subjects()] == ["Ada", "Grace"]  # the third was never asked for


def test_a_name_that_cannot_be_stops_nobody_else(gallery):
    bad, good = list(gallery.enrol_people([("a\nb", [b"Eve/0"]), ("Ada", [b"Ada/0"])]))
    assert (bad.subject, bad.skipped[0].error, good.subject.faces) == (None, True, 1)
    assert "control" in bad.skipped[0].reason


@pytest.mark.parametrize("eager", [0, 1, 7, 100])
def test_people_without_new_pictures_keep_their_place(gallery, fakes, eager):
    gallery._recognizer = fakes.FakeAnalyzer(eager=eager)
    gallery.enrol("B", [b"B/0", b"B/1"])
    people = [("A", []), ("B", [b"B/0"]), ("C", [b"C/0", b"C/1"]), ("B", [b"B/1"]), ("D", [b"D/0"]), ("E", [])]
    reports = list(gallery.enrol_people(people))
    assert [(r.name, len(r.added), len(r.known)) for r in reports] == [
        ("A", 0, 0), ("B", 0, 1), ("C", 2, 0), ("B", 0, 1), ("D", 1, 0), ("E", 0, 0),
    ]  # fmt: skip


def test_pictures_of_every_kind(gallery, fakes, tmp_path):
    path = tmp_path / "ada.jpg"
    path.write_text("Ada/path")
    assert gallery.enrol("Ada", path).added == (str(path),)
    assert gallery.enrol("Ada", str(path)).known == (str(path),)
    assert gallery.enrol("Ada", b"Ada/path").known == ("<bytes>",)  # a file and its bytes are one content
    assert gallery.enrol("Ada", io.BytesIO(b"Ada/stream")).added
    assert gallery.enrol("Ada", (p for p in (b"Ada/1", b"Ada/2"))).subject.faces == 4


def test_copies_of_a_picture_that_cannot_be_used_are_not_called_enrolled(gallery):
    (report,) = gallery.enrol_people([("Ada", [b"nobody", b"nobody", b"broken", b"broken"])])
    assert [(p.outcome, p.reason, p.error) for p in report.pictures] == [
        ("skipped", "no face found", False),
        ("skipped", "no face found", False),
        ("skipped", "is not a picture", True),
        ("skipped", "is not a picture", True),
    ]
    with pytest.raises(NoFaceError, match="no face found"):
        gallery.enrol("Ada", [b"nobody", b"nobody"])
    assert not gallery.subjects()


def test_an_open_file_that_cannot_be_read_is_left_to_the_decoder():
    closed = io.BytesIO(b"Ada/0")
    closed.close()
    assert readable_again(closed) is closed
    with pytest.raises(ImageError, match="closed"):
        decode(closed)


def test_enrolling_nothing_is_said(gallery, tmp_path):
    with pytest.raises(NoFaceError, match="no face found"):
        gallery.enrol("Ada", b"nobody")
    with pytest.raises(ImageError, match=r"missing\.jpg"):
        gallery.enrol("Ada", tmp_path / "missing.jpg")
    with pytest.raises(InputError, match="at least one picture"):
        gallery.enrol("Ada", [])
    with pytest.raises(NotFoundError):
        gallery.enrol_folder(tmp_path / "missing")
    report = gallery.enrol("Ada", [b"nobody", b"broken", b"Ada/0"])
    assert ([p.reason for p in report.skipped], report.subject.faces) == (["no face found", "is not a picture"], 1)


def test_identify_names_every_face(gallery):
    gallery.enrol("Ada", [b"Ada/0", b"Ada/1"])
    gallery.enrol("Grace", b"Grace/0")
    found = gallery.identify(b"Grace/x+a stranger/0+Ada/x", fpir=1e-2)
    assert [who.name for who in found] == ["Grace", None, "Ada"]
    assert [who.face.width for who in found] == sorted((who.face.width for who in found), reverse=True)
    assert found[0].match.fpir == 1e-2
    assert found[0].match.nearest == "<bytes>"
    assert gallery.identify(b"nobody") == []
    with pytest.raises(ImageError):
        gallery.identify(b"broken")
    assert gallery.identify(b"a stranger/0", threshold=-1.0)[0].name in ("Ada", "Grace")
    with pytest.raises(InputError, match="threshold"):
        gallery.identify(b"Ada/x", threshold=1.5)


def test_many_photos_keep_their_order(gallery):
    gallery.add_many([(str(i), gallery._recognizer._one(f"{i}/0".encode()).embeddings) for i in range(10)])
    photos = [b"broken" if i % 7 == 3 else b"nobody" if i % 7 == 5 else f"{i % 10}/x".encode() for i in range(50)]
    answers = list(gallery.identify_all(photos))
    for i, (analysis, found) in enumerate(answers):
        assert (analysis.error is not None) == (i % 7 == 3)
        assert [who.name for who in found] == ([] if i % 7 in (3, 5) else [str(i % 10)])
    assert len(answers) == 50


def test_the_threshold_rises_with_the_gallery(gallery, fakes):
    gallery.add("Ada", fakes.embedding("Ada"))
    small = gallery.identify_embeddings(fakes.embedding("Ada"))[0]
    rng = np.random.default_rng(0)
    gallery.add_many((f"p{i}", row) for i, row in enumerate(fakes.unit(rng.standard_normal((500, 32)))))
    large = gallery.identify_embeddings(fakes.embedding("Ada"))[0]
    assert large.threshold > small.threshold
    assert "extrapolated" in large.reason
    assert "extrapolated" not in small.reason


def test_a_recognizer_is_made_on_first_need_and_told_the_model(tmp_path, fakes):
    told = []

    def make(identity):
        told.append(identity)
        return fakes.FakeAnalyzer()

    with Gallery.open(tmp_path / "people.db", recognizer=make) as gallery:
        assert told == []
        gallery.enrol("Ada", b"Ada/0")
        gallery.enrol("Ada", b"Ada/1")
    with Gallery.open(tmp_path / "people.db", recognizer=make) as gallery:
        gallery.identify(b"Ada/0", threshold=0.5)
    assert told == [None, fakes.IDENTITY]


def test_a_layer_above_may_bring_the_recognizer(tmp_path, fakes):
    class WithDefault(Gallery):
        def default_recognizer(self, identity):
            return fakes.FakeAnalyzer()

    with WithDefault.open(tmp_path / "people.db") as gallery:
        assert isinstance(gallery, WithDefault)
        assert gallery.enrol("Ada", b"Ada/0").subject.faces == 1


def test_pictures_without_a_recognizer_say_what_to_do(tmp_path, fakes):
    with Gallery.open(tmp_path / "people.db") as gallery:
        for act in (
            lambda: gallery.enrol("Ada", b"Ada/0"),
            lambda: gallery.identify(b"Ada/0"),
            lambda: gallery.add("Ada", fakes.embedding("Ada")),
        ):
            with pytest.raises(GalleryError, match=r"recognizer=\.\.\."):
                act()


def test_a_model_without_calibration_asks_for_a_threshold(tmp_path, fakes):
    with Gallery.open(tmp_path / "people.db", recognizer=fakes.FakeAnalyzer()) as gallery:
        gallery.enrol("Ada", b"Ada/0")
        with pytest.raises(InputError, match="explicit threshold"):
            gallery.identify(b"Ada/1")
        match = gallery.identify(b"Ada/1", threshold=0.5)[0].match
        assert (match.name, match.fpir) == ("Ada", None)


def test_an_analyzer_that_loses_pictures_is_caught(gallery):
    class Loses:
        identity = gallery.identity

        def analyze(self, images):
            yield from ()
            list(images)

    gallery._recognizer = Loses()
    with pytest.raises(Exception, match="no analysis for <bytes>"):
        list(gallery.enrol_people([("Ada", [b"Ada/0"])]))


@pytest.mark.parametrize("eager", [0, 3, 100])
def test_a_name_that_comes_twice_in_one_run_is_not_enrolled_twice(gallery, fakes, eager):
    gallery._recognizer = fakes.FakeAnalyzer(eager=eager)
    people = [("Ada", [b"Ada/0"]), ("Ada", [b"Ada/0", b"Ada/1"]), ("Bob", [b"Bob/0"]), (" Ada ", [b"Ada/1", b"nobody"])]
    reports = list(gallery.enrol_people([*people, ("Ada", [b"nobody"])], policy="off"))
    assert [(len(r.added), len(r.known), len(r.skipped)) for r in reports] == [
        (1, 0, 0), (1, 1, 0), (1, 0, 0), (0, 1, 1), (0, 0, 1),
    ]  # fmt: skip
    assert (gallery.subject("Ada").faces, gallery.subject("Bob").faces) == (2, 1)


def test_people_who_need_no_analysis_are_reported_at_once(gallery, fakes):
    """A second run over many known people shows its progress, although the analyzer has nothing to say."""
    gallery._recognizer = fakes.FakeAnalyzer(eager=10_000)  # answers when its input ends
    people = [(f"p{i}", [f"p{i}/0".encode()]) for i in range(300)]
    list(gallery.enrol_people(people))
    drawn = 0

    def again():
        nonlocal drawn
        for person in [("new", [b"new/0"]), *people, ("newer", [b"newer/0"])]:
            drawn += 1
            yield person

    behind = []
    for reported, report in enumerate(gallery.enrol_people(again()), 1):
        behind.append(drawn - reported)
        assert len(report.pictures) == 1
    assert reported == 302
    assert max(behind) <= 64
    assert behind[150] == 0  # outside of any analysis there is nothing to wait for


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() == 0, reason="the superuser may read anything")
def test_a_folder_that_cannot_be_read_stops_nobody(gallery, fakes, tmp_path):
    root = fakes.people_folder(tmp_path / "people", {"Ada": 1, "Bob": 1})
    (root / "Ada").chmod(0)
    try:
        report = gallery.enrol_folder(root)
    finally:
        (root / "Ada").chmod(0o700)
    assert [s.name for s in gallery.subjects()] == ["Bob"]
    assert "Ada" in report.unread[0]


def test_a_folder_that_goes_away_stops_nobody(gallery, fakes, tmp_path, monkeypatch):
    from mien.images import folders

    root = fakes.people_folder(tmp_path / "people", {"Ada": 1, "Bob": 1})
    entries = folders._entries

    def fails(folder):
        if Path(folder).name == "Ada":
            raise InputError(f"{folder}: the folder cannot be read")
        return entries(folder)

    monkeypatch.setattr(folders, "_entries", fails)
    report = gallery.enrol_folder(root)
    assert [s.name for s in gallery.subjects()] == ["Bob"]
    assert [p.name for p in report.people] == ["Ada", "Bob"]
    assert "Ada: the folder cannot be read" in report.unread[0]
