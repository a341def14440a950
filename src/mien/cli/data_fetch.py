"""`mien data fetch [NAME]`: public data sets, where they come from, and whether what is placed is whole."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.output import ExitCode, JsonFlag, emit_json, print_line, print_table, progress, say
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.prepare.fetching import DataSet

__all__ = ["fetch"]


def fetch(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A data set; all are listed without.")] = None,
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Where to, or what to check.")] = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="Only compare DIR with what the set holds.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be downloaded.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Public data sets: list them, say whom to ask, download what may be, and check what you have placed."""
    from mien.prepare.fetching import data_set, data_sets, missing, verify_placed
    from mien.prepare.fetching import fetch as bring

    if name is None:
        _list(data_sets(), as_json=as_json)
        return
    wanted = data_set(name)
    if folder is None:
        if check or dry_run:
            raise InputError(f"{'--check' if check else '--dry-run'}: expected the folder too")
        _show(wanted, as_json=as_json)
        return
    if dry_run and not check:
        files = [asdict(file) for file in missing(name, folder)]
        if as_json:
            emit_json({"name": wanted.name, "folder": str(folder), "dry_run": True, "files": files})
        else:
            say(f"{wanted.title}: {wanted.terms}; see {wanted.source}", label="terms:")
            for file in files:
                print_line(f"would be downloaded: {file['url']}")
            if not files:
                print_line(f"nothing to download: all files are in {folder}")
        return
    if not check:
        say(f"{wanted.title}: {wanted.terms}; see {wanted.source}", label="terms:")
        with progress(None, f"Fetching {wanted.name}") as advance:
            here = 0

            def told(done: int, _total: int | None) -> None:
                nonlocal here
                advance(max(0, done - here))
                here = done

            bring(name, folder, progress=told)
    findings = verify_placed(name, folder)
    whole = all(f.ok for f in findings)
    if as_json:
        emit_json({"name": wanted.name, "folder": str(folder), "whole": whole, "found": [asdict(f) for f in findings]})
    else:
        rows = [["yes" if f.ok else "NO", f.what, f.expected, f"{f.found:,}"] for f in findings]
        print_table(["there", "what", "expected", "found"], rows, right=["expected", "found"])
        if whole and wanted.use:
            print_line(f"use it: {wanted.use}")
    if not whole:
        raise typer.Exit(ExitCode.NO_MATCH)


def _list(sets: tuple[DataSet, ...], *, as_json: bool) -> None:
    if as_json:
        emit_json({"sets": [asdict(s) for s in sets]})
        return
    access = {"download": "yes", "request": "ask its owner", "withdrawn": "withdrawn"}
    rows = [[s.name, f"{s.pictures:,}", f"{s.people:,}" if s.people else None, access[s.access], s.title] for s in sets]
    print_table(["name", "pictures", "people", "to be had", "data set"], rows, right=["pictures", "people"])


def _show(wanted: DataSet, *, as_json: bool) -> None:
    if as_json:
        emit_json(asdict(wanted))
        return
    print_line(wanted.title, style="bold")
    facts = {
        "about": wanted.about,
        "terms": wanted.terms,
        "from": wanted.source,
        "how": wanted.how or f"mien data fetch {wanted.name} DIR",
        "holds": "; ".join(f"{e.count:,} {e.what}" for e in wanted.expect if not e.least),
        "check": f"mien data fetch {wanted.name} DIR --check",
        "use": wanted.use,
    }
    for key, value in facts.items():
        if value:
            print_line(f"{key}: {value}")
