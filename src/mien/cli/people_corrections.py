"""`mien people reject` and `ignore`: this is not them; and who is to stay unnamed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.galleries import DEFAULT_GALLERY, GalleryPath, KeyOption, open_gallery, shown_place
from mien.cli.inputs import DetectorName, LicenceUse, MinFace, ModelName, Photos, PresetName, Upright, photos_in
from mien.cli.output import JsonFlag, counted
from mien.cli.people_record import Person, tell

__all__ = ["ignore_somebody", "reject_person"]


def reject_person(
    name: Person,
    photo: Annotated[Path, typer.Argument(help="A photo of somebody who was taken for them.", show_default=False)],
    *,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    upright: Upright = False,
    as_json: JsonFlag = False,
) -> None:
    """Remember: this is not that person. The face, and what is at least as near to it, is not called them again.

    Of several faces in the photo the one nearest to the person is meant. `people remove NAME --face` takes it back.
    """
    with open_gallery(
        gallery,
        key=key,
        preset=preset,
        min_face=min_face,
        upright=upright,
        model=model,
        detector=detector,
        licence=licence,
    ) as known:
        where, face = shown_place(gallery, known), known.reject(name, photo)
        subject = known.subject(name)
    text = f"the face in {photo} is not {subject.name}; remembered as face {face.id}"
    tell(where, "rejected", subject, text, as_json=as_json, face=face.id, source=str(photo))


def ignore_somebody(
    label: Annotated[str, typer.Argument(help="What to call them in reasons, such as poster.", show_default=False)],
    photos: Photos,
    *,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    upright: Upright = False,
    as_json: JsonFlag = False,
) -> None:
    """Make somebody a known stranger: a poster, the postman. They are recognised, and stay unnamed."""
    paths = photos_in(photos)
    with open_gallery(
        gallery,
        key=key,
        preset=preset,
        min_face=min_face,
        upright=upright,
        model=model,
        detector=detector,
        licence=licence,
    ) as known:
        where, subject = shown_place(gallery, known), known.ignore(label, paths)
    text = f"{subject.name} is a known stranger ({counted(subject.faces, 'face')})"
    tell(where, "ignored", subject, text, as_json=as_json)
