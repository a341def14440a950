"""Options that several verbs share, and what they turn into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.engine import Engine
    from mien.recognizer import Recognizer

__all__ = ["MinFace", "Photos", "PresetName", "Upright", "make_detecting_engine", "make_recognizer", "photos_in"]

Photos = Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", show_default=False)]
PresetName = Annotated[
    str | None, typer.Option("--preset", help="fast or accurate (the model's default when not given).")
]
MinFace = Annotated[
    float | None,
    typer.Option("--min-face", help="Smallest face to look for: pixels, or a fraction of the shorter side (below 1)."),
]
Upright = Annotated[bool, typer.Option("--upright", help="Where no face is found, try the three other turns.")]


def photos_in(paths: Sequence[Path]) -> list[Path]:
    """The photos that the arguments name: files as they are, folders opened, each once, in a stable order.

    Raises:
        NotFoundError: a path does not exist.
        InputError: there is no photo at all.
    """
    from mien.images import list_images

    photos: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            photos |= dict.fromkeys(list_images(path))
        elif path.exists() or path.is_symlink():
            photos[path] = None
        else:
            raise NotFoundError(f"{path}: no such file or folder")
    if not photos:
        raise InputError(
            f"no pictures in {', '.join(map(str, paths))}; expected JPEG, PNG, WebP, HEIC, BMP, TIFF or GIF"
        )
    return list(photos)


def make_recognizer(preset: str | None = None, min_face: float | None = None, *, upright: bool = False) -> Recognizer:
    """The recognizer that the options describe. Raises InputError for a preset that does not exist."""
    from mien.recognizer import DEFAULT_PRESET, Recognizer

    name = preset or DEFAULT_PRESET
    if name not in ("fast", "accurate"):
        raise InputError(f"--preset: expected fast or accurate, got {name!r}")
    _check_min_face(min_face)
    return Recognizer(name, min_face=min_face, upright=upright)  # type: ignore[arg-type]  # checked above


def make_detecting_engine(
    photos: int, min_face: float | None = None, *, upright: bool = False, confidence: float | None = None
) -> Engine:
    """An engine that only finds faces, in so many photos; no embedder is loaded. None for the detector's defaults."""
    from mien.detect import mtcnn
    from mien.engine import Engine
    from mien.models.session import available_cores

    _check_min_face(min_face)
    if confidence is not None and not 0 <= confidence <= 1:
        raise InputError(f"--confidence: expected a number from 0 to 1, got {confidence}")
    given = {"min_face": min_face, "confidence": confidence}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    # One photo: its networks use all cores. Many: one core a network, all cores over photos.
    threads, workers = (available_cores(), 1) if photos == 1 else (1, available_cores())
    return Engine(mtcnn.MTCNN(threads=threads, **options), None, workers=workers, upright=upright)


def _check_min_face(min_face: float | None) -> None:
    if min_face is not None and not min_face > 0:
        raise InputError(f"--min-face: expected a positive number, got {min_face}")
