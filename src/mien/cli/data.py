"""`mien data`: from raw pictures and videos to a clean training or test set."""

from __future__ import annotations

import typer

from mien.cli.crop import crop
from mien.cli.data_clean import clean, dedupe
from mien.cli.data_embed import embed
from mien.cli.data_fetch import fetch
from mien.cli.data_frames import frames
from mien.cli.data_make import generate, mesh
from mien.cli.data_overlap import merge, overlap, stats
from mien.cli.data_sets import pack, pairs, select, split, unpack

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Make clean training and test sets of raw pictures and videos.")

_TAKE, _LOOK, _CHOOSE, _STORE = "Take and make pictures", "Look over and clean", "Choose and divide people", "Store"

app.command(rich_help_panel=_TAKE)(fetch)
app.command(rich_help_panel=_TAKE)(frames)
app.command(rich_help_panel=_TAKE)(crop)
app.command(rich_help_panel=_TAKE)(mesh)
app.command(rich_help_panel=_TAKE)(generate)
app.command(rich_help_panel=_LOOK)(stats)
app.command(rich_help_panel=_LOOK)(dedupe)
app.command(rich_help_panel=_LOOK)(clean)
app.command(rich_help_panel=_LOOK)(overlap)
app.command(rich_help_panel=_LOOK)(merge)
app.command(rich_help_panel=_CHOOSE)(select)
app.command(rich_help_panel=_CHOOSE)(split)
app.command(rich_help_panel=_CHOOSE)(pairs)
app.command(rich_help_panel=_STORE)(embed)
app.command(rich_help_panel=_STORE)(pack)
app.command(rich_help_panel=_STORE)(unpack)
