"""From one model to another and back: nobody lost, no two models mixed up, plain and encrypted."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import sqlite3
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mien.errors import GalleryError, GalleryModelError, ImageError, InputError, NotFoundError, UnsupportedError
from mien.gallery import Gallery, migration, open_home
from mien.gallery.copying import copy
from mien.gallery.crops import encoded_crop, places_in_crop
from mien.gallery.privacy import erase, prove_erased
from mien.gallery.records import FaceRecord
from mien.gallery.reembedding import originals_in
from mien.gallery.sealing import PLAIN
from mien.match import calibrate
from mien.types import Analysis, Face, Faces, ModelIdentity

_spec = importlib.util.spec_from_file_location("migration_fakes", Path(__file__).with_name("fakes.py"))
fakes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fakes)

OLD = fakes.IDENTITY
NEW = ModelIdentity("fake", "accurate", hashlib.sha256(b"new").hexdigest(), 32)
WIDE = ModelIdentity("wide", "fast", hashlib.sha256(b"wide").hexdigest(), 48)


class NewAnalyzer(fakes.FakeAnalyzer):
    """Another model of the same dimension: nothing but its identity says that its embeddings do not compare."""

    def __init__(self, identity=NEW, stop_at=0):
        super().__init__(identity)
        self.stop_at = stop_at

    def _one(self, image):
        if self.stop_at and self.analysed == self.stop_at:
            raise KeyboardInterrupt
        found = super()._one(image)
        if found.error is not None:
            return found
        return dataclasses.replace(found, embeddings=np.roll(found.embeddings, 1, axis=1))


def new_embedding(person, variation=""):
    return np.roll(fakes.embedding(person, variation), 1)


@pytest.fixture(params=["plain", "encrypted"])
def sealers(request, tmp_path):
    if request.param == "plain":
        return lambda: PLAIN
    pytest.importorskip("cryptography", reason="needs cryptography: pip install 'mien[crypto]'")
    from mien.gallery.privacy.master import MasterKey
    from mien.gallery.privacy.sealer import EncryptedSealer

    keys = tmp_path / "people.db.keys"
    return lambda: EncryptedSealer(keys, MasterKey("m", bytes(range(32))), create=not keys.exists())


PEOPLE = {"Ada": 3, "Zoë 面": 2, "Bo": 2, "Cy": 1}


@pytest.fixture
def originals(tmp_path):
    """The pictures: of Bo none but group photos, of Cy none at all; all under other names than at enrolment."""
    folder = tmp_path / "originals"
    (folder / "deep").mkdir(parents=True)
    for name in ("Ada", "Zoë 面"):
        for i in range(PEOPLE[name]):
            (folder / "deep" / f"{name[0]}{i}.jpg").write_text(f"{name}/{i}")
    (folder / "group.png").write_text("Ada/g+Bo/0+Zoë 面/g")
    return folder


def record(text, *, crop=False, which=0, kept=True):
    """A face of the fake picture `text`, as enrolment stores it."""
    analysis = fakes.FakeAnalyzer()._one(text.encode())
    person = text.split("+")[which]
    face = Face(analysis.faces[which].box, 0.99, ())
    return FaceRecord(
        analysis.embeddings[which],
        f"/camera/{text}",
        hashlib.sha256(text.encode()).hexdigest() if kept else None,
        face,
        crop=person.encode() if crop else None,
    )


@pytest.fixture
def path(tmp_path, sealers):
    """Ada and Zoë from portraits, Bo from the middle of a group photo and from a crop, Cy from a crop."""
    with contextlib.closing(open_home(tmp_path / "people.db", sealer=sealers())) as home:
        home.add([("Ada", [record(f"Ada/{i}") for i in range(3)])], OLD)
        home.add([("Zoë 面", [record("Zoë 面/0"), record("Zoë 面/1")])], OLD)
        home.add([("Bo", [record("Ada/g+Bo/0+Zoë 面/g", which=1), record("Bo/1", crop=True)])], OLD)
        home.add([("Cy", [record("Cy/0", crop=True, kept=False)])], OLD)
        home.reject("Ada", record("Ada/g+Bo/0+Zoë 面/g", which=2))
        home.add([("poster", [record("poster/0", crop=True)])], OLD, told="ignored")
    return tmp_path / "people.db"


@pytest.fixture
def opened(path, sealers):
    """Opens the gallery's home; all are closed at the end."""
    homes = []

    def opened(**options):
        homes.append(open_home(path, sealer=sealers(), **options))
        return homes[-1]

    yield opened
    for home in homes:
        home.close()


@pytest.fixture
def new_calibration(calibration):
    return dataclasses.replace(calibration, model=NEW.name, preset=NEW.preset, sha256=NEW.sha256)


def expected(home):
    """Face id -> what the new model makes of it."""
    found = {}
    for name in ("Ada", "Zoë 面", "Bo", "Cy", "poster"):
        for face in home.faces(name):
            text = face.picture.removeprefix("/camera/")
            box = face.face.box
            parts = text.split("+")
            which = [round(100 - 100 / (1 + i)) for i in range(len(parts))].index(round(box[0]))
            found[face.id] = new_embedding(*parts[which].split("/"))
    return found


def vectors(home):
    ids = [f.id for s in home.subjects() for f in home.faces(s.name)]
    return dict(zip(ids, home.embeddings(ids), strict=True))


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for i, row in wanted.items():
        np.testing.assert_array_equal(found[i], row)


# Staging


def test_originals_first_then_crops_and_the_right_face_of_a_group(opened, originals):
    home = opened()
    before = vectors(home)
    seen = []
    report = migration.stage(home, NewAnalyzer(), originals=[originals], progress=lambda *at: seen.append(at))
    assert (report.from_originals, report.from_crops, report.there, report.missing) == (7, 3, 0, ())
    assert report.complete
    assert seen == [(i, 10) for i in range(1, 11)]
    assert_same(home.staged_embeddings(list(before)), expected(home))
    assert_same(vectors(home), before)  # nothing has changed for users
    assert home.identity == OLD
    found = migration.status(home)
    assert (found.identity, found.other.identity, found.other.role) == (OLD, NEW, "new")
    assert (found.other.faces, found.other.missing, found.missing) == (10, 0, ())
    assert home.check().problems == ()


def test_each_original_is_analysed_once(opened, originals):
    analyzer = NewAnalyzer()
    migration.stage(opened(), analyzer, originals=[originals])
    assert analyzer.analysed == 9  # five portraits, the group photo for two faces, three crops


def test_what_is_missing_is_named_with_the_reason_and_can_be_given_later(opened, originals):
    home = opened()
    report = migration.stage(home, NewAnalyzer())
    assert (report.from_originals, report.from_crops, len(report.missing)) == (0, 3, 7)
    assert {one.reason for one in report.missing} == {"no crop of it is kept; give its original"}
    (originals / "deep" / "A1.jpg").unlink()
    (originals / "group.png").unlink()
    report = migration.stage(home, NewAnalyzer(), originals=[originals])
    assert [(one.name, one.picture) for one in report.missing] == [
        ("Ada", "/camera/Ada/1"), ("Bo", "/camera/Ada/g+Bo/0+Zoë 面/g"), ("Ada", "/camera/Ada/g+Bo/0+Zoë 面/g"),
    ]  # fmt: skip
    assert {one.reason for one in report.missing} == {"its picture is not among the originals"}
    assert (report.there, report.from_originals) == (3, 4)
    with pytest.raises(GalleryError, match=r"3 faces have no embedding of that model: 'Ada' \(/camera/Ada/1\), 'Bo'"):
        migration.confirm(home, no_threshold=True)
    assert home.identity == OLD


def test_a_face_that_is_not_found_again_is_missing_or_its_crop_is_taken(opened, originals, path, sealers):
    class Elsewhere(NewAnalyzer):
        def _one(self, image):
            found = super()._one(image)
            if isinstance(image, bytes) or found.error is not None:
                return found
            boxes = found.faces.boxes + 500
            return dataclasses.replace(found, faces=Faces(boxes, found.faces.scores, found.faces.landmarks))

    home = opened()
    with_both = record("Dee/0", crop=True)
    home.add([("Dee", [with_both])], OLD)
    (originals / "dee.jpg").write_text("Dee/0")
    (originals / "nobody.jpg").write_text("nobody")
    home.add([("Eve", [dataclasses.replace(record("Eve/0"), sha256=hashlib.sha256(b"nobody").hexdigest())])], OLD)
    (originals / "broken.jpg").write_text("broken")
    home.add([("Fay", [dataclasses.replace(record("Fay/0"), sha256=hashlib.sha256(b"broken").hexdigest())])], OLD)
    report = migration.stage(home, Elsewhere(), originals=[originals])
    reasons = {one.name: one.reason for one in report.missing}
    assert reasons == {
        "Ada": "no face is found where it stood in its picture",
        "Zoë 面": "no face is found where it stood in its picture",
        "Bo": "no face is found where it stood in its picture",
        "Eve": "no face is found in its original",
        "Fay": "is not a picture",
    }
    (dee,) = home.faces("Dee")
    np.testing.assert_array_equal(home.staged_embeddings([dee.id])[dee.id], new_embedding("Dee", "0"))


def test_a_face_that_is_overlooked_in_its_crop_is_looked_for_in_twice_its_size(opened, tmp_path):
    """A detector that finds a white square from 40 pixels on; another one looks in from the side."""
    import io

    from PIL import Image

    class Shortsighted(NewAnalyzer):
        def _one(self, image):
            if isinstance(image, bytes) and not image.startswith(b"\xff\xd8"):
                return Analysis.failed("crop", ImageError("crop", "is not a picture"))
            pixels = image if isinstance(image, np.ndarray) else np.asarray(Image.open(io.BytesIO(image)))
            boxes = []
            for colour in (0, 1):
                rows, columns = np.nonzero(pixels[..., colour] > 127)
                if len(rows) and np.ptp(columns) >= 40:
                    boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
            self.analysed += 1
            found = Faces(np.array(boxes, np.float32).reshape(-1, 4), [1] * len(boxes), np.zeros((len(boxes), 5, 2)))
            rows = np.stack([new_embedding(f"box {i}") for i in range(3)])[3 - len(boxes) :]
            return Analysis("crop", (pixels.shape[1], pixels.shape[0]), found, rows)

    home = opened()
    pixels = np.zeros((300, 300, 3), np.uint8)
    pixels[100:130, 100:130, 0] = 255  # the face, 30 pixels
    face = Face((100, 100, 130, 130), 1.0, ((0, 0),) * 5)
    plain = FaceRecord(fakes.embedding("Ivy", "0"), "ivy", None, face, crop=encoded_crop(pixels, Faces.of(face)))
    home.add([("Ivy", [plain])], OLD)
    report = migration.stage(home, (analyzer := Shortsighted()))
    assert report.from_crops == 1
    assert [one.name for one in report.missing if one.name == "Ivy"] == []
    assert analyzer.analysed > 1


def test_without_a_box_only_an_unmistakable_face_is_taken(opened, originals):
    home = opened()
    (originals / "gil.jpg").write_text("Gil/0")
    for name, text in (("Gil", "Gil/0"), ("Hal", "Ada/g+Bo/0+Zoë 面/g")):
        home.add([(name, [dataclasses.replace(record(text), face=None)])], OLD)
    report = migration.stage(home, NewAnalyzer(), originals=[originals])
    assert [(one.name, one.reason) for one in report.missing] == [
        ("Hal", "its picture shows 3 faces, and it is not known where it stood")
    ]


def test_stopped_anywhere_it_goes_on(opened, originals, monkeypatch):
    monkeypatch.setattr(migration, "_AT_ONCE", 2)
    home = opened()
    for stop_at in (1, 2, 3):
        with pytest.raises(KeyboardInterrupt):
            migration.stage(home, NewAnalyzer(stop_at=stop_at), originals=[originals])
    there = home.staged().faces
    assert 3 <= there < 10
    report = migration.stage(home, NewAnalyzer(), originals=[originals])
    assert (report.there, report.complete) == (there, True)
    assert_same(home.staged_embeddings(list(vectors(home))), expected(home))


def test_nothing_but_one_change_at_a_time(opened, originals):
    home = opened()
    with pytest.raises(GalleryModelError, match=r"is made with fake/fast .* already"):
        migration.stage(home, NewAnalyzer(OLD))
    migration.stage(home, NewAnalyzer(), originals=[originals])
    with pytest.raises(GalleryModelError, match=r"is about to change to fake/accurate .*confirm that, or abandon it"):
        migration.stage(home, NewAnalyzer(WIDE))
    for wrong in (migration.rollback, migration.forget_old):
        with pytest.raises(GalleryError, match="is about to change"):
            wrong(home)
    assert migration.abandon(home) == 10
    assert home.staged() is None
    for early in (migration.abandon, migration.forget_old, migration.rollback):
        with pytest.raises(GalleryError, match="no second model"):
            early(home)
    with pytest.raises(GalleryError, match="no second model"):
        migration.confirm(home, no_threshold=True)


def test_an_empty_gallery_and_homes_that_cannot(tmp_path):
    with (
        contextlib.closing(open_home(tmp_path / "new.db")) as home,
        pytest.raises(GalleryError, match="nothing to migrate"),
    ):
        migration.stage(home, NewAnalyzer())
    server = SimpleNamespace(capabilities=SimpleNamespace(migration=False, home="milvus"), source="milvus://...")
    for verb in (migration.status, migration.abandon, migration.rollback, migration.confirm):
        with pytest.raises(UnsupportedError, match=r"cannot keep two models; copy it into a file"):
            verb(server)


def test_originals_are_found_by_content_once(tmp_path, originals):
    (originals / "copy.jpg").write_text("Ada/0")
    found = originals_in([originals, originals / "group.png"])
    assert len(found) == 6
    assert found[hashlib.sha256(b"Ada/0").hexdigest()].read_text() == "Ada/0"
    with pytest.raises(NotFoundError):
        originals_in([tmp_path / "none"])


# Confirming, and back


def test_confirm_rollback_and_confirm_again(opened, originals, calibration, new_calibration):
    home = opened()
    home.keep_calibration(calibration.to_toml())
    before = vectors(home)
    migration.stage(home, NewAnalyzer(), originals=[originals])
    wanted = expected(home)
    done = migration.confirm(home, calibration=new_calibration)
    assert (done.before, done.now, done.faces, done.dropped) == (OLD, NEW, 10, 0)
    for _ in range(2):
        now = opened()
        assert now.identity == NEW
        assert now.calibration() == new_calibration.to_toml()
        assert_same(vectors(now), wanted)
        assert_same(now.staged_embeddings(list(before)), before)
        assert now.staged().role == "old"
        assert now.check().problems == ()
        back = migration.rollback(now)
        assert (back.before, back.now, back.faces) == (NEW, OLD, 10)
        old = opened()
        assert (old.identity, old.calibration(), old.staged().role) == (OLD, calibration.to_toml(), "new")
        assert_same(vectors(old), before)
        assert old.check().problems == ()
        migration.confirm(old, calibration=new_calibration)
    actions = [(entry.action, entry.count) for entry in opened().audit()]
    assert actions[-5:] == [("migrate", 10), ("rollback", 10)] * 2 + [("migrate", 10)]


def test_who_has_it_open_is_told_and_never_answers_from_two_models(path, sealers, originals, new_calibration):
    with (
        Gallery.open(path, identity=OLD, sealer=sealers()) as stale,
        contextlib.closing(open_home(path, sealer=sealers())) as home,
    ):
        probe = fakes.embedding("Ada", "x")
        assert stale.identify_embeddings(probe, threshold=0.5)[0].name == "Ada"
        migration.stage(home, NewAnalyzer(), originals=[originals])
        migration.confirm(home, calibration=new_calibration)
        for use in (
            lambda: stale.identify_embeddings(probe, threshold=0.5),
            lambda: stale.search(probe),
            lambda: stale.add("new", probe),
            lambda: stale.reject("Ada", probe),
            lambda: stale.keep_calibration(None),
            lambda: home.search(probe[None], k=1),
        ):
            with pytest.raises(
                GalleryModelError, match=r"has changed from fake/fast .* to fake/accurate .*open it again"
            ):
                use()
        assert [s.name for s in stale.subjects()] == ["Ada", "Zoë 面", "Bo", "Cy", "poster"]
        with Gallery.open(path, recognizer=NewAnalyzer(), sealer=sealers()) as fresh:
            assert fresh.identify_embeddings(new_embedding("Ada", "x"), threshold=0.5)[0].name == "Ada"
            assert fresh.calibration == new_calibration
        with pytest.raises(GalleryModelError):
            Gallery.open(path, identity=OLD, sealer=sealers())
        migration.rollback(home)
        assert stale.identify_embeddings(probe, threshold=0.5)[0].name == "Ada"  # it is its model again


def test_a_home_opened_on_the_other_model_is_not_taken_for_ones_own(path, sealers, originals):
    """A change and its taking back on both sides of an opening: the index is of one model, the file of the other."""
    with contextlib.closing(open_home(path, sealer=sealers())) as home:
        migration.stage(home, NewAnalyzer(), originals=[originals])
        migration.confirm(home, no_threshold=True)
        with contextlib.closing(open_home(path, sealer=sealers())) as between:  # reads the new model's embeddings
            migration.rollback(home)

            def searched():
                gallery = Gallery(between, identity=OLD)
                migration.confirm(home, no_threshold=True)  # the index and the file are of one model again: not OLD
                return gallery.identify_embeddings(fakes.embedding("Ada", "x"), threshold=0.5)

            for use in (searched, lambda: Gallery(between).identity):
                with pytest.raises(GalleryModelError, match=r"has changed from fake/accurate .* to fake/fast"):
                    use()


def test_searches_beside_a_change_are_right_or_refused(path, sealers, originals):
    with contextlib.closing(open_home(path, sealer=sealers())) as home:
        migration.stage(home, NewAnalyzer(), originals=[originals])
        failures, refused, answered = [], [], []
        going = threading.Event()

        def search():
            probe = fakes.embedding("Zoë 面", "0")
            while not going.is_set():
                try:
                    with Gallery.open(path, identity=OLD, sealer=sealers()) as gallery:
                        for _ in range(20):
                            match = gallery.identify_embeddings(probe, threshold=0.9)[0]
                            answered.append(match.name)
                            if match.name != "Zoë 面" or match.score < 0.95:
                                failures.append(match)
                except GalleryModelError:
                    refused.append(1)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(10):
            migration.confirm(home, no_threshold=True)
            migration.rollback(home)
        going.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert refused or answered


def test_a_change_needs_thresholds_unless_said_otherwise(opened, originals, calibration, new_calibration, monkeypatch):
    home = opened()
    migration.stage(home, NewAnalyzer(), originals=[originals])
    with pytest.raises(InputError, match="no calibration for fake/accurate"):
        migration.confirm(home)
    with pytest.raises(InputError, match="made for fake/fast"):
        migration.confirm(home, calibration=calibration)
    assert home.identity == OLD
    monkeypatch.setattr(migration, "calibration_for", lambda _: new_calibration)  # as if mien shipped one
    migration.confirm(home)
    assert home.calibration() is None


def test_enrolled_meanwhile(opened, originals):
    home = opened()
    migration.stage(home, NewAnalyzer(), originals=[originals])
    home.add([("late", [record("late/0", crop=True)])], OLD)
    with pytest.raises(GalleryError, match="1 faces have no embedding of that model: 'late'"):
        migration.confirm(home, no_threshold=True)
    assert migration.stage(home, NewAnalyzer()).from_crops == 1
    migration.confirm(home, no_threshold=True)
    after = opened()
    late = fakes.FakeAnalyzer()._one(b"later/0")
    crop = dataclasses.replace(record("later/0", crop=True), embedding=np.roll(late.embeddings[0], 1))
    after.add([("later", [crop])], NEW)
    with pytest.raises(GalleryError, match="'later'"):
        migration.rollback(after)
    report = migration.stage(after, fakes.FakeAnalyzer())  # towards the old model
    assert (report.identity, report.from_crops, report.complete) == (OLD, 1, True)
    migration.rollback(after)
    back = opened()
    (face,) = back.faces("later")
    np.testing.assert_array_equal(back.embeddings([face.id])[0], fakes.embedding("later", "0"))
    assert len(back.subjects()) == 7


def test_those_who_are_missing_are_dropped_only_if_asked(opened):
    home = opened()
    migration.stage(home, NewAnalyzer())  # crops only
    done = migration.confirm(home, no_threshold=True, drop_missing=True)
    assert (done.faces, done.dropped) == (3, 7)
    after = opened()
    assert [(s.name, s.faces) for s in after.subjects()] == [
        ("Ada", 0), ("Zoë 面", 0), ("Bo", 1), ("Cy", 1), ("poster", 1)
    ]  # fmt: skip
    assert [(e.action, e.count) for e in after.audit()][-4:] == [
        ("remove", 4), ("remove", 2), ("remove", 1), ("migrate", 3)
    ]  # fmt: skip
    assert after.check().problems == ()


def test_another_dimension(opened, originals):
    class Wide(fakes.FakeAnalyzer):
        pass

    home = opened()
    before = vectors(home)
    migration.stage(home, Wide(WIDE), originals=[originals])
    migration.confirm(home, no_threshold=True)
    after = opened()
    assert after.embeddings([1]).shape == (1, 48)
    assert after.search(fakes.embedding("Bo", "0", 48)[None], k=1)[0][0].name == "Bo"
    assert after.check().problems == ()
    migration.rollback(after)
    assert_same(vectors(opened()), before)


def test_forgetting_the_old_model_leaves_no_byte_of_it(opened, originals, path):
    home = opened()
    old = [row.tobytes() for row in vectors(home).values()]
    migration.stage(home, NewAnalyzer(), originals=[originals])
    migration.confirm(home, no_threshold=True)
    assert migration.forget_old(home) == 10
    assert home.staged() is None
    with pytest.raises(GalleryError, match="no second model"):
        migration.rollback(home)
    home.close()
    content = path.read_bytes()
    assert not any(row in content for row in old)
    assert opened().check().problems == ()


# What else happens to people meanwhile


def test_merged_moved_and_removed_while_both_are_kept(opened, originals):
    home = opened()
    migration.stage(home, NewAnalyzer(), originals=[originals])
    wanted = expected(home)
    moved = [face.id for face in home.faces("Ada")][:1]
    home.merge("Cy", "Bo")
    home.move_faces(moved, "somebody new")
    gone = home.faces("poster")[0].id
    home.remove("poster")
    assert home.check().problems == ()
    assert home.staged().faces == 9
    assert_same(home.staged_embeddings(list(wanted)), {i: row for i, row in wanted.items() if i != gone})
    migration.confirm(home, no_threshold=True)
    assert opened().search(new_embedding("Cy", "0")[None], k=1)[0][0].name == "Bo"


def test_an_erased_person_is_gone_from_both_models(opened, originals, path, tmp_path):
    home = opened()
    migration.stage(home, NewAnalyzer(), originals=[originals])
    ids = [face.id for face in home.faces("Ada")]
    needles = [row.tobytes() for row in [*home.embeddings(ids), *home.staged_embeddings(ids).values()]]
    assert len(needles) == 8

    def found():
        home.backup(tmp_path / "look.db")
        content = (tmp_path / "look.db").read_bytes()
        (tmp_path / "look.db").unlink()
        return sum(needle in content for needle in needles)

    assert found() in (0, 8)  # encrypted, or all of them
    receipt = erase(home, "Ada", receipt=tmp_path / "receipt.json")
    assert receipt.complete
    assert receipt.counts["staged"] == 4
    assert len(home.staged_embeddings(ids)) == 0
    content = b"".join(file.read_bytes() for file in tmp_path.glob("people.db*"))
    assert not any(needle in content for needle in needles)
    assert prove_erased(tmp_path / "receipt.json", path).proven
    # What the receipt looks for includes the second model's: put one of them back, and it is found.
    (tmp_path / "people.db-leak").write_bytes(b"x" * 999 + needles[-1])
    proof = prove_erased(tmp_path / "receipt.json", path)
    assert {part.file.name for part in proof.remains} == {"people.db-leak"}


def test_a_copy_says_that_it_leaves_the_second_set_and_a_backup_keeps_it(opened, originals, tmp_path, sealers):
    home = opened()
    migration.stage(home, NewAnalyzer(), originals=[originals])
    with contextlib.closing(open_home(tmp_path / "copy.db")) as target:
        report = copy(home, target)
        assert any(f"the embeddings of {NEW}" in line for line in report.left_behind)
        assert target.staged() is None
        assert target.identity == OLD
    home.backup(tmp_path / "backup.db")
    with contextlib.closing(open_home(tmp_path / "backup.db", sealer=sealers(), readonly=True)) as kept:
        assert kept.staged() == home.staged()


def test_damage_to_the_second_set_is_found_and_does_not_come_into_use(opened, originals, path):
    home = opened()
    migration.stage(home, NewAnalyzer(), originals=[originals])
    db = sqlite3.connect(path)
    db.execute("UPDATE staged SET embedding = zeroblob(length(embedding)) WHERE face_id = 3")
    db.commit()
    db.close()
    assert len(home.check().problems) == 1
    with pytest.raises(GalleryError):
        migration.confirm(home, no_threshold=True)
    assert (home.identity, home.staged().role) == (OLD, "new")


# Thresholds and crops


def test_a_threshold_is_carried_over_at_its_rate(calibration):
    new = calibrate(
        NEW,
        genuine=np.random.default_rng(1).normal(0.9, 0.02, 1000),
        impostor=np.random.default_rng(2).normal(0.2, 0.1, 200_000).clip(-1, 1),
        made_on="random numbers",
        date="2026-01-01",
    )
    for fmr in (1e-2, 1e-3):
        carried, rate = migration.carried_threshold(calibration.threshold(fmr=fmr), calibration, new)
        assert rate == pytest.approx(fmr, rel=1e-6)
        assert carried == pytest.approx(new.threshold(fmr=rate), abs=1e-12)
    with pytest.raises(InputError, match="choose a rate"):
        migration.carried_threshold(0.9999, calibration, new)


def test_the_face_of_a_crop_is_where_it_is_expected():
    """Against the pixels: the box is painted white, cut out with its surroundings, and looked for."""
    import io

    from PIL import Image

    rng, shares = np.random.default_rng(5), []
    for trial in range(60):
        height, width = rng.integers(150, 1600, 2)
        side = rng.uniform(0.1, 0.5) * min(height, width)
        x0, y0 = rng.uniform(-0.2 * side, width - 0.8 * side), rng.uniform(-0.2 * side, height - 0.8 * side)
        x1, y1 = x0 + side, y0 + side * rng.uniform(1, 1.3)
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[max(0, round(y0)) : round(y1), max(0, round(x0)) : round(x1)] = 255
        turns = trial % 4
        face = Faces.of(Face((x0, y0, x1, y1), 1.0, ((0, 0),) * 5))
        crop = np.asarray(Image.open(io.BytesIO(encoded_crop(pixels, face, turns=turns))))
        assert max(crop.shape[:2]) <= 720
        rows, columns = np.nonzero(crop[..., 0] > 127)
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        places = list(places_in_crop((x0, y0, x1, y1), (crop.shape[1], crop.shape[0])))
        clipped = np.clip(places[turns], 0, [crop.shape[1], crop.shape[0]] * 2)
        shared = np.maximum(0, np.minimum(clipped[2:], seen[2:]) - np.maximum(clipped[:2], seen[:2])).prod()
        union = (clipped[2:] - clipped[:2]).prod() + (seen[2:] - seen[:2]).prod() - shared
        shares.append(shared / union)
    assert min(shares) > 0.5  # where a border has cut off both far sides and the crop is shrunk, its scale is a guess
    assert np.median(shares) > 0.95
