"""Options that several verbs share, and what they turn into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.output import printable, say
from mien.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.recognizer import Recognizer

__all__ = [
    "DetectorName",
    "LicenceUse",
    "MinFace",
    "ModelName",
    "Photos",
    "PresetName",
    "Upright",
    "make_recognizer",
    "people_in",
    "photos_in",
]

# Not readable: typer would refuse them all for one that cannot be read; that one is reported when its turn comes.
Photos = Annotated[list[Path], typer.Argument(readable=False, help="Photos, or folders of photos.", show_default=False)]
PresetName = Annotated[
    str | None, typer.Option("--preset", help="fast or accurate (the model's default when not given).")
]
MinFace = Annotated[
    float | None,
    typer.Option("--min-face", help="Smallest face to look for: pixels, or a fraction of the shorter side (below 1)."),
]
ModelName = Annotated[
    str | None, typer.Option("--model", help="Embedder: a name from `mien models list`, or a card's path.")
]
DetectorName = Annotated[
    str | None, typer.Option("--detector", help="Detector: a name from `mien models list`, or a card's path.")
]
LicenceUse = Annotated[
    str | None, typer.Option("--licence", help="commercial: refuse models whose licence forbids commercial use.")
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


def people_in(folder: Path) -> list[tuple[str, list[Path]]]:
    """Who is in a folder of people, and their pictures; a person of several sub-folders is named on stderr.

    Those may be the people, and `folder` one level too high: nothing else would tell that several people became one.

    Raises:
        NotFoundError: there is no such folder.
        InputError: it cannot be read, or a name in it cannot be a person's.
    """
    from mien.images import people_of

    people = people_of(folder)
    for name, pictures in people:
        deeper = sorted({p.parent for p in pictures if len(p.relative_to(folder).parts) > 2})
        if len(deeper) > 1:
            where = f"{len(deeper)} sub-folders such as {deeper[0]}"
            say(printable(f"{name}: the pictures of {where} are taken as one person's"), label="note:")
    return people


def make_recognizer(
    preset: str | None = None,
    min_face: float | None = None,
    *,
    upright: bool = False,
    confidence: float | None = None,
    model: str | None = None,
    detector: str | None = None,
    licence: str | None = None,
    workers: int | None = None,
) -> Recognizer:
    """The recognizer that the options describe; its models are loaded when they are needed.

    Raises:
        InputError: an option makes no sense, or the preset does not exist.
        NotFoundError: there is no such model.
        LicenceError: a model's licence forbids the use.
    """
    from mien.cli.parts import detector_maker, embedder_maker
    from mien.recognizer import DEFAULT_PRESET, Recognizer

    name = preset or DEFAULT_PRESET
    if name not in ("fast", "accurate"):
        raise InputError(f"--preset: expected fast or accurate, got {name!r}")
    _check_min_face(min_face)
    if confidence is not None and not 0 <= confidence <= 1:
        raise InputError(f"--confidence: expected a number from 0 to 1, got {confidence}")
    make_detector = detector_maker(detector, licence, min_face=min_face, confidence=confidence)
    return Recognizer(
        name,  # type: ignore[arg-type]  # checked above
        min_face=None if make_detector else min_face,
        confidence=None if make_detector else confidence,
        upright=upright,
        workers=workers,
        detector=make_detector,
        embedder=embedder_maker(model, licence, name),
    )


def _check_min_face(min_face: float | None) -> None:
    if min_face is not None and not min_face > 0:
        raise InputError(f"--min-face: expected a positive number, got {min_face}")
