"""What the verbs that compare faces of whole folders share: the model, its calibration, and the folders embedded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.criterion import calibration_in
from mien.cli.inputs import make_recognizer
from mien.cli.output import progress, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mien.match import Calibration
    from mien.prepare.embedding import PeopleFolder
    from mien.recognizer import Recognizer

__all__ = ["Cached", "embedded_folders", "faces_found_by", "model_for"]

Cached = Annotated[
    bool, typer.Option("--cache/--no-cache", help="Keep embeddings in the user's cache, and look them up there.")
]


def model_for(  # noqa: PLR0917
    preset: str | None,
    model: str | None,
    detector: str | None,
    licence: str | None,
    min_face: float | None,
    calibration: Path | None,
    *,
    cached: bool,
) -> tuple[Recognizer, Calibration, str | None]:
    """The recognizer, what its scores mean, and by what its embeddings are cached; None to keep none.

    Raises:
        InputError: an option makes no sense, or the model has no calibration.
    """
    from mien.match import calibration_for

    recognizer = make_recognizer(preset or "fast", min_face, model=model, detector=detector, licence=licence)
    chosen = calibration_in(calibration) or calibration_for(recognizer.identity)
    chosen.need_for(recognizer.identity)
    return recognizer, chosen, faces_found_by(detector, min_face) if cached else None


def faces_found_by(detector: str | None, min_face: float | None) -> str:
    """Everything about finding faces that decides which embeddings come out: what they are cached by."""
    from mien.models import catalogue

    card = catalogue.get(detector or catalogue.DEFAULT_DETECTOR)
    settings = "" if min_face is None else f"smallest face {min_face:g}"  # as `mien evaluate`: they share the cache
    return repr((card.name, [(file.name, file.sha256) for file in card.files], settings))


def embedded_folders(folders: Sequence[Path], recognizer: Recognizer, found_by: str | None) -> list[PeopleFolder]:
    """Folders of people, embedded under a progress bar; broken pictures are named on stderr."""
    from mien.prepare.embedding import embed_people
    from mien.prepare.people import read_people

    known = [read_people(folder) for folder in folders]
    total = sum(len(pictures) for people in known for _, pictures in people)
    with progress(total, "Looking at pictures") as advance:
        done = [
            embed_people(folder, recognizer, people=people, found_by=found_by, advance=advance)
            for folder, people in zip(folders, known, strict=True)
        ]
    for folder in done:
        for error in folder.errors():
            say(f"{error['source']}: {error['error']}", label="skipped:")
    return done
