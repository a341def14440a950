"""`mien export`: a trained network as a model that every verb can use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.output import JsonFlag, counted, emit_json, print_line, print_table, printable, say
from mien.cli.training_options import SkipMissing
from mien.errors import InputError

__all__ = ["export"]

_Run = Annotated[
    Path, typer.Argument(metavar="RUN", readable=False, show_default=False, help="The folder of a training run.")
]
_Out = Annotated[Path | None, typer.Option("--out", help="Where to write (RUN/export unless given).")]
_Variant = Annotated[
    list[str] | None, typer.Option("--variant", help="fp16 or int8 besides fp32; may be given several times.")
]
_Part = Annotated[str | None, typer.Option("--part", help="best or last (the first that is there unless given).")]
_Name = Annotated[str | None, typer.Option("--name", help="The model's name (the run's unless given).")]
_Pairs = Annotated[
    Path | None, typer.Option("--pairs", readable=False, help="Measure accuracy on these pairs (LFW's format).")
]
_Images = Annotated[
    Path | None,
    typer.Option("--images", readable=False, help="Pictures of the pairs; also of people, what int8 is calibrated on."),
]
_Calibrate = Annotated[
    Path | None, typer.Option("--calibrate", readable=False, help="Calibrate thresholds on this folder of people.")
]
_Licence = Annotated[str, typer.Option("--licence", help="Licence of the weights: the training data may bind it.")]
_Commercial = Annotated[bool, typer.Option("--commercial", help="That licence allows commercial use.")]
_Evidence = Annotated[
    Path | None,
    typer.Option(
        "--evidence",
        help="Instead: write what the sub-centres of a run say of each training picture below --images, for mien data "
        "clean.",
    ),
]


def export(
    run: _Run,
    *,
    out: _Out = None,
    variant: _Variant = None,
    part: _Part = None,
    name: _Name = None,
    pairs: _Pairs = None,
    images: _Images = None,
    skip_missing: SkipMissing = False,
    calibrate: _Calibrate = None,
    licence: _Licence = "",
    commercial: _Commercial = False,
    evidence: _Evidence = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a trained network as ONNX with its card, checked against the network; use it with --model RUN.

    fp32 is always written. Smaller variants tell their loss on --pairs; int8 needs --images. Nothing is written unless
    the graph computes what the network does.
    """
    if evidence is not None:
        _write_evidence(run, images, evidence, as_json=as_json)
        return
    from mien.train.export import ExportSettings, export_run

    settings = ExportSettings(
        variants=tuple(variant or ()),
        name=name,
        licence=licence,
        commercial=commercial,
        part=part,
        pairs=pairs,
        images=images,
        skip_missing=skip_missing,
        calibrate=calibrate,
    )
    made = export_run(run, out, settings, say=say)
    if as_json:
        emit_json(
            {
                "folder": str(made.folder),
                "model": made.card.name,
                "sha256": made.card.files[0].sha256,
                "family": made.card.family,
                "agreement": {
                    "pictures": made.agreement.pictures,
                    "difference": made.agreement.difference,
                    "cosine": made.agreement.cosine,
                },
                "forms": [form.record() for form in made.forms],
                "calibrations": list(made.calibrations),
                "notes": list(made.notes),
            }
        )
        return
    rows = [
        (
            form.variant,
            form.file,
            f"{form.size / 1e6:.1f}",
            f"{form.milliseconds:.2f}",
            f"{form.cosine:.6f}",
            None if form.accuracy is None else f"{form.accuracy:.4f}",
        )
        for form in made.forms
    ]
    print_table(("form", "file", "MB", "ms a view", "least cosine", "accuracy"), rows)
    for form in made.forms:
        for change in form.changes:
            print_line(f"{form.variant} against fp32: {change}")
    for note in made.notes:
        say(note, label="note:")
    where = printable(str(run if made.folder == run / "export" else made.folder))
    use = f"{printable(str(made.folder))}: written; use it: mien verify A.jpg B.jpg --model {where}"
    if not made.calibrations:  # without one no threshold follows from an error rate, and mien verify would refuse
        use += (
            f" --threshold X (mien evaluate verify PEOPLE --model {where} shows which; --calibrate PEOPLE finds them)"
        )
    print_line(use)


def _write_evidence(run: Path, images: Path | None, target: Path, *, as_json: bool) -> None:
    from mien.train.sub_centre_evidence import run_evidence, write_evidence

    if images is None:
        raise InputError("--evidence: needs the folder of people that the run was trained on: --images DIR")
    names, found = run_evidence(run, images)
    write_evidence(target, names, found)
    wrong, away = int((found.score > 0.5).sum()), int((~found.on_dominant).sum())
    if as_json:
        emit_json({"file": str(target), "pictures": len(names), "away": away, "more_wrong_than_right": wrong})
        return
    print_line(
        f"{printable(str(target))}: {counted(len(names), 'picture')}; {away:,} hang on another centre than most of "
        f"their person's, {wrong:,} are further than 75 degrees from it"
    )
    print_line(f"next: mien data clean {printable(str(images))} --evidence {printable(str(target))}")
