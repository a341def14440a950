"""Written pictures come back, appear whole or not at all, and leave nothing beside them."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image as Pillow

from mien.errors import ImageError
from mien.images import WRITABLE_SUFFIXES, decode, save
from mien.types import Image


def picture(value: int = 0) -> Image:
    y, x = np.mgrid[0:40, 0:50]
    return Image(np.stack([x * 5, y * 6, np.full_like(x, value)], -1).astype(np.uint8))


@pytest.mark.parametrize("suffix", sorted(WRITABLE_SUFFIXES))
@pytest.mark.parametrize("name", ["plain", "王小明 é"])
def test_round_trip(tmp_path, suffix, name):
    path = tmp_path / f"{name}{suffix}"
    assert save(picture(), path) == path
    back = decode(path).pixels
    if suffix in (".jpg", ".jpeg", ".webp"):
        assert np.abs(back.astype(int) - picture().pixels).mean() < 4
    else:
        np.testing.assert_array_equal(back, picture().pixels)
    assert os.listdir(tmp_path) == [path.name]


def test_suffix_in_capitals_and_str_path(tmp_path):
    save(picture(), str(tmp_path / "A.JPG"))
    assert (tmp_path / "A.JPG").read_bytes().startswith(b"\xff\xd8\xff")


def test_quality_is_used(tmp_path):
    save(picture(), tmp_path / "low.jpg", quality=5)
    save(picture(), tmp_path / "high.jpg", quality=100)
    assert (tmp_path / "low.jpg").stat().st_size < (tmp_path / "high.jpg").stat().st_size


def test_an_older_picture_is_replaced(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    save(picture(), path)
    np.testing.assert_array_equal(decode(path).pixels, picture().pixels)


def test_failure_leaves_the_old_picture_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Pillow.Image, "save", fail)
    with pytest.raises(ImageError, match=r"a\.png: cannot be written \(No space left on device\)"):
        save(picture(), path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.skipif(os.name != "posix", reason="the permission bits of POSIX")
def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        save(picture(), tmp_path / "a.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["a.gif", "a", "a.jpg.exe", "a.heic"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(ImageError, match=r"expected a name that ends in one of \.jpg"):
        save(picture(), tmp_path / name)


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere/a\.jpg: cannot be written"):
        save(picture(), tmp_path / "nowhere" / "a.jpg")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match=r"folder\.png: cannot be written"):
        save(picture(), tmp_path / "folder.png")
    with pytest.raises(ImageError, match="cannot be written"):
        save(picture(), "a\0.png")
    with pytest.raises(ImageError, match="quality of 1 to 100"):
        save(picture(), tmp_path / "a.jpg", quality=0)
    with pytest.raises(ImageError, match="cannot be written"):
        save(Image(np.zeros((1, 20000, 3), np.uint8)), tmp_path / "long.webp")
    assert os.listdir(tmp_path) == ["folder.png"]


def test_threads_that_write_one_path(tmp_path):
    path = tmp_path / "a.png"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda value: save(picture(value), path), range(20)))
    assert decode(path).pixels[0, 0, 2] in range(20)
    assert os.listdir(tmp_path) == ["a.png"]
