"""`mien data`: from raw pictures and videos to a clean training or test set."""

from __future__ import annotations

import typer

from mien.cli.data_fetch import fetch
from mien.cli.data_frames import frames
from mien.cli.data_make import generate, mesh
from mien.cli.data_sets import pack, pairs, select, split, unpack

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Make clean training and test sets of raw pictures and videos.")

_TAKE, _CHOOSE, _STORE = "Take and make pictures", "Choose and divide people", "Store"

app.command(rich_help_panel=_TAKE)(fetch)
app.command(rich_help_panel=_TAKE)(frames)
app.command(rich_help_panel=_TAKE)(mesh)
app.command(rich_help_panel=_TAKE)(generate)
app.command(rich_help_panel=_CHOOSE)(select)
app.command(rich_help_panel=_CHOOSE)(split)
app.command(rich_help_panel=_CHOOSE)(pairs)
app.command(rich_help_panel=_STORE)(pack)
app.command(rich_help_panel=_STORE)(unpack)
