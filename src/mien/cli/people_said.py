"""`mien people describe`: what is said of a person."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mien.cli.asking import moment
from mien.cli.galleries import DEFAULT_GALLERY, GalleryPath, KeyOption, open_gallery, shown_place
from mien.cli.output import JsonFlag
from mien.cli.people_record import Person, tell
from mien.errors import InputError

__all__ = ["describe_person"]

_Join = Annotated[list[str] | None, typer.Option("--group", help="Put them into this group (repeatable).")]
_Leave = Annotated[list[str] | None, typer.Option("--leave", help="Take them out of this group (repeatable).")]
_External = Annotated[str | None, typer.Option("--external-id", help='What another system calls them; "" for nothing.')]
_Metadata = Annotated[str | None, typer.Option("--metadata", help="A JSON object, in the place of what was kept.")]
_Consent = Annotated[str | None, typer.Option("--consent", help="What they agreed to, in words.")]
_Expires = Annotated[str | None, typer.Option("--expires", help="When to forget them: a date, or never.")]
_Ignored = Annotated[
    bool | None, typer.Option("--ignored/--named", help="Make them a known stranger, or somebody to be named again.")
]


def describe_person(
    name: Person,
    *,
    group: _Join = None,
    leave: _Leave = None,
    external_id: _External = None,
    metadata: _Metadata = None,
    consent: _Consent = None,
    expires: _Expires = None,
    ignored: _Ignored = None,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say more of a person; what is not mentioned stays."""
    changes: dict[str, Any] = {}
    if external_id is not None:
        changes["external_id"] = external_id or None
    if metadata is not None:
        changes["metadata"] = _object(metadata)
    if consent is not None:
        changes["consent"] = consent
    if expires is not None:
        changes["expires"] = None if expires == "never" else moment(expires, "--expires")
    if ignored is not None:
        changes["told"] = "ignored" if ignored else "person"
    if not changes and not group and not leave:
        raise InputError("describe: expected something to say, such as --group, --external-id or --expires")
    with open_gallery(gallery, key=key) as known:
        where = shown_place(gallery, known)
        if group or leave:
            changes["groups"] = _groups(known.subject(name).groups, group or [], leave or [])
        subject = known.describe(name, **changes)
    tell(where, "described", subject, f"{subject.name}: {', '.join(changes).replace('_', ' ')} kept", as_json=as_json)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"--metadata: expected a JSON object, got {text!r:.60} ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"--metadata: expected a JSON object, got {text!r:.60}")
    return found


def _groups(now: tuple[str, ...], join: list[str], leave: list[str]) -> list[str]:
    from mien.images import person_name

    leaving = {person_name(name) for name in leave}
    if missing := sorted(leaving - set(now)):
        raise InputError(f"--leave: {missing[0]!r} is not one of their groups ({', '.join(now) or 'none'})")
    return [name for name in now if name not in leaving] + join
