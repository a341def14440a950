"""`mien distil`: a smaller or faster network that has learned from another model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.output import JsonFlag, emit_json, print_line, printable
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
    from mien.train.distil_settings import DistilResult

__all__ = ["distil"]

_OWN = "default"

_Teacher = Annotated[
    str,
    typer.Option("--teacher", help="The model to learn from: default, a name, a card, or an exported run's folder."),
]
_Student = Annotated[
    str,
    typer.Option("--student", help="The network that learns, such as mobilefacenet; default: mien's own, hardened."),
]
_Data = Annotated[
    list[Path] | None, typer.Option("--data", help="Folder of people (photos), or a packed set; can be repeated.")
]
_Out = Annotated[Path | None, typer.Option("--out", help="The run's folder, such as runs/y.")]
_Aligned = Annotated[bool, typer.Option("--aligned", help="The pictures are aligned crops already.")]
_Preset = Annotated[
    str | None, typer.Option("--preset", help="The teacher's: fast, or accurate (for --student default).")
]
_Feature = Annotated[float, typer.Option("--feature", help="Weight of the distance to the teacher's embedding.")]
_Relation = Annotated[float, typer.Option("--relation", help="Weight of the differences of cosines in a batch.")]
_Live = Annotated[bool, typer.Option("--live", help="Ask the teacher about every augmented picture: slow, and better.")]
_Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Such as schedule.epochs=5; repeatable.")
]
_Resume = Annotated[bool, typer.Option("--resume/--no-resume", help="Go on where a run in --out was stopped.")]


def distil(
    *,
    teacher: _Teacher = "default",
    student: _Student = "mobilefacenet",
    data: _Data = None,
    out: _Out = None,
    aligned: _Aligned = False,
    preset: _Preset = None,
    pairs: PairLists = None,
    images: ImageFolders = None,
    threshold_pairs: ThresholdLists = None,
    skip_missing: SkipMissing = False,
    feature: _Feature = 1.0,
    relation: _Relation = 1.0,
    live: _Live = False,
    settings: _Set = None,
    resume: _Resume = True,
    as_json: JsonFlag = False,
) -> None:
    """Teach a network what another model says of your pictures: nobody's names are used.

    With --student default, mien's own embedder learns to say of bad pictures (grey, small, blurred, under a mesh,
    turned away) what it says of good ones.

    The run is like one of mien train: mien export makes a model of it.
    """
    if out is None or not data:
        raise InputError("mien distil: expected pictures (--data DIR) and a folder for the run (--out runs/y)")
    preset = preset or ("accurate" if student == _OWN else "fast")
    if preset not in ("fast", "accurate"):
        raise InputError(f"--preset: expected fast or accurate, got {preset!r}")
    sets = pair_sets(pairs, images, threshold_pairs, skip_missing=skip_missing)
    config = _config(student, data, sets, settings or [], aligned=aligned)
    from mien.models.catalogue import DEFAULT_EMBEDDER
    from mien.train.distil import DistilSettings
    from mien.train.distil import distil as run

    teacher = DEFAULT_EMBEDDER if teacher == _OWN else teacher
    taught = DistilSettings(teacher=teacher, preset=preset, feature=feature, relation=relation, live=live)  # type: ignore[arg-type]
    with display() as shown:
        result = run(config, out, taught, resume=resume, display=shown)
    if tells():
        _tell(result, as_json=as_json)
    if result.stopped == "interrupted":
        raise typer.Exit(128 + result.signal)


def _tell(result: DistilResult, *, as_json: bool) -> None:
    if as_json:
        emit_json(
            {
                "folder": str(result.folder),
                "stopped": result.stopped,
                "step": result.step,
                "epoch": result.epoch,
                "loss": result.loss,
                "best": result.best,
                "teacher": result.teacher,
            }
        )
    elif result.stopped == "interrupted":
        print_line(f"Stopped after step {result.step:,}; the same command goes on from there.")
    else:
        if result.best is not None:
            print_line(best_measured(result.best))
        place = printable(str(result.folder))
        print_line(f"{place}/best: the student of {result.teacher}; next: mien export {place}")


def _config(
    student: str, data: list[Path], sets: tuple[PairsConfig, ...], settings: list[str], *, aligned: bool
) -> TrainConfig:
    from mien.train.config import MeasureConfig, SourceConfig
    from mien.train.distil_recipes import hardened_default
    from mien.train.distil_recipes import student as new_student

    config = hardened_default() if student == _OWN else new_student(student)
    sources = tuple(SourceConfig(path=str(one), aligned=aligned) for one in data)
    config = replace(config, data=replace(config.data, sources=sources), measure=MeasureConfig(sets=sets))
    return config.with_settings(settings)
