"""The gallery that an option names, opened with a recognizer that fits it."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.criterion import calibration_in
from mien.cli.inputs import make_recognizer
from mien.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from mien.gallery import Gallery
    from mien.interfaces import Analyzer
    from mien.types import ModelIdentity

__all__ = ["FpirOption", "GalleryPath", "check_fpir", "open_gallery"]

GalleryPath = Annotated[Path, typer.Option("--gallery", "-g", envvar="MIEN_GALLERY", help="The file of known people.")]
FpirOption = Annotated[
    float | None,
    typer.Option(
        "--fpir",
        help="Share of strangers who may be named (0.001 unless given: one in a thousand).",
        show_default=False,
    ),
]


def open_gallery(
    path: Path,
    *,
    preset: str | None = None,
    min_face: float | None = None,
    upright: bool = False,
    model: str | None = None,
    detector: str | None = None,
    licence: str | None = None,
    create: bool = False,
    readonly: bool = False,
    calibration: Path | None = None,
) -> Gallery:
    """Open the gallery; its recognizer is made on first need, with the model and preset the gallery is bound to.

    `calibration` names a file of thresholds, in place of the shipped ones.

    Raises:
        InputError: the preset does not exist.
        NotFoundError: the file is missing and `create` is off; the message says how to make one.
        GalleryError: the file cannot be used.
    """
    from mien.gallery import Gallery

    if not create and not path.exists():
        raise NotFoundError(
            f"{path}: there is no gallery here; make one with: mien enrol people/ --gallery {quote(str(path))}"
        )

    def recognizer(identity: ModelIdentity | None) -> Analyzer:
        bound = (identity.preset, identity.name) if identity else (None, None)
        return make_recognizer(
            preset or bound[0],
            min_face,
            upright=upright,
            model=model or bound[1],
            detector=detector,
            licence=licence,
        )

    return Gallery.open(
        path, recognizer=recognizer, create=create, readonly=readonly, calibration=calibration_in(calibration)
    )


def check_fpir(fpir: float | None, threshold: float | None = None) -> float:
    """The rate to name at. Raises InputError when it is none, or when a threshold is given as well."""
    from mien.match import IDENTIFY_FPIR

    if fpir is None:
        return IDENTIFY_FPIR
    if threshold is not None:
        raise InputError("--fpir and --threshold: expected one of the two, got both")
    if not 0 < fpir < 1:
        raise InputError(f"--fpir: expected a rate between 0 and 1 (for example 0.001), got {fpir}")
    return fpir
