"""What every verb prints with: results to stdout as text, tables, JSON or CSV; messages and progress to stderr."""

from __future__ import annotations

import csv
import enum
import json
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import Console, RenderableType

    from mien.types import Analysis, Face

__all__ = [
    "CsvFlag",
    "ExitCode",
    "JsonFlag",
    "console",
    "counted",
    "emit_csv",
    "emit_json",
    "errors_of",
    "face_record",
    "finish",
    "print_line",
    "print_table",
    "printable",
    "progress",
    "safe_cell",
    "say",
    "watch",
    "watch_each",
    "write_csv",
]

_Key = TypeVar("_Key")


def _one_format(context: typer.Context, asked: bool) -> bool:
    """Refuse --json beside --csv. Whichever comes second sees the first."""
    if asked and (context.params.get("as_json") or context.params.get("as_csv")):
        raise typer.BadParameter("--json and --csv: expected one of the two, got both")
    return asked


JsonFlag = Annotated[bool, typer.Option("--json", callback=_one_format, help="Print one JSON document to stdout.")]
CsvFlag = Annotated[bool, typer.Option("--csv", callback=_one_format, help="Print CSV to stdout.")]


class ExitCode(enum.IntEnum):
    """Exit codes of every verb; part of the public contract."""

    OK = 0
    NO_MATCH = 1
    BAD_INPUT = 2
    INTERNAL = 3


def console() -> Console:
    """A console on stderr, for what a person reads."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def printable(text: str) -> str:
    r"""`text` without control characters or broken surrogates: file names must not be able to drive a terminal.

    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def counted(n: int, one: str, many: str = "") -> str:
    """A number and what it counts.

    >>> counted(1, "face"), counted(1200, "face"), counted(2, "person", "people")
    ('1 face', '1,200 faces', '2 people')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def say(message: str, *, label: str = "") -> None:
    """Print a message to stderr, after a red label such as ``error:`` when one is given.

    No markup is read, and control characters are escaped, whoever calls: a message may quote a file's name.
    """
    from rich.text import Text

    console().print(Text.assemble((f"{label} " if label else "", "bold red"), printable(message)), soft_wrap=True)


def print_line(text: str = "", *, style: str = "") -> None:
    """Print one line of a result to stdout. No markup is read, nothing is wrapped, control characters are escaped."""
    from rich.text import Text

    _to_stdout(Text(printable(text), style), soft_wrap=True)


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print a table to stdout.

    Args:
        header: titles of the columns.
        rows: cells; text is shown as it is (no markup), numbers as they print, None as a dash.
        right: titles of the columns to align to the right.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in header:
        table.add_column(title, justify="right" if title in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("-" if cell is None else printable(str(cell))) for cell in row))
    _to_stdout(table)


def _to_stdout(what: RenderableType, *, soft_wrap: bool = False) -> None:
    from rich.console import Console

    # A pipe has no width, so nothing may be cut to fit one.
    page = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 100_000)
    with page.capture() as captured:  # rich itself would end the process with 1, "no match", when the reader leaves
        page.print(what, soft_wrap=soft_wrap)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))


def emit_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print one JSON document to stdout. NaN and infinity are refused: they are not JSON."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a file name that is not Unicode, or a terminal that is not: escapes say the same
        text = json.dumps(value, allow_nan=False, indent=2)
    sys.stdout.write(text + "\n")


def face_record(face: Face) -> dict[str, Any]:
    """A face in JSON: box [x0, y0, x1, y1] and landmarks [x, y] in pixels, and the detector's confidence."""
    return {
        "box": [round(v, 2) for v in face.box],
        "confidence": round(face.score, 4),
        "landmarks": [[round(x, 2), round(y, 2)] for x, y in face.landmarks],
    }


def errors_of(failures: Iterable[Analysis]) -> list[dict[str, str]]:
    """The pictures that could not be analysed, in JSON: which, and why."""
    return [{"source": f.source, "error": getattr(f.error, "reason", str(f.error))} for f in failures]


def safe_cell(value: object) -> object:
    """A CSV cell that no spreadsheet takes for a formula.

    >>> safe_cell("=1+1"), safe_cell(-0.5), safe_cell("张伟")
    ("'=1+1", -0.5, '张伟')
    """
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "backslashreplace").decode("utf-8")  # file names need not be Unicode
    formula = text.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠")) or text.startswith(("\t", "\r"))
    # The csv module leaves a lone carriage return bare, and a spreadsheet starts a new line, and cell, after it.
    return ("'" if formula else "") + text.replace("\r", "\\r")


def emit_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print CSV to stdout: UTF-8, a header line, cells safe from spreadsheet formulas."""
    write_csv(sys.stdout, header, rows)


def write_csv(file: IO[str], header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write the CSV of `emit_csv` into an open file."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([safe_cell(cell) for cell in row] for row in rows)


@contextmanager
def progress(total: int | None, label: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr when a person watches and the work is long; yields `advance(n)`."""
    if not sys.stderr.isatty() or (total is not None and total < 3):
        yield lambda _n: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # Left alone, rich would send what is printed to stdout meanwhile to stderr.
    with Progress(*columns, console=console(), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(label, total=total)
        yield lambda n: bar.advance(task, n)


def watch(analyses: Iterable[Analysis], total: int | None, label: str, failures: list[Analysis]) -> Iterator[Analysis]:
    """Pass the good analyses on under a progress bar; collect the failed ones in `failures` and name each on stderr."""
    for _, analysis in watch_each(((None, analysis) for analysis in analyses), total, label, failures):
        yield analysis


def watch_each(
    pairs: Iterable[tuple[_Key, Analysis]], total: int | None, label: str, failures: list[Analysis]
) -> Iterator[tuple[_Key, Analysis]]:
    """As `watch`, for analyses that something belongs to, such as the path they were made from."""
    with progress(total, label) as advance:
        for key, analysis in pairs:
            advance(1)
            if analysis.error is None:
                yield key, analysis
            else:
                failures.append(analysis)
                say(printable(str(analysis.error)), label="skipped:")


def finish(*, failed: bool, matched: bool = True) -> None:
    """Leave with the exit code that tells what happened: bad input beats no match."""
    if failed:
        raise typer.Exit(ExitCode.BAD_INPUT)
    if not matched:
        raise typer.Exit(ExitCode.NO_MATCH)
