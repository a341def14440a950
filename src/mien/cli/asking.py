"""A question before something is lost for good, and the dates that options hold."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from mien.cli.output import ExitCode, printable, say
from mien.errors import InputError

__all__ = ["YesFlag", "confirm", "local_time", "moment", "utc_time"]

_FIRST, _LAST = -62_135_510_400.0, 253_402_214_400.0  # a day within the years 1 and 9999, for time zones
YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def confirm(question: str, *, yes: bool) -> None:
    """Ask whoever sits at the terminal; a program is not asked. A "no" leaves with exit code 1."""
    if not yes and sys.stdin.isatty() and not typer.confirm(printable(question), err=True):
        say("nothing was changed")
        raise typer.Exit(ExitCode.NO_MATCH)


def moment(text: str, option: str) -> float:
    """Seconds since the epoch of an ISO date or time; in this computer's time zone where it names none.

    Raises:
        InputError: it is neither.
    """
    try:
        return datetime.fromisoformat(text.strip()).astimezone().timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(f"{option}: expected a date such as 2027-01-31, or 2027-01-31T09:30, got {text!r}") from error


def utc_time(seconds: float) -> str:
    """A moment for programs: ISO 8601, UTC.

    >>> utc_time(0)
    '1970-01-01T00:00:00+00:00'
    """
    return _utc(seconds).isoformat(timespec="seconds")


def local_time(seconds: float) -> str:
    """A moment for people, in this computer's time zone."""
    return _utc(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _utc(seconds: float) -> datetime:
    """Moments that no calendar has, such as an expiry in the year 20,000, are shown as its first or last day."""
    return datetime.fromtimestamp(min(max(seconds, _FIRST), _LAST), UTC)
