"""`mien data dedupe|clean`: what does not belong in a folder, listed, looked through, and put aside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.criterion import CalibrationFile
from mien.cli.data_folders import Cached, embedded_folders, model_for
from mien.cli.inputs import DetectorName, LicenceUse, MinFace, ModelName, PresetName
from mien.cli.output import JsonFlag, counted, emit_json, finish, print_line, print_table, progress, say
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.prepare.cleaning_folder import CleanReport
    from mien.prepare.quarantine import Moved
    from mien.prepare.verdicts import Row

__all__ = ["clean", "dedupe"]

Folder = Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="A folder of people, one each.")]
ListFile = Annotated[
    Path | None, typer.Option("--list", help="Write what was found to this CSV file, to look through and change.")
]
Undo = Annotated[bool, typer.Option("--undo", help="Move everything in the quarantine back.")]
Quarantine = Annotated[
    Path | None, typer.Option("--quarantine", help="Where pictures are put aside: DIR-quarantine unless given.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be moved.")]
Force = Annotated[bool, typer.Option("--force", help="Write over a list or page that is there.")]
ApplyList = Annotated[
    Path | None,
    typer.Option("--apply", help="Move the pictures that this list calls wrong, second or duplicate; nothing else."),
]


def dedupe(
    folder: Folder,
    *,
    across: Annotated[bool, typer.Option("--across", help="Copies under different people, too.")] = False,
    listed: ListFile = None,
    apply: Annotated[bool, typer.Option("--apply", help="Move the duplicates to quarantine.")] = False,
    apply_list: Annotated[
        Path | None, typer.Option("--apply-list", help="Move those of this list, which you looked through, instead.")
    ] = None,
    undo: Undo = False,
    quarantine: Quarantine = None,
    dry_run: DryRun = False,
    force: Force = False,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    calibration: CalibrationFile = None,
    cached: Cached = True,
    as_json: JsonFlag = False,
) -> None:
    """Find pictures that are there twice: the same file, re-encoded, resized, cropped, mirrored or grey."""
    if undo or apply_list:
        _move(folder, apply_list, quarantine, undo=undo, dry_run=dry_run, as_json=as_json)
        return
    _free(listed, force)
    from mien.prepare.duplicates import dedupe as find
    from mien.prepare.verdicts import write_list

    recognizer, meaning, found_by = model_for(preset, model, detector, licence, min_face, calibration, cached=cached)
    (people,) = embedded_folders([folder], recognizer, found_by)
    with progress(2 * len(people), "Comparing pictures") as advance:
        found = find(people, meaning, across=across, cached=cached, advance=advance)
    rows = list(found.rows())
    if listed:
        write_list(listed, rows)
    moved = _aside(folder, rows, quarantine, dry_run=dry_run) if apply else None
    if as_json:
        emit_json(
            found.record()
            | {"folder": str(folder), "list": str(listed) if listed else None, "quarantine": _moved(moved, dry_run)}
        )
    else:
        copies = sum(row.verdict == "duplicate" for row in rows)
        print_line(
            f"{counted(copies, 'duplicate')} in {counted(len(found.groups), 'group')} "
            f"of {counted(len(people), 'picture')}",
            style="bold",
        )
        if several := sum(len(group.people) > 1 for group in found.groups):
            print_line(f"{counted(several, 'group')} with pictures of several people: for review")
        _tell(listed, moved, dry_run, again="--apply moves the duplicates to quarantine")
    finish(failed=bool(people.unreadable) or bool(moved and moved.errors))


def clean(
    folder: Folder,
    *,
    listed: ListFile = None,
    sheet: Annotated[Path | None, typer.Option("--sheet", help="Write an HTML page to look the findings over.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="List every picture, not only the doubtful ones.")] = False,
    evidence: Annotated[
        Path | None,
        typer.Option("--evidence", help="CSV with picture and score, 0 (right) to 1 (wrong), such as of sub-centers."),
    ] = None,
    apply: ApplyList = None,
    undo: Undo = False,
    quarantine: Quarantine = None,
    dry_run: DryRun = False,
    force: Force = False,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    calibration: CalibrationFile = None,
    cached: Cached = True,
    as_json: JsonFlag = False,
) -> None:
    """Find wrong people in folders, folders that hold two people, and folders that hold one person together."""
    if undo or apply:
        _move(folder, apply, quarantine, undo=undo, dry_run=dry_run, as_json=as_json)
        return
    _free(listed, force)
    _free(sheet, force)
    from mien.prepare.cleaning_folder import clean as find
    from mien.prepare.verdicts import read_evidence, write_list

    extra = read_evidence(evidence) if evidence else None
    recognizer, meaning, found_by = model_for(preset, model, detector, licence, min_face, calibration, cached=cached)
    (people,) = embedded_folders([folder], recognizer, found_by)
    report = find(people, meaning, evidence=extra)
    if listed:
        write_list(listed, report.rows(everything=everything))
    if sheet:
        from mien.prepare.cleaning_sheet import write_clean_sheet

        write_clean_sheet(report, sheet, list_file=listed.name if listed else "")
    if as_json:
        files = {"list": str(listed) if listed else None, "sheet": str(sheet) if sheet else None}
        emit_json({"folder": str(folder)} | report.record() | files)
    else:
        _show(report)
        _tell(listed, None, dry_run, again="")
        if sheet:
            print_line(f"page: {sheet}")
        if listed:
            print_line(f"look it through, then: mien data clean {folder} --apply {listed}")
    finish(failed=bool(people.unreadable))


def _show(report: CleanReport) -> None:
    counts, people = report.counts(), report.folder.people
    print_line(
        f"{counted(len(report.folder), 'picture')} of {counted(len(people), 'person', 'people')}: "
        f"{counts['wrong']:,} wrong, {counts['second']:,} of a second person, {counts['review']:,} for review",
        style="bold",
    )
    for person in report.found.second:
        print_line(f"two people: {people[person]}")
    for pair in report.found.same:
        print_line(f"one person: {people[pair.a]} and {people[pair.b]} ({pair.score:.3f})")
    worst = [row for row in report.rows() if row.verdict in ("wrong", "second")]
    if worst:
        print_table(
            ("picture", "verdict", "score", "reason"),
            ([r.picture, r.verdict, None if r.score is None else f"{r.score:.2f}", r.reason] for r in worst[:20]),
            right=("score",),
        )
        if len(worst) > 20:
            print_line(f"and {len(worst) - 20:,} more: --list FILE writes all, --sheet FILE.html shows them")


def _move(
    folder: Path, listed: Path | None, quarantine: Path | None, *, undo: bool, dry_run: bool, as_json: bool
) -> None:
    """Apply a list, or take back what was moved."""
    from mien.prepare.quarantine import put_back, quarantine_of
    from mien.prepare.verdicts import read_list

    if undo and listed:
        raise InputError("--undo and a list to apply: expected one of the two, got both")
    if undo:
        with progress(None, "Moving back") as advance:
            moved = put_back(folder, quarantine, dry_run=dry_run, advance=advance)
    else:
        assert listed is not None
        moved = _aside(folder, list(read_list(listed)), quarantine, dry_run=dry_run)
    if as_json:
        emit_json(
            {
                "folder": str(folder),
                "quarantine": str(quarantine or quarantine_of(folder)),
                "undo": undo,
                **(_moved(moved, dry_run) or {}),
            }
        )
    else:
        where = "back" if undo else f"to {quarantine or quarantine_of(folder)}"
        print_line(f"{counted(moved.moved, 'picture')} {'would be ' if dry_run else ''}moved {where}", style="bold")
        if moved.before:
            print_line(f"{moved.before:,} gone from their place before")
    for error in moved.errors:
        say(f"{error['source']}: {error['error']}", label="not moved:")
    finish(failed=bool(moved.errors))


def _aside(folder: Path, rows: list[Row], quarantine: Path | None, *, dry_run: bool) -> Moved:
    from mien.prepare.quarantine import put_aside
    from mien.prepare.verdicts import MOVES

    todo = [row for row in rows if row.verdict in MOVES]
    with progress(len(todo), "Moving") as advance:
        return put_aside(folder, todo, quarantine, dry_run=dry_run, advance=advance)


def _moved(moved: Moved | None, dry_run: bool) -> dict[str, Any] | None:
    if moved is None:
        return None
    return {"dry_run": dry_run, "moved": moved.moved, "gone_before": moved.before, "errors": moved.errors}


def _tell(listed: Path | None, moved: Moved | None, dry_run: bool, *, again: str) -> None:
    if listed:
        print_line(f"list: {listed}")
    if moved is not None:
        would = "would be " if dry_run else ""
        print_line(f"{counted(moved.moved, 'picture')} {would}moved to quarantine; --undo moves them back")
        for error in moved.errors:
            say(f"{error['source']}: {error['error']}", label="not moved:")
    elif again:
        print_line(again)


def _free(path: Path | None, force: bool) -> None:
    """Refuse to write over a list that somebody may have changed."""
    if path is not None and path.exists() and not force:
        raise InputError(f"{path}: exists already; choose another name, or --force")
