"""`mien train`: from folders of people to a measured network of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.output import JsonFlag, counted, emit_json, finish, print_line, print_table
from mien.cli.training_options import (
    ImageFolders,
    PairLists,
    SkipMissing,
    ThresholdLists,
    best_measured,
    display,
    pair_sets,
    tells,
)
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.train.config import PairsConfig, TrainConfig
    from mien.train.trainer import TrainResult

__all__ = ["train"]


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="[RECIPE]", show_default=False, help="A recipe (see --list), or a .toml or .json file."),
    ] = None,
    *,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", show_default=False, help="Folder of people (photos), or a packed set; can be repeated."),
    ] = None,
    aligned: Annotated[bool, typer.Option("--aligned", help="The pictures are aligned crops already.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", show_default=False, help="The run's folder, such as runs/x.")
    ] = None,
    pairs: PairLists = None,
    images: ImageFolders = None,
    threshold_pairs: ThresholdLists = None,
    skip_missing: SkipMissing = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", show_default=False, help="Such as optimizer.lr=0.02; repeatable."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on where a run of the same config in --out was stopped.")
    ] = True,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what it needs (memory, time) and whether it fits.")
    ] = False,
    processes: Annotated[int, typer.Option("--processes", min=1, help="For --plan: processes to share the work.")] = 1,
    show: Annotated[bool, typer.Option("--show", help="Only print the whole config, as JSON.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List the recipes.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train an embedding on your own people; stop it any time, the same command goes on.

    With --plan the exit code is 1 where it does not fit.

    Several processes or machines: torchrun --nproc-per-node 2 -m mien train RECIPE ... with the same options.
    """
    if listing:
        _list(as_json=as_json)
        return
    if recipe is None:
        raise InputError("mien train: expected a recipe or a config file; mien train --list shows the recipes")
    sets = pair_sets(pairs, images, threshold_pairs, skip_missing=skip_missing)
    config = _config(recipe, data or [], settings or [], sets, aligned=aligned)
    if show:
        emit_json(config.to_dict())
    elif plan:
        _plan(config, processes=processes, as_json=as_json)
    elif out is None:
        raise InputError("mien train: expected a folder for the run, such as --out runs/first")
    else:
        _train(config, out, resume=resume, as_json=as_json)


def _list(*, as_json: bool) -> None:
    from mien.train.recipes import RECIPES

    rows = [(name, " ".join((make.__doc__ or "").split())) for name, make in RECIPES.items()]
    if as_json:
        emit_json(dict(rows))
    else:
        print_table(("recipe", "when"), rows)


def _config(
    recipe: str,
    data: list[Path],
    settings: list[str],
    sets: tuple[PairsConfig, ...],
    *,
    aligned: bool,
) -> TrainConfig:
    from dataclasses import replace

    from mien.train.config import SourceConfig
    from mien.train.config_file import read_started_config
    from mien.train.recipes import recipe as by_name

    path = Path(recipe)
    of_file = path.suffix in (".toml", ".json")
    config: TrainConfig = read_started_config(path) if of_file else by_name(recipe)
    if aligned and not data:
        raise InputError("--aligned: says of --data what its pictures are; in a file: aligned = true of a source")
    if data:
        sources = tuple(SourceConfig(path=str(one), aligned=aligned) for one in data)
        config = replace(config, data=replace(config.data, sources=sources))
    if sets:
        config = replace(config, measure=replace(config.measure, sets=sets))
    return config.with_settings(settings)


def _plan(config: TrainConfig, *, processes: int, as_json: bool) -> None:
    from mien.train.plan import planned, rows_of

    found = planned(config, processes=processes)
    if as_json:
        emit_json(found.to_dict())
    else:
        print_table(("what", "one process"), rows_of(found), right=("one process",))
    finish(failed=False, matched=found.fits is not False)


def _train(config: TrainConfig, out: Path, *, resume: bool, as_json: bool) -> None:
    from mien.train.trainer import train as run

    with display() as shown:
        result = run(config, out, resume=resume, display=shown)
    _finish(result, as_json=as_json)


def _finish(result: TrainResult, *, as_json: bool) -> None:
    if tells():
        if as_json:
            emit_json(result.to_dict())
        else:
            _tell(result)
    if result.stopped == "interrupted":
        raise typer.Exit(128 + result.signal)


def _tell(result: TrainResult) -> None:
    if result.stopped == "interrupted":
        print_line(f"Stopped after step {result.step:,}; the same command goes on from there.")
        return
    early = ", stopped early" if result.stopped == "early stop" else ""
    print_line(f"{counted(result.epoch, 'epoch')}, {counted(result.step, 'step')}, {result.seconds:,.0f} s{early}")
    if result.best is not None:
        print_line(best_measured(result.best), style="bold")
    print_line(f"{result.folder / 'best'}: the network; mien export makes a model of it")
