"""A person of a gallery in every form that `mien people` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.asking import utc_time
from mien.cli.output import emit_csv, emit_json, print_line
from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.gallery import Gallery
    from mien.types import Subject

__all__ = ["PERSON_COLUMNS", "Person", "own_faces", "person_record", "person_row", "tell"]

Person = Annotated[str, typer.Argument(help="The person's name.", show_default=False)]
PERSON_COLUMNS = ["id", "name", "faces", "enrolled", "external_id", "groups", "expires", "consent", "known_stranger"]


def person_record(subject: Subject) -> dict[str, Any]:
    """A person in JSON."""
    return {
        "id": subject.id,
        "name": subject.name,
        "faces": subject.faces,
        "enrolled": utc_time(subject.created),
        "pictures": list(subject.pictures),
        "external_id": subject.external_id,
        "known_stranger": subject.told == "ignored",
        "groups": list(subject.groups),
        "metadata": dict(subject.metadata),
        "expires": None if subject.expires is None else utc_time(subject.expires),
        "consent": subject.consent,
    }


def person_row(subject: Subject) -> list[object]:
    """A person in CSV, under `PERSON_COLUMNS`."""
    record = person_record(subject)
    record |= {"groups": "; ".join(subject.groups), "known_stranger": int(record["known_stranger"])}
    return ["" if record[column] is None else record[column] for column in PERSON_COLUMNS]


def own_faces(known: Gallery, name: str, numbers: Sequence[int], *, negatives: bool = False) -> list[int]:
    """The numbers, each once, if they are faces of that person.

    Raises:
        InputError: one is not.
    """
    own = {face.id for face in known.faces(name) if negatives or not face.negative}
    wanted = list(dict.fromkeys(numbers))
    if strange := [number for number in wanted if number not in own]:
        raise InputError(f"face {strange[0]} is not one of {name!r}; `mien people show` numbers them")
    return wanted


def tell(
    where: str,
    what: str,
    subject: Subject,
    text: str,
    *,
    as_json: bool,
    as_csv: bool = False,
    **more: Any,  # noqa: ANN401 - JSON
) -> None:
    """Say what was done to a person."""
    if as_json:
        emit_json({"gallery": where, what: {**person_record(subject), **more}})
    elif as_csv:
        emit_csv(PERSON_COLUMNS, [person_row(subject)])
    else:
        print_line(text)
