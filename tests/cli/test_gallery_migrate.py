import json

import numpy as np
import pytest

from mien.gallery import Gallery, migration
from mien.match import Calibration
from mien.types import ModelIdentity

pytestmark = pytest.mark.usefixtures("squares", "two_presets")

NEW = ModelIdentity("dlib-resnet29", "accurate", "cd" * 32, 128)


@pytest.fixture
def two_presets(squares, monkeypatch):
    """The accurate preset sees the same people in another order of dimensions; there is a calibration for both."""
    import mien.match
    import mien.recognizer

    make_fast, fast = mien.recognizer.DlibResNet, mien.match.calibration_for(None)

    class Accurate(type(make_fast())):
        identity = NEW

        def embed(self, chips):
            return np.roll(super().embed(chips), 1, axis=1)

    def make(preset="accurate", **options):
        return make_fast() if preset == "fast" else Accurate()

    def calibration_for(identity):
        return fast if identity is None or identity.preset == "fast" else new_calibration(fast)

    monkeypatch.setattr("mien.recognizer.DlibResNet", make)
    for where in ("mien.gallery.embeddings", "mien.gallery.migration", "mien.api", "mien.match"):
        monkeypatch.setattr(f"{where}.calibration_for", calibration_for)


def new_calibration(old: Calibration, **changes) -> Calibration:
    import dataclasses

    return dataclasses.replace(old, preset="accurate", sha256=NEW.sha256, **changes)


@pytest.fixture
def gallery(run, paint, tmp_path):
    for person, name in enumerate(["Ada", "张伟", "Bo"], 1):
        for look in range(3):
            paint(tmp_path / f"people/{name}/{look}.png", (person, look))
    made = run("enrol", tmp_path / "people", "-g", tmp_path / "p.db", "--preset", "fast", "--policy", "off")
    assert made.code == 0
    return tmp_path / "p.db"


def migrate(run, gallery, *arguments):
    return run("gallery", "migrate", *arguments, "-g", gallery)


def model(run, gallery):
    return json.loads(run("gallery", "info", "-g", gallery, "--json").out)["model"]


def test_the_whole_way_and_back(run, gallery, tmp_path, paint):
    none = migrate(run, gallery, "status")
    assert none.code == 0
    assert "no change is under way" in none.out
    staged = migrate(run, gallery, "--preset", "accurate", "--originals", tmp_path / "people")
    assert staged.code == 0, staged.err
    assert "9 faces embedded anew from originals, 0 from crops, 0 there before, 0 missing" in staged.out
    assert "dlib-resnet29/fast" in model(run, gallery)
    text = migrate(run, gallery, "status")
    assert text.code == 0
    assert "to change to dlib-resnet29/accurate" in text.out
    assert "d'" in text.out
    done = migrate(run, gallery, "confirm")
    assert (done.code, "9 faces" in done.out, "must open it again" in done.err) == (0, True, True)
    assert "dlib-resnet29/accurate" in model(run, gallery)
    probe = paint(tmp_path / "probe.png", (2, 7))
    found = run("identify", probe, "-g", gallery, "--threshold", "0.8", "--json")
    assert '"name": "张伟"' in found.out
    assert migrate(run, gallery, "rollback").code == 0
    assert "dlib-resnet29/fast" in model(run, gallery)
    assert migrate(run, gallery, "confirm").code == 0
    final = migrate(run, gallery, "forget-old", "--yes")
    assert "9 embeddings of dlib-resnet29/fast" in final.out
    late = migrate(run, gallery, "rollback")
    assert (late.code, "no second model" in late.err) == (2, True)


def test_json_of_every_step(run, gallery, tmp_path):
    staged = json.loads(migrate(run, gallery, "--preset", "accurate", "--originals", tmp_path / "people", "--json").out)
    assert (staged["from_originals"], staged["from_crops"], staged["complete"], staged["missing"]) == (9, 0, True, [])
    status = json.loads(migrate(run, gallery, "status", "--json").out)
    assert status["other"] == {"model": str(NEW), "role": "new", "faces": 9, "missing": []}
    change = status["comparison"]
    assert (change["people"], change["faces"], change["genuine"], change["impostor"]) == (3, 9, 9, 27)
    assert change["live"]["d_prime"] == pytest.approx(change["staged"]["d_prime"])
    assert change["gain"] is None  # 27 pairs do not tell a rate of one in a thousand
    assert change["live"]["calibrated"]["fmr"] == 0
    assert status["thresholds"]["model"] == status["thresholds"]["other"]
    done = json.loads(migrate(run, gallery, "confirm", "--json").out)
    assert (done["model"], done["faces"], done["dropped"]) == (str(NEW), 9, 0)
    dropped = json.loads(migrate(run, gallery, "forget-old", "--json").out)
    assert (dropped["faces"], dropped["model"]) == (9, str(NEW))


def test_missing_faces_are_named_and_the_exit_code_says_so(run, gallery, tmp_path):
    (tmp_path / "people/Bo/0.png").unlink()
    staged = migrate(run, gallery, "--preset", "accurate", "--originals", tmp_path / "people")
    assert staged.code == 1
    assert "Bo, face" in staged.err
    assert "its picture is not among the originals" in staged.err
    refused = migrate(run, gallery, "confirm")
    assert refused.code == 2
    assert "'Bo'" in refused.err
    listed = json.loads(migrate(run, gallery, "status", "--json").out)["other"]["missing"]
    assert [(one["name"], one["crop"]) for one in listed] == [("Bo", False)]
    again = migrate(run, gallery, "--originals", tmp_path / "people")  # the model need not be said again
    assert (again.code, "8 there before" in again.out) == (1, True)
    done = migrate(run, gallery, "confirm", "--drop-missing", "--yes")
    assert (done.code, "1 face removed" in done.out) == (0, True)


def test_from_kept_crops(run, paint, tmp_path):
    for look in range(2):
        paint(tmp_path / f"people/Ada/{look}.png", (40, 20 + look))  # strong enough to survive a JPEG
    how = ("--preset", "fast", "--policy", "off", "--keep-crops")
    assert run("enrol", tmp_path / "people", "-g", tmp_path / "p.db", *how).code == 0
    staged = migrate(run, tmp_path / "p.db", "--preset", "accurate")
    assert (staged.code, "2 from crops" in staged.out) == (0, True)


def test_what_cannot_be_is_said(run, gallery, tmp_path):
    nothing = migrate(run, gallery)
    assert (nothing.code, "--preset for another preset" in nothing.err) == (2, True)
    same = migrate(run, gallery, "--preset", "fast")
    assert (same.code, "already" in same.err) == (2, True)
    assert migrate(run, gallery, "abandon").code == 2
    assert migrate(run, gallery, "forget-everything").code == 2
    assert migrate(run, gallery, "--preset", "accurate", "--originals", tmp_path / "none").code == 2
    with Gallery.open(gallery) as known:
        assert migration.status(known.home).other is None


def test_a_calibration_of_the_old_model_is_not_taken_for_the_new_one(run, gallery, tmp_path, monkeypatch):
    import mien.match

    old = mien.match.calibration_for(None)
    (tmp_path / "old.toml").write_text(old.to_toml())
    (tmp_path / "new.toml").write_text(new_calibration(old, made_on="other squares").to_toml())
    assert migrate(run, gallery, "--preset", "accurate", "--originals", tmp_path / "people").code == 0
    kept = migrate(run, gallery, "confirm", "--calibration", tmp_path / "new.toml")
    assert kept.code == 0
    assert (
        json.loads(run("gallery", "calibration", "-g", gallery, "--json").out)["calibration"]["made_on"]
        == "other squares"
    )
    migrate(run, gallery, "rollback")
    monkeypatch.setenv("MIEN_CALIBRATION", str(tmp_path / "old.toml"))
    left = migrate(run, gallery, "confirm")
    assert (left.code, "is left out" in left.err) == (0, True)
