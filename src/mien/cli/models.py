"""`mien models`: what models there are, what they may be used for, and getting and checking their files."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.output import (
    CsvFlag,
    JsonFlag,
    console,
    emit_csv,
    emit_json,
    finish,
    print_line,
    print_table,
    printable,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mien.models.card import ModelCard
    from mien.models.catalogue import Use
    from mien.models.store import FileStatus, ModelStore

__all__ = ["app"]

app = typer.Typer(help="List, fetch and verify models, and see what their licences allow.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="A model's name, or the path of its card (.toml).", show_default=False)]
_Names = Annotated[
    list[str] | None, typer.Argument(help="Models' names or card files; all when none is given.", show_default=False)
]
_Licence = Annotated[
    str, typer.Option("--licence", "--license", help="What you need the model for: any, or commercial.")
]


def _use(text: str) -> Use:
    """The use that --licence names. Raises InputError for another word."""
    from mien.errors import InputError

    if text == "any":
        return "any"
    if text == "commercial":
        return "commercial"
    raise InputError(f"--licence: expected any or commercial, got {text!r}")


def _cards(names: list[str] | None) -> tuple[list[ModelCard], bool]:
    """The cards of these names, or all cards; and whether a card of the user's could not be read (it is reported)."""
    from mien.models import catalogue

    if names:
        return [catalogue.get(name) for name in names], False
    mine, errors = catalogue.user_cards()
    for error in errors:
        say(printable(str(error)), label="skipped:")
    return [*catalogue.shipped().values(), *mine], bool(errors)


def _presence(store: ModelStore, card: ModelCard) -> str:
    """Whether a model's files are there; they are not hashed, so that a list is instant."""
    return "yes" if store.present(card) else ("no" if any(f.url for f in card.files) else "needs a file")


def _row(store: ModelStore, card: ModelCard) -> dict[str, Any]:
    from mien.models import catalogue

    defaults = (catalogue.DEFAULT_DETECTOR, catalogue.DEFAULT_EMBEDDER, catalogue.DEFAULT_LANDMARKS)
    return {
        "name": card.name,
        "task": card.task,
        "title": card.title,
        "licence": card.licence,
        "commercial_use": card.commercial_use,
        "installed": _presence(store, card),
        "default": card.name in defaults,
    }


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table for people."""
    name = f"{row['name']} *" if row["default"] else row["name"]
    return name, row["task"], row["licence"], _yes(row["commercial_use"]), row["installed"], row["title"]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


@app.command("list")
def list_models(
    task: Annotated[str | None, typer.Option(help="Only models for this task: detector, embedder, landmarks.")] = None,
    licence: _Licence = "any",
    as_json: JsonFlag = False,
    as_csv: CsvFlag = False,
) -> None:
    """List the models that mien knows, shipped and your own."""
    from mien.errors import InputError
    from mien.models import catalogue
    from mien.models.card import FAMILIES
    from mien.models.store import ModelStore

    if task is not None and task not in FAMILIES.values():
        raise InputError(f"--task: expected one of {', '.join(sorted(set(FAMILIES.values())))}; got {task!r}")
    use, store = _use(licence), ModelStore()
    cards, broken = _cards(None)
    rows = [_row(store, c) for c in cards if task in (None, c.task) and catalogue.allows(c, use)]
    if as_json:
        emit_json(rows)
    elif as_csv:
        keys = ("name", "task", "title", "licence", "commercial_use", "installed", "default")
        emit_csv(keys, [[row[key] for key in keys] for row in rows])
    else:
        header = ("model", "task", "licence", "commercial", "installed", "what it is")
        print_table(header, [_line(row) for row in rows])
        say("* used by default. Details: mien models show NAME")
    finish(failed=broken, matched=bool(rows))


@app.command()
def show(name: _Name, as_json: JsonFlag = False) -> None:
    """Show a model's card: what it is, where it comes from, its terms, its files."""
    from mien.models import catalogue
    from mien.models.store import ModelStore

    card = catalogue.get(name)
    statuses = ModelStore().verify(card)
    if as_json:
        emit_json({**card.to_dict(), "status": [_status_row(card, s) for s in statuses]})
        return
    files = [(f"file {s.name}", f"{s.state}  {s.path or ''}  {s.detail}") for s in statuses]
    print_table(("field", "value"), [*_flat(card.to_dict()), *files])


@app.command()
def pull(
    name: _Name,
    file: Annotated[Path | None, typer.Option(help="Take over this file instead of downloading.")] = None,
    sha256: Annotated[str | None, typer.Option(help="The checksum the file must have, if its card names none.")] = None,
    licence: _Licence = "any",
    as_json: JsonFlag = False,
) -> None:
    """Fetch a model's files over https, verified before they are put in place. An interrupted download goes on."""
    from mien.models import catalogue
    from mien.models.store import ModelStore

    card = catalogue.get(name)
    catalogue.require_licence(card, _use(licence))
    if not card.commercial_use:
        say(printable(f"{card.licence}. {card.licence_notes} {card.licence_url}".strip()), label="licence:")
    with _bar(card.name) as progress:
        stored = ModelStore().pull(card, file, sha256=sha256, progress=progress)
    for one in stored:
        if one.pinned_by == "first use":
            say(
                printable(
                    f"nobody vouches for {one.name}: its checksum {one.sha256} was recorded now, and from here on only "
                    f"this very file is accepted. Compare it with what the file's maker publishes."
                ),
                label="recorded on first use:",
            )
    rows = [{"name": s.name, "path": str(s.path), "sha256": s.sha256, "pinned_by": s.pinned_by} for s in stored]
    if as_json:
        emit_json({"model": card.name, "files": rows})
    else:
        for row in rows:
            print_line(row["path"])


@app.command()
def verify(names: _Names = None, as_json: JsonFlag = False, as_csv: CsvFlag = False) -> None:
    """Hash models' files and compare with their cards. Exit code 1 when a file is damaged or a named one is missing."""
    from mien.models.store import ModelStore

    store = ModelStore()
    cards, broken = _cards(names)
    if not names:
        cards = [card for card in cards if store.present(card) or all(f.packaged for f in card.files)]
    rows = [_status_row(card, status) for card in cards for status in store.verify(card)]
    if as_json:
        emit_json(rows)
    elif as_csv:
        emit_csv(("model", "file", "state", "path", "detail"), [list(row.values()) for row in rows])
    else:
        keys = ("model", "file", "state", "detail")
        print_table(keys, [[row[key] for key in keys] for row in rows])
    finish(failed=broken, matched=all(row["state"] == "ok" for row in rows))


@app.command("licence")
def show_licence(names: _Names = None, licence: _Licence = "any", as_json: JsonFlag = False) -> None:
    """Show models' licences. With --licence commercial: exit code 1 when one of them forbids commercial use."""
    from mien.models import catalogue

    use = _use(licence)
    cards, broken = _cards(names)
    rows: list[dict[str, Any]] = [
        {
            "name": card.name,
            "licence": card.licence,
            "commercial_use": card.commercial_use,
            "allowed": catalogue.allows(card, use),
            "url": card.licence_url,
            "notes": card.licence_notes,
        }
        for card in cards
    ]
    if as_json:
        emit_json(rows)
    else:
        header = ("model", "licence", "commercial use", "terms", "notes")
        yes_no = {True: "yes", False: "no"}
        print_table(
            header, [(r["name"], r["licence"], yes_no[r["commercial_use"]], r["url"], r["notes"]) for r in rows]
        )
    forbidden = [row["name"] for row in rows if not row["allowed"]]
    if forbidden:
        say(f"{use} use is not allowed by: {', '.join(forbidden)}")
    finish(failed=broken, matched=not forbidden)


def _status_row(card: ModelCard, status: FileStatus) -> dict[str, Any]:
    path = None if status.path is None else str(status.path)
    return {"model": card.name, "file": status.name, "state": status.state, "path": path, "detail": status.detail}


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested tables as dotted keys; what is empty is left out."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for i, item in enumerate(value):
                yield from _flat(item, f"{prefix}{key}[{i}].")
        elif value not in ("", []):
            yield f"{prefix}{key}", value


@contextmanager
def _bar(label: str) -> Iterator[Callable[[int, int | None], None] | None]:
    """A progress bar in bytes on stderr when a person watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console(), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
