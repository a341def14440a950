"""`mien distil`: a smaller or faster network that has learned from another model."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.output import JsonFlag, emit_json, print_line, printable
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.train.config import TrainConfig

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
_Pairs = Annotated[Path | None, typer.Option("--pairs", help="Pairs to measure on, in LFW's format.")]
_Images = Annotated[Path | None, typer.Option("--images", help="The folder that --pairs speaks of.")]
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
    pairs: _Pairs = None,
    images: _Images = None,
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
    config = _config(student, data, (pairs, images), settings or [], aligned=aligned)
    from mien.models.catalogue import DEFAULT_EMBEDDER
    from mien.train.display import Display, LiveDisplay, PlainDisplay
    from mien.train.distil import DistilSettings
    from mien.train.distil import distil as run

    teacher = DEFAULT_EMBEDDER if teacher == _OWN else teacher
    taught = DistilSettings(teacher=teacher, preset=preset, feature=feature, relation=relation, live=live)  # type: ignore[arg-type]
    display: Display = LiveDisplay() if sys.stderr.isatty() else PlainDisplay()
    try:
        result = run(config, out, taught, resume=resume, display=display)
    finally:
        display.close()
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
            print_line(f"{result.best['name']}: {result.best['accuracy']:.4f} after epoch {result.best['epoch']}")
        place = printable(str(result.folder))
        print_line(f"{place}/best: the student of {result.teacher}; next: mien export {place}")
    if result.stopped == "interrupted":
        raise typer.Exit(128 + result.signal)


def _config(
    student: str, data: list[Path], measured: tuple[Path | None, Path | None], settings: list[str], *, aligned: bool
) -> TrainConfig:
    from mien.train.config import MeasureConfig, PairsConfig, SourceConfig
    from mien.train.distil_recipes import hardened_default
    from mien.train.distil_recipes import student as new_student

    pairs, images = measured
    if (pairs is None) != (images is None):
        raise InputError("--pairs and --images: expected both, the list and the folder that it speaks of")
    sets = () if pairs is None else (PairsConfig(pairs=str(pairs), images=str(images), name=pairs.stem),)
    config = hardened_default() if student == _OWN else new_student(student)
    sources = tuple(SourceConfig(path=str(one), aligned=aligned) for one in data)
    config = replace(config, data=replace(config.data, sources=sources), measure=MeasureConfig(sets=sets))
    return config.with_settings(settings)
