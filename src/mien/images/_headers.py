"""What a picture's first bytes say: its format, and for JPEG and WebP its size, before any decoder sees it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from mien.images._orientation import EXIF_HEADER, exif_orientation

__all__ = ["Format", "JpegHeader", "foreign_kind", "picture_format", "png_fault", "read_jpeg_header", "webp_size"]

Format: TypeAlias = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "HEIF"]

_HEIF_BRANDS: Final = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")
_SIGNATURES: Final[tuple[tuple[bytes, Format], ...]] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_FOREIGN: Final = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript file"),
    (b"\x1f\x8b", "gzip data"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"8BPS", "a Photoshop file"),
)


def picture_format(data: bytes) -> Format | None:
    """Return the format that the first bytes announce, or None for one that mien does not read."""
    for signature, known in _SIGNATURES:
        if data.startswith(signature):
            return known
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "PPM"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "HEIF"
    return None


def foreign_kind(data: bytes) -> str:
    """Describe bytes that are no picture, for an error message."""
    for signature, kind in _FOREIGN:
        if data.startswith(signature):
            return kind
    if data[4:8] == b"ftyp":
        return "an AVIF picture" if data[8:12] in (b"avif", b"avis") else "a video"
    if data[:1] == b"\x80" and data[1:2] in b"\2\3\4\5":
        return "a Python pickle"
    head = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if b"<svg" in head:
        return "an SVG drawing"
    if head and all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return "text"
    return "of no known kind"


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What precedes a JPEG's pixels.

    Attributes:
        size: (width, height) as stored.
        components: colour components: 1 grey, 3 colour, 4 CMYK.
        orientation: EXIF orientation, 1 to 8.
        complete: whether the end-of-image marker is there.
    """

    size: tuple[int, int]
    components: int
    orientation: int
    complete: bool


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """Walk a JPEG's segments up to its pixels; None when they are damaged.

    Entropy-coded data cannot hold the bytes FF D9, so the first such pair after the pixels begin is the end-of-image
    marker; a thumbnail's own marker lies before that point and does not deceive.
    """
    size, components, orientation, at = (0, 0), 0, 0, 2
    last = len(data) - 4  # where a segment may begin
    while at <= last and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD7:  # fill bytes and bare markers
            at += 1 if marker == 0xFF else 2
            continue
        length = data[at + 2] << 8 | data[at + 3]
        if marker == 0xDA:
            return JpegHeader(size, components, orientation or 1, data.find(b"\xff\xd9", at + 2 + length) >= 0)
        if marker in (0xD8, 0xD9) or length < 2:
            return None
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and length >= 8 and not components:
            height, width = (int.from_bytes(data[at + i : at + i + 2], "big") for i in (5, 7))
            size, components = (width, height), data[at + 9] if at + 9 < len(data) else 0
        elif marker == 0xE1 and not orientation and data.startswith(EXIF_HEADER, at + 4):
            orientation = exif_orientation(data[at + 4 : at + 2 + length])
        at += 2 + length
    return None


def png_fault(data: bytes) -> str | None:
    """Return what is wrong with a PNG's chunks, or None: all there to the end, the critical ones with right checksums.

    Pillow skips the checksums of the pixels, and shows a picture whose end is missing if its rows happen to be whole.
    """
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            break
        # A capital first letter marks a chunk without which the picture cannot be shown.
        if kind[:1].isupper() and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return f"the checksum of its {kind.decode('latin-1')!r} chunk is wrong"
        if kind == b"IEND":
            return None
        at = end
    return "its end is missing"


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Return the (width, height) of a WebP picture's canvas, or None when its first chunk is damaged.

    Pillow's WebP reader allocates the whole canvas when it opens a file, so its word comes too late for a limit.
    """
    chunk, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if chunk == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return None
