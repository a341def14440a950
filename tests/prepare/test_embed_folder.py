import os

import numpy as np
import pytest

from mien.errors import InputError
from mien.prepare.embed_folder import _Vectors, embed_folder
from mien.prepare.manifest import read_manifest
from mien.recognizer import Recognizer
from mien.types import Faces, ModelIdentity


class Marks:
    """A face where the red of a picture's corner is not 0; its embedding points at the green."""

    name = "marks"
    identity = ModelIdentity("marks", "fast", "ef" * 32, 8)

    def __init__(self):
        self.looked_at = 0

    def detect(self, images):
        self.looked_at += len(images)
        return [self._one(image) for image in images]

    def _one(self, image):
        n = int(image[0, 0, 0]) // 100  # the first is the main one: large and in the middle
        boxes = np.array([[0, 0, 9, 9], [0, 0, 2, 2]][:n], np.float32).reshape(n, 4)
        return Faces(boxes, np.full(n, 0.75), np.ones((n, 5, 2)))

    def chips(self, image, faces):
        return np.array([[image[0, 0, 1] // 10, i] for i in range(len(faces))])

    def embed(self, chips):
        return np.eye(8, dtype=np.float32)[chips[:, 0] if (chips[:, 1] == 0).any() else chips[:, 0] * 0]


@pytest.fixture
def model():
    return Marks()


@pytest.fixture
def recognizer(model):
    return Recognizer(detector=model, embedder=model, workers=2)


@pytest.fixture
def folder(tmp_path):
    from PIL import Image

    place = tmp_path / "in"
    for i, (faces, mark) in enumerate([(1, 3), (0, 0), (2, 5), (1, 7)]):
        path = place / "艾琳" / f"{i}.png" if i < 2 else place / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 10), (faces * 100, mark * 10, 0)).save(path)
    (place / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
    return place


def test_the_file_holds_the_main_faces_in_the_order_of_the_photos(recognizer, folder, tmp_path):
    answers = list(embed_folder(folder, tmp_path / "a.npz", recognizer))
    assert sorted((a.source.name, a.decision) for a in answers) == [
        ("0.png", "embedded"), ("1.png", "no face"), ("2.png", "embedded"), ("3.png", "embedded"), ("x.png", "failed"),
    ]  # fmt: skip
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert file["names"].tolist() == ["2.png", "3.png", "艾琳/0.png"]
        assert file["embeddings"].dtype == np.float32
        assert file["embeddings"].argmax(axis=1).tolist() == [5, 7, 3]
        assert file["boxes"].tolist() == [[0, 0, 9, 9]] * 3
        assert file["landmarks"].shape == (3, 5, 2)
        assert file["scores"].tolist() == [0.75] * 3
        assert str(file["model"]) == str(Marks.identity)
        sums = file["sha256"].tolist()
    lines = {entry["source"]: entry for entry in read_manifest(tmp_path / "a.npz.state")}
    assert sums == [lines[name]["sha256"] for name in ("2.png", "3.png", "艾琳/0.png")]
    assert len(lines) == 5


def test_only_what_is_new_is_computed_and_what_is_gone_leaves_the_file(model, recognizer, folder, tmp_path):
    from PIL import Image

    list(embed_folder(folder, tmp_path / "a.npz", recognizer))
    model.looked_at = 0
    (folder / "2.png").unlink()
    Image.new("RGB", (10, 10), (100, 10, 0)).save(folder / "new.png")
    Image.new("RGB", (10, 10), (100, 60, 0)).save(folder / "3.png")
    os.utime(folder / "3.png", ns=(1, 1))
    list(embed_folder(folder, tmp_path / "a.npz", recognizer))
    assert model.looked_at == 2
    with np.load(tmp_path / "a.npz") as file:
        assert file["names"].tolist() == ["3.png", "new.png", "艾琳/0.png"]
        assert file["embeddings"].argmax(axis=1).tolist() == [6, 1, 3]


def test_nobody_at_all(recognizer, folder, tmp_path):
    for path in ("2.png", "3.png", "艾琳/0.png"):
        (folder / path).unlink()
    list(embed_folder(folder, tmp_path / "a.npz", recognizer))
    with np.load(tmp_path / "a.npz") as file:
        assert file["embeddings"].shape == (0, 8)
        assert file["names"].tolist() == []


def test_a_dry_run_writes_nothing(model, recognizer, folder, tmp_path):
    answers = list(embed_folder(folder, tmp_path / "a.npz", recognizer, dry_run=True))
    assert {a.decision for a in answers} == {"to do"}
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    list(embed_folder(folder, tmp_path / "a.npz", recognizer))
    model.looked_at = 0
    answers = list(embed_folder(folder, tmp_path / "a.npz", recognizer, dry_run=True))
    assert [a.source.name for a in answers if a.decision == "to do"] == ["x.png"]  # what failed is tried again
    assert model.looked_at == 0


@pytest.mark.parametrize("damage", ["short", "row", "settings"])
def test_a_damaged_state_is_refused_by_name(recognizer, folder, tmp_path, damage):
    list(embed_folder(folder, tmp_path / "a.npz", recognizer))
    state = tmp_path / "a.npz.state"
    if damage == "short":
        os.truncate(state / "vectors.f32", 40)
    elif damage == "row":
        text = (state / "manifest.jsonl").read_text("utf-8")
        (state / "manifest.jsonl").write_text(text.replace('"row":', '"roww":'), "utf-8")
    pinned = {"detector": "other"} if damage == "settings" else None
    before = (tmp_path / "a.npz").read_bytes()
    with pytest.raises(InputError, match=r"a\.npz\.state"):
        list(embed_folder(folder, tmp_path / "a.npz", recognizer, pinned=pinned))
    assert (tmp_path / "a.npz").read_bytes() == before
    list(embed_folder(folder, tmp_path / "a.npz", recognizer, fresh=True))


@pytest.mark.parametrize("name", ["a.npy", "folder.npz"])
def test_a_place_that_is_no_npz_file(recognizer, folder, tmp_path, name):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(InputError, match=r"\.npz"):
        list(embed_folder(folder, tmp_path / name, recognizer))


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
@pytest.mark.parametrize(("room", "file"), [(40, "manifest.jsonl"), (400, "manifest.jsonl"), (1500, "faces.npz")])
def test_a_disk_that_is_full_is_an_error_and_the_run_goes_on_later(recognizer, folder, tmp_path, room_for, room, file):
    target = tmp_path / "faces.npz"
    with room_for(room), pytest.raises(InputError, match=rf"{file}: cannot be \w+ \(File too large\)"):
        list(embed_folder(folder, target, recognizer))
    assert not target.exists()
    assert list(tmp_path.glob(".mien-*")) == []
    list(embed_folder(folder, target, recognizer))
    with np.load(target) as made:
        assert made["embeddings"].argmax(1).tolist() == [5, 7, 3]


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
def test_no_room_for_the_vectors(tmp_path, room_for):
    with (
        room_for(40),
        pytest.raises(InputError, match=r"v: cannot be written \(File too large\)"),
        _Vectors(tmp_path / "v", 8, 0) as vectors,
    ):
        vectors.add([np.ones(8, np.float32)] * 3)


def test_a_run_that_is_left_keeps_what_is_finished(model, recognizer, folder, tmp_path, monkeypatch):
    from mien.cli.data_embed import embed

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mien.cli.data_embed.make_recognizer", lambda *_, **__: recognizer)
    monkeypatch.setattr("mien.prepare.embed_folder._BATCH", 2)
    with monkeypatch.context() as patch:
        patch.setattr("mien.cli.data_embed.Counter.__getitem__", interrupted, raising=False)
        with pytest.raises(KeyboardInterrupt) as caught:
            embed(folder, tmp_path / "a.npz")
    # The traceback still holds every frame, so nobody but the verb itself can have let go of the folder.
    assert caught.value.__traceback__ is not None
    kept = len(list(read_manifest(tmp_path / "a.npz.state")))
    assert kept >= 2
    answers = list(embed_folder(folder, tmp_path / "a.npz", recognizer, pinned=_PINNED))
    assert len(answers) == 5
    assert sum(a.before for a in answers) >= 1


_PINNED = {"detector": None, "min_face": None, "upright": False}
