"""The gallery that an option names, opened with a recognizer that fits it."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.criterion import calibration_in
from mien.cli.inputs import make_recognizer
from mien.errors import GalleryFileError, GalleryModelError, InputError, MienError, NotFoundError

if TYPE_CHECKING:
    from mien.gallery import Gallery
    from mien.interfaces import Analyzer
    from mien.types import ModelIdentity

__all__ = [
    "DEFAULT_GALLERY",
    "FpirOption",
    "GalleryPath",
    "GroupOption",
    "KeyOption",
    "RuleOption",
    "bound_model",
    "check_fpir",
    "open_gallery",
    "shown_place",
]

DEFAULT_GALLERY = "people.db"

GalleryPath = Annotated[
    str,
    typer.Option(
        "--gallery", "-g", envvar="MIEN_GALLERY", help="The file of known people, or the URL of a server that has them."
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="MIEN_GALLERY_KEY",
        help="Master key of an encrypted gallery: file:PATH, env:NAME, keyring:SERVICE/USER or passphrase:NAME.",
    ),
]
GroupOption = Annotated[str | None, typer.Option("--group", help="Only people of this group.")]
RuleOption = Annotated[
    str, typer.Option("--rule", help="How somebody with several faces scores: blend, max, mean or top3.")
]
FpirOption = Annotated[
    float | None,
    typer.Option(
        "--fpir",
        help="Share of strangers who may be named (0.001 unless given: one in a thousand).",
        show_default=False,
    ),
]


def shown_place(place: str | Path, gallery: Gallery | None = None) -> str:
    """What a gallery is called in messages: never the password in its URL."""
    from mien.gallery.homes import is_url

    text = str(place)
    if not is_url(text):
        return text
    return text.partition("://")[0] + "://..." if gallery is None else gallery.home.source


def open_gallery(
    place: str | Path,
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
    key: str | None = None,
) -> Gallery:
    """Open the gallery; its recognizer is made on first need, with the model and preset the gallery is bound to.

    `calibration` names a file of thresholds, in place of the shipped ones.

    Raises:
        InputError: the preset does not exist.
        NotFoundError: the file is missing and `create` is off; the message says how to make one.
        GalleryError: the file cannot be used.
    """
    from mien.gallery import Gallery
    from mien.gallery.homes import is_url

    place = str(place)
    if not create and not is_url(place) and not Path(place).exists():
        raise NotFoundError(
            f"{place}: there is no gallery here; make one with: mien enrol people/ --gallery {quote(place)}"
        )

    def recognizer(identity: ModelIdentity | None) -> Analyzer:
        chosen = model or (bound_model(identity, shown_place(place)) if identity else None)
        return make_recognizer(
            preset or (identity.preset if identity else None),
            min_face,
            upright=upright,
            model=chosen,
            detector=detector,
            licence=licence,
        )

    try:
        return Gallery.open(
            place,
            recognizer=recognizer,
            create=create,
            readonly=readonly,
            calibration=calibration_in(calibration),
            key=key,
        )
    except GalleryFileError as error:
        if key is None and str(error).endswith("is encrypted; open it with its key"):
            raise GalleryFileError(f"{error}: --key file:PATH (or MIEN_GALLERY_KEY)") from error
        raise


def bound_model(identity: ModelIdentity, where: str, option: str = "--model") -> str:
    """The name, in the catalogue, of the model that made a gallery's embeddings.

    What a gallery's file says is only a name here, never a path that is opened: it may have come from anybody.

    Args:
        identity: what the gallery is bound to.
        where: the gallery, in messages.
        option: how the user names a model that the catalogue does not know.

    Raises:
        GalleryModelError: a model of somebody's own; the message holds the option to give, with the run's folder where
            it lies here.
    """
    from mien.models.catalogue import names

    if identity.name in names():
        return identity.name
    places = (Path("runs") / identity.name, Path(identity.name))
    here = next((place for place in places if _holds(place, identity)), None)
    told = (
        "DIR, the folder of its run (exported), or its card"
        if here is None
        else quote(f"{here.parent.as_posix()}/{here.name}")
    )
    raise GalleryModelError(f"{where}: made with {identity}, a model of one's own; say which it is: {option} {told}")


def _holds(place: Path, identity: ModelIdentity) -> bool:
    """Whether a folder's card is that model's. Only the card is read, and only in a folder right here."""
    from mien.models.card import load_card
    from mien.models.catalogue import card_in

    name = identity.name
    if "/" in name or "\\" in name or name.startswith(".") or Path(name).name != name:
        return False
    try:
        card = load_card(card_in(place))
    except (MienError, OSError, ValueError):
        return False
    return (card.name, card.embedding_sha256) == (name, identity.sha256)


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
