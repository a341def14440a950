import numpy as np
import pytest
from PIL import Image as PillowImage

from mien.errors import ImageError
from mien.images import WRITABLE_SUFFIXES, decode, encode, save
from mien.types import Image


@pytest.fixture
def picture():
    rows, columns = np.mgrid[0:64, 0:48].astype(np.float64)
    return Image(np.stack([rows * 3, columns * 4, 255 - rows - columns], -1).astype(np.uint8), "smooth")


@pytest.mark.parametrize("suffix", sorted({*WRITABLE_SUFFIXES, ".JPG"}))
def test_the_bytes_are_those_of_a_file_of_that_name(picture, tmp_path, suffix):
    data = encode(picture, suffix, quality=95)
    found = decode(data).pixels.astype(int)
    save(picture, tmp_path / f"a{suffix}", quality=95)
    with PillowImage.open(tmp_path / f"a{suffix}") as saved:
        kind = saved.format
    (tmp_path / "b").write_bytes(data)
    with PillowImage.open(tmp_path / "b") as encoded:
        assert encoded.format == kind
    assert np.abs(found - picture.pixels).mean() < (2 if suffix.lower() in (".jpg", ".jpeg", ".webp") else 1e-9)


def test_a_lower_quality_is_a_smaller_file(picture):
    assert len(encode(picture, ".jpg", quality=30)) < len(encode(picture, ".jpg", quality=95))


@pytest.mark.parametrize(("suffix", "quality"), [(".gif", 90), ("", 90), (".jpg", 0), (".png", 101)])
def test_what_cannot_be_written_is_refused_by_name(picture, suffix, quality):
    with pytest.raises(ImageError, match="smooth"):
        encode(picture, suffix, quality=quality)


def test_a_side_that_jpeg_cannot_hold(tmp_path):
    with pytest.raises(ImageError, match="JPEG"):
        encode(Image(np.zeros((1, 70_000, 3), np.uint8)), ".jpg")
