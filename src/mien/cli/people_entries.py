"""`mien people merge`, `split` and `move`: entries that do not fit the people."""

from __future__ import annotations

from typing import Annotated

import typer

from mien.cli.asking import YesFlag, confirm
from mien.cli.galleries import DEFAULT_GALLERY, GalleryPath, KeyOption, open_gallery, shown_place
from mien.cli.output import JsonFlag, counted
from mien.cli.people_record import Person, own_faces, tell

__all__ = ["merge_people", "move_faces", "split_person"]

_Faces = Annotated[
    list[int], typer.Option("--face", help="A face's number, from `people show` (repeatable).", show_default=False)
]


def merge_people(
    name: Person,
    into: Annotated[str, typer.Argument(help="Who gets the faces, and stays.", show_default=False)],
    *,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Make two entries of one person one. What was said of the first is lost; its faces and sightings are kept."""
    with open_gallery(gallery, key=key) as known:
        where, one, other = shown_place(gallery, known), known.subject(name), known.subject(into)
        confirm(f"Give the {counted(one.faces, 'face')} of {one.name} to {other.name}?", yes=yes)
        subject = known.merge(one.name, other.name)
    text = f"{one.name} is now part of {subject.name} ({counted(subject.faces, 'face')})"
    tell(where, "merged", subject, text, as_json=as_json, old_name=one.name)


def split_person(
    name: Person,
    new: Annotated[str, typer.Argument(help="The new person's name.", show_default=False)],
    *,
    faces: _Faces,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make somebody new of some of a person's faces."""
    with open_gallery(gallery, key=key) as known:
        where, subject = shown_place(gallery, known), known.split(name, faces, new)
    text = f"{subject.name} is new, with {counted(subject.faces, 'face')}"
    tell(where, "split", subject, text, as_json=as_json, old_name=name)


def move_faces(
    name: Person,
    to: Annotated[str, typer.Argument(help="Whose they are, new or known.", show_default=False)],
    *,
    faces: _Faces,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Give faces that were filed wrongly to somebody else; who loses their last face stays."""
    with open_gallery(gallery, key=key) as known:
        where, own = shown_place(gallery, known), own_faces(known, name, faces)
        subject = known.move_faces(own, to)
    text = f"{counted(len(own), 'face')} moved to {subject.name} ({counted(subject.faces, 'face')})"
    tell(where, "moved", subject, text, as_json=as_json, faces_moved=own)
