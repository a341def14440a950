"""`mien people`: who is known; other names; and forgetting."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.galleries import DEFAULT_GALLERY, GalleryPath, open_gallery
from mien.cli.output import (
    CsvFlag,
    ExitCode,
    JsonFlag,
    counted,
    emit_csv,
    emit_json,
    print_line,
    print_table,
    printable,
    say,
)

if TYPE_CHECKING:
    from mien.types import Subject

__all__ = ["app"]

app = typer.Typer(name="people", help="List, rename or remove known people.", no_args_is_help=True)

Person = Annotated[str, typer.Argument(help="The person's name.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_CSV = ["id", "name", "faces", "enrolled"]


@app.command("list")
def list_people(*, gallery: GalleryPath = DEFAULT_GALLERY, as_json: JsonFlag = False, as_csv: CsvFlag = False) -> None:
    """List the people who are known, in order of enrolment."""
    with open_gallery(gallery, readonly=True) as known:
        subjects, model = known.subjects(), known.identity
    if as_json:
        emit_json(
            {
                "gallery": str(gallery),
                "model": str(model) if model else None,
                "people": [_record(subject) for subject in subjects],
            }
        )
    elif as_csv:
        emit_csv(_CSV, ([subject.id, subject.name, subject.faces, _day(subject)] for subject in subjects))
    elif subjects:
        print_table(["name", "faces", "enrolled"], ([s.name, s.faces, _day(s)[:10]] for s in subjects), right=["faces"])
    else:
        say(
            printable(
                f"{gallery}: nobody is enrolled yet; begin with: mien enrol people/ --gallery {quote(str(gallery))}"
            )
        )


@app.command("rename")
def rename_person(
    old: Person,
    new: Annotated[str, typer.Argument(help="The new name.", show_default=False)],
    *,
    gallery: GalleryPath = DEFAULT_GALLERY,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Give a person another name."""
    with open_gallery(gallery) as known:
        before = known.subject(old).name
        subject = known.rename(old, new)
    text = f"{before} is now {subject.name}"
    _tell(gallery, "renamed", subject, text=text, as_json=as_json, as_csv=as_csv, old_name=before)


@app.command("remove")
def remove_person(
    name: Person,
    *,
    gallery: GalleryPath = DEFAULT_GALLERY,
    yes: Yes = False,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """Forget a person and all their faces. Asks first when somebody sits at the terminal."""
    with open_gallery(gallery) as known:
        subject = known.subject(name)
        question = f"Forget {printable(subject.name)} and {counted(subject.faces, 'enrolled face')}?"
        if not yes and sys.stdin.isatty() and not typer.confirm(question, err=True):
            say("nothing was changed")
            raise typer.Exit(ExitCode.NO_MATCH)
        known.remove(subject.name)
    text = f"{subject.name} was forgotten ({counted(subject.faces, 'face')})"
    _tell(gallery, "removed", subject, text=text, as_json=as_json, as_csv=as_csv)


def _tell(gallery: str, what: str, subject: Subject, *, text: str, as_json: bool, as_csv: bool, **more: str) -> None:
    if as_json:
        emit_json({"gallery": str(gallery), what: {**_record(subject), **more}})
    elif as_csv:
        emit_csv(_CSV, [[subject.id, subject.name, subject.faces, _day(subject)]])
    else:
        print_line(text)


def _record(subject: Subject) -> dict[str, Any]:
    return {
        "id": subject.id,
        "name": subject.name,
        "faces": subject.faces,
        "enrolled": _day(subject),
        "pictures": list(subject.pictures),
    }


def _day(subject: Subject) -> str:
    return datetime.fromtimestamp(subject.created, UTC).isoformat(timespec="seconds")
