"""`mien promote` on pictures whose scores are known: judged, let in or not, and told so."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.cli import main
from mien.types import ModelIdentity

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")


class Spread:
    """Embeds squares: a person is the red, a look the green; how far looks lie apart is the model's quality."""

    def __init__(self, plain, noise, name):
        self._plain, self._noise = plain, noise
        self.identity = ModelIdentity(name, "accurate", f"{ord(name[0]):02x}" * 32, 32)

    def chips(self, image, faces):
        return self._plain.chips(image, faces)

    def embed(self, chips):
        rows = []
        for person, look in chips[:, 0, 0, 0, :2].astype(int).tolist():
            centre = np.random.default_rng(person).normal(size=32)
            rows.append(centre + self._noise * np.random.default_rng((person, look)).normal(size=32))
        return np.array([row / np.linalg.norm(row) for row in rows], np.float32).reshape(-1, 32)


@pytest.fixture
def place(squares, paint, tmp_path, monkeypatch):
    """Enrolled and held-out people, and models by name: "old" in use, "good" and "bad" to be judged."""
    import mien
    import mien.cli.promote
    import mien.recognizer

    plain = type(mien.recognizer.DlibResNet())()
    models = {name: Spread(plain, noise, name) for name, noise in (("old", 1.0), ("good", 0.4), ("bad", 2.0))}

    def made(preset=None, *_given, model=None, **_options):
        return mien.recognizer.Recognizer("accurate", embedder=models[model])

    monkeypatch.setattr(mien.cli.promote, "make_recognizer", made)
    monkeypatch.chdir(tmp_path)
    for person in range(60):
        folder = "held" if person >= 4 else "people"
        for look in range(4 if folder == "held" else 2):
            paint(tmp_path / folder / f"p{person:02}" / f"{look}.png", (person + 1, look))
    with mien.Gallery.open(tmp_path / "g.db", recognizer=made(model="old")) as known:
        for person in range(4):
            known.enrol(f"p{person:02}", sorted((tmp_path / "people" / f"p{person:02}").iterdir()), policy="off")
    return tmp_path


def model_of(place):
    import mien

    with mien.Gallery.open(place / "g.db") as known:
        return known.identity.name


JUDGED = ["--gallery", "g.db", "--images", "held", "--present", "old"]
HELD = [*JUDGED, "--originals", "people", "--no-threshold"]


def test_a_better_model_is_let_in_and_the_way_back_is_told(place, capsys):
    assert main(["promote", "good", *HELD, "--dry-run"]) == 0
    assert "nothing has changed" in capsys.readouterr().out
    assert model_of(place) == "old"
    assert main(["promote", "good", *HELD]) == 0
    assert "mien gallery migrate rollback --gallery" in capsys.readouterr().out
    assert model_of(place) == "good"
    assert main(["gallery", "migrate", "rollback", "--gallery", "g.db"]) == 0
    assert model_of(place) == "old"


def test_a_worse_model_is_not_and_the_reason_is_told(place, capsys):
    assert main(["promote", "bad", *HELD, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["let_in"], found["changed"]) == ("worse", False, False)
    assert found["gain"]["high"] < 0
    assert found["people"] == 56
    assert model_of(place) == "old"


def test_what_cannot_be_judged_is_refused(place, capsys):
    assert main(["promote", "good", *JUDGED, "--originals", "people"]) == 2  # no thresholds
    assert "has no calibration" in (said := " ".join(capsys.readouterr().err.split()))
    assert "--no-threshold" in said
    assert main(["promote", "good", *JUDGED, "--no-threshold"]) == 2  # no crops are kept in the gallery
    assert "--originals" in capsys.readouterr().err
    assert main(["promote", "good", "--gallery", "g.db", "--images", "held", "--dry-run"]) == 2
    assert "made with old/accurate" in (said := capsys.readouterr().err)
    assert "--present DIR" in said
    assert main(["promote", "old", *HELD]) == 2
    assert "already" in capsys.readouterr().err
    assert main(["promote", "good", "--gallery", "g.db", "--pairs", "p.txt"]) == 2
    assert "--images" in capsys.readouterr().err
    assert model_of(place) == "old"


def test_a_model_is_not_judged_on_what_it_was_trained_on(place, capsys):
    (place / "run").mkdir()
    (place / "run" / "config.json").write_text(json.dumps({"data": {"sources": [{"path": "held"}]}}))
    assert main(["promote", "run", *HELD]) == 2
    assert "was trained on these faces" in " ".join(capsys.readouterr().err.split())
    (place / "run" / "config.json").write_text(json.dumps({"data": {"sources": [{"path": "people"}]}}))
    enrolled = ["--gallery", "g.db", "--originals", "people", "--no-threshold"]
    assert main(["promote", "run", *enrolled]) == 2  # judged on the enrolled faces, that is
    assert "--originals people: the model was trained on these faces" in " ".join(capsys.readouterr().err.split())


def test_what_a_run_was_trained_on_is_known_from_anywhere_and_of_the_run_before(tmp_path, monkeypatch):
    from mien.train.config import DataConfig, NetworkConfig, SourceConfig, TrainConfig
    from mien.train.promotion import trained_on
    from mien.train.run_folder import RunFolder

    (tmp_path / "started").mkdir()
    monkeypatch.chdir(tmp_path / "started")
    for name, faces, weights in (("first", "faces", None), ("second", "others", "../runs/first/best")):
        RunFolder(tmp_path / "runs" / name).path.mkdir(parents=True)
        data = DataConfig(sources=(SourceConfig(path=faces),))
        config = TrainConfig(recipe="x", network=NetworkConfig(name="iresnet-small", weights=weights), data=data)
        RunFolder(tmp_path / "runs" / name).begin(config, resume=True)
    monkeypatch.chdir(tmp_path)
    second = tmp_path / "runs" / "second"
    assert trained_on(second, tmp_path / "started" / "others" / "held") == "others"
    assert trained_on(second, tmp_path / "started" / "faces") == "faces"
    assert trained_on(second, tmp_path / "more") == ""
    RunFolder(second).begin(config, resume=True)  # from where there are no such pictures
    assert trained_on(second, tmp_path / "started" / "others") == "others"
    (tmp_path / "started").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert trained_on(second, tmp_path / "moved" / "others") == "others"
    config = replace(config, network=replace(config.network, weights="x" * 5000))
    RunFolder(second).begin(config, resume=True)
    assert trained_on(second, tmp_path / "started" / "faces") == ""


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of files that are no text")
def test_a_run_may_be_started_in_a_folder_whose_name_is_no_text(tmp_path, monkeypatch):
    from mien.train.config import DataConfig, NetworkConfig, SourceConfig, TrainConfig
    from mien.train.promotion import trained_on
    from mien.train.run_folder import RunFolder

    odd = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(odd)
    monkeypatch.chdir(os.fsdecode(odd))
    (tmp_path / "run").mkdir()
    data = DataConfig(sources=(SourceConfig(path="faces"),))
    RunFolder(tmp_path / "run").begin(
        TrainConfig(recipe="x", network=NetworkConfig(name="iresnet-small"), data=data), resume=True
    )
    monkeypatch.chdir(tmp_path)
    assert trained_on(tmp_path / "run", Path(os.fsdecode(odd)) / "faces") == "faces"


def test_a_change_that_comes_to_nothing_is_not_left_under_way(place, capsys):
    import mien

    (place / "other").mkdir()
    assert main(["promote", "good", *JUDGED, "--no-threshold", "--originals", "other"]) == 1
    assert "so nothing has changed" in " ".join(capsys.readouterr().err.split())
    with mien.Gallery.open(place / "g.db") as known:
        assert known.home.staged() is None
    for file in (place / "people").glob("p0[1-3]/*"):
        file.rename(place / "other" / f"{file.parent.name}-{file.name}")
    assert main(["promote", "good", *JUDGED, "--no-threshold", "--originals", "other"]) == 1
    assert "6 faces that could be are kept" in " ".join(capsys.readouterr().err.split())
    assert main(["promote", "good", *HELD, "--originals", "other"]) == 0
    assert "need --model good and, as it has no calibration, --threshold" in " ".join(capsys.readouterr().out.split())
    assert model_of(place) == "good"
    assert main(["promote", "old", "--gallery", "g.db", "--images", "held", "--present", "good", "--no-threshold"]) == 2
    assert "mien gallery migrate rollback" in " ".join(capsys.readouterr().err.split())


def test_what_was_embedded_anew_before_needs_no_crops(place):
    import mien
    from mien.cli.promote import make_recognizer
    from mien.gallery.migration import stage

    with mien.Gallery.open(place / "g.db") as known:
        assert stage(known.home, make_recognizer(model="good"), originals=[place / "people"]).complete
    assert main(["promote", "good", *JUDGED, "--no-threshold"]) == 0
    assert model_of(place) == "good"


def test_without_a_calibration_a_model_that_is_not_let_in_changes_nothing_and_raises_nothing(place):
    import mien
    from mien.cli.promote import make_recognizer
    from mien.train.promotion import held_out_faces, judge, promote

    old, bad = (make_recognizer(model=name) for name in ("old", "bad"))
    both = held_out_faces(place / "held", old, bad)
    with mien.Gallery.open(place / "g.db") as known:
        done = promote(known, bad, judge(both, old.identity, bad.identity, data="held"), originals=[place / "people"])
    assert not done.changed
