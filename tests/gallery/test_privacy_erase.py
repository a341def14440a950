"""Erasure: nothing of the person is in any file, a receipt proves it, backups cannot be read, and what was put back is
found. The search here is `bytes.find` over everything in the folder; the receipt's is another program.
"""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
import stat

import numpy as np
import pytest

from mien.errors import GalleryError, GalleryFileError, InputError, NotFoundError, UnsupportedError
from mien.gallery.audit import verify_chain
from mien.gallery.home import AuditEntry, Sighting
from mien.gallery.homes.sqlite import SqliteHome
from mien.gallery.privacy.byte_search import Fingerprints, fingerprint_text, fingerprint_windows, search_file
from mien.gallery.privacy.erasure import erase, merged_into
from mien.gallery.privacy.key_file import key_states
from mien.gallery.privacy.master import MasterKey
from mien.gallery.privacy.proof import prove_erased
from mien.gallery.privacy.receipt import Receipt
from mien.gallery.privacy.recovery import give_up_unreadable
from mien.gallery.privacy.retention import due, expire
from mien.gallery.privacy.sealer import EncryptedSealer
from mien.gallery.records import FaceRecord
from mien.gallery.sealing import PLAIN
from mien.types import ModelIdentity

MASTER = MasterKey("test", bytes(range(32)))
IDENTITY = ModelIdentity("fake", "fast", "0" * 64, 128)
VICTIM = "Zoë Quixote-Jørgensen"


class Fixture:
    """A gallery of six people, and all that is known of the one who is to be erased."""

    def __init__(self, folder, encrypted):
        self.folder, self.encrypted = folder, encrypted
        self.file = folder / "people.db"
        self.rng = np.random.default_rng(7)
        self.needles = {}
        with self.open() as home:
            for name in ("Anna Berg", "Bo Ek", VICTIM, "王小明", "Dora", "Eva Lind"):
                home.add([(name, [self.record(name, i) for i in range(3)])], IDENTITY)
            home.describe(
                VICTIM,
                external_id="customer-778899",
                consent="signed at the desk in Åbo",
                metadata={"note": "Käse, 5th floor"},
            )
            home.reject(VICTIM, self.record(VICTIM, "not"))
            home.log([Sighting(1.7e9, home.subject(VICTIM).id, 0.9, "door camera"), Sighting(1.7e9, None, 0.1, "gate")])

    def open(self, **options):
        import contextlib

        sealer = (
            EncryptedSealer(f"{self.file}.keys", MASTER, create=not self.file.exists()) if self.encrypted else PLAIN
        )
        return contextlib.closing(SqliteHome(self.file, sealer=sealer, **options))

    def record(self, name, i):
        vector = self.rng.standard_normal(128)
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        crop = b"\xff\xd8\xff\xda" + self.rng.bytes(9000)
        picture, sha256 = f"/photos/{name}/{i}.jpg", self.rng.bytes(32).hex()
        if name == VICTIM:
            self.needles |= {
                f"vector {i}": vector.tobytes(),
                f"half a vector {i}": vector.tobytes()[128:256],
                **{f"crop {i} from {at}": crop[at : at + 300] for at in (16, 4000, 8600)},
                f"picture {i}": picture.encode(),
                f"checksum {i}": sha256.encode(),
            }
        return FaceRecord(vector, picture, sha256, crop=crop)

    def texts(self):
        forms = (VICTIM, "customer-778899", "signed at the desk in Åbo", "Käse, 5th floor")
        encodings = [lambda t: t.encode(), lambda t: t.encode("utf-16-le"), lambda t: json.dumps(t)[1:-1].encode()]
        return {f"{text} {i}": encode(text) for text in forms for i, encode in enumerate(encodings)}

    def found(self, folder=None):
        """Which of the person's bytes stand in which file: an independent look."""
        found = set()
        for path in sorted((folder or self.folder).rglob("*")):
            if path.is_file():
                content = path.read_bytes()
                found |= {
                    (path.name, what) for what, n in {**self.needles, **self.texts()}.items() if content.find(n) >= 0
                }
        return found


@pytest.fixture
def sealed_people(tmp_path):
    (tmp_path / "gallery").mkdir()
    return Fixture(tmp_path / "gallery", True)


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def people(request, tmp_path):
    (tmp_path / "gallery").mkdir()
    return Fixture(tmp_path / "gallery", request.param)


def test_the_search_of_this_test_does_find(people):
    found = {what for _, what in people.found()}
    if people.encrypted:
        assert not found  # nothing is ever in clear
    else:
        missing = set(people.needles) - found  # SQLite keeps a crop on several pages: a piece may be on two
        assert all(what.startswith("crop") for what in missing)
        assert len(missing) < 4


def test_after_erase_nothing_is_in_any_file_and_the_receipt_proves_it(people, tmp_path):
    receipt_file = tmp_path / "receipt.json"
    with people.open() as home:
        pseudonym = home.pseudonym_of(VICTIM)
        receipt = erase(home, VICTIM, receipt=receipt_file)
        assert receipt.complete
        assert receipt.counts == {"faces": 3, "negatives": 1, "crops": 4, "sightings": 1}
        assert not people.found()  # while it is still open
        assert prove_erased(receipt_file, people.file).proven
        with pytest.raises(NotFoundError):
            home.subject(VICTIM)
        entries = list(home.audit())
        assert (entries[-1].action, entries[-1].pseudonym, entries[-1].count) == ("erase", pseudonym, 4)
        assert verify_chain(entries, anchor=receipt.audit_head).whole
        home.add([("somebody else", [people.record("somebody else", 0)])], IDENTITY)  # the home goes on
        assert len(home.subjects()) == 6
    assert not people.found()
    proof = prove_erased(receipt_file, people.file)
    assert proof.proven
    assert proof.fingerprints > 1000
    assert people.file in proof.files
    assert proof.bytes >= people.file.stat().st_size
    # the receipt names nobody
    assert stat.S_IMODE(receipt_file.stat().st_mode) == 0o600
    content = receipt_file.read_bytes()
    assert not [n for n in {**people.needles, **people.texts()}.values() if n in content]
    assert b"Quixote" not in content
    assert Receipt.load(receipt_file) == receipt


def test_what_was_put_back_is_found_with_file_and_offset(people, tmp_path):
    with people.open() as home:
        receipt = erase(home, VICTIM)
    size = people.file.stat().st_size
    for i, (what, needle) in enumerate({**people.needles, **people.texts()}.items()):
        beside = people.folder / "people.db.index"
        draw = random.Random(i)  # always the same bytes: short marks may come up among others by chance
        beside.write_bytes(draw.randbytes(1000 + i) + needle + draw.randbytes(50))
        proof = prove_erased(receipt, people.file)
        assert not proof.proven, what
        assert all(r.file == beside and 1000 + i <= r.offset < 1000 + i + len(needle) for r in proof.remains), what
        assert "people.db.index" in str(proof.remains[0])
        beside.unlink()
    for place in (people.file, people.folder / "people.db-wal", people.folder / ".people.db-left.part"):
        before = place.read_bytes() if place.exists() else None
        with place.open("ab") as file:
            file.write(people.needles["vector 1"][40:120])  # a part is enough
        assert not prove_erased(receipt, people.file).proven
        place.write_bytes(before) if before is not None else place.unlink()
    assert people.file.stat().st_size == size
    assert prove_erased(receipt, people.file).proven
    cache = tmp_path / "cache" / "deep"
    cache.mkdir(parents=True)
    (cache / "x.npy").write_bytes(b"head" + people.needles["vector 0"])
    assert prove_erased(receipt, people.file).proven
    assert not prove_erased(receipt, people.file, also=[tmp_path / "cache"]).proven


def test_older_backups(people, tmp_path):
    with people.open() as home:
        pseudonym = home.pseudonym_of(VICTIM)
        backup = home.backup(tmp_path / "backup.db")
        receipt = erase(home, VICTIM)
    if not people.encrypted:
        assert any("Backups" in limit for limit in receipt.limits)
        assert not prove_erased(receipt, people.file, also=[backup]).proven  # so it says
        return
    assert prove_erased(receipt, people.file, also=[backup]).proven
    assert not (tmp_path / "backup.db.keys").exists()
    sealer = EncryptedSealer(f"{people.file}.keys", MASTER)
    db = sqlite3.connect(backup)
    sealed = [
        (f"faces.embedding/{i}", blob)
        for i, blob in db.execute(
            "SELECT f.id, embedding FROM faces f JOIN subjects s ON s.id = subject_id WHERE pseudonym = ?", (pseudonym,)
        )
    ]
    sealed += [
        (f"subjects.name/{i}", n)
        for i, n in db.execute("SELECT id, name FROM subjects WHERE pseudonym = ?", (pseudonym,))
    ]
    db.close()
    assert len(sealed) == 5
    for context, blob in sealed:
        for who in (pseudonym, None, *key_states(f"{people.file}.keys")):
            with pytest.raises(GalleryFileError):
                sealer.open(who, blob, context)
    # opened as a gallery, the backup has everybody else, and is rid of the person
    with SqliteHomeAt(backup, sealer) as home:
        assert VICTIM not in {s.name for s in home.subjects()}
        assert len(home.subjects()) == 5
    assert not prove_erased(receipt, backup, keys=f"{people.file}.keys").remains


class SqliteHomeAt:
    def __init__(self, file, sealer):
        self.home = SqliteHome(file, sealer=sealer)

    def __enter__(self):
        return self.home

    def __exit__(self, *_):
        self.home.close()


def test_the_key_that_comes_back_and_the_gallery_that_comes_back_are_noticed(people, tmp_path):
    if people.encrypted:
        old_keys = (people.folder / "people.db.keys").read_bytes()
    with people.open() as home:
        backup = home.backup(tmp_path / "backup.db")
        receipt = erase(home, VICTIM)
    old = people.file.read_bytes()
    people.file.write_bytes(backup.read_bytes())
    proof = prove_erased(receipt, people.file)
    assert any("audit log" in problem for problem in proof.problems)
    assert bool(proof.remains) != people.encrypted
    people.file.write_bytes(old)
    if people.encrypted:
        (people.folder / "people.db.keys").write_bytes(old_keys)
        assert any("key" in problem for problem in prove_erased(receipt, people.file).problems)


def test_an_older_key_file_brings_nobody_back_and_those_without_a_key_can_be_given_up(sealed_people):
    keys = sealed_people.folder / "people.db.keys"
    old = keys.read_bytes()
    with sealed_people.open() as home:
        receipt = erase(home, VICTIM)
        home.add([("newcomer", [sealed_people.record("newcomer", 0)])], IDENTITY)
        newcomer = home.pseudonym_of("newcomer")
    keys.write_bytes(old)
    with pytest.raises(GalleryFileError, match=f"no key of subject {newcomer}"):
        sealed_people.open().__enter__()
    assert not key_states(keys)[receipt.pseudonyms[0]]  # destroyed again, by the audit log
    assert prove_erased(receipt, sealed_people.file).proven
    sealer = EncryptedSealer(keys, MASTER)
    assert give_up_unreadable(sealed_people.file, sealer) == 1
    assert give_up_unreadable(sealed_people.file, sealer) == 0
    sealer.close()
    with sealed_people.open() as home:
        assert {s.name for s in home.subjects()} == {"Anna Berg", "Bo Ek", "王小明", "Dora", "Eva Lind"}
        assert not home.check().problems
    with pytest.raises(NotFoundError):
        give_up_unreadable(sealed_people.folder / "none", sealer)


def test_index_files_go_with_the_person(people):
    for name in ("people.db.index", ".people.db.index.tmp", "people.db.snap/1.bin"):
        path = people.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mien-index\r\n" + people.needles["vector 0"])
    with people.open() as home:
        assert erase(home, VICTIM).complete
    assert not people.found()


def test_an_erasure_that_was_cut_off_is_finished_at_the_next_opening(people):
    with people.open() as home:
        pseudonym = home.pseudonym_of(VICTIM)
    with people.open() as home:
        # as if killed right behind the commit: nothing but the transaction of `remove`
        from mien.gallery.homes.sqlite import writing

        with home._writing() as t:
            writing.remove(t, VICTIM, "erase", 1.0, destroy=True)
        if people.encrypted:
            assert key_states(f"{people.file}.keys")[pseudonym]
    with people.open():
        assert not people.found()
        if people.encrypted:
            assert not key_states(f"{people.file}.keys")[pseudonym]
    db = sqlite3.connect(people.file)
    assert not db.execute("SELECT * FROM kept WHERE key LIKE 'destroy%'").fetchall()
    db.close()


def test_copies_that_others_hold(people):
    with people.open() as home:
        vector = home.embeddings([home.faces(VICTIM)[0].id])[0]
        home.reject("Dora", FaceRecord(vector, "cctv/1.jpg"))
        receipt = erase(home, VICTIM)
        assert receipt.complete
        assert not home.faces("Dora")[-1].negative
        other = home.embeddings([home.faces("Eva Lind")[0].id])[0]
        home.add([("Eva's twin", [FaceRecord(other, "twin.jpg")])], IDENTITY)
        twin = home.pseudonym_of("Eva's twin")
        receipt = erase(home, "Eva Lind")
        assert not receipt.complete
        assert receipt.shared_with == (twin,)
        assert bool(receipt.remains) != people.encrypted
        assert any(twin in p for p in prove_erased(receipt, people.file).problems)
    assert not people.found()


def test_short_and_shared_texts_are_said_to_be_unprovable(people):
    with people.open() as home:
        home.add([("Li", [people.record("x", 0)]), ("Anna B", [people.record("y", 0)])], IDENTITY)
        receipt = erase(home, "Li")
        assert receipt.complete
        assert receipt.prints.unsearchable["name"] == 1
        receipt = erase(home, "Anna B")  # part of "Anna Berg", who stays
        assert receipt.complete
        if not people.encrypted:
            assert receipt.prints.unsearchable["name"] >= 1
        assert prove_erased(receipt, people.file).proven
        receipt = erase(home, VICTIM, texts=False)
        assert receipt.prints.texts == {}
        assert receipt.complete


def test_those_who_were_merged_into_the_person_are_erased_with_them(sealed_people, tmp_path):
    with sealed_people.open() as home:
        merged = [home.pseudonym_of("Bo Ek"), home.pseudonym_of("Dora")]
        backup = home.backup(tmp_path / "backup.db")
        home.merge("Bo Ek", "Dora")
        home.merge("Dora", VICTIM)
        receipt = erase(home, VICTIM)
        assert set(receipt.pseudonyms[1:]) == set(merged)
    states = key_states(f"{sealed_people.file}.keys")
    assert not any(states[p] for p in receipt.pseudonyms)
    with SqliteHomeAt(backup, EncryptedSealer(f"{sealed_people.file}.keys", MASTER)) as home:
        assert {s.name for s in home.subjects()} == {"Anna Berg", "王小明", "Eva Lind"}


@pytest.mark.parametrize(
    ("tampering", "broken"),
    [
        ("UPDATE audit SET count = 99 WHERE seq = 3", 3),
        ("UPDATE audit SET time = time + 1 WHERE seq = 3", 3),
        ("UPDATE audit SET action = 'remove' WHERE seq = 3", 3),
        ("UPDATE audit SET pseudonym = NULL WHERE seq = 3", 3),
        ("DELETE FROM audit WHERE seq = 3", 4),
        ("DELETE FROM audit WHERE seq = 3; UPDATE audit SET seq = seq - 1 WHERE seq > 3", 3),
    ],
)
def test_tampering_with_the_log_of_a_real_gallery_is_named(sealed_people, tampering, broken):
    with sealed_people.open() as home:
        head = verify_chain(home.audit()).head
    db = sqlite3.connect(sealed_people.file)
    db.executescript(tampering)
    db.close()
    with sealed_people.open(readonly=True) as home:
        assert verify_chain(home.audit()).broken == broken
        assert not verify_chain(home.audit(), anchor=head).whole


def test_merges_are_read_from_the_audit_log():
    actions = [
        ("enrol", "a"),
        ("merge", "a"),
        ("merge", "b"),
        ("merge", "b"),
        ("merge", "c"),
        ("merge", "x"),
        ("merge", "y"),
    ]
    entries = [AuditEntry(i, 0.0, action, who, 1, "") for i, (action, who) in enumerate(actions, 1)]
    assert merged_into(entries, "c") == {"a", "b"}
    assert merged_into(entries, "b") == {"a"}
    assert merged_into(entries, "y") == {"x"}
    assert merged_into(entries, "a") == set()
    assert merged_into([], "a") == set()


def test_refusals(people, tmp_path):
    taken = tmp_path / "taken.json"
    taken.write_text("mine")
    with people.open() as home:
        with pytest.raises(GalleryFileError, match="another name"):
            erase(home, VICTIM, receipt=taken)
        with pytest.raises(GalleryFileError, match="cannot be written"):
            erase(home, VICTIM, receipt=tmp_path / "no" / "folder.json")
        with pytest.raises(NotFoundError):
            erase(home, "nobody", receipt=tmp_path / "r.json")
        assert not (tmp_path / "r.json").exists()
        assert home.subject(VICTIM).faces == 3  # nothing happened
    assert taken.read_text() == "mine"
    with people.open(readonly=True) as home, pytest.raises(GalleryError, match="readonly"):
        erase(home, VICTIM)
    with pytest.raises(NotFoundError):
        prove_erased(taken.with_name("none"), people.file)
    with pytest.raises(InputError, match="not an erasure receipt"):
        prove_erased(taken, people.file)
    with people.open() as home:
        receipt = erase(home, VICTIM)
    with pytest.raises(NotFoundError):
        prove_erased(receipt, tmp_path / "none.db")
    with pytest.raises(NotFoundError):
        prove_erased(receipt, people.file, also=[tmp_path / "none"])


def test_a_home_that_cannot_prove_refuses_with_advice():
    home = SqliteHome(":memory:")
    with pytest.raises(UnsupportedError, match="copy the gallery into a file"):
        erase(home, "x")
    home.close()


def test_a_reader_that_holds_the_log_is_named(people, monkeypatch):
    monkeypatch.setattr("mien.gallery.homes.sqlite.connection.BUSY_SECONDS", 0.2)
    with people.open() as home:
        reader = sqlite3.connect(people.file, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM faces").fetchone()
        with pytest.raises((GalleryError, GalleryFileError), match="another program"):
            erase(home, VICTIM)
        with pytest.raises(NotFoundError):
            home.subject(VICTIM)
        reader.close()
    with people.open():
        assert not people.found()


@pytest.mark.parametrize(
    "damage",
    [
        lambda r: [],
        lambda r: None,
        lambda r: {**r, "format": "x"},
        lambda r: {**r, "version": 2},
        lambda r: {k: v for k, v in r.items() if k != "fingerprints"},
        lambda r: {**r, "done": 1},
        lambda r: {**r, "pseudonyms": [1]},
        lambda r: {**r, "audit": {"seq": "1", "head": ""}},
        lambda r: {**r, "fingerprints": {**r["fingerprints"], "salt": "00"}},
        lambda r: {**r, "fingerprints": {**r["fingerprints"], "windows": {"x": "AAAA"}}},
        lambda r: {**r, "fingerprints": {**r["fingerprints"], "windows": {"x": "?"}}},
        lambda r: {**r, "fingerprints": {**r["fingerprints"], "texts": {"x": [[1, "00" * 11]]}}},
        lambda r: {**r, "fingerprints": {**r["fingerprints"], "texts": {"x": [[10, "00"]]}}},
        lambda r: {**r, "fingerprints": {**r["fingerprints"], "unsearchable": {"x": "1"}}},
    ],
)
def test_damaged_receipts_are_refused(damage):
    receipt = Receipt(
        gallery="people.db",
        encrypted=False,
        pseudonyms=("ab",),
        time="now",
        counts={"faces": 1},
        prints=Fingerprints(bytes(16)),
    )
    assert Receipt.from_json(receipt.to_json()) == receipt
    with pytest.raises(InputError):
        Receipt.from_json(json.dumps(damage(json.loads(receipt.to_json()))))
    with pytest.raises(InputError):
        Receipt.from_json("[" * 100_000)


# The byte search, against a plain loop


def test_the_byte_search_finds_what_it_promises_and_nothing_else(tmp_path):
    rng = np.random.default_rng(3)
    salt = rng.bytes(16)
    long, text = rng.bytes(512), "Ångström".encode()
    rows, missing = fingerprint_windows(salt, long, 32)
    assert missing == 0
    prints = Fingerprints(salt, {"face vector": rows}, {"name": (fingerprint_text(salt, text),)})
    path = tmp_path / "x"
    block = 1 << 18
    places = [0, 1, 7, 15, 16, block - 30, block - 3, block + 1, block + 79, 2 * block - 1, 2 * block + 7]
    for place, part in itertools.product(places, [long[3 : 3 + 55], long[457:], text]):
        content = bytearray(rng.bytes(2 * block + 100))
        content[place : place + len(part)] = part
        path.write_bytes(content)
        found = search_file(prints, path, live=False)
        assert found, (place, len(part))
        assert all(place <= r.offset < place + len(part) for r in found)
        assert {r.kind for r in found} == {"name" if part is text else "face vector"}
    for size in (0, 1, 5, 6, 15, 16, 17, 1000):
        path.write_bytes(rng.bytes(size))
        assert not search_file(prints, path, live=False)
    path.write_bytes(text)
    assert len(search_file(prints, path)) == 1
    path.write_bytes(text[:-1])
    assert not search_file(prints, path)


def test_windows_that_say_nothing_are_left_out():
    rows, missing = fingerprint_windows(bytes(16), bytes(512), 32)
    assert rows == b""
    assert missing == 128
    assert fingerprint_windows(bytes(16), b"short", 32) == (b"", 1)
    assert fingerprint_text(bytes(16), b"Li") is None
    assert fingerprint_text(bytes(16), b"aaaaaaaaa") is None


def test_receipts_of_the_same_person_have_nothing_in_common(tmp_path):
    one, two = (fingerprint_windows(bytes([i]) * 16, bytes(range(256)), 32)[0] for i in (1, 2))
    rows = [{r[i : i + 11] for i in range(0, len(r), 11)} for r in (one, two)]
    assert not rows[0] & rows[1]


# Retention


def test_expiry(people, tmp_path):
    with people.open() as home:
        home.describe(VICTIM, expires=1000.0)
        home.describe("Dora", expires=500.0)
        home.describe("Bo Ek", expires=2000.0)
        assert [s.name for s in due(home, 1000.0)] == ["Dora", VICTIM]
        assert due(home, 499.0) == []
        assert len(due(home)) == 3
        (tmp_path / "receipts").mkdir()
        told = []
        receipts = expire(home, 1500.0, receipts=tmp_path / "receipts", progress=told.append)
        assert told == receipts
        assert all(r.complete for r in receipts)
        assert {s.name for s in home.subjects()} == {"Anna Berg", "Bo Ek", "王小明", "Eva Lind"}
        assert [e.action for e in home.audit()][-2:] == ["expire", "expire"]
        assert len(list((tmp_path / "receipts").iterdir())) == 2
        for path in (tmp_path / "receipts").iterdir():
            assert prove_erased(path, people.file).proven
        with pytest.raises(InputError, match="existing folder"):
            expire(home, 1500.0, receipts=tmp_path / "none")
    assert not people.found()
