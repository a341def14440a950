"""Two portraits that installed packages ship, and what everyday photos look like: for `mien demo` and `mien doctor`."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import NotFoundError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["altered", "astronaut", "hopper", "side_by_side"]


def hopper() -> Path:
    """A portrait of Grace Hopper (public domain), shipped by matplotlib. Raises NotFoundError with the pip line."""
    return _shipped("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")


def astronaut() -> Path:
    """A portrait of Eileen Collins (public domain), shipped by scikit-image. Raises NotFoundError with the pip line."""
    return _shipped("skimage", "data/astronaut.png", distribution="scikit-image")


def altered(picture: Path) -> dict[str, tuple[str, bytes]]:
    """One picture as everyday life would change it: what was done, and file name and encoded bytes."""
    from PIL import Image, ImageEnhance, ImageOps

    with Image.open(picture) as opened:
        whole = opened.convert("RGB")
    turned = whole.getexif()
    turned[0x0112] = 6  # "the camera lay on its side: turn me a quarter clockwise to see me upright"
    return {
        "turned, with an EXIF tag": (
            "turned.jpg",
            _encoded(whole.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=turned.tobytes(), quality=90),
        ),
        "small (128 pixels high)": ("small.png", _encoded(_of_height(whole, 128), "PNG")),
        "mirrored": ("mirrored.webp", _encoded(ImageOps.mirror(whole), "WEBP", quality=85)),
        "dim (a quarter of the light)": (
            "dim.jpg",
            _encoded(ImageEnhance.Brightness(whole).enhance(0.25), "JPEG", quality=90),
        ),
        "recompressed (JPEG quality 10)": ("recompressed.jpg", _encoded(whole, "JPEG", quality=10)),
    }


def side_by_side(left: Path, right: Path) -> bytes:
    """Two pictures in one, as an encoded JPEG."""
    from PIL import Image

    parts = []
    for path in (left, right):
        with Image.open(path) as opened:
            parts.append(_of_height(opened.convert("RGB"), 512))
    both = Image.new("RGB", (sum(part.width for part in parts), 512))
    both.paste(parts[0], (0, 0))
    both.paste(parts[1], (parts[0].width, 0))
    return _encoded(both, "JPEG", quality=92)


def _shipped(package: str, file: str, *, distribution: str | None = None) -> Path:
    spec = importlib.util.find_spec(package)  # finds the folder without running the package
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, file)
        if path.is_file():
            return path
    name = distribution or package
    raise NotFoundError(
        f"{file}: expected in the package {name}; install it with: pip install --force-reinstall {name}"
    )


def _of_height(image: Image.Image, height: int) -> Image.Image:
    from PIL import Image

    return image.resize((round(image.width * height / image.height), height), Image.Resampling.LANCZOS)


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401 - the encoder's own options
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
