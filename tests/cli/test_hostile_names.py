"""File names that drive terminals, are no Unicode, or look like options, markup and formulas, through every verb."""

import csv
import io
import json
import os

import pytest

pytestmark = pytest.mark.usefixtures("squares")

NAMES = [
    b"a\xff\xfe.png",
    b"a\x1b[31m.png",
    b"a\r=1+1.png",
    b"[red]a[bold].png",
    b"=1+1.png",
    "a\u202egnp.png".encode(),
]


@pytest.fixture(params=NAMES, ids=[name.decode("ascii", "backslashreplace") for name in NAMES])
def folder(request, paint, tmp_path):
    name = os.fsdecode(request.param)
    paint(tmp_path / "in" / "Ada" / "plain.png", (1, 0))
    os.replace(paint(tmp_path / "x.png", (1, 4)), tmp_path / "in" / "Ada" / name)
    paint(tmp_path / "in" / "Bob" / "1.png", (2, 0))
    return tmp_path / "in"


def commands(folder, tmp_path):
    plain, odd = sorted((folder / "Ada").iterdir(), key=lambda p: p.name != "plain.png")
    yield "detect", folder, "--draw", tmp_path / "drawn"
    yield "crop", folder, tmp_path / "crops"
    yield "verify", odd, plain, "--draw", tmp_path / "both.png"
    yield "find", plain, folder, "--sheet", tmp_path / "sheet.png"
    yield "compare", folder


def test_nothing_breaks_and_nothing_leaks(run, folder, tmp_path):
    for command in commands(folder, tmp_path):
        text = run(*command)
        assert text.code == 0, (command, text)
        for stream in (text.out, text.err):
            assert all(c.isprintable() or c == "\n" for c in stream)
        again = ["--overwrite"] if command[0] in ("detect", "crop") else []
        document = run(*command, *again, "--json")
        assert (document.code, json.loads(document.out)["errors"]) == (0, [])
        table = run(*command, *again, "--csv").out
        rows = list(csv.reader(io.StringIO(table, newline="")))
        assert len({len(row) for row in rows}) == 1
        assert "\r" not in table
        assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row)


def test_what_was_written_stays_inside(run, folder, tmp_path):
    before = sorted(p.name for p in tmp_path.iterdir())
    run("crop", folder, tmp_path / "crops")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*before, "crops"])
    written = sorted(p.relative_to(tmp_path / "crops") for p in (tmp_path / "crops").rglob("*.png"))
    assert written == sorted(p.relative_to(folder) for p in folder.rglob("*.png"))


def test_photos_without_a_face_are_named_safely(run, folder, paint, tmp_path):
    for photo in (folder / "Ada").iterdir():
        if photo.name != "plain.png":
            os.replace(paint(tmp_path / "blank.png"), photo)
    for command in (("crop", folder, tmp_path / "crops"), ("compare", folder)):
        text = run(*command)
        assert "no face found" in text.err
        assert all(c.isprintable() or c == "\n" for c in text.out + text.err)
