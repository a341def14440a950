"""`mien people`: who is known, what is said of them, and forgetting."""

from __future__ import annotations

from shlex import quote
from typing import Annotated

import typer

from mien.cli.asking import YesFlag, confirm, local_time, utc_time
from mien.cli.galleries import DEFAULT_GALLERY, GalleryPath, GroupOption, KeyOption, open_gallery, shown_place
from mien.cli.output import (
    CsvFlag,
    JsonFlag,
    counted,
    emit_csv,
    emit_json,
    print_line,
    print_table,
    printable,
    say,
)
from mien.cli.people_corrections import ignore_somebody, reject_person
from mien.cli.people_entries import merge_people, move_faces, split_person
from mien.cli.people_record import PERSON_COLUMNS, Person, own_faces, person_record, person_row, tell
from mien.cli.people_said import describe_person

__all__ = ["app"]

app = typer.Typer(name="people", help="The people who are known: list, describe, forget.", no_args_is_help=True)


@app.command("list")
def list_people(
    *,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    group: GroupOption = None,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """List the people who are known, in order of enrolment."""
    with open_gallery(gallery, readonly=True, key=key) as known:
        subjects, model, where = known.subjects(group=group), known.identity, shown_place(gallery, known)
    if as_json:
        people = [person_record(subject) for subject in subjects]
        emit_json({"gallery": where, "model": str(model) if model else None, "people": people})
    elif as_csv:
        emit_csv(PERSON_COLUMNS, map(person_row, subjects))
    elif subjects:
        header = ["name", "faces", "enrolled"]
        rows: list[list[object]] = [[s.name, s.faces, utc_time(s.created)[:10]] for s in subjects]
        if any(s.groups for s in subjects):
            header.append("groups")
            rows = [[*row, ", ".join(s.groups)] for row, s in zip(rows, subjects, strict=True)]
        if any(s.told == "ignored" for s in subjects):
            header.append("")
            rows = [
                [*row, "a known stranger" if s.told == "ignored" else ""] for row, s in zip(rows, subjects, strict=True)
            ]
        print_table(header, rows, right=["faces"])
    elif group is not None:
        say(printable(f"{where}: nobody is in the group {group}"))
    else:
        say(printable(f"{where}: nobody is enrolled yet; begin with: mien enrol people/ --gallery {quote(where)}"))


@app.command("show")
def show_person(
    name: Person, *, gallery: GalleryPath = DEFAULT_GALLERY, key: KeyOption = None, as_json: JsonFlag = False
) -> None:
    """Show all that is kept of a person, and the numbers of their faces."""
    with open_gallery(gallery, readonly=True, key=key) as known:
        subject, where = known.subject(name), shown_place(gallery, known)
        faces = known.faces(subject.name)
    if as_json:
        listed = [
            {
                "id": face.id,
                "picture": face.picture,
                "negative": face.negative,
                "quality": None if face.quality is None else round(face.quality, 4),
                "box": None if face.face is None else [round(v, 2) for v in face.face.box],
                "enrolled": utc_time(face.enrolled),
                "crop": face.crop,
            }
            for face in faces
        ]
        emit_json({"gallery": where, "person": {**person_record(subject), "listed": listed}})
        return
    print_line(subject.name, style="bold")
    said = {
        "a known stranger": "recognised, and left unnamed" if subject.told == "ignored" else "",
        "external id": subject.external_id or "",
        "groups": ", ".join(subject.groups),
        "consent": subject.consent,
        "expires": "" if subject.expires is None else local_time(subject.expires),
        "metadata": ", ".join(f"{k}: {v}" for k, v in subject.metadata.items()),
    }
    for title, value in said.items():
        if value:
            print_line(f"{title}: {value}")
    if faces:
        rows = [
            [
                face.id,
                face.picture,
                None if face.quality is None else f"{face.quality:.2f}",
                local_time(face.enrolled)[:10],
                "NOT this person" if face.negative else "",
            ]
            for face in faces
        ]
        print_table(["face", "picture", "quality", "enrolled", ""], rows, right=["face", "quality"])
    else:
        print_line("no faces")


@app.command("rename")
def rename_person(
    old: Person,
    new: Annotated[str, typer.Argument(help="The new name.", show_default=False)],
    *,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Give a person another name."""
    with open_gallery(gallery, key=key) as known:
        before, where = known.subject(old).name, shown_place(gallery, known)
        subject = known.rename(old, new)
    text = f"{before} is now {subject.name}"
    tell(where, "renamed", subject, text, as_json=as_json, as_csv=as_csv, old_name=before)


@app.command("remove")
def remove_person(
    name: Person,
    *,
    faces: Annotated[
        list[int] | None,
        typer.Option("--face", help="Only this face of theirs (repeatable), by its number."),
    ] = None,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Forget a person, or some of their faces. Asks first when somebody sits at the terminal.

    A backup can bring them back; `mien gallery erase` is for good, with a receipt.
    """
    with open_gallery(gallery, key=key) as known:
        where, subject = shown_place(gallery, known), known.subject(name)
        if faces:
            own = own_faces(known, subject.name, faces, negatives=True)
            confirm(f"Forget {counted(len(own), 'face')} of {subject.name}?", yes=yes)
            gone = known.remove_faces(own)
            subject = known.subject(subject.name)
            text = f"{counted(gone, 'face')} of {subject.name} forgotten; {counted(subject.faces, 'face')} left"
            tell(where, "kept", subject, text, as_json=as_json, as_csv=as_csv, removed_faces=own)
            return
        confirm(f"Forget {subject.name} and {counted(subject.faces, 'enrolled face')}?", yes=yes)
        known.remove(subject.name)
    text = f"{subject.name} was forgotten ({counted(subject.faces, 'face')})"
    tell(where, "removed", subject, text, as_json=as_json, as_csv=as_csv)


app.command("describe")(describe_person)
app.command("merge")(merge_people)
app.command("split")(split_person)
app.command("move")(move_faces)
app.command("reject")(reject_person)
app.command("ignore")(ignore_somebody)
