"""The table of verbs. Verb modules import heavy rooms inside their functions, so that `mien --help` is instant."""

from __future__ import annotations

from typing import Annotated

import typer

from mien.cli import data, evaluate, experiments, models
from mien.cli.calibrate import calibrate
from mien.cli.compare import compare
from mien.cli.crop import crop
from mien.cli.demo import demo
from mien.cli.detect import detect
from mien.cli.distil import distil
from mien.cli.doctor import doctor
from mien.cli.enrol import enrol
from mien.cli.export import export
from mien.cli.find import find
from mien.cli.gallery import app as gallery
from mien.cli.identify import identify
from mien.cli.people import app as people
from mien.cli.promote import promote
from mien.cli.recognize import recognize
from mien.cli.train import train
from mien.cli.verify import verify

__all__ = ["app"]

app = typer.Typer(
    name="mien",
    help="Face recognition you can trust: who is in this photo, or nobody we know.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        import mien

        typer.echo(f"mien {mien.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


_LOOK, _KNOW, _CARE = "Look at photos", "Know people", "Set up"

app.command(rich_help_panel=_LOOK)(detect)
app.command(rich_help_panel=_LOOK)(crop)
app.command(rich_help_panel=_LOOK)(verify)
app.command(rich_help_panel=_LOOK)(find)
app.command(rich_help_panel=_LOOK)(compare)
app.command(rich_help_panel=_KNOW)(enrol)
app.command(rich_help_panel=_KNOW)(identify)
app.command(rich_help_panel=_KNOW)(recognize)
app.add_typer(people, name="people", rich_help_panel=_KNOW)
app.add_typer(gallery, name="gallery", rich_help_panel=_KNOW)
app.command(rich_help_panel=_CARE)(demo)
app.command(rich_help_panel=_CARE)(doctor)
app.command(rich_help_panel=_CARE)(calibrate)
app.command(rich_help_panel=_CARE)(train)
app.command(rich_help_panel=_CARE)(export)
app.command(rich_help_panel=_CARE)(distil)
app.command(rich_help_panel=_CARE)(promote)
app.add_typer(data.app, name="data", rich_help_panel=_CARE)
app.add_typer(evaluate.app, name="evaluate", rich_help_panel=_CARE)
app.add_typer(experiments.app, name="experiments", rich_help_panel=_CARE)
app.add_typer(models.app, name="models", rich_help_panel=_CARE)
