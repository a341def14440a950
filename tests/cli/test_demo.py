import json

import numpy as np
import pytest
from PIL import Image

from mien.cli import main, samples
from mien.images import decode


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The demo, run once with the real models: its folder, its exit code and its JSON."""
    import contextlib
    import io

    home = tmp_path_factory.mktemp("home")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main(["demo", "--out", str(home / "demo"), "--json"])
    return home / "demo", code, json.loads(printed.getvalue())


def test_everything_comes_out_right(done):
    _, code, document = done
    assert (code, document["right"], document["errors"]) == (0, True, [])
    pictures = {row["picture"]: row for row in document["pictures"]}
    assert len(pictures) == 7
    assert pictures["a stranger, Eileen Collins"]["names"] == [None]
    assert pictures["both in one picture"]["names"] == ["Grace Hopper", None]
    for row in pictures.values():
        for name, score in zip(row["names"], row["scores"], strict=True):
            assert (score >= row["threshold"]) == (name is not None)
    assert all(seconds > 0 for seconds in document["timings"].values())


def test_the_annotated_picture_differs_only_where_there_is_something_to_say(done):
    folder, _, document = done
    plain, drawn = decode(folder / "both.jpg").pixels.astype(int), decode(document["annotated"]).pixels.astype(int)
    changed = (np.abs(plain - drawn).max(2) > 40).mean()
    assert 0.001 < changed < 0.2


def test_it_writes_nowhere_else_and_runs_again(done, run, tmp_path, monkeypatch):
    folder, _, _ = done
    assert [path.name for path in folder.parent.iterdir()] == ["demo"]
    monkeypatch.chdir(tmp_path)
    answer = run("demo", "--out", folder)
    assert (answer.code, list(tmp_path.iterdir())) == (0, [])
    assert "All of it is right." in answer.out
    assert "Try next:" in answer.out


def test_a_wrong_answer_is_no_success(run, tmp_path, monkeypatch):
    """The stranger's picture swapped for one of the known person: the demo must notice."""
    monkeypatch.setattr(samples, "astronaut", samples.hopper)
    answer = run("demo", "--out", tmp_path / "demo")
    assert answer.code == 1
    assert "WRONG" in answer.out
    assert "All of it is right." not in answer.out


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_yours_is_left_alone(run, tmp_path, kind):
    out = tmp_path / "mine"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "people.db").write_text("mine")
    answer = run("demo", "--out", out)
    assert answer.code == 2
    assert "--out" in answer.err
    assert (out if kind == "file" else out / "people.db").read_text() == "mine"


def test_altered_pictures_are_what_they_say(hopper):
    made = dict(samples.altered(hopper).values())
    original = np.asarray(Image.open(hopper).convert("RGB")).astype(float)
    upright, mirrored, dim, small, poor = (
        decode(made[name]).pixels.astype(float)
        for name in ("turned.jpg", "mirrored.webp", "dim.jpg", "small.png", "recompressed.jpg")
    )
    assert upright.shape == original.shape
    assert np.abs(upright - original).mean() < 5, "the EXIF tag does not turn it back"
    assert np.abs(mirrored[:, ::-1] - original).mean() < 8
    assert dim.mean() == pytest.approx(original.mean() / 4, rel=0.05)
    assert small.shape[0] == 128
    assert len(made["recompressed.jpg"]) < hopper.stat().st_size / 3
    assert poor.shape == original.shape
