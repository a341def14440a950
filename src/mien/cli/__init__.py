"""The command line: thin. Parse, call, print. Results go to stdout, everything for a person's eyes to stderr.

Exit codes: 0 done or matched, 1 no match, 2 bad input (beats 1), 3 an error inside mien, 130 or 143 stopped by Ctrl-C
or SIGTERM.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

from mien.cli.output import ExitCode, printable, say
from mien.errors import MienError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run `mien` with the given arguments (the process's by default) and return the exit code."""
    from mien.cli.app import app

    try:
        code = _exit_code(lambda: app(args=arguments, prog_name="mien"))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        _silence_stdout()
        return ExitCode.OK
    except MienError as error:
        say(printable(str(error)), label="error:")
        return ExitCode.BAD_INPUT
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the last line of defence turns a crash into its own exit code
        if os.environ.get("MIEN_DEBUG"):
            traceback.print_exc()
        say(printable(f"{type(error).__name__}: {error}"), label="internal error:")
        say("Set MIEN_DEBUG=1 for details, and please report it.")
        return ExitCode.INTERNAL
    return code


def _exit_code(command: Callable[[], object]) -> int:
    """Run a typer command and return its exit code.

    Typer leaves with 1, which means "no match" here, when the reader of the output left or the user pressed Ctrl-C:
    these are raised again.
    """
    try:
        command()
    except SystemExit as stop:
        cause: BaseException | None = stop.__context__
        while cause is not None:
            if isinstance(cause, BrokenPipeError | KeyboardInterrupt):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    return ExitCode.OK


def _silence_stdout() -> None:
    """Send what is still buffered for stdout nowhere, so that the flush at exit does not fail, too."""
    with suppress(OSError, ValueError):  # a stdout without a file, as in tests, has nothing to silence
        stdout = sys.stdout.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stdout)
        os.close(nowhere)
