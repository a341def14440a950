"""Broken and hostile pictures, made on the spot: a kind is a function from an empty folder to a source for `decode`."""

from __future__ import annotations

import errno
import io
import os
import pickle
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image as Pillow

Make = Callable[[Path], object]

BROKEN: dict[str, Make] = {}
"""Kind to maker; `decode` must refuse each."""

ODD: dict[str, Make] = {}
"""Kind to maker; strange, hostile in parts, and still a picture: `decode` must deliver each."""


def noise(height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def encoded(kind: str, image: Pillow.Image | None = None, **options) -> bytes:
    image = Pillow.fromarray(noise()) if image is None else image
    out = io.BytesIO()
    if kind == "HEIF":
        pillow_heif.from_pillow(image).save(out, quality=90)
    else:
        image.save(out, kind, **options)
    return out.getvalue()


def in_file(kind: str, name: str, make: Callable[[], bytes], into: dict[str, Make] = BROKEN) -> None:
    """Register bytes that are to lie in a file."""

    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(make())
        return path

    into[kind] = write


def broken(kind: str) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        BROKEN[kind] = make
        return make

    return register


# Cut short ----------------------------------------------------------------------------------------------------------

FORMATS = {
    "jpeg": ("JPEG", {"quality": 90}),
    "progressive jpeg": ("JPEG", {"quality": 90, "progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "gif": ("GIF", {}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "lzw tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "ppm": ("PPM", {}),
    "heic": ("HEIF", {}),
}
for label, (encoding, settings) in FORMATS.items():
    for share in (0.02, 0.3, 0.6, 0.95):

        def cut(encoding: str = encoding, settings: dict = settings, share: float = share) -> bytes:
            data = encoded(encoding, **settings)
            return data[: max(3, int(share * len(data)))]

        in_file(f"{label} cut at {share:.0%}", f"cut.{encoding.lower()}", cut)
in_file("jpeg without its last two bytes", "end.jpg", lambda: encoded("JPEG")[:-2])
in_file(
    "jpeg with zeros for its second half", "zeros.jpg", lambda: (d := encoded("JPEG"))[: len(d) // 2] + bytes(len(d))
)
in_file("png without its last chunk", "end.png", lambda: encoded("PNG")[:-12])

# Not a picture ------------------------------------------------------------------------------------------------------


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.jpg", encoded("JPEG"))
    return out.getvalue()


class _Boom:
    def __reduce__(self):
        return os.mkdir, ("executed-by-pickle",)


in_file("empty file", "empty.jpg", bytes)
in_file("text file", "text.jpg", lambda: b"just some words\n")
in_file("web page named jpg", "page.jpg", lambda: b"<!DOCTYPE html><html><body>404</body></html>")
in_file("zip named jpg", "zip.jpg", zipped)
in_file("pickle named png", "pickle.png", lambda: pickle.dumps(_Boom()))
in_file("pdf named jpg", "pdf.jpg", lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n")
in_file("svg named png", "svg.png", lambda: b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>')
in_file(
    "postscript", "ps.jpg", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch owned) (w) file\n"
)
in_file("gzip", "gz.jpg", lambda: b"\x1f\x8b\x08" + bytes(40))
in_file("video", "mp4.jpg", lambda: b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(100))
in_file("zeros", "zeros.png", lambda: bytes(4096))
in_file("random bytes", "random.jpg", lambda: np.random.default_rng(1).bytes(5000))
in_file("icon, a format not on the list", "icon.ico", lambda: encoded("ICO"))

# Bombs: headers that announce far more than the limit ---------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int = 8, colour: int = 2, *chunks: bytes, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def idat(rows: bytes) -> bytes:
    return chunk(b"IDAT", zlib.compress(rows, 9))


def tiff(*entries: tuple[int, int, int, int], following: int = 0, tail: bytes = b"") -> bytes:
    """A little-endian TIFF of one directory; entries are (tag, type, count, value)."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", following) + tail


def tiff_of(width: int, height: int, **changed: int) -> bytes:
    strips = {"strip": 200, "bytes": 300, "compression": 1, "rows": height, **changed}
    return tiff(
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, strips["compression"]),
        (262, 3, 1, 1),
        (273, 4, 1, strips["strip"]),
        (277, 3, 1, 1),
        (278, 4, 1, strips["rows"]),
        (279, 4, 1, strips["bytes"]),
        tail=bytes(2000),
    )


def webp_canvas(width: int, height: int) -> bytes:
    body = (
        b"VP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
    body += encoded("WEBP")[12:]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def patched(data: bytes, at: int, by: bytes) -> bytes:
    return data[:at] + by + data[at + len(by) :]


def jpeg_sized(width: int, height: int) -> bytes:
    data = encoded("JPEG")
    return patched(data, data.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))


def heic_sized(width: int, height: int) -> bytes:
    data = encoded("HEIF")
    return patched(data, data.index(b"ispe") + 8, struct.pack(">II", width, height))


in_file("png bomb by its header", "bomb.png", lambda: png(60000, 60000, 8, 2, idat(bytes(1000))))
in_file("png bomb in truth", "truth.png", lambda: png(30000, 30000, 1, 0, idat(bytes(3751 * 30000))))
in_file("png of two thousand million columns", "wide.png", lambda: png(0x7FFFFFFF, 1, 8, 2, idat(bytes(10))))
in_file("jpeg bomb", "bomb.jpg", lambda: jpeg_sized(65500, 65500))
in_file("gif bomb by its screen", "bomb.gif", lambda: patched(encoded("GIF"), 6, b"\xff\xff\xff\xff"))
in_file(
    "gif bomb by its frame",
    "frame.gif",
    lambda: patched(d := encoded("GIF"), d.index(b"\x2c", 13 + 768) + 5, b"\xff" * 4),
)
in_file("webp bomb by its canvas", "bomb.webp", lambda: webp_canvas(16384, 16384))
in_file("webp bomb beyond any canvas", "huge.webp", lambda: webp_canvas(1 << 24, 1 << 24))
in_file(
    "lossless webp bomb",
    "bombl.webp",
    lambda: patched(encoded("WEBP", lossless=True), 21, struct.pack("<I", 16383 | 16383 << 14)),
)
in_file("tiff bomb", "bomb.tif", lambda: tiff_of(100000, 100000))
in_file("bmp bomb", "bomb.bmp", lambda: patched(encoded("BMP"), 18, struct.pack("<ii", 0x7FFFFFF0, 0x7FFFFFF0)))
in_file("bmp of negative width", "neg.bmp", lambda: patched(encoded("BMP"), 18, struct.pack("<i", -80)))
in_file("pgm bomb", "bomb.pgm", lambda: b"P5\n99999999 99999999\n255\n" + bytes(100))
in_file("heic bomb", "bomb.heic", lambda: heic_sized(60000, 60000))

in_file(
    "png with a text bomb",
    "text.png",
    lambda: png(8, 8, 8, 0, idat(bytes(72)), chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(300_000_000), 1))),
)
in_file(
    "png with a colour profile bomb",
    "icc.png",
    lambda: png(8, 8, 8, 0, chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(300_000_000), 1)), idat(bytes(72))),
)

# Damaged inside -----------------------------------------------------------------------------------------------------


def flipped(data: bytes, at: int) -> bytes:
    return patched(data, at, bytes([data[at] ^ 0x55]))


def without(data: bytes, marker: bytes) -> bytes:
    """A JPEG without its segments of one marker."""
    while (at := data.find(marker)) >= 0:
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    return data


rows = bytes(60 * (1 + 80 * 3))
in_file("png with a wrong header checksum", "crc1.png", lambda: flipped(encoded("PNG"), 30))
in_file("png with a wrong pixel checksum", "crc2.png", lambda: flipped(encoded("PNG"), len(encoded("PNG")) - 14))
in_file("png with one wrong pixel byte", "crc3.png", lambda: flipped(encoded("PNG"), 5000))
in_file("png of width zero", "zero.png", lambda: png(0, 60, 8, 2, idat(rows)))
in_file("png of height zero", "zeroh.png", lambda: png(80, 0, 8, 2, idat(rows)))
in_file("png without pixels", "none.png", lambda: png(80, 60))
in_file("png with too few rows", "few.png", lambda: png(80, 60, 8, 2, idat(rows[:5000])))
in_file("png whose pixels are not zlib", "zlib.png", lambda: png(80, 60, 8, 2, chunk(b"IDAT", b"not zlib at all" * 9)))
in_file("png of three bits", "three.png", lambda: png(80, 60, 3, 2, idat(rows)))
in_file("png of colour type nine", "nine.png", lambda: png(80, 60, 8, 9, idat(rows)))
in_file("png with a chunk longer than the file", "long.png", lambda: png(80, 60)[:33] + b"\x7f\xff\xff\xffIDATabc")
in_file("png of a bad filter", "filter.png", lambda: png(80, 60, 8, 2, idat(b"\x09" + rows[1:])))
in_file("png with a bad palette", "plte.png", lambda: png(8, 8, 8, 3, chunk(b"PLTE", b"ab"), idat(bytes(50))))
in_file("jpeg of two bytes", "two.jpg", lambda: b"\xff\xd8\xff")
in_file("jpeg of garbage", "garbage.jpg", lambda: b"\xff\xd8\xff\xe0" + np.random.default_rng(2).bytes(3000))
in_file("jpeg without quantisation tables", "dqt.jpg", lambda: without(encoded("JPEG"), b"\xff\xdb"))
in_file("jpeg without a frame header", "sof.jpg", lambda: without(encoded("JPEG"), b"\xff\xc0"))
in_file("jpeg of height zero", "zero.jpg", lambda: jpeg_sized(80, 0))
in_file("jpeg whose segment passes the end", "seg.jpg", lambda: b"\xff\xd8\xff\xe1\xff\xffExif\0\0")
in_file("jpeg whose segment has no length", "len.jpg", lambda: b"\xff\xd8\xff\xe1\0\0" + encoded("JPEG")[2:])
in_file("jpeg of fill bytes only", "fill.jpg", lambda: b"\xff\xd8" + b"\xff" * 100000)
in_file("jpeg with arithmetic coding by name", "sof9.jpg", lambda: encoded("JPEG").replace(b"\xff\xc0", b"\xff\xcb"))
in_file("gif without a frame", "none.gif", lambda: b"GIF89a\x50\0\x3c\0\0\0\0;")
in_file("gif of bad codes", "lzw.gif", lambda: b"GIF89a\x50\0\x3c\0\0\0\0,\0\0\0\0\x50\0\x3c\0\0\x0d\x03abc\0;")
in_file("webp with a broken chunk", "chunk.webp", lambda: patched(encoded("WEBP"), 20, b"\xff" * 40))
in_file("webp of a header only", "head.webp", lambda: b"RIFF\x04\0\0\0WEBP")
in_file("tiff directory that is its own follower, without a picture", "loop.tif", lambda: tiff(following=8))
in_file("tiff directory beyond the file", "far.tif", lambda: b"II*\0\xff\xff\xff\x7f")
in_file("tiff with a tag of four thousand million values", "count.tif", lambda: tiff((256, 4, 0xFFFFFFFF, 8)))
in_file("tiff of an unknown compression", "comp.tif", lambda: tiff_of(10, 10, compression=4711))
in_file("tiff of size zero", "zero.tif", lambda: tiff_of(0, 0))
in_file("tiff whose strip lies beyond the file", "strip.tif", lambda: tiff_of(10, 10, strip=99999999))
in_file("tiff whose packed strip is too short", "short.tif", lambda: tiff_of(60, 60, compression=5, bytes=3))
in_file("pgm without numbers", "nan.pgm", lambda: b"P5\nabc def\n255\n")
in_file("pgm of a depth of zero", "zero.pgm", lambda: b"P5\n8 8\n0\n" + bytes(64))
in_file("pgm in letters, too short", "plain.pgm", lambda: b"P2\n8 8\n255\n1 2 3\n")
in_file("bmp of three bits", "bits.bmp", lambda: patched(encoded("BMP"), 28, b"\3\0"))
in_file("heic with broken boxes", "boxes.heic", lambda: patched(encoded("HEIF"), 24, b"\xff" * 64))

# Places that hold no file -------------------------------------------------------------------------------------------


@broken("folder")
def _folder(folder: Path) -> Path:
    (folder / "folder.jpg").mkdir()
    return folder / "folder.jpg"


@broken("missing file")
def _missing(folder: Path) -> Path:
    return folder / "missing é.jpg"


@broken("file in a missing folder")
def _missing_folder(folder: Path) -> str:
    return str(folder / "nowhere" / "a.jpg")


@broken("file used as a folder")
def _file_as_folder(folder: Path) -> Path:
    (folder / "file").write_bytes(b"x")
    return folder / "file" / "a.jpg"


@broken("dangling link")
def _dangling(folder: Path) -> Path:
    (folder / "dangling.jpg").symlink_to(folder / "gone.jpg")
    return folder / "dangling.jpg"


@broken("links in a circle")
def _circle(folder: Path) -> Path:
    (folder / "one.jpg").symlink_to(folder / "two.jpg")
    (folder / "two.jpg").symlink_to(folder / "one.jpg")
    return folder / "one.jpg"


if hasattr(os, "mkfifo"):

    @broken("named pipe")
    def _fifo(folder: Path) -> Path:
        os.mkfifo(folder / "pipe.jpg")
        return folder / "pipe.jpg"

    @broken("device")
    def _device(folder: Path) -> Path:
        (folder / "zero.jpg").symlink_to("/dev/zero")
        return folder / "zero.jpg"


if hasattr(socket, "AF_UNIX"):

    @broken("socket")
    def _socket(folder: Path) -> Path:
        here = Path.cwd()
        os.chdir(folder)  # a socket's address may have 108 bytes only
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind("socket.jpg")
        finally:
            os.chdir(here)
        return folder / "socket.jpg"


if hasattr(os, "geteuid") and os.geteuid() != 0:  # nothing is forbidden to root

    @broken("no permission")
    def _forbidden(folder: Path) -> Path:
        path = folder / "forbidden.jpg"
        path.write_bytes(encoded("JPEG"))
        path.chmod(0)
        return path


in_file("sparse file of a terabyte", "sparse.jpg", bytes)
make_sparse = BROKEN["sparse file of a terabyte"]


@broken("sparse file of a terabyte")
def _sparse(folder: Path) -> object:
    path = make_sparse(folder)
    try:
        os.truncate(path, 1 << 40)
    except OSError as error:  # some file systems know no such sizes
        if error.errno not in (errno.EFBIG, errno.EINVAL, errno.ENOSPC):
            raise
    return path


for name, text in {
    "http URL": "http://127.0.0.1:9/a.jpg",
    "https URL": "HTTPS://example.org/a.jpg",
    "file URL": "file:///etc/hostname",
    "short file URL": "file:a.jpg",
    "data URL": "data:image/png;base64,iVBORw0KGgo=",
    "ftp URL": "ftp://example.org/a.jpg",
    "path with a NUL": "a\0b.jpg",
    "path that is too long": "a" * 5000 + ".jpg",
    "path of too many folders": "a/" * 5000 + ".jpg",
    "path with a lone surrogate": "\ud800.jpg",
    "empty path": "",
    "path of a space": " ",
}.items():
    BROKEN[name] = lambda _, text=text: text

# Objects ------------------------------------------------------------------------------------------------------------


class _Failing(io.RawIOBase):
    def read(self, size=-1):
        raise OSError(errno.EIO, "the disk is on fire")


class _Rude:
    def read(self, size):
        raise KeyError("what")


class _Liar:
    def read(self, size):
        return 42


class _Endless:
    def read(self, size):
        return bytes(size)


@broken("file open as text")
def _text_mode(folder: Path) -> object:
    (folder / "mode.jpg").write_text("words", encoding="utf-8")
    with (folder / "mode.jpg").open(encoding="utf-8") as file:
        return io.StringIO(file.read())


@broken("closed file")
def _closed(folder: Path) -> object:
    (folder / "closed.jpg").write_bytes(encoded("JPEG"))
    with (folder / "closed.jpg").open("rb") as file:
        return file


@broken("closed Pillow image")
def _closed_image(folder: Path) -> object:
    image = Pillow.fromarray(noise())
    image.close()
    return image


@broken("Pillow image of a truncated file")
def _lazy_image(folder: Path) -> object:
    return Pillow.open(io.BytesIO(encoded("PNG")[:5000]))


@broken("released memory")
def _released(folder: Path) -> object:
    view = memoryview(encoded("PNG"))
    view.release()
    return view


OBJECTS: dict[str, Callable[[], object]] = {
    "failing file": _Failing,
    "file that raises KeyError": _Rude,
    "file that returns a number": _Liar,
    "endless file": _Endless,
    "empty file object": io.BytesIO,
    "empty bytes": bytes,
    "empty bytearray": bytearray,
    "None": lambda: None,
    "number": lambda: 3,
    "list of numbers": lambda: [[1, 2], [3, 4]],
    "float array with NaN": lambda: np.full((8, 8, 3), np.nan),
    "float array with one NaN": lambda: np.where(np.arange(64).reshape(8, 8) == 9, np.nan, 0.5),
    "float array with infinity": lambda: np.full((8, 8), np.inf, np.float32),
    "float array up to 255": lambda: np.full((8, 8, 3), 255.0),
    "negative float array": lambda: np.full((8, 8, 3), -0.5),
    "array of int64": lambda: np.zeros((8, 8, 3), np.int64),
    "array of bool": lambda: np.zeros((8, 8), bool),
    "array of objects": lambda: np.empty((8, 8, 3), object),
    "array of complex": lambda: np.zeros((8, 8, 3), complex),
    "array of one dimension": lambda: np.zeros(64, np.uint8),
    "array of four dimensions": lambda: np.zeros((1, 8, 8, 3), np.uint8),
    "array of no dimension": lambda: np.array(7, np.uint8),
    "array, channels first": lambda: np.zeros((3, 8, 8), np.uint8),
    "array of two channels": lambda: np.zeros((8, 8, 2), np.uint8),
    "array of nothing": lambda: np.zeros((0, 8, 3), np.uint8),
    "array beyond the limit": lambda: np.broadcast_to(np.uint8(0), (1 << 20, 1 << 20, 3)),
    "32-bit grey Pillow image": lambda: Pillow.fromarray(np.full((8, 8), 1 << 20, np.int32)),
    "float Pillow image beyond 1": lambda: Pillow.fromarray(np.full((8, 8), 77.0, np.float32)),
}
for name, build in OBJECTS.items():
    BROKEN[name] = lambda _, build=build: build()

# Strange, and still pictures ----------------------------------------------------------------------------------------


def with_exif(block: bytes) -> bytes:
    return encoded("JPEG", exif=b"Exif\0\0" + block)


def entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", tag, kind, count, value)


EXIF = {
    "is empty": b"",
    "is half a header": b"II*",
    "is noise": np.random.default_rng(3).bytes(500),
    "points at itself": b"II*\0" + struct.pack("<IH", 8, 1) + entry(0x8769, 4, 1, 8) + struct.pack("<I", 8),
    "announces 65535 entries": b"II*\0" + struct.pack("<IH", 8, 65535) + entry(0x100, 3, 0xFFFFFFFF, 0xFFFFFFFF),
    "begins beyond its end": b"MM\0*\xff\xff\xff\xff",
    "turns by 99": b"II*\0" + struct.pack("<IH", 8, 1) + entry(0x112, 3, 1, 99) + bytes(4),
    "turns by text": b"II*\0" + struct.pack("<IH", 8, 1) + entry(0x112, 2, 4, 0x41414141) + bytes(4),
}
for name, block in EXIF.items():
    in_file(f"jpeg whose EXIF {name}", f"exif {name}.jpg", lambda block=block: with_exif(block), ODD)
one = Pillow.new("RGB", (1, 1), (9, 8, 7))
for label, (encoding, settings) in FORMATS.items():
    if encoding != "HEIF":
        in_file(
            f"{label} of one pixel",
            f"one {label}.{encoding.lower()}",
            lambda encoding=encoding, settings=settings: encoded(encoding, one, **settings),
            ODD,
        )
in_file("png a pixel high and 60000 wide", "thin.png", lambda: encoded("PNG", Pillow.new("RGB", (60000, 1))), ODD)
in_file("jpeg a pixel wide and 65000 high", "tall.jpg", lambda: encoded("JPEG", Pillow.new("RGB", (1, 65000))), ODD)
in_file("jpeg followed by other data", "tail.jpg", lambda: encoded("JPEG") + b"\xff\xd8trailer" * 99, ODD)
in_file("jpeg with a wrong suffix", "jpeg.png", lambda: encoded("JPEG"), ODD)
in_file(
    "jpeg without huffman tables: the standard ones hold", "dht.jpg", lambda: without(encoded("JPEG"), b"\xff\xc4"), ODD
)
in_file("jpeg without a suffix", "jpeg", lambda: encoded("JPEG"), ODD)
in_file(
    "png whose indices pass its palette",
    "index.png",
    lambda: png(8, 8, 8, 3, chunk(b"PLTE", b"abc"), idat(bytes([0, *[200] * 8]) * 8)),
    ODD,
)


def make_all(kinds: dict[str, Make], folder: Path) -> list[tuple[str, object]]:
    """Make every kind, each in a folder of its own under `folder`."""
    made = []
    for i, (kind, make) in enumerate(kinds.items()):
        place = folder / f"{i:03}"
        place.mkdir()
        made.append((kind, make(place)))
    return made
