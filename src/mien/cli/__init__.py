"""The command line: thin. Parse, call, print. Results go to stdout, everything for a person's eyes to stderr.

Exit codes: 0 done or matched, 1 no match, 2 bad input (beats 1), 3 an error inside mien.
"""

from __future__ import annotations

import os
import sys
import traceback

from mien.cli.output import ExitCode, printable, say
from mien.errors import MienError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run `mien` with the given arguments (the process's by default) and return the exit code."""
    from mien.cli.app import app

    try:
        app(args=arguments, prog_name="mien")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - lives until exit, so that no flush complains
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
    return ExitCode.OK
