"""Copies of pictures: made-up scenes, altered in known ways, with made-up faces on them."""

import os

import cv2
import numpy as np
import pytest

from mien.errors import InputError
from mien.images import decode, save
from mien.match import Calibration, OperatingPoint, ScoreSpread
from mien.prepare.copies import CopyRules, Faced, find_copies
from mien.prepare.duplicates import dedupe
from mien.prepare.embedding import PeopleFolder
from mien.prepare.manifest import read_manifest
from mien.prepare.merging import merge, plan_merge
from mien.prepare.overlapping import overlap
from mien.prepare.prints import take_prints
from mien.prepare.registration import overlay
from mien.types import Image

POINTS = np.array([(45, 50), (75, 50), (60, 70), (48, 88), (72, 88)], np.float32)  # of a face in a scene
SIZE = 120


def point(fmr, threshold, tar):
    return OperatingPoint(fmr, threshold, tar, supported=True)


CALIBRATION = Calibration(
    model="dlib-resnet29", preset="fast", sha256="ab" * 32, provisional=False, made_on="numbers", date="2026-01-31",
    genuine=ScoreSpread(100, 0.8, 0.05), impostor=ScoreSpread(10_000, 0.0, 0.15),
    table=(point(1e-1, 0.2, 1.0), point(2e-2, 0.4, 1.0), point(1e-3, 0.5, 0.99), point(1e-5, 0.6, 0.9)),
)  # fmt: skip


def scene(seed):
    """A smooth random picture: every one another."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)
    return cv2.resize(coarse, (SIZE, SIZE + 20), interpolation=cv2.INTER_CUBIC)


def altered(pixels, kind):
    """An altered copy, and where the face is in it."""
    match kind:
        case "jpeg":
            return pixels, POINTS
        case "small":
            return cv2.resize(pixels, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA), POINTS * 0.7
        case "grey":
            return np.repeat(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2), POINTS
        case "crop":
            return np.ascontiguousarray(pixels[12:-6, 8:-9]), POINTS - (8, 12)
        case "mirror":
            points = (POINTS * (-1, 1) + (SIZE - 1, 0))[[1, 0, 2, 4, 3]]
            return np.ascontiguousarray(pixels[:, ::-1]), points


class Album:
    """Pictures in folders of people, with the faces that a model would have found."""

    def __init__(self, root):
        self.root, self.rows = root, []

    def add(self, name, pixels, points, vector, quality=90):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save(Image(pixels), path, quality=quality)
        self.rows.append((name, points, vector))

    def folder(self):
        rows = sorted(self.rows, key=lambda row: row[0])
        people = sorted({name.partition("/")[0] for name, _, _ in rows})
        none = np.full((5, 2), np.nan)
        return PeopleFolder(
            self.root,
            tuple(name for name, _, _ in rows),
            tuple(people),
            np.array([people.index(name.partition("/")[0]) for name, _, _ in rows]),
            np.array([np.zeros(8) if v is None else v for _, _, v in rows], np.float32),
            np.array([v is not None for _, _, v in rows]),
            np.array([none if p is None else p for _, p, _ in rows], np.float32),
            {},
        )


def face(axis, turn=0.0):
    vector = np.zeros(8)
    vector[axis], vector[7] = np.cos(turn), np.sin(turn)
    return vector


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", ["jpeg", "small", "grey", "crop", "mirror"])
def test_altered_copies_are_found_and_others_are_not(tmp_path, kind):
    album = Album(tmp_path / "set")
    for i in range(6):  # photos of one person, which score as high as copies
        album.add(f"Ada/{i}.png", scene(i), POINTS, face(0, 0.02 * i))
    pixels, points = altered(scene(3), kind)
    album.add("Ada/copy.jpg", pixels, points, face(0, 0.07), quality=60)
    folder = album.folder()
    found = dedupe(folder, CALIBRATION)
    assert [{folder.names[g.keep], *(folder.names[i] for i, _ in g.drop)} for g in found.groups] == [
        {"Ada/3.png", "Ada/copy.jpg"}
    ]
    if kind in ("small", "crop"):
        assert folder.names[found.groups[0].keep] == "Ada/3.png"
    if kind == "mirror":
        assert "mirrored" in found.groups[0].drop[0][1]
    again = dedupe(folder, CALIBRATION)  # from the cache of fingerprints
    assert again.groups == found.groups


def test_faces_that_contradict_and_blank_pictures_are_no_copies(tmp_path):
    album = Album(tmp_path / "set")
    album.add("Ada/1.png", scene(1), POINTS, face(0))
    album.add("Ada/2.jpg", scene(1), POINTS, face(1))
    album.add("Ada/blank1.png", np.full((50, 50, 3), 9, np.uint8), None, None)
    album.add("Ada/blank2.png", np.full((50, 50, 3), 200, np.uint8), None, None)
    album.add("Ada/no face 1.png", scene(2), None, None)
    album.add("Ada/no face 2.jpg", scene(2), None, None)
    folder = album.folder()
    groups = dedupe(folder, CALIBRATION).groups
    assert [sorted(folder.names[i] for i in (g.keep, *(d for d, _ in g.drop))) for g in groups] == [
        ["Ada/no face 1.png", "Ada/no face 2.jpg"]
    ]


def test_across_people_is_for_review(tmp_path):
    album = Album(tmp_path / "set")
    album.add("Ada/1.png", scene(1), POINTS, face(0))
    album.add("Bo/1.png", scene(1), POINTS, face(0))
    folder = album.folder()
    assert dedupe(folder, CALIBRATION).groups == ()
    found = dedupe(folder, CALIBRATION, across=True)
    assert [(r.picture, r.verdict) for r in found.rows()] == [("Ada/1.png", "keep"), ("Bo/1.png", "review")]


def test_overlay_of_noise_is_low():
    rng = np.random.default_rng(0)
    a, b = (cv2.GaussianBlur(rng.integers(0, 256, (96, 96)).astype(np.uint8), (0, 0), 2) for _ in range(2))
    full = np.full((96, 96), 255, np.uint8)
    found = overlay(a, full, b, full)
    assert found is None or found.detail < 0.88
    moved = np.roll(a, 2, axis=1)
    same = overlay(a, full, moved, full)
    assert same is not None
    assert same.detail > 0.9


def test_broken_files_are_named(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"no picture")
    found = take_prints([path, tmp_path / "gone.jpg"], np.full((2, 5, 2), np.nan, np.float32))
    assert set(found.reasons) == {0, 1}
    assert (
        find_copies(
            Faced(lambda i: path, found, np.zeros((2, 8), np.float32), np.zeros((2, 5, 2), np.float32)),
            CopyRules.of(CALIBRATION),
            part=np.zeros(2, np.intp),
        )
        == []
    )


def two_sets(tmp_path):
    a, b = Album(tmp_path / "a"), Album(tmp_path / "b")
    for i in range(3):
        a.add(f"Ada Lovelace/{i}.png", scene(i), POINTS, face(0, 0.1 * i))
        a.add(f"Bo/{i}.png", scene(10 + i), POINTS, face(1, 0.1 * i))
        a.add(f"Cy/{i}.png", scene(20 + i), POINTS, face(2, 0.1 * i))
        b.add(f"LOVELACE, Ada/{i}.png", scene(30 + i), POINTS, face(0, 0.1 * i))
        b.add(f"Robert/{i}.png", scene(40 + i), POINTS, face(1, 0.1 * i))
        b.add(f"cy/{i}.png", scene(50 + i), POINTS, face(3, 0.1 * i))
    b.add("LOVELACE, Ada/copy.jpg", *altered(scene(1), "crop"), face(0, 0.1))
    return a.folder(), b.folder()


def test_overlap_of_two_sets(tmp_path):
    a, b = two_sets(tmp_path)
    found = overlap(a, b, CALIBRATION).record()
    assert [(p["a"], p["b"], p["by"]) for p in found["people"]] == [
        ("Ada Lovelace", "LOVELACE, Ada", "name and face"),
        ("Bo", "Robert", "face"),
    ]
    assert [(p["a"], p["b"]) for p in found["only_called_the_same"]] == [("Cy", "cy")]
    assert [(c["a"], c["b"]) for c in found["pictures"]] == [("Ada Lovelace/1.png", "LOVELACE, Ada/copy.jpg")]


def test_merge_goes_on_and_tells_where_pictures_came_from(tmp_path):
    a, b = two_sets(tmp_path)
    plan = plan_merge([a, b], CALIBRATION)
    assert plan.names == ["Ada Lovelace", "Bo", "Cy", "cy~2"]
    assert [(n, to) for _, n, to, _ in plan.aliases] == [("Robert", "Bo")]
    assert [c.people for c in plan.conflicts] == [((0, "Cy", "Cy"), (1, "cy", "cy~2"))]
    target = tmp_path / "all"
    assert merge(plan, target) == {"placed": 18, "before": 0, "duplicates": 1}
    (target / "Bo/0.png").unlink()
    assert merge(plan, target)["placed"] == 1
    where = {e["source"]: e for e in read_manifest(target)}
    assert where["1/LOVELACE, Ada/copy.jpg"]["of"] == "0/Ada Lovelace/1.png"
    for source, entry in where.items():
        if "to" in entry:
            number, _, name = source.partition("/")
            assert (target / entry["to"]).read_bytes() == ((a, b)[int(number)].root / name).read_bytes()
    assert len(list(target.rglob("*.png"))) == 18
    assert decode(target / "Bo/0~2.png").pixels.shape == (SIZE + 20, SIZE, 3)


def test_merge_waits_for_the_disk_once_for_many_pictures(tmp_path, monkeypatch):
    a, b = two_sets(tmp_path)
    plan, waits = plan_merge([a, b], CALIBRATION), []
    monkeypatch.setattr(os, "fsync", waits.append)
    merge(plan, tmp_path / "all")
    assert len(waits) == 2  # the first line, and all others
    assert len(list(read_manifest(tmp_path / "all"))) == 19


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_merge_writes_nothing_through_links(tmp_path):
    a, b = two_sets(tmp_path)
    plan, target = plan_merge([a, b], CALIBRATION), tmp_path / "all"
    (tmp_path / "else").mkdir()
    target.mkdir()
    (target / "Bo").symlink_to(tmp_path / "else", target_is_directory=True)
    with pytest.raises(InputError, match="a link leads out of the folder"):
        merge(plan, target)
    assert not list((tmp_path / "else").iterdir())
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="loop"):
        merge(plan, tmp_path / "loop")


def test_another_plan_is_not_mixed_with_the_first(tmp_path):
    a, b = two_sets(tmp_path)
    plan, target = plan_merge([a, b], CALIBRATION), tmp_path / "all"
    merge(plan, target)
    plan.names[1] = "Robert"
    with pytest.raises(InputError, match=r"other settings .*chosen was"):
        merge(plan, target)
    with pytest.raises(InputError, match="is not of this merge"):
        merge(plan, target, fresh=True)
    assert len(list(target.rglob("*.png"))) == 18
    assert merge(plan_merge([a, b], CALIBRATION), target, fresh=True) == {"placed": 0, "before": 18, "duplicates": 1}


def test_two_people_of_one_set_are_never_joined(tmp_path):
    a, b = Album(tmp_path / "a"), Album(tmp_path / "b")
    for i in range(3):
        a.add(f"Ada/{i}.png", scene(i), POINTS, face(0, 0.1 * i))
        a.add(f"Eve/{i}.png", scene(10 + i), POINTS, face(0, 0.1 * i))
        b.add(f"ada/{i}.png", scene(20 + i), POINTS, face(0, 0.1 * i))
    plan = plan_merge([a.folder(), b.folder()], CALIBRATION)
    assert plan.person == [[0, 1], [0]]  # the name decides what the faces cannot
    assert [c.reason for c in plan.conflicts] == ["several people of one set look like one of another"]
