import json

import numpy as np
import pytest

from mien.match import Calibration


@pytest.fixture
def folder(paint, tmp_path):
    """40 people with three looks each."""
    for person in range(40):
        for look in range(3):
            paint(tmp_path / "people" / f"p{person:02}" / f"{look}.png", (person + 1, look))
    return tmp_path / "people"


@pytest.fixture
def here(squares, tmp_path, monkeypatch):
    """In a folder of its own, with an embedder whose scores are spread as real ones are."""
    import mien.recognizer

    plain = type(mien.recognizer.DlibResNet())

    class Spread(plain):
        def embed(self, chips):
            rows = []
            for person, look in chips[:, 0, 0, 0, :2].astype(int).tolist():
                centre = np.random.default_rng(person).normal(size=128)
                centre[8:] *= 0.3
                rows.append(centre + 0.15 * np.random.default_rng((person, look)).normal(size=128))
            return np.array([row / np.linalg.norm(row) for row in rows], np.float32).reshape(-1, 128)

    monkeypatch.setattr("mien.recognizer.DlibResNet", lambda *_, **__: Spread())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MIEN_CALIBRATION", raising=False)
    return tmp_path


pytestmark = pytest.mark.usefixtures("here")
FILE = "dlib-resnet29-fast.calibration.toml"


def test_a_calibration_is_made_kept_and_used(run, folder, here, paint):
    answer = run("calibrate", folder, "--json", "--fmr", 0.1)
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    made = Calibration.read(here / FILE)
    assert document["file"] == FILE
    assert (document["subjects"], document["pictures"], document["without_face"]) == (40, 120, 0)
    assert document["fingerprint"] == made.fingerprint
    assert document["impostor"]["n"] == 120 * 119 // 2 - 40 * 3
    (row,) = document["thresholds"]
    assert (row["fmr"], row["fpir"], row["gallery_size"]) == (0.1, None, None)
    assert row["threshold"] == made.threshold(fmr=0.1)
    assert row["held_out"]["measured"] <= row["held_out"]["high"]

    pair = paint(here / "a.png", (1, 0)), paint(here / "b.png", (1, 1))
    document = json.loads(run("verify", *pair, "--fmr", 0.1, "--calibration", FILE, "--json").out)
    assert document["threshold"] == made.threshold(fmr=0.1)
    expected = {"made_on": made.made_on, "date": made.date, "fingerprint": made.fingerprint}
    assert document["calibration"] == {**expected, "source": FILE, "provisional": made.provisional}
    assert f"calibration: {FILE}; made on" in run("verify", *pair, "--fmr", 0.1, "--calibration", FILE).out


def test_the_environment_names_one_for_every_command(run, folder, here, paint, monkeypatch):
    assert run("calibrate", folder, "--out", here / "mine.toml").code == 0
    pair = paint(here / "a.png", (1, 0)), paint(here / "b.png", (1, 1))
    assert json.loads(run("verify", *pair, "--json").out)["calibration"]["source"] != str(here / "mine.toml")
    monkeypatch.setenv("MIEN_CALIBRATION", str(here / "mine.toml"))
    for command in (("verify", *pair), ("find", pair[0], folder), ("compare", folder)):
        assert json.loads(run(*command, "--json").out)["calibration"]["source"] == str(here / "mine.toml")


def test_text_names_everything_and_the_next_command(run, folder):
    answer = run("calibrate", folder)
    assert answer.code == 0, answer.err
    for part in ("40 people, 120 pictures", "genuine pairs", "rate asked for", "95 % interval", "support FMR"):
        assert part in answer.out
    assert f"mien verify A.jpg B.jpg --calibration {FILE}" in answer.out
    assert FILE in answer.err


def test_nothing_is_replaced_unless_asked(run, folder, here):
    (here / FILE).write_text("mine", encoding="utf-8")
    answer = run("calibrate", folder)
    assert (answer.code, answer.out) == (2, "")
    assert "--force" in answer.err
    assert (here / FILE).read_text(encoding="utf-8") == "mine"
    assert run("calibrate", folder, "--force").code == 0
    assert Calibration.read(here / FILE).subjects == 40
    assert [p.name for p in here.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fmr", 1e-9), "insufficient data: FMR 1e-09 was asked for"),
        (("--fpir", 0.001, "--gallery-size", 1000), "insufficient data: FPIR 0.001 in a gallery of 1000"),
        (("--fpir", 0.01), "both or neither"),
        (("--gallery-size", 5), "both or neither"),
        (("--fmr", 2), "--fmr"),
        (("--fmr", "nan"), "--fmr"),
        (("--protocol", "lfw"), "folder or lfw-people"),
        (("--out", "no/such/folder.toml"), "no folder"),
    ],
)
def test_what_cannot_be_is_said(run, folder, here, options, message):
    answer = run("calibrate", folder, *options)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert not (here / FILE).exists()


def test_few_people_are_told_that_they_are_few(run, paint, tmp_path):
    for name in ("Ada", "Bob"):
        for look in range(2):
            paint(tmp_path / "few" / name / f"{look}.png", (1 + (name == "Bob"), look))
    answer = run("calibrate", tmp_path / "few")
    assert answer.code == 2
    assert "insufficient data: 2 people with 4 pictures" in answer.err


@pytest.mark.parametrize("name", ["missing.toml", "garbage.toml", "old.toml", "other.toml"])
def test_a_calibration_that_cannot_be_used_is_named(run, folder, here, paint, name):
    assert run("calibrate", folder, "--out", here / "mine.toml").code == 0
    good = (here / "mine.toml").read_text(encoding="utf-8")
    (here / "garbage.toml").write_bytes(b"\xff\x00")
    (here / "old.toml").write_text(good.replace("format = 2\n", ""), encoding="utf-8")
    (here / "other.toml").write_text(good.replace("ab" * 32, "cd" * 32), encoding="utf-8")
    pair = paint(here / "a.png", (1, 0)), paint(here / "b.png", (1, 1))
    answer = run("verify", *pair, "--calibration", here / name)
    assert (answer.code, answer.out) == (2, "")
    assert name in answer.err
