"""Every format, colour kind, orientation and source comes out as the same upright RGB."""

from __future__ import annotations

import io
import struct
import unicodedata
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from mien.errors import ImageError, ImageTooLargeError, MissingExtraError
from mien.images import decode, source_name
from mien.types import Image


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """Smooth, so that lossy formats keep it, and different in every corner."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack(
        [x * 255 // (width - 1), y * 255 // (height - 1), 255 - (x + y) * 255 // (height + width)], -1
    ).astype(np.uint8)


def encoded(kind: str, image: Pillow.Image | np.ndarray | None = None, **options) -> bytes:
    image = picture() if image is None else image
    image = Pillow.fromarray(image) if isinstance(image, np.ndarray) else image
    out = io.BytesIO()
    if kind == "HEIF":
        pillow_heif.from_pillow(image).save(out, **{"quality": 95, **options})
    else:
        image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation: int) -> bytes:
    tags = Pillow.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def near(got: np.ndarray, want: np.ndarray, mean: float = 3) -> None:
    assert got.shape == want.shape
    assert np.abs(got.astype(int) - want).mean() <= mean


LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {"compression": "tiff_lzw"}, "PPM": {}, "WEBP": {"lossless": True}}
LOSSY = {"JPEG": {"quality": 95}, "WEBP": {"quality": 95}, "HEIF": {}, "GIF": {}}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_are_exact(kind):
    np.testing.assert_array_equal(decode(encoded(kind, **LOSSLESS[kind])).pixels, picture())


def test_a_path_that_wants_the_bytes_gets_them_and_no_other_does(tmp_path):
    class Seen:
        def __init__(self, path):
            self.path, self.contents = path, []

        def __fspath__(self):
            return str(self.path)

        def see(self, content, status):
            assert status.st_size == len(content)
            self.contents.append(content)

    for name, content in (("good.png", encoded("PNG")), ("bad.png", b"no picture")):
        (tmp_path / name).write_bytes(content)
    good, bad, gone = (Seen(tmp_path / name) for name in ("good.png", "bad.png", "gone.png"))
    np.testing.assert_array_equal(decode(good).pixels, picture())
    for source in (bad, gone):
        with pytest.raises(ImageError):
            decode(source)
    assert (good.contents, bad.contents, gone.contents) == ([encoded("PNG")], [b"no picture"], [])


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_formats_are_near(kind):
    near(decode(encoded(kind, **LOSSY[kind])).pixels, picture(), mean=5 if kind == "GIF" else 3)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 20, "optimize": True}])
def test_jpeg_fast_path_equals_pillow(options):
    data = encoded("JPEG", **options)
    theirs = np.asarray(Pillow.open(io.BytesIO(data)))
    assert np.abs(decode(data).pixels.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF"])
def test_orientation_is_always_applied(kind, orientation):
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    data = encoded(kind, exif=exif(orientation), **options)
    stored = Pillow.fromarray(picture())
    stored.getexif()[0x0112] = orientation
    near(decode(data).pixels, np.asarray(ImageOps.exif_transpose(stored)))


def test_orientation_of_an_open_pillow_image_is_applied():
    near(decode(Pillow.open(io.BytesIO(encoded("JPEG", exif=exif(6), quality=95)))).pixels, np.rot90(picture(), -1))


def test_orientation_in_big_endian_and_as_long():
    block = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x06\0\0\0\0"
    near(decode(encoded("JPEG", exif=block, quality=95)).pixels, np.rot90(picture(), -1))


def test_png_orientation_after_the_pixels():
    """The eXIf chunk may stand behind the image data."""
    body = b"eXIf" + exif(3)[6:]
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    data = encoded("PNG")
    np.testing.assert_array_equal(decode(data[:-12] + chunk + data[-12:]).pixels, picture()[::-1, ::-1])


def test_bad_orientation_leaves_the_picture():
    for value in (0, 9, 77):
        near(decode(encoded("JPEG", exif=exif(value), quality=95)).pixels, picture())


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind):
    cmyk = Pillow.fromarray(picture()).convert("CMYK")
    near(decode(encoded(kind, cmyk, **({"quality": 98} if kind == "JPEG" else {}))).pixels, picture())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "PPM", "BMP", "GIF"])
def test_grey(kind):
    grey = picture()[..., 0]
    near(decode(encoded(kind, grey)).pixels, np.repeat(grey[..., None], 3, 2), mean=1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "BMP"])
def test_one_bit(kind):
    bits = picture()[..., 0] > 100
    got = decode(encoded(kind, Pillow.fromarray(bits))).pixels
    np.testing.assert_array_equal(got, np.repeat((bits * np.uint8(255))[..., None], 3, 2))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_keeps_its_upper_byte(kind):
    wide = picture()[..., 0].astype(np.uint16) * 256 + 99
    got = decode(encoded(kind, Pillow.fromarray(wide))).pixels
    near(got, np.repeat(picture()[..., :1], 3, 2), mean=0)


def test_sixteen_bit_rgb_png():
    import cv2  # writes what Pillow cannot

    wide = picture()[..., ::-1].astype(np.uint16) * 256 + 99
    np.testing.assert_array_equal(decode(cv2.imencode(".png", wide)[1].tobytes()).pixels, picture())


def test_float_tiff():
    grey = picture()[..., 0] / np.float32(255)
    np.testing.assert_array_equal(decode(encoded("TIFF", Pillow.fromarray(grey))).pixels[..., 1], picture()[..., 0])


def test_palette():
    palette = Pillow.fromarray(picture()).quantize(64)
    np.testing.assert_array_equal(decode(encoded("PNG", palette)).pixels, np.asarray(palette.convert("RGB")))


def on_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:] / 255
    return np.floor(rgba[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype(int)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_composited_on_white(kind):
    rgba = np.dstack([picture(), picture()[..., 0]])
    got = decode(encoded(kind, rgba, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))).pixels
    assert np.abs(got - on_white(rgba)).max() <= 1
    assert got[0, 0].tolist() == [255, 255, 255]


def test_grey_alpha_and_transparent_colours():
    la = Pillow.merge("LA", [Pillow.fromarray(picture()[..., 1]), Pillow.fromarray(picture()[..., 0])])
    rgba = np.dstack([np.repeat(picture()[..., 1:2], 3, 2), picture()[..., 0]])
    assert np.abs(decode(encoded("PNG", la)).pixels - on_white(rgba)).max() <= 1
    flat = np.zeros((4, 4, 3), np.uint8)
    flat[:2] = (10, 20, 30)
    got = decode(encoded("PNG", flat, transparency=(10, 20, 30))).pixels
    assert got[0, 0].tolist() == [255, 255, 255]
    assert got[3, 3].tolist() == [0, 0, 0]
    palette = Pillow.fromarray(flat).quantize(2)
    index = palette.getpixel((0, 0))
    for kind in ("PNG", "GIF"):
        got = decode(encoded(kind, palette, transparency=index)).pixels
        assert got[0, 0].tolist() == [255, 255, 255]
        assert got[3, 3].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "I", "F"]
)
def test_pillow_images_of_every_mode(mode):
    source = Pillow.fromarray(picture())
    base = source.convert({"PA": "P", "La": "LA", "RGBa": "RGBA"}.get(mode, mode))
    image = base.convert(mode)
    if mode == "I":
        image = image.point(lambda v: v * 256)
    elif mode == "F":
        image = Pillow.fromarray(np.asarray(image) / np.float32(255))
    got = decode(image)
    assert got.source == "<Image>"
    near(got.pixels, np.asarray(base.convert("RGB")), mean=2)


def test_bands_join_without_a_seam():
    """A picture of more than one conversion band (a million pixels), with alpha, palette and 16 bits."""
    big = np.asarray(Pillow.fromarray(picture()).resize((1500, 1600)))
    rgba = np.dstack([big, big[..., 0]])
    assert np.abs(decode(rgba).pixels - on_white(rgba)).max() <= 1
    assert np.abs(decode(Pillow.fromarray(rgba)).pixels - on_white(rgba)).max() <= 1
    palette = Pillow.fromarray(big).quantize(200)
    palette.info["transparency"] = 3
    want = on_white(np.asarray(palette.convert("RGBA")))
    np.testing.assert_array_equal(decode(palette).pixels, want)
    np.testing.assert_array_equal(decode(big.astype(np.uint16) << 8).pixels, big)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_first_frame_of_several(kind):
    first, second = Pillow.fromarray(picture()), Pillow.new("RGB", (64, 48))
    data = encoded(kind, first, save_all=True, append_images=[second])
    near(decode(data).pixels, picture(), mean=8)


def test_sources(tmp_path):
    data = encoded("PNG")
    path = tmp_path / "a b.png"
    path.write_bytes(data)
    with path.open("rb") as file:
        from_file = decode(file)
    assert from_file.source == str(path)
    for source, name in [
        (path, str(path)),
        (str(path), str(path)),
        (data, "<bytes>"),
        (bytearray(data), "<bytes>"),
        (memoryview(data), "<bytes>"),
        (io.BytesIO(data), "<BytesIO>"),
        (picture(), "<array>"),
        (picture()[:, ::-1][:, ::-1], "<array>"),
        (Pillow.fromarray(picture()), "<Image>"),
        (Image(picture(), "mine"), "mine"),
    ]:
        image = decode(source)
        np.testing.assert_array_equal(image.pixels, picture())
        assert image.pixels.flags.c_contiguous
        assert image.source == name == source_name(source)
        assert decode(source if not hasattr(source, "seek") else io.BytesIO(data), name="n").source in ("n", "mine")


def test_a_file_is_read_from_where_it_stands():
    file = io.BytesIO(b"header" + encoded("PNG"))
    file.seek(6)
    np.testing.assert_array_equal(decode(file).pixels, picture())


def test_short_reads_are_joined():
    class Dribble(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 100))

    np.testing.assert_array_equal(decode(Dribble(encoded("PNG"))).pixels, picture())


@pytest.mark.parametrize("name", ["Amélie Ångström.png", "王小明.png", "a b\tc.png", "%41 #?&.png", "'quoted\".png"])
def test_any_name_is_found_in_either_normal_form(tmp_path, name):
    for stored in ("NFC", "NFD"):
        folder = tmp_path / stored / unicodedata.normalize(stored, "dossier é")
        folder.mkdir(parents=True)
        (folder / unicodedata.normalize(stored, name)).write_bytes(encoded("PNG"))
        for asked in ("NFC", "NFD"):
            path = tmp_path / stored / unicodedata.normalize(asked, "dossier é") / unicodedata.normalize(asked, name)
            assert decode(path).source == str(path)


def test_mixed_normal_forms_are_found(tmp_path):
    folder = tmp_path / unicodedata.normalize("NFC", "é")
    folder.mkdir()
    (folder / unicodedata.normalize("NFD", "ö.png")).write_bytes(encoded("PNG"))
    decode(tmp_path / unicodedata.normalize("NFD", "é") / unicodedata.normalize("NFC", "ö.png"))


def test_relative_paths_and_links(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("real.png").write_bytes(encoded("PNG"))
    Path("link.jpg").symlink_to("real.png")
    assert decode("link.jpg").source == "link.jpg"  # the content decides, not the suffix


@pytest.mark.parametrize(
    ("array", "want"),
    [
        (picture()[..., 0], np.repeat(picture()[..., :1], 3, 2)),
        (picture()[..., :1], np.repeat(picture()[..., :1], 3, 2)),
        (picture().astype(np.uint16) << 8, picture()),
        (picture().astype(">u2") << 8, picture()),
        (picture() / 255.0, picture()),
        (picture() / np.float32(255), picture()),
        (np.dstack([picture(), np.full((48, 64), 255, np.uint8)]), picture()),
    ],
    ids=["grey", "grey-1", "uint16", "big-endian", "float64", "float32", "rgba"],
)
def test_arrays(array, want):
    np.testing.assert_array_equal(decode(array).pixels, want)


def test_contiguous_rgb_is_not_copied():
    array = picture()
    assert decode(array).pixels is array


def test_pixel_limit_counts_exactly():
    data = encoded("PNG")
    decode(data, max_pixels=48 * 64)
    for source in (data, encoded("JPEG"), encoded("WEBP"), encoded("HEIF"), picture(), Pillow.fromarray(picture())):
        with pytest.raises(ImageTooLargeError, match="64 x 48 pixels, expected at most 3071"):
            decode(source, max_pixels=48 * 64 - 1)


def test_byte_limit():
    data = encoded("PNG")
    decode(io.BytesIO(data), max_bytes=len(data))
    for source in (data, io.BytesIO(data)):
        with pytest.raises(ImageError, match="bytes"):
            decode(source, max_bytes=len(data) - 1)


def test_pillow_global_limit_is_not_ours(monkeypatch):
    """Pillow warns of large pictures by a setting of the process; our limit is our caller's."""
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 10)
    for kind in ("PNG", "GIF", "BMP", "PPM", "JPEG"):
        decode(encoded(kind))
    for kind in ("TIFF", "WEBP"):  # these readers ask for it; by default it lies beyond ours
        with pytest.raises(ImageTooLargeError, match="MAX_IMAGE_PIXELS"):
            decode(encoded(kind))


def test_heic_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(MissingExtraError, match=r'photo\.heic.*pip install "mien\[heic\]"'):
        decode(encoded("HEIF"), name="photo.heic")


def test_warning_filters_are_left_as_they_were():
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(decode, [encoded("PNG"), encoded("TIFF"), encoded("GIF")] * 20))
    assert warnings.filters == before


def test_threads_get_the_same_pixels():
    sources = [encoded(kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "HEIF", "BMP")] * 8
    want = [decode(source).pixels for source in sources]
    with ThreadPoolExecutor(4) as pool:
        for got, expected in zip(pool.map(decode, sources), want, strict=True):
            np.testing.assert_array_equal(got.pixels, expected)


def test_shipped_portraits(hopper, astronaut):
    for path in (hopper, astronaut):
        theirs = np.asarray(Pillow.open(path).convert("RGB"))
        np.testing.assert_array_equal(decode(path).pixels, theirs)


@pytest.mark.data
def test_real_photos_equal_pillow(mien_data):
    paths = sorted((mien_data / "photos" / "face_recognition").rglob("*.jp*g"))
    assert paths
    for path in paths:
        theirs = np.asarray(ImageOps.exif_transpose(Pillow.open(path)).convert("RGB"))
        assert np.abs(decode(path).pixels.astype(int) - theirs).max() <= 1
