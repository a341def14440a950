"""`mien gallery` on real files: look, keep, move, encrypt, forget."""

import csv
import io
import json
import os
import sqlite3
import stat

import numpy as np
import pytest

from mien.gallery import Gallery, Sighting
from mien.types import ModelIdentity

pytestmark = pytest.mark.usefixtures("squares")

IDENTITY = ModelIdentity("dlib-resnet29", "fast", "ab" * 32, 128)
NAMES = ["Ada", "=cmd|' /C calc'!A0", "张伟", "[bold]Eve[/bold]", "Zoë\u200d"[:3]]


def rows(person, count):
    """Faces of one person, cosine about 0.96 to each other, made so that bytes are distinct."""
    rng = np.random.default_rng(person)
    faces = np.zeros((count, 128), np.float32)
    faces[:, person] = 1
    faces += 0.02 * rng.standard_normal(faces.shape)
    return (faces / np.linalg.norm(faces, axis=1, keepdims=True)).astype(np.float32)


def fill(gallery):
    for i, name in enumerate(NAMES):
        gallery.add(
            name, rows(i, 2), pictures=[f"{name}-1.jpg", f"{name}-2.jpg"], sha256=[f"{i}{n}" * 32 for n in "ab"]
        )
    gallery.describe("Ada", groups=["staff"], metadata={"desk": 3}, consent="form 12", external_id="a-1")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Gallery.open(tmp_path / "p.db", identity=IDENTITY) as gallery:
        fill(gallery)
    return tmp_path / "p.db"


@pytest.fixture
def asked(run):
    """asked("info", ...) -> the JSON document of `mien gallery info ... --json`; the exit code must be `code`."""

    def asked(*arguments, code=0):
        answer = run("gallery", *arguments, "--json")
        assert answer.code == code, answer.err
        return json.loads(answer.out)

    return asked


class Terminal(io.StringIO):
    def isatty(self):
        return True


def people(place, **options):
    with Gallery.open(place, readonly=True, **options) as gallery:
        return {s.name: s.faces for s in gallery.subjects()}


# Look


def test_info_in_both_forms(run, place, asked):
    facts = asked("info", "-g", place)
    assert (facts["people"], facts["faces"], facts["groups"], facts["encrypted"]) == (5, 10, ["staff"], False)
    assert facts["calibration"]["kept"] == "shipped with mien"
    assert facts["capabilities"]["erasure_proof"] is True
    out = run("gallery", "info", "-g", place).out
    assert "p.db: 5 people, 10 faces" in out
    assert "can prove an erasure" in out


def test_check_finds_damage_and_says_what_to_do(run, place, asked):
    assert asked("check", "-g", place)["ok"] is True
    assert "all is well (5 people, 10 faces" in run("gallery", "check", "-g", place).out
    with sqlite3.connect(place) as db:
        db.execute("UPDATE audit SET count = 7 WHERE seq = 2")
    db.close()
    found = asked("check", "-g", place, code=1)
    assert "audit log" in found["problems"][0]
    assert "mien gallery restore" in run("gallery", "check", "-g", place).err


def test_the_audit_log_and_its_anchor(run, place, asked):
    log = asked("audit", "-g", place)
    assert [e["action"] for e in log["entries"]] == ["enrol"] * 5 + ["describe"]
    assert log["head"] == log["entries"][-1]["digest"]
    assert not any(name in json.dumps(log, ensure_ascii=False) for name in NAMES)
    run("people", "rename", "张伟", "Zhang", "-g", place)
    assert asked("audit", "-g", place, "--anchor", log["head"])["anchored"] == 6
    answer = run("gallery", "audit", "-g", place, "--anchor", "f" * 64)
    assert (answer.code, "is not in the chain" in answer.err) == (1, True)
    assert len(list(csv.DictReader(io.StringIO(run("gallery", "audit", "-g", place, "--csv").out)))) == 7


def test_attendance_by_day_as_csv(run, place, asked, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    __import__("time").tzset()
    noon, day = 1_800_014_400.0, 86_400
    with Gallery.open(place) as gallery:
        ids = {s.name: s.id for s in gallery.subjects()}
        for at, name, score in [
            (0, "Ada", 0.9),
            (60, NAMES[1], 0.8),
            (90, None, 0.1),
            (3600, "Ada", 0.95),
            (day, "Ada", 0.7),
        ]:
            gallery.log([Sighting(noon + at, ids.get(name), score, "door/1.jpg")])
    first, second, third = asked("sightings", "-g", place)["days"]
    assert (first["name"], first["first"], first["last"], first["times"]) == ("Ada", "12:00:00", "13:00:00", 2)
    assert (second["name"], first["best_score"], third["day"] > first["day"]) == (NAMES[1], 0.95, True)
    table = list(csv.DictReader(io.StringIO(run("gallery", "sightings", "-g", place, "--csv").out)))
    assert [(line["day"], line["name"]) for line in table] == [
        ("2027-01-15", "Ada"), ("2027-01-15", "'" + NAMES[1]), ("2027-01-16", "Ada"),
    ]  # fmt: skip
    each = asked("sightings", "-g", place, "--each", "--until", "2027-01-16")["sightings"]
    assert [one["name"] for one in each] == ["Ada", NAMES[1], None, "Ada"]
    assert len(asked("sightings", "-g", place, "--name", "Ada", "--since", "2027-01-16")["days"]) == 1
    empty = run("gallery", "sightings", "-g", place, "--since", "2028-01-01")
    assert (empty.code, "nobody was seen" in empty.err) == (1, True)
    assert run("gallery", "sightings", "-g", place, "--since", "yesterday").code == 2


def test_a_calibration_of_ones_own_is_kept_and_dropped(run, place, asked, tmp_path):
    with Gallery.open(place) as gallery:
        file = tmp_path / "mine.toml"
        file.write_text(gallery.calibration.to_toml())
    assert asked("calibration", "-g", place)["kept"] is False
    assert asked("calibration", "-g", place, "--set", file)["kept"] is True
    assert asked("info", "-g", place)["calibration"]["kept"] == "kept in the gallery"
    assert asked("calibration", "-g", place, "--drop")["kept"] is False
    assert run("calibration", "--set", tmp_path / "none.toml").code == 2
    assert run("gallery", "calibration", "-g", place, "--set", file, "--drop").code == 2


# Keep and move


def test_backup_and_restore(run, place, asked, tmp_path, monkeypatch):
    backup = tmp_path / "backup.db"
    assert asked("backup", backup, "-g", place)["people"] == 5
    assert run("gallery", "backup", backup, "-g", place).code == 2  # never over another file
    assert run("people", "remove", "Ada", "-g", place).code == 0
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    asks = run("gallery", "restore", backup, "-g", place)
    assert (asks.code, "Lose what" in asks.err, len(people(place))) == (1, True, 4)
    assert asked("restore", backup, "-g", place, "--yes")["people"] == 5
    assert people(place)["Ada"] == 2
    assert asked("restore", backup, "-g", tmp_path / "new.db")["faces"] == 10
    assert run("gallery", "restore", tmp_path / "none.db", "-g", place).code == 2


def test_a_copy_is_whole_and_goes_on(run, place, asked, tmp_path):
    report = asked("copy", place, tmp_path / "copy.db")
    assert (report["copied"], report["found"], report["recall"]["own"]) == (10, 0, 1.0)
    assert asked("copy", place, tmp_path / "copy.db")["found"] == 10
    assert people(tmp_path / "copy.db") == people(place)
    run("people", "rename", "Ada", "Other", "-g", tmp_path / "copy.db")
    refused = run("gallery", "copy", place, tmp_path / "copy.db")
    assert (refused.code, "who is not in" in refused.err) == (2, True)
    assert run("gallery", "copy", tmp_path / "none.db", tmp_path / "x.db").code == 2
    assert not (tmp_path / "x.db").exists()


@pytest.mark.parametrize("kind", ["csv", "npz", "parquet"])
def test_export_and_import(run, place, asked, tmp_path, kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    file = tmp_path / f"people.{kind}"
    assert asked("export", file, "-g", place)["rows"] == 10
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run("gallery", "export", file, "-g", place).code == 2
    assert run("gallery", "export", file, "-g", place, "--force").code == 0
    first = asked("import", file, "-g", tmp_path / "new.db")
    assert (first["added"], first["people"]) == (10, 5)
    assert asked("import", file, "-g", tmp_path / "new.db")["added"] == 0
    assert people(tmp_path / "new.db") == people(place)
    with Gallery.open(tmp_path / "new.db") as gallery:
        ada = gallery.subject("Ada")
    assert (ada.groups, ada.metadata, ada.consent, ada.external_id) == (("staff",), {"desk": 3}, "form 12", "a-1")


def test_what_cannot_be_exchanged_is_explained(run, place, tmp_path):
    for arguments, says in [
        (["export", "people.txt"], "expected a file that ends in"),
        (["export", "nowhere/people.csv"], "cannot be written"),
        (["import", "none.csv"], "no such file"),
    ]:
        answer = run("gallery", *arguments, "-g", place)
        assert (answer.code, says in answer.err) == (2, True), answer.err
    (tmp_path / "bad.csv").write_text("name,embedding\nAda,AAAA\n")
    answer = run("gallery", "import", "bad.csv", "-g", place)
    assert (answer.code, "line 2" in answer.err) == (2, True)


# Forget


def test_erase_asks_writes_a_receipt_and_can_be_proven(run, place, asked, tmp_path, monkeypatch):
    backup = tmp_path / "old/backup.db"
    backup.parent.mkdir()
    run("gallery", "backup", backup, "-g", place)
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdin", Terminal("n\n"))
        answer = run("gallery", "erase", "Ada", "-g", place)
        assert (answer.code, "Erase Ada and 2 enrolled faces for good?" in answer.err) == (1, True)
    assert "Ada" in people(place)
    done = asked("erase", "Ada", "-g", place, "--receipt", tmp_path / "r.json")
    assert (done["complete"], done["erased"]["faces"], done["remains"]) == (True, 2, [])
    assert "Ada" not in people(place)
    assert "Ada" not in (tmp_path / "r.json").read_text()
    assert asked("prove-erased", tmp_path / "r.json", "-g", place)["proven"] is True
    old = asked("prove-erased", tmp_path / "r.json", "-g", place, "--also", backup, code=1)
    assert {remains["file"] for remains in old["remains"]} == {str(backup)}
    text = run("gallery", "prove-erased", tmp_path / "r.json", "-g", place)
    assert text.out.startswith("nothing is left")
    unnamed = run("gallery", "erase", "张伟", "-g", place, "--yes")
    assert "张伟 was erased" in unnamed.out
    assert len(list(tmp_path.glob("erased-*.json"))) == 1
    assert run("gallery", "erase", "张伟", "-g", place).code == 2
    assert run("gallery", "prove-erased", tmp_path / "none.json", "-g", place).code == 2


def test_expire_tells_who_is_due_and_erases_them(run, place, asked, tmp_path):
    run("people", "describe", "Ada", "--expires", "2020-01-01", "-g", place)
    run("people", "describe", "张伟", "--expires", "2120-01-01", "-g", place)
    assert run("gallery", "expire", "--dry-run", "-g", place).out == "Ada\n"
    assert len(people(place)) == 5
    (tmp_path / "receipts").mkdir()
    done = asked("expire", "-g", place, "--receipts", tmp_path / "receipts")
    assert (len(done["due"]), done["receipts"][0]["complete"]) == (1, True)
    assert sorted(people(place)) == sorted(set(NAMES) - {"Ada"})
    (receipt,) = (tmp_path / "receipts").iterdir()
    assert asked("prove-erased", receipt, "-g", place)["proven"] is True
    assert "nobody is due" in run("gallery", "expire", "-g", place).out
    assert run("gallery", "expire", "-g", place, "--receipts", tmp_path / "none").code == 2


# Encrypt


@pytest.fixture
def secret(run, place, tmp_path, monkeypatch):
    pytest.importorskip("cryptography")
    assert run("gallery", "new-key", f"file:{tmp_path / 'k/master.key'}").code == 2  # no such folder
    assert run("gallery", "new-key", f"file:{tmp_path / 'master.key'}").code == 0
    assert (
        run("gallery", "copy", place, tmp_path / "secret.db", "--to-key", f"file:{tmp_path / 'master.key'}").code == 0
    )
    return tmp_path / "secret.db"


def test_an_encrypted_copy_opens_with_its_key_everywhere(run, secret, place, asked, tmp_path, monkeypatch, paint):
    key = f"file:{tmp_path / 'master.key'}"
    assert "张伟".encode() not in secret.read_bytes()
    locked = run("people", "list", "-g", secret)
    assert (locked.code, "--key" in locked.err) == (2, True)
    assert run("gallery", "info", "-g", place, "--key", key).code == 2  # the plain one has none
    monkeypatch.setenv("MIEN_GALLERY_KEY", key)
    assert asked("info", "-g", secret)["encrypted"] is True
    assert asked("check", "-g", secret)["ok"] is True
    assert asked("backup", tmp_path / "b.db", "-g", secret)["faces"] == 10
    paint(tmp_path / "new/Bob/1.png", (60, 0))
    assert run("enrol", tmp_path / "new", "-g", secret).code == 0
    assert (
        json.loads(run("identify", tmp_path / "new", "-g", secret, "--json").out)["photos"][0]["faces"][0]["name"]
        == "Bob"
    )
    assert asked("restore", tmp_path / "b.db", "-g", secret, "--yes")["people"] == 5
    assert asked("erase", "Ada", "-g", secret, "--receipt", "r.json")["encrypted"] is True
    monkeypatch.delenv("MIEN_GALLERY_KEY")
    assert asked("prove-erased", "r.json", "-g", secret, "--also", tmp_path / "b.db")["proven"] is True
    # The backup from before comes back without her: her key is gone.
    assert asked("restore", tmp_path / "b.db", "-g", secret, "--yes", "--key", key)["people"] == 4


def test_the_master_key_is_changed(run, secret, asked, tmp_path, monkeypatch):
    old, new = f"file:{tmp_path / 'master.key'}", f"file:{tmp_path / 'second.key'}"
    assert run("gallery", "new-key", new).code == 0
    assert run("gallery", "new-key", new).code == 2  # never over another
    wrong = run("gallery", "info", "-g", secret, "--key", new)
    assert wrong.code == 2
    assert "key" in wrong.err
    assert run("gallery", "rekey", new, "-g", secret).code == 2
    assert asked("rekey", new, "-g", secret, "--key", old) == {"gallery": str(secret), "key": new}
    assert run("gallery", "info", "-g", secret, "--key", old).code == 2
    assert asked("info", "-g", secret, "--key", new)["faces"] == 10
    monkeypatch.setenv("SECRET", (tmp_path / "second.key").read_text())
    assert asked("info", "-g", secret, "--key", "env:SECRET")["faces"] == 10


@pytest.mark.parametrize("key", ["master.key", "env:NOT_SET", "file:none.key", "passphrase:SHORT"])
def test_a_key_that_is_none_is_explained(run, secret, key, monkeypatch):
    monkeypatch.setenv("SHORT", "short")
    answer = run("gallery", "info", "-g", secret, "--key", key)
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert "Traceback" not in answer.err


# Everywhere


@pytest.mark.parametrize(
    "verb",
    [
        ["info"], ["check"], ["audit"], ["sightings"], ["calibration"], ["backup", "b.db"], ["export", "e.csv"],
        ["erase", "Ada"], ["expire"], ["prove-erased", "r.json"],
    ],
)  # fmt: skip
def test_a_missing_gallery_is_not_made(run, tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    answer = run("gallery", *verb, "-g", "none.db")
    assert (answer.code, answer.out) == (2, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="the superuser may write anything")
def test_a_readonly_gallery_can_be_looked_at(run, place, asked):
    place.chmod(0o400)
    place.parent.chmod(0o500)
    try:
        assert asked("info", "-g", place)["faces"] == 10
        assert run("people", "rename", "Ada", "Eve", "-g", place).code == 2
    finally:
        place.parent.chmod(0o700)


@pytest.mark.parametrize("verb", [["info"], ["check"], ["people"], ["copy"], ["restore"]])
def test_a_password_in_a_url_is_never_printed(run, tmp_path, place, verb):
    url = "postgresql://mien:hunter2@127.0.0.1:1/faces?connect_timeout=1&timeout=1"
    arguments = {
        "people": ["people", "list", "-g", url],
        "copy": ["gallery", "copy", place, url],
        "restore": ["gallery", "restore", place, "-g", url],
    }.get(verb[0], ["gallery", *verb, "-g", url])
    answer = run(*arguments)
    assert answer.code == 2
    assert "hunter2" not in answer.out + answer.err
