"""kill -9 while a folder is cropped or embedded: what was told is done, nothing is done twice or left out."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from mien.prepare.manifest import read_manifest

FILES, KILLS = 2000, 4
IN_FLIGHT = 400  # photos that a kill may cost: those between two writes, and what the workers hold

CHILD = """
import os, sys
import numpy as np
from mien.prepare.cropping import crop
from mien.prepare.embed_folder import embed_folder
from mien.recognizer import Recognizer
from mien.types import Faces, ModelIdentity

verb, source, target, looks = sys.argv[1:]
log = os.open(looks, os.O_APPEND | os.O_CREAT | os.O_WRONLY)

class Model:
    name = "bright"
    identity = ModelIdentity("bright", "fast", "0" * 64, 4)
    def detect(self, images):
        os.write(log, b"." * len(images))
        return [self.one(image) for image in images]
    def one(self, image):
        if image[12, 12, 0] < 128:
            return Faces.none()
        box = np.array([[2, 2, 22, 22]], np.float32)
        points = np.array([[(8, 9), (16, 9), (12, 13), (9, 17), (15, 17)]], np.float32)
        return Faces(box, np.ones(1), points)
    def chips(self, image, faces):
        return image[None, 12:13, 12:13][None].repeat(len(faces), 0)
    def embed(self, chips):
        rows = chips.reshape(len(chips), -1)[:, :3].astype(np.float32) + 1
        rows = np.concatenate([rows, np.ones((len(rows), 1), np.float32)], 1)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

recognizer = Recognizer(detector=Model(), embedder=Model(), workers=2)
work = crop if verb == "crop" else embed_folder
for answer in work(source, target, recognizer):
    if not answer.before:
        print(answer.source.name, flush=True)
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """2,000 small pictures, each with bytes of its own: nine of ten with a face, two broken."""
    folder = tmp_path_factory.mktemp("kill") / "in"
    generator = np.random.default_rng(0)
    for i in range(FILES):
        place = folder / f"{i % 20:02}-张"
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.full((24, 24, 3), 255 if i % 10 else 0, np.uint8)
        pixels[12, 12, 1:] = generator.integers(0, 256, 2)
        data = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
        (place / f"{i:04}.png").write_bytes(data if i not in (7, 1234) else data[:20])
    return folder


def run(*arguments: object, kill_after: int | None = None) -> list[str]:
    """The names that the child told of before it ended, or was killed."""
    command = [sys.executable, "-c", CHILD, *map(str, arguments)]
    told: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as child:
        for line in child.stdout:
            told.append(line.rstrip("\n"))
            if kill_after is not None and len(told) >= kill_after:
                time.sleep(random.Random(kill_after).random() / 50)
                child.send_signal(signal.SIGKILL)
                kill_after = None
    return told if child.returncode else [*told, "the end"]


def looked_at(path) -> int:
    return path.stat().st_size


def test_cropping(photos, tmp_path) -> None:
    out, looks = tmp_path / "out", tmp_path / "looks"
    dice = random.Random(1)
    told: set[str] = set()
    ended = False
    for _ in range(KILLS):
        before = looked_at(looks) if looks.exists() else 0
        new = run("crop", photos, out, looks, kill_after=dice.randint(1, 300))
        ended |= "the end" in new
        assert not told & {name for name in new if name not in ("0007.png", "1234.png", "the end")}  # nothing twice
        told |= set(new)
        listed = [entry["source"].rpartition("/")[2] for entry in read_manifest(out)]
        assert told <= {*listed, "the end"}  # what was told is on record
        assert looked_at(looks) - before <= len(new) + IN_FLIGHT
    assert not ended, "no run was killed before its end: the test shows nothing"
    assert run("crop", photos, out, looks)[-1] == "the end"

    lines = list(read_manifest(out))
    sources = [entry["source"] for entry in lines]
    assert len(sources) == len(set(sources)) == FILES
    assert {entry["decision"] for entry in lines} == {"cut", "no face", "failed"}
    cut = {entry["source"] for entry in lines if entry["decision"] == "cut"}
    files = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and "manifest" not in p.name}
    assert files == cut  # nothing left over under a hidden name either
    assert len(cut) == FILES - FILES // 10 - 2
    assert looked_at(looks) <= FILES + KILLS * IN_FLIGHT
    clean = tmp_path / "clean"
    run("crop", photos, clean, tmp_path / "other")
    assert all((clean / name).read_bytes() == (out / name).read_bytes() for name in cut)


def test_embedding(photos, tmp_path) -> None:
    out, looks = tmp_path / "out.npz", tmp_path / "looks"
    dice = random.Random(2)
    for _ in range(3):
        assert "the end" not in run("embed", photos, out, looks, kill_after=dice.randint(1, 400))
        assert not out.exists()
    run("embed", photos, out, looks)
    run("embed", photos, tmp_path / "clean.npz", tmp_path / "other")
    with np.load(out) as killed, np.load(tmp_path / "clean.npz") as clean:
        assert killed.files == clean.files
        for name in clean.files:
            np.testing.assert_array_equal(killed[name], clean[name])
        assert len(clean["names"]) == FILES - FILES // 10 - 2
    sources = [entry["source"] for entry in read_manifest(tmp_path / "out.npz.state")]
    assert len(sources) == len(set(sources)) == FILES
    assert looked_at(looks) <= FILES + 3 * (IN_FLIGHT + 256)
