"""`mien gallery sightings` and `audit`: who was seen, and what was done."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.asking import local_time, moment, utc_time
from mien.cli.galleries import DEFAULT_GALLERY, GalleryPath, KeyOption, open_gallery, shown_place
from mien.cli.output import CsvFlag, JsonFlag, counted, emit_csv, emit_json, finish, print_line, print_table, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mien.gallery import Attendance, Sighting

__all__ = ["audit_log", "show_sightings"]

_Since = Annotated[str | None, typer.Option("--since", help="From this date or time on.")]
_Until = Annotated[str | None, typer.Option("--until", help="Before this date or time.")]
_Name = Annotated[str | None, typer.Option("--name", help="Only this person.")]
_Each = Annotated[bool, typer.Option("--each", help="Every sighting, strangers too, not a line a person and day.")]
_DAYS = ["day", "name", "first", "last", "times", "best_score"]
_EACH = ["time", "name", "score", "source"]


def show_sightings(
    *,
    since: _Since = None,
    until: _Until = None,
    name: _Name = None,
    each: _Each = False,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """The attendance sheet: when each person was first and last seen on each day, by this computer's clock.

    `mien identify --log` fills it. Exit code 1: nobody was seen.
    """
    start = None if since is None else moment(since, "--since")
    end = None if until is None else moment(until, "--until")
    with open_gallery(gallery, readonly=True, key=key) as known:
        where = shown_place(gallery, known)
        seen = known.sightings(since=start, until=end, name=name)
        rows = [_sighting(s) for s in seen] if each else [_line(day, one) for day, one in days(seen)]
    columns = _EACH if each else _DAYS
    if as_json:
        emit_json({"gallery": where, "sightings" if each else "days": rows})
    elif as_csv:
        emit_csv(columns, ([row[c] if row[c] is not None else "" for c in columns] for row in rows))
    elif rows:
        print_table(columns, ([row[c] for c in columns] for row in rows), right=["times", "best_score", "score"])
    else:
        say("nobody was seen; `mien identify --log` notes who is")
    finish(failed=False, matched=bool(rows))


def days(sightings: Iterable[Sighting]) -> Iterator[tuple[str, Attendance]]:
    """A line a person and day, from sightings in order of time; a day begins at midnight here."""
    from mien.gallery.attendance import attendance

    for day, of_day in groupby(sightings, key=lambda sighting: local_time(sighting.time)[:10]):
        for one in attendance(of_day):
            yield day, one


def _line(day: str, one: Attendance) -> dict[str, Any]:
    first, last = (local_time(at)[11:] for at in (one.first, one.last))
    score = round(one.best, 6)
    return {"day": day, "name": one.name, "first": first, "last": last, "times": one.times, "best_score": score}


def _sighting(one: Sighting) -> dict[str, Any]:
    return {"time": utc_time(one.time), "name": one.name, "score": round(one.score, 6), "source": one.source}


def audit_log(
    *,
    anchor: Annotated[
        str | None, typer.Option("--anchor", help="A head noted earlier, to be found in the log.")
    ] = None,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """What was done to a gallery, by pseudonym, and whether the log is one unbroken chain.

    Note the head somewhere else; given as --anchor later, it shows a log that was cut off or written anew. Exit code 1:
    the chain is broken.
    """
    from mien.gallery.audit import verify_chain

    with open_gallery(gallery, readonly=True, key=key) as known:
        where = shown_place(gallery, known)
        entries = list(known.audit())
    chain = verify_chain(entries, anchor=anchor)
    columns = ["seq", "time", "action", "subject", "faces", "digest"]
    rows = [[e.seq, utc_time(e.time), e.action, e.pseudonym, e.count, e.digest] for e in entries]
    if as_json:
        records = [dict(zip(columns, row, strict=True)) for row in rows]
        found = {"whole": chain.whole, "reason": chain.reason or None, "head": chain.head, "anchored": chain.anchored}
        emit_json({"gallery": where, **found, "entries": records})
    elif as_csv:
        emit_csv(columns, ([cell if cell is not None else "" for cell in row] for row in rows))
    else:
        print_table(columns[:-1], (row[:-1] for row in rows), right=["seq", "faces"])
        print_line(f"{counted(chain.entries, 'entry', 'entries')} in order; head {chain.head}")
    if not chain.whole:
        say(chain.reason, label="broken:")
    finish(failed=False, matched=chain.whole)
