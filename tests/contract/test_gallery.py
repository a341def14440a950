"""The contract of a gallery, whatever its home. A third party adds its home to `HOMES` and runs this file."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import numpy as np
import pytest

from mien.errors import GalleryError, InputError, NotFoundError
from mien.gallery import Gallery

_spec = importlib.util.spec_from_file_location("fakes", Path(__file__).parents[1] / "gallery" / "fakes.py")
fakes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fakes)

HOMES = ("sqlite", "memory")


@pytest.fixture(params=HOMES)
def opened(request, tmp_path):
    path = ":memory:" if request.param == "memory" else tmp_path / "people.db"
    with Gallery.open(path, recognizer=fakes.FakeAnalyzer()) as gallery:
        yield gallery


def faces_of(person, count=3):
    return np.stack([fakes.embedding(person, str(i)) for i in range(count)])


def test_what_was_added_is_found_and_told_apart(opened):
    for person in ("Ada", "Grace", "Katherine"):
        opened.add(person, faces_of(person), pictures=[f"{person}{i}.jpg" for i in range(3)])
    probes = np.stack([fakes.embedding("Grace", "new"), fakes.embedding("a stranger")])
    known, unknown = opened.identify_embeddings(probes, threshold=0.6, rule="max")
    assert (known.name, known.known, unknown.name, unknown.known) == ("Grace", True, None, False)
    stored = np.concatenate([faces_of(p) for p in ("Ada", "Grace", "Katherine")])
    scores = stored @ probes[0]
    assert known.score == pytest.approx(scores.max(), abs=1e-6)
    assert known.nearest == f"Grace{scores[3:6].argmax()}.jpg"
    others = {"Ada": scores[:3].max(), "Katherine": scores[6:].max()}
    assert known.runner_up == max(others, key=others.get)
    assert known.margin == pytest.approx(scores.max() - max(others.values()), abs=1e-6)
    assert unknown.nearest_name in ("Ada", "Grace", "Katherine")
    assert "below the threshold 0.600" in unknown.reason


@pytest.mark.parametrize("k", [1, 3, 50])
def test_search_agrees_with_a_plain_loop(opened, k):
    rng = np.random.default_rng(k)
    owners = [f"p{i}" for i in rng.integers(0, 20, 200)]
    rows = fakes.unit(rng.standard_normal((200, 32)))
    for owner, row in zip(owners, rows, strict=True):
        opened.add(owner, row)
    opened.remove(owners[0])
    probes = fakes.unit(rng.standard_normal((9, 32)))
    found = opened.search(probes, k=k)
    for probe, candidates in zip(probes, found, strict=True):
        best = {}
        for owner, row in zip(owners, rows, strict=True):
            if owner != owners[0]:
                best[owner] = max(best.get(owner, -2.0), float(np.dot(row.astype(float), probe)))
        expected = sorted(best.items(), key=lambda item: -item[1])[:k]
        assert [c.name for c in candidates] == [name for name, _ in expected]
        np.testing.assert_allclose([c.score for c in candidates], [s for _, s in expected], atol=1e-6)


def test_an_empty_gallery_knows_nobody(opened):
    (match,) = opened.identify_embeddings(fakes.embedding("Ada"), threshold=0.5)
    assert (match.name, match.score, match.reason, match.margin) == (None, -1.0, "the gallery is empty", None)
    assert opened.search(fakes.embedding("Ada")) == [[]]
    assert (len(opened), opened.subjects()) == (0, [])


def test_removed_is_forgotten_and_may_come_back_as_somebody_new(opened):
    first = opened.add("Ada", faces_of("Ada"))
    opened.add("Grace", faces_of("Grace"))
    gone = opened.remove("Ada")
    assert gone == first
    (match,) = opened.identify_embeddings(fakes.embedding("Ada"), threshold=0.5)
    assert (match.name, match.nearest_name, match.runner_up) == (None, "Grace", None)
    again = opened.add("Ada", faces_of("Ada"))
    assert again.id > first.id
    assert opened.identify_embeddings(fakes.embedding("Ada"), threshold=0.5)[0].name == "Ada"


def test_a_mistyped_name_is_answered_with_the_right_one(opened):
    opened.add("Ada Lovelace", faces_of("Ada"))
    for act in (opened.remove, opened.subject, lambda name: opened.rename(name, "x")):
        with pytest.raises(NotFoundError, match="did you mean 'Ada Lovelace'"):
            act("ada lovelase")


def test_rename_keeps_the_person(opened):
    before = opened.add("Ada", faces_of("Ada"))
    opened.add("Grace", faces_of("Grace"))
    opened.identify_embeddings(fakes.embedding("Ada"), threshold=0.5)  # the index knows the old name
    after = opened.rename("Ada", "Countess")
    assert (after.id, after.faces, after.created) == (before.id, before.faces, before.created)
    assert opened.identify_embeddings(fakes.embedding("Ada"), threshold=0.5)[0].name == "Countess"
    with pytest.raises(GalleryError, match="already enrolled"):
        opened.rename("Countess", "Grace")
    assert opened.rename("Countess", " Countess ").name == "Countess"


def test_names_are_one_in_every_unicode_form(opened):
    opened.add("Zo\u00eb 面", faces_of("Zoe", 1))
    subject = opened.add("  Zoe\u0308 面 ", faces_of("Zoe", 1))
    assert (subject.name, subject.faces, len(opened)) == ("Zo\u00eb 面", 2, 1)


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "a\0", "x" * 1000, "a\u202eb", "\ud800"])
def test_names_that_cannot_be_are_refused(opened, name):
    with pytest.raises(InputError):
        opened.add(name, faces_of("Ada"))
    assert len(opened) == 0


def test_the_same_content_is_enrolled_once_a_person(opened):
    assert opened.add("Ada", faces_of("Ada", 2), sha256=["a" * 64, "a" * 64]).faces == 1
    assert opened.add("Ada", faces_of("Ada", 2), sha256=["a" * 64, "b" * 64]).faces == 2
    assert opened.add("Grace", faces_of("Grace", 1), sha256=["a" * 64]).faces == 1
    assert opened.add("Ada", faces_of("Ada", 2)).faces == 4  # of unknown content: kept


def test_nothing_is_kept_of_a_refused_batch(opened):
    bad = np.array(faces_of("Ada"))
    bad[2, 0] = np.nan
    for people in ([("Ada", faces_of("Ada")), ("Bob", bad)], [("Ada", faces_of("Ada")), ("", faces_of("x"))]):
        with pytest.raises(InputError):
            opened.add_many(people)
    assert len(opened) == 0
    assert (
        opened.add_many([("Ada", faces_of("Ada")), ("Grace", faces_of("Grace", 2)), ("Ada", faces_of("Ada", 1))]) == 6
    )
    assert [(s.name, s.faces) for s in opened.subjects()] == [("Ada", 4), ("Grace", 2)]


@pytest.mark.parametrize(
    "rows", [np.zeros((1, 32)), np.ones((1, 31)), np.ones((2, 2, 2)), np.full((1, 32), np.inf), np.zeros((0, 32)), "no"]
)
def test_rows_that_are_no_embeddings_are_refused(opened, rows):
    with pytest.raises(InputError):
        opened.add("Ada", rows)


def test_the_first_enrolment_binds_the_model(opened):
    opened.add("Ada", faces_of("Ada"))
    assert opened.identity == opened.stats.identity == fakes.IDENTITY
    for act in (opened.search, lambda rows: opened.add("Grace", rows)):
        with pytest.raises(InputError, match=r"expected shape \(N, 32\), got \(64,\)"):
            act(fakes.embedding("Ada", dimension=64))


def test_probes_of_a_batch_are_answered_as_each_alone(opened):
    opened.add_many([(str(i), faces_of(str(i))) for i in range(50)])
    probes = np.stack([fakes.embedding(str(i % 60), "probe") for i in range(100)])
    together = opened.identify_embeddings(probes, threshold=0.6)
    alone = [opened.identify_embeddings(p, threshold=0.6)[0] for p in probes]
    assert [(m.name, m.nearest_name) for m in together] == [(m.name, m.nearest_name) for m in alone]
    assert [m.name for m in together] == [str(i % 60) if i % 60 < 50 else None for i in range(100)]


def test_many_threads_add_ask_and_remove(opened):
    """Ada is always enrolled, so she must always be named; each thread's own person is there exactly while enrolled."""
    opened.add("Ada", faces_of("Ada"))
    problems = []

    def work(me):
        try:
            for i in range(15):
                name = f"{me}-{i % 3}"
                face = fakes.embedding(name, "x")
                opened.add(name, face)
                here, ada, stranger = opened.identify_embeddings(
                    np.stack([face, fakes.embedding("Ada", "probe"), fakes.embedding("stranger")]), threshold=0.7
                )
                opened.remove(name)
                (gone,) = opened.identify_embeddings(face, threshold=0.7)
                answers = (here.name, ada.name, stranger.name, gone.name)
                if answers != (name, "Ada", None, None):
                    problems.append(answers)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must see it
            problems.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert problems == []
    assert [s.name for s in opened.subjects()] == ["Ada"]


def test_closed_is_closed(opened):
    opened.close()
    opened.close()
    for act in (opened.subjects, lambda: opened.search(fakes.embedding("Ada")), lambda: opened.remove("Ada")):
        with pytest.raises(GalleryError, match="closed"):
            act()
