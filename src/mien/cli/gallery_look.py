"""`mien gallery info`, `check` and `calibration`: how it stands with a gallery."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.asking import utc_time
from mien.cli.galleries import DEFAULT_GALLERY, GalleryPath, KeyOption, open_gallery, shown_place
from mien.cli.output import JsonFlag, counted, emit_json, finish, print_line, print_table, printable, say
from mien.errors import InputError, MienError

if TYPE_CHECKING:
    from mien.gallery import Gallery

__all__ = ["calibration_of", "check_gallery", "gallery_info"]

_PROMISES = {
    "transactions": "changes happen whole or not at all",
    "durable": "what was acknowledged survives a power cut",
    "several_writers": "several programs may write",
    "exact": "search is exact",
    "sightings": "keeps the log of who was seen",
    "audit": "keeps the log of what was done",
    "encryption": "can be encrypted",
    "erasure_proof": "can prove an erasure",
    "backup": "can be backed up by mien",
    "migration": "can change its model and go back",
}


def gallery_info(*, gallery: GalleryPath = DEFAULT_GALLERY, key: KeyOption = None, as_json: JsonFlag = False) -> None:
    """Show what a gallery holds, which model it belongs to, and what its home promises."""
    with open_gallery(gallery, readonly=True, key=key) as known:
        facts = _facts(known, shown_place(gallery, known))
    if as_json:
        emit_json(facts)
        return
    model, calibration = facts["model"], facts["calibration"]
    print_line(f"{facts['gallery']}: {counted(facts['people'], 'person', 'people')}, {counted(facts['faces'], 'face')}")
    rows = [
        ("model", model or "none yet: nobody was ever enrolled"),
        ("thresholds", "none for this model" if calibration is None else calibration["kept"]),
        ("known strangers", facts["known_strangers"]),
        ("faces that are NOT somebody", facts["negatives"]),
        ("groups", ", ".join(facts["groups"]) or None),
        ("next to expire", facts["next_expiry"]),
        ("size", counted(facts["bytes"], "byte")),
        ("encrypted", "yes" if facts["encrypted"] else "no"),
        ("home", facts["capabilities"]["home"]),
        *((said, "yes" if facts["capabilities"][what] else "no") for what, said in _PROMISES.items()),
    ]
    print_table(["", ""], rows)


def _facts(known: Gallery, where: str) -> dict[str, Any]:
    stats, subjects = known.stats, known.subjects()
    expiries = sorted(s.expires for s in subjects if s.expires is not None)
    calibration: dict[str, Any] | None = None
    if stats.identity is not None:
        kept = known.home.calibration() is not None
        try:
            found = known.calibration
        except InputError:
            found = None
        if found is not None:
            calibration = {"kept": "kept in the gallery" if kept else "shipped with mien", **found.record()}
    return {
        "gallery": where,
        "model": str(stats.identity) if stats.identity else None,
        "people": stats.subjects,
        "known_strangers": stats.ignored,
        "faces": stats.faces,
        "negatives": stats.negatives,
        "groups": sorted({group for s in subjects for group in s.groups}),
        "next_expiry": utc_time(expiries[0]) if expiries else None,
        "bytes": stats.file_bytes,
        "encrypted": bool(getattr(getattr(known.home, "sealer", None), "encrypted", False)),
        "calibration": calibration,
        "capabilities": asdict(known.capabilities),
    }


def check_gallery(*, gallery: GalleryPath = DEFAULT_GALLERY, key: KeyOption = None, as_json: JsonFlag = False) -> None:
    """Look at every row of a gallery. Exit code 0: all is well, 1: not."""
    with open_gallery(gallery, readonly=True, key=key) as known:
        report, where = known.check(), shown_place(gallery, known)
    if as_json:
        counts = None if report.counts is None else asdict(report.counts)
        emit_json(
            {
                "gallery": where,
                "ok": report.ok,
                "problems": list(report.problems),
                "counts": counts,
                "audit": {"entries": report.audit_entries, "head": report.audit_head},
            }
        )
    else:
        for problem in report.problems:
            print_line(problem, style="red")
        if report.ok and report.counts is not None:
            held = f"{counted(report.counts.people, 'person', 'people')}, {counted(report.counts.faces, 'face')}"
            print_line(f"{where}: all is well ({held}; {counted(report.audit_entries, 'entry', 'entries')} in the log)")
    if not report.ok:
        say("restore a backup with: mien gallery restore BACKUP")
    finish(failed=False, matched=report.ok)


def calibration_of(
    *,
    keep: Annotated[
        Path | None, typer.Option("--set", help="Keep this calibration of `mien calibrate` with the gallery.")
    ] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Keep none any more, and use the shipped one.")] = False,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show where the gallery's thresholds come from, or keep a calibration of one's own in it."""
    if keep is not None and drop:
        raise InputError("--set and --drop: expected one of the two, got both")
    from mien.match import Calibration

    new = None if keep is None else Calibration.read(keep)
    with open_gallery(gallery, readonly=not (drop or keep), key=key) as known:
        where = shown_place(gallery, known)
        if keep is not None or drop:
            known.keep_calibration(new)
        kept = known.home.calibration() is not None
        try:
            record: dict[str, Any] | None = known.calibration.record() if known.identity else None
        except MienError as error:
            say(printable(str(error)), label="note:")
            record = None
    if as_json:
        emit_json({"gallery": where, "kept": kept, "calibration": record})
        return
    print_line(f"{where}: thresholds from {'the calibration kept in it' if kept else 'the one that mien ships'}")
    for title, value in (record or {}).items():
        print_line(f"{title}: {value}")
