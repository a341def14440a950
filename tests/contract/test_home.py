"""The contract of a gallery's home. A third party adds its home to `HOMES` and runs this file.

What a home promises (`capabilities`) is checked; what it does not promise must be refused by name.
"""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import numpy as np
import pytest

from mien.errors import GalleryError, GalleryModelError, NotFoundError, UnsupportedError
from mien.gallery.audit import verify_chain
from mien.gallery.home import Batch, Counts, Home, Sighting
from mien.gallery.records import FaceRecord
from mien.types import Face, ModelIdentity

_spec = importlib.util.spec_from_file_location("fakes", Path(__file__).parents[1] / "gallery" / "fakes.py")
fakes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fakes)

HOMES = ("sqlite", "memory", "postgresql", "milvus")
MODEL = fakes.IDENTITY
OTHER = ModelIdentity("other", "fast", "f" * 64, 32)
HOSTILE = (
    "Robert'); DROP TABLE subjects;--",
    'a "quoted" \\ name',
    "100% %s {x} $1",
    "面 Zoë",
    "' or 1=1",
    '" || true',
)


@pytest.fixture(params=HOMES)
def url(request, tmp_path):
    """Where a new, empty gallery may be made."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")()
    if request.param == "milvus":
        return request.getfixturevalue("milvus_url")()
    return ":memory:" if request.param == "memory" else str(tmp_path / "people.db")


@pytest.fixture
def opened():
    """Opens homes, and closes them at the end."""
    from mien.gallery.homes import open_home

    homes = []

    def opening(url, **options):
        homes.append(open_home(url, **options))
        return homes[-1]

    yield opening
    for each in homes:
        each.close()


@pytest.fixture
def home(url, opened):
    return opened(url)


def record(person, i="0", **more):
    return FaceRecord(fakes.embedding(person, str(i)), f"{person}{i}.jpg", **more)


def people(*names, count=2, **more):
    return [(name, [record(name, i, **more) for i in range(count)]) for name in names]


def ids_of(home, name, *, negative=False):
    return [face.id for face in home.faces(name) if face.negative == negative]


def names(home, **filters):
    return [subject.name for subject in home.subjects(**filters)]


def actions(home):
    """The audit log's actions; its chain must hold. Empty for a home that keeps none."""
    if not home.capabilities.audit:
        return []
    entries = list(home.audit())
    chain = verify_chain(entries)
    assert chain.whole, chain.reason
    return [entry.action for entry in entries]


def test_it_is_a_home_and_says_what_it_is(home, url):
    assert isinstance(home, Home)
    assert (home.identity, home.counts(), home.subjects()) == (None, Counts(0, 0, 0, 0), [])
    assert home.search(fakes.embedding("x")[None], k=3) == [[]]
    assert home.capabilities.home in ("sqlite", "postgresql", "milvus")
    assert home.calibration() is None
    assert home.size_on_disk() >= 0


def test_what_was_added_comes_back(home):
    face = Face((1.5, -2.25, 30.0, 40.125), 0.75, ())
    one = record("Ada", 0, sha256="a" * 64, face=face, quality=0.5, crop=b"\x00\xffcrop")
    subjects, added = home.add([("Ada", [one, record("Ada", 1)]), ("Grace", [record("Grace")])], MODEL)
    assert added == 3
    assert [(s.name, s.faces, s.pictures, s.told) for s in subjects] == [
        ("Ada", 2, ("Ada0.jpg", "Ada1.jpg"), "person"),
        ("Grace", 1, ("Grace0.jpg",), "person"),
    ]
    assert home.subjects() == subjects == [home.subject("Ada"), home.subject("Grace")]
    first, second = home.faces("Ada")
    assert (first.subject_id, first.picture, first.sha256, first.quality) == (
        subjects[0].id, "Ada0.jpg", "a" * 64, 0.5,
    )  # fmt: skip
    assert (first.face.box, first.face.score) == (face.box, face.score)
    assert (first.negative, first.crop, second.crop, second.face, second.sha256) == (False, True, False, None, None)
    assert first.id < second.id
    assert (home.crop(first.id), home.crop(second.id)) == (b"\x00\xffcrop", None)
    np.testing.assert_array_equal(
        home.embeddings([second.id, first.id]), [fakes.embedding("Ada", "1"), fakes.embedding("Ada", "0")]
    )
    assert home.embeddings([]).shape == (0, 32)
    assert (home.knows("Ada"), home.knows("nobody")) == (True, False)
    assert (home.contents_of("Ada"), home.contents_of("nobody")) == ({"a" * 64}, set())
    assert (home.owners_of("a" * 64), home.owners_of("b" * 64)) == (["Ada"], [])
    assert home.identity == MODEL
    assert home.counts() == Counts(2, 0, 3, 0)


def test_a_content_is_kept_once_a_subject(home):
    twice = [record("Ada", 0, sha256="a" * 64), record("Ada", 1, sha256="a" * 64), record("Ada", 2)]
    assert home.add([("Ada", twice)], MODEL)[1] == 2
    assert home.add([("Ada", [*twice[:2], record("Ada", 3, sha256="b" * 64)])], MODEL)[1] == 1
    assert home.add([("Grace", twice[:1]), ("Grace", twice[:1])], MODEL)[1] == 1
    assert home.owners_of("a" * 64) == ["Ada", "Grace"]
    assert home.add([], MODEL) == ([], 0)


def test_search_agrees_with_a_plain_loop(home):
    rng = np.random.default_rng(5)
    owners = [f"p{i}" for i in rng.integers(0, 20, 300)]
    rows = fakes.unit(rng.standard_normal((300, 32)))
    home.add([(o, [FaceRecord(row, f"{i}.jpg")]) for i, (o, row) in enumerate(zip(owners, rows, strict=True))], MODEL)
    home.remove(owners[0])
    probes = fakes.unit(rng.standard_normal((5, 32)))
    for k in (1, 3, 50):
        for probe, candidates in zip(probes, home.search(probes, k=k), strict=True):
            best = {}
            for i, (owner, row) in enumerate(zip(owners, rows, strict=True)):
                if owner != owners[0]:
                    best[owner] = max(
                        best.get(owner, (-2.0, "")), (float(np.dot(row.astype(float), probe)), f"{i}.jpg")
                    )
            expected = sorted(best.items(), key=lambda item: -item[1][0])[:k]
            assert [(c.name, c.nearest) for c in candidates] == [(name, picture) for name, (_, picture) in expected]
            np.testing.assert_allclose([c.score for c in candidates], [s for _, (s, _) in expected], atol=1e-6)


def test_a_subject_with_many_pictures_hides_nobody(home):
    crowd = [FaceRecord(fakes.embedding("Ada", str(i)), "x") for i in range(400)]
    home.add([("Ada", crowd), *people("Grace", "Katherine", count=1)], MODEL)
    (found,) = home.search(fakes.embedding("Ada", "probe")[None], k=3)
    assert {c.name for c in found} == {"Ada", "Grace", "Katherine"}
    assert found[0].name == "Ada"


def test_of_equal_scores_the_lower_face_wins(home):
    same = fakes.embedding("twin")
    home.add([(name, [FaceRecord(same, f"{name}.jpg")]) for name in ("Zoe", "Ada", "Max")], MODEL)
    home.add([("Zoe", [FaceRecord(same, "later.jpg")])], MODEL)
    (found,) = home.search(same[None], k=3)
    assert [(c.name, c.nearest) for c in found] == [("Zoe", "Zoe.jpg"), ("Ada", "Ada.jpg"), ("Max", "Max.jpg")]
    assert [c.face_id for c in found] == [ids_of(home, c.name)[0] for c in found]
    assert found[0].score == pytest.approx(1)


def test_known_strangers_take_part_and_are_told(home):
    home.add(people("Ada"), MODEL)
    home.add(people("the poster"), MODEL, told="ignored")
    assert home.counts() == Counts(1, 1, 4, 0)
    (found,) = home.search(fakes.embedding("the poster", "new")[None], k=2)
    assert [(c.name, c.told) for c in found] == [("the poster", "ignored"), ("Ada", "person")]
    assert home.describe("the poster", told="person").told == "person"
    assert home.search(fakes.embedding("the poster", "new")[None], k=1)[0][0].told == "person"


def test_a_negative_exemplar_is_no_face(home):
    home.add(people("Ada", "Grace"), MODEL)
    kept = home.reject("Ada", record("Mallory", sha256="c" * 64))
    assert (kept.negative, kept.picture, kept.subject_id) == (True, "Mallory0.jpg", home.subject("Ada").id)
    assert home.subject("Ada").faces == 2
    assert home.counts() == Counts(2, 0, 4, 1)
    probe = fakes.embedding("Mallory", "0")
    found = {c.name: c for c in home.search(probe[None], k=5)[0]}
    assert found["Ada"].against == pytest.approx(1, abs=1e-6)
    assert (found["Grace"].against, found["Ada"].nearest in ("Ada0.jpg", "Ada1.jpg")) == (-1.0, True)
    assert home.contents_of("Ada") == set()
    assert ids_of(home, "Ada", negative=True) == [kept.id]
    rows, owners = home.template_faces([home.subject("Ada").id])
    assert (rows.shape, set(owners.tolist())) == ((2, 32), {home.subject("Ada").id})
    assert home.remove_faces([kept.id]) == 1
    assert home.search(probe[None], k=1)[0][0].against == -1.0
    with pytest.raises(NotFoundError):
        home.reject("nobody", record("x"))


def test_template_faces_are_the_faces_of_the_asked(home):
    home.add(people("Ada", "Grace", "Katherine", count=3), MODEL)
    ids = [home.subject(name).id for name in ("Katherine", "Ada")]
    rows, owners = home.template_faces(ids)
    assert rows.dtype == np.float32
    assert owners.dtype == np.int64
    for name, number in zip(("Katherine", "Ada"), ids, strict=True):
        want = np.stack([fakes.embedding(name, str(i)) for i in range(3)])
        np.testing.assert_array_equal(rows[owners == number], want)
    assert home.template_faces([])[0].shape == (0, 32)


def test_groups_filter_subjects_and_search(home):
    home.add(people("Ada", "Grace", "Katherine"), MODEL)
    home.describe("Ada", groups=("night", "staff"))
    home.describe("Katherine", groups=("o'\"dd} [",))
    assert home.subject("Ada").groups == ("night", "staff")
    assert names(home, group="staff") == ["Ada"]
    assert names(home, group="o'\"dd} [") == ["Katherine"]
    assert names(home, group="nobody's") == []
    probe = fakes.embedding("Grace", "new")[None]
    assert [c.name for c in home.search(probe, k=5, group="staff")[0]] == ["Ada"]
    assert home.search(probe, k=5, group="nobody's") == [[]]
    home.describe("Ada", groups=())
    assert home.search(probe, k=5, group="staff") == [[]]


def test_describe_keeps_what_is_said(home):
    home.add(people("Ada", "Grace"), MODEL)
    said = {"height": 1.5, "tags": ["a", None, True], "名": {"ü": "\u0000 \\ \" '"}}
    got = home.describe("Ada", external_id="E-1'\"", metadata=said, expires=2e9, consent="by mail, “yes”")
    assert (got.external_id, dict(got.metadata), got.expires, got.consent) == (
        "E-1'\"", said, 2e9, "by mail, “yes”",
    )  # fmt: skip
    assert home.subject_of("E-1'\"") == got == home.subject("Ada")
    with pytest.raises(GalleryError, match="Ada"):
        home.describe("Grace", external_id="E-1'\"")
    assert home.subject("Grace").external_id is None
    got = home.describe("Ada", external_id=None, expires=None)
    assert (got.external_id, got.expires, got.consent) == (None, None, "by mail, “yes”")
    for act in (lambda: home.subject_of("E-1'\""), lambda: home.describe("nobody", consent="x")):
        with pytest.raises(NotFoundError):
            act()
    assert dict(home.subject("Ada").metadata) == said


@pytest.mark.parametrize("hostile", [HOSTILE])
def test_hostile_texts_are_only_texts(home, hostile):
    home.add([(name, [FaceRecord(fakes.embedding(name), name, sha256=name)]) for name in hostile], MODEL)
    assert names(home) == list(hostile)
    for name in hostile:
        assert home.subject(name).pictures == (name,)
        assert home.owners_of(name) == [name]
        assert home.describe(name, external_id=name, groups=(name,)).name == name
        assert home.subject_of(name).name == name
        assert [c.name for c in home.search(fakes.embedding(name)[None], k=9, group=name)[0]] == [name]
    assert home.rename(hostile[0], "x" + hostile[0]).name == "x" + hostile[0]
    home.remove(hostile[1])
    assert names(home) == ["x" + hostile[0], *hostile[2:]]


def test_rename(home):
    home.add(people("Ada", "Grace"), MODEL)
    before = home.subject("Ada")
    after = home.rename("Ada", "Countess")
    assert (after.id, after.faces, after.created) == (before.id, before.faces, before.created)
    assert home.search(fakes.embedding("Ada")[None], k=1)[0][0].name == "Countess"
    with pytest.raises(GalleryError, match="Grace"):
        home.rename("Countess", "Grace")
    assert home.rename("Countess", "Countess") == after
    with pytest.raises(NotFoundError, match="did you mean 'Countess'"):
        home.rename("countes", "x")
    assert names(home) == ["Countess", "Grace"]


def test_merge(home):
    home.add([("Ada", [record("Ada", 0, sha256="a" * 64), record("Ada", 1)])], MODEL)
    home.add([("A. L.", [record("Ada", 2, sha256="a" * 64), record("Ada", 3, sha256="b" * 64)])], MODEL)
    home.reject("A. L.", record("Mallory"))
    merged = home.merge("A. L.", "Ada")
    assert (merged.name, merged.faces, merged.pictures) == ("Ada", 3, ("Ada0.jpg", "Ada1.jpg", "Ada3.jpg"))
    assert names(home) == ["Ada"]
    assert home.counts() == Counts(1, 0, 3, 1)
    assert home.search(fakes.embedding("Mallory")[None], k=1)[0][0].against > 0.8
    for pair in (("nobody", "Ada"), ("Ada", "nobody")):
        with pytest.raises(NotFoundError):
            home.merge(*pair)
    assert names(home) == ["Ada"]


def test_move_faces(home):
    home.add([("Ada", [record("Ada", 0, sha256="a" * 64), record("Grace", 0, sha256="b" * 64)])], MODEL)
    home.add([("Grace", [record("Grace", 1, sha256="b" * 64)])], MODEL)
    right, wrong = ids_of(home, "Ada")
    with pytest.raises(NotFoundError):
        home.move_faces([right, 10**9], "Katherine")
    assert names(home) == ["Ada", "Grace"]
    moved = home.move_faces([wrong], "Katherine")
    assert (moved.name, moved.faces) == ("Katherine", 1)
    assert home.search(fakes.embedding("Grace", "0")[None], k=1)[0][0].name == "Katherine"
    grace = home.move_faces([wrong], "Grace")  # she has that content already
    assert (grace.faces, home.subject("Katherine").faces) == (1, 0)
    home.move_faces([right], "Grace")
    assert (names(home), home.subject("Ada").faces) == (["Ada", "Grace", "Katherine"], 0)
    assert home.counts().faces == 2


def test_remove(home):
    home.add(people("Ada", "Grace", sha256=None), MODEL)
    home.reject("Ada", record("Mallory"))
    first = home.subject("Ada")
    ids = ids_of(home, "Ada")
    assert home.remove("Ada") == first
    with pytest.raises(NotFoundError):
        home.embeddings(ids[:1])
    with pytest.raises(NotFoundError):
        home.crop(ids[0])
    for act in (home.remove, home.subject, home.faces):
        with pytest.raises(NotFoundError):
            act("Ada")
    assert home.counts() == Counts(1, 0, 2, 0)
    ((again,), _) = home.add(people("Ada"), MODEL)
    assert again.id > first.id
    assert min(ids_of(home, "Ada")) > max(ids)
    ids = ids_of(home, "Grace")
    with pytest.raises(NotFoundError):
        home.remove_faces([ids[0], 10**9])
    assert home.remove_faces(ids) == 2
    assert (home.subject("Grace").faces, names(home)) == (0, ["Grace", "Ada"])
    assert [c.name for c in home.search(fakes.embedding("Grace")[None], k=5)[0]] == ["Ada"]


def test_another_model_is_refused(home, url):
    home.pin(MODEL)
    home.pin(MODEL)
    assert home.identity == MODEL
    for act in (lambda: home.pin(OTHER), lambda: home.add(people("Ada"), OTHER)):
        with pytest.raises(GalleryModelError, match="other"):
            act()
    assert home.counts() == Counts(0, 0, 0, 0)


def test_the_calibration_is_kept(home):
    text = '# kalibriert\n[points]\nx = "é面"\n' + "y = 1\n" * 20_000
    home.keep_calibration(text)
    assert home.calibration() == text
    home.keep_calibration("short = 1\n")
    assert home.calibration() == "short = 1\n"
    home.keep_calibration(None)
    assert home.calibration() is None


def test_everything_lasts_until_the_next_opening(url, opened):
    if url == ":memory:":
        pytest.skip("a gallery in memory lasts as long as it is open")
    home = opened(url)
    home.add([("Ada", [record("Ada", 0, crop=b"crop", sha256="a" * 64)])], MODEL)
    home.describe("Ada", groups=("g",), metadata={"a": 1})
    home.reject("Ada", record("Mallory"))
    home.keep_calibration("x = 1")
    before = home.subjects(), home.faces("Ada"), home.counts()
    home.close()
    home = opened(url)
    assert (home.subjects(), home.faces("Ada"), home.counts()) == before
    assert (home.identity, home.calibration(), home.crop(before[1][0].id)) == (MODEL, "x = 1", b"crop")
    assert home.add(people("Grace"), MODEL)[0][0].id > before[0][0].id


def test_readonly_changes_nothing(url, opened):
    if url == ":memory:":
        pytest.skip("a gallery in memory is always writable")
    with pytest.raises(NotFoundError):
        opened(url, readonly=True)
    with pytest.raises(NotFoundError):
        opened(url, create=False)
    home = opened(url)
    home.add(people("Ada"), MODEL)
    face_ids = ids_of(home, "Ada")
    home.close()
    home = opened(url, readonly=True)
    assert home.readonly
    assert home.search(fakes.embedding("Ada")[None], k=1)[0][0].name == "Ada"
    changes = [
        lambda: home.add(people("Grace"), MODEL),
        lambda: home.reject("Ada", record("x")),
        lambda: home.describe("Ada", consent="x"),
        lambda: home.rename("Ada", "x"),
        lambda: home.merge("Ada", "Ada"),
        lambda: home.move_faces(face_ids, "x"),
        lambda: home.remove_faces(face_ids),
        lambda: home.remove("Ada"),
        lambda: home.keep_calibration("x"),
        lambda: home.log([Sighting(1.0, None, 0.5, "x")]),
        lambda: home.load(Batch(), MODEL),
        home.load_beside,
    ]
    for change in changes:
        with pytest.raises(GalleryError, match="readonly"):
            change()
    assert names(home) == ["Ada"]


def test_closed_is_closed(home):
    home.close()
    home.close()
    for act in (home.subjects, home.counts, lambda: home.search(fakes.embedding("Ada")[None], k=1), home.calibration):
        with pytest.raises(GalleryError, match="closed"):
            act()


def test_the_log_of_who_was_seen(home):
    home.add(people("Ada", "Grace"), MODEL)
    ada, grace = (home.subject(name).id for name in ("Ada", "Grace"))
    seen = [Sighting(3.0, ada, 0.9, "cam '1'"), Sighting(1.0, grace, 0.8, "cam 2"), Sighting(2.0, None, 0.1, "cam 2")]
    if not home.capabilities.sightings:
        for act in (lambda: home.log(seen), lambda: list(home.sightings()), lambda: home.load_beside(sightings=seen)):
            with pytest.raises(UnsupportedError, match=home.capabilities.home):
                act()
        return
    home.log(seen)
    home.log([])
    got = list(home.sightings())
    assert [(s.time, s.subject_id, s.name, s.source) for s in got] == [
        (1.0, grace, "Grace", "cam 2"),
        (2.0, None, None, "cam 2"),
        (3.0, ada, "Ada", "cam '1'"),
    ]
    assert [s.time for s in home.sightings(since=2.0)] == [2.0, 3.0]
    assert [s.time for s in home.sightings(since=1.0, until=3.0)] == [1.0, 2.0]
    assert [s.score for s in home.sightings(name="Ada")] == [pytest.approx(0.9)]
    with pytest.raises(NotFoundError):
        list(home.sightings(name="nobody"))
    home.rename("Ada", "Countess")
    home.merge("Grace", "Countess")
    assert [s.name for s in home.sightings()] == ["Countess", None, "Countess"]
    home.remove("Countess")
    assert [s.subject_id for s in home.sightings()] == [None]  # what is said of the forgotten is forgotten too


def test_every_change_is_in_the_audit_log(home):
    home.add(people("Ada", "Grace"), MODEL)
    if not home.capabilities.audit:
        for act in (lambda: list(home.audit()), lambda: home.load_beside(audit=[None])):
            with pytest.raises(UnsupportedError, match=home.capabilities.home):
                act()
        return
    assert actions(home) == ["enrol", "enrol"]
    home.rename("Ada", "Countess")
    home.describe("Countess", consent="x")
    home.reject("Countess", record("Mallory"))
    home.move_faces(ids_of(home, "Grace")[:1], "Countess")
    home.remove_faces(ids_of(home, "Grace"))
    home.merge("Grace", "Countess")
    home.remove("Countess")
    assert list(dict.fromkeys(actions(home))) == [
        "enrol", "rename", "describe", "reject", "move", "remove", "merge",
    ]  # fmt: skip
    said = " ".join(f"{entry.action} {entry.pseudonym}" for entry in home.audit())
    assert not any(name in said for name in ("Ada", "Grace", "Countess"))
    before = len(actions(home))
    for act in (lambda: home.remove("nobody"), lambda: home.remove_faces([10**9])):
        with pytest.raises(NotFoundError):
            act()
    assert len(actions(home)) == before  # what did not happen is not in it


def test_a_refused_change_leaves_nothing(home):
    home.add(people("Ada", sha256=None), MODEL)
    before = home.subjects(), home.counts(), actions(home)

    class Broken(list):
        def __iter__(self):
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        home.add([*people("Bob"), ("Eve", Broken([record("Eve")]))], MODEL)
    if home.capabilities.transactions:
        assert (home.subjects(), home.counts(), actions(home)) == before


def test_a_gallery_moves_house(home, url, opened, tmp_path):
    home.add([(f"p{i}", [record(f"p{i}", j, crop=bytes([i, j])) for j in range(3)]) for i in range(10)], MODEL)
    home.add([("alone", [])], MODEL)
    home.reject("p3", record("Mallory"))
    home.describe("p4", external_id="four", groups=("a", "b"), metadata={"x": 1}, expires=5.5, consent="yes")
    home.remove("p5")
    parts = list(home.batches(size=7))
    ids = [face.id for part in parts for face in part.faces]
    assert ids == sorted(ids)
    assert len(ids) == 28
    assert max(len(part.faces) for part in parts) <= 7
    for part in parts:
        assert {f.subject_id for f in part.faces} <= {row.subject.id for row in part.subjects}
        assert part.embeddings.shape == (len(part.faces), 32) or not part.faces
    later = [face.id for part in home.batches(after=ids[10], size=7) for face in part.faces]
    assert later == ids[11:]
    other = opened(str(tmp_path / "other.db"))
    for part in [*parts, parts[0]]:
        other.load(part, MODEL)
    back = opened(":memory:")
    for part in other.batches():
        back.load(part, MODEL)
    for copy in (other, back):
        assert copy.subjects() == home.subjects()
        assert copy.counts() == home.counts()
        assert copy.faces("p3") == home.faces("p3")
        assert copy.crop(ids[4]) == home.crop(ids[4])
        np.testing.assert_array_equal(copy.embeddings(ids), home.embeddings(ids))
    assert back.add(people("new"), MODEL)[0][0].id > max(s.id for s in home.subjects())
    assert min(ids_of(back, "new")) > max(ids)


def test_rows_are_loaded_once_and_keep_their_ids(home, opened):
    source = opened(":memory:")
    source.add([("gone", [record("gone")]), *people("Ada", "Grace", count=3, crop=b"c")], MODEL)
    source.remove("gone")
    for _ in range(2):
        for part in source.batches(size=2):
            home.load(part, MODEL)
    assert home.subjects() == source.subjects()
    assert home.faces("Grace") == source.faces("Grace")
    assert home.crop(ids_of(home, "Ada")[0]) == b"c"
    for candidates in (
        home.search(fakes.embedding("Ada", "1")[None], k=1),
        source.search(fakes.embedding("Ada", "1")[None], k=1),
    ):
        assert (candidates[0][0].name, candidates[0][0].nearest) == ("Ada", "Ada1.jpg")
    ((new,), _) = home.add(people("new"), MODEL)
    assert new.id > max(s.id for s in source.subjects())
    with pytest.raises(GalleryModelError):
        home.load(Batch(), OTHER)


def test_the_logs_move_too(home, opened):
    if not (home.capabilities.audit and home.capabilities.sightings):
        pytest.skip(f"{home.capabilities.home} keeps no logs; that it refuses them is tested above")
    source = opened(":memory:")
    source.add(people("Ada"), MODEL)
    source.log([Sighting(2.0, source.subject("Ada").id, 0.9, "cam"), Sighting(1.0, None, 0.1, "cam")])
    for part in source.batches():
        home.load(part, MODEL)
    home.load_beside(audit=list(source.audit()), sightings=list(source.sightings()))
    assert list(home.audit()) == list(source.audit())
    assert list(home.sightings()) == list(source.sightings())
    home.rename("Ada", "Countess")
    assert actions(home)[-1] == "rename"
    with pytest.raises(GalleryError):
        home.load_beside(audit=list(source.audit()))


def test_threads_add_ask_and_remove(home):
    home.add(people("Ada"), MODEL)
    problems = []
    rounds, workers = (8, 6) if home.capabilities.home != "milvus" else (2, 3)

    def work(me):
        try:
            for i in range(rounds):
                name = f"{me}-{i % 3}"
                home.add([(name, [record(name)])], MODEL)
                here, ada = home.search(np.stack([fakes.embedding(name, "0"), fakes.embedding("Ada", "p")]), k=1)
                home.remove(name)
                (gone,) = home.search(fakes.embedding(name, "0")[None], k=1)
                if (here[0].name, ada[0].name) != (name, "Ada") or gone[0].name == name:
                    problems.append((name, here, ada, gone))
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must see it
            problems.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(workers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert problems == []
    assert names(home) == ["Ada"]
    actions(home)


def test_two_openings_are_one_gallery(url, opened):
    if url == ":memory:":
        pytest.skip("a gallery in memory is opened once")
    home = opened(url)
    if not home.capabilities.several_writers:
        pytest.skip(f"{home.capabilities.home} promises a single writer")
    other = opened(url)
    problems = []

    def work(mine):
        try:
            for i in range(10):
                mine.add([(f"p{i}", [record(f"p{i}", sha256=f"{i}")])], MODEL)
        except Exception as error:  # noqa: BLE001
            problems.append(error)

    threads = [threading.Thread(target=work, args=(one,)) for one in (home, other)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert problems == []
    for one in (home, other):
        assert sorted(names(one)) == sorted(f"p{i}" for i in range(10))
        assert one.counts() == Counts(10, 0, 10, 0)
        assert one.search(fakes.embedding("p7")[None], k=1)[0][0].name == "p7"
        actions(one)
