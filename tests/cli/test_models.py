"""`mien models`: what it prints, to which stream, and how it ends."""

from __future__ import annotations

import csv
import hashlib
import io
import json

import pytest
from typer.testing import CliRunner

from mien.cli.models import app
from mien.errors import CardError, InputError, LicenceError, ModelFileError, NotFoundError

CONTENT = b"not a network, but the store does not care"
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("MIEN_CARDS", str(tmp_path / "cards"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def run(*arguments):
    """The verb's result; errors that mien raises on purpose come through, as they do to `mien.cli.main`."""
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture
def card(embedder_card):
    """card(folder): a user's card; card(folder, text, name="broken"): any text in its place."""

    def make(folder, text="", name="mine"):
        (folder / "cards").mkdir(exist_ok=True)
        text = text or embedder_card(name, title="Mine [bold]\\u001b[31m", colour="rgb")
        (folder / "cards" / f"{name}.toml").write_text(text)

    return make


def test_list_as_json():
    result = run("list", "--json")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert result.exit_code == 0
    assert result.stderr == ""
    assert len(rows) == 10
    assert [name for name, row in rows.items() if row["default"]] == ["dlib-resnet29", "dlib-trees5", "mtcnn"]
    assert rows["mtcnn"]["installed"] == "yes"
    assert rows["sface"]["installed"] == "no"
    assert rows["arcface"]["installed"] == "needs a file"
    assert rows["arcface-r50"] == {
        "name": "arcface-r50",
        "task": "embedder",
        "title": "ArcFace ResNet-50 trained on WebFace600K, 512-d",
        "licence": "InsightFace non-commercial",
        "commercial_use": False,
        "installed": "no",
        "default": False,
    }


def test_list_filters():
    names = [r["name"] for r in json.loads(run("list", "--licence", "commercial", "--json").stdout)]
    assert names == ["auraface-v1", "dlib-resnet29", "dlib-trees5", "mtcnn", "sface", "yunet"]
    assert [r["name"] for r in json.loads(run("list", "--task", "landmarks", "--json").stdout)] == ["dlib-trees5"]
    for bad in (("--licence", "research"), ("--task", "singing")):
        with pytest.raises(InputError, match=bad[0]):
            run("list", *bad)


def test_list_for_people_and_spreadsheets(folders, card):
    card(folders)
    result = run("list")
    assert result.exit_code == 0
    assert "mtcnn *" in result.stdout
    assert "Mine [bold]\\x1b[31m" in result.stdout, "a card can neither write markup nor drive the terminal"
    assert "\x1b" not in result.stdout
    rows = list(csv.DictReader(io.StringIO(run("list", "--csv").stdout)))
    assert rows[-1]["name"] == "mine"
    assert rows[-1]["installed"] == "needs a file"


def test_a_broken_card_is_reported_and_the_rest_listed(folders, card):
    card(folders, "name =", name="broken")
    result = run("list", "--json")
    assert result.exit_code == 2
    assert len(json.loads(result.stdout)) == 10
    assert "broken.toml" in result.stderr


def test_show():
    shown = json.loads(run("show", "mtcnn", "--json").stdout)
    assert shown["licence"] == "MIT"
    assert [f["sha256"][:6] for f in shown["files"]] == ["ea6b0c", "cb00e6", "94f6ea"]
    assert [s["state"] for s in shown["status"]] == ["ok"] * 3
    text = run("show", "arcface-r50").stdout
    assert "InsightFace non-commercial" in text
    assert "mien models pull arcface-r50" in text
    with pytest.raises(NotFoundError, match="did you mean 'mtcnn'"):
        run("show", "mtcn")


def test_pull_takes_a_file_and_says_that_nobody_vouches_for_it(folders, card):
    card(folders)
    file = folders / "net.onnx"
    file.write_bytes(CONTENT)
    result = run("pull", "mine", "--file", str(file), "--json")
    place = folders / "models" / "mine" / "mine.onnx"
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "model": "mine",
        "files": [{"name": "mine.onnx", "path": str(place), "sha256": SHA, "pinned_by": "first use"}],
    }
    assert "recorded on first use" in result.stderr
    assert SHA in result.stderr
    assert place.read_bytes() == CONTENT


def test_pull_with_a_checksum(folders, card):
    card(folders)
    file = folders / "net.onnx"
    file.write_bytes(CONTENT)
    with pytest.raises(ModelFileError, match="nothing was installed"):
        run("pull", "mine", "--file", str(file), "--sha256", "0" * 64)
    with pytest.raises(CardError, match="64 lower-case hex digits"):
        run("pull", "mine", "--file", str(file), "--sha256", "zz")
    result = run("pull", "mine", "--file", str(file), "--sha256", SHA)
    assert result.stdout == f"{folders / 'models' / 'mine' / 'mine.onnx'}\n"
    assert "first use" not in result.stderr
    with pytest.raises(ModelFileError, match=r"net2\.onnx"):
        run("pull", "mine", "--file", str(folders / "net2.onnx"))


def test_pull_shows_the_terms_or_refuses(folders):
    with pytest.raises(LicenceError, match=r"arcface-r50.*does not allow commercial use"):
        run("pull", "arcface-r50", "--licence", "commercial")
    file = folders / "net.onnx"
    file.write_bytes(CONTENT)
    result = run("pull", "arcface", "--file", str(file))
    assert result.exit_code == 0
    assert "terms are those of the file" in result.stderr


def test_pull_of_what_is_installed():
    result = run("pull", "mtcnn", "--json")
    assert result.exit_code == 0
    assert [f["name"] for f in json.loads(result.stdout)["files"]] == ["pnet.lz4", "rnet.lz4", "onet.lz4"]


def test_verify(folders):
    result = run("verify", "--json")
    assert result.exit_code == 0
    assert {row["model"] for row in json.loads(result.stdout)} == {"mtcnn", "dlib-resnet29", "dlib-trees5"}
    assert run("verify", "mtcnn").exit_code == 0
    result = run("verify", "yunet", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)[0]["state"] == "missing"


def test_verify_finds_damage(folders, card):
    card(folders)
    file = folders / "net.onnx"
    file.write_bytes(CONTENT)
    run("pull", "mine", "--file", str(file))
    assert run("verify").exit_code == 0
    (folders / "models" / "mine" / "mine.onnx").write_bytes(b"damaged")
    for arguments in ((), ("mine",)):
        result = run("verify", *arguments, "--csv")
        assert result.exit_code == 1
        states = {row["model"]: row["state"] for row in csv.DictReader(io.StringIO(result.stdout))}
        assert states["mine"] == "damaged"


def test_licence():
    result = run("licence", "--json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert len(rows) == 10
    assert all(row["allowed"] and row["licence"] for row in rows)
    assert run("licence", "mtcnn", "sface", "--licence", "commercial").exit_code == 0
    result = run("licence", "mtcnn", "scrfd-10g-kps", "--licence", "commercial", "--json")
    assert result.exit_code == 1
    assert [row["allowed"] for row in json.loads(result.stdout)] == [True, False]
    assert result.stderr == "commercial use is not allowed by: scrfd-10g-kps\n"
    assert "non-commercial" in run("licence", "scrfd-10g-kps").stdout


def test_help_names_every_verb():
    text = run("--help").stdout
    assert all(verb in text for verb in ("list", "show", "pull", "verify", "licence"))
