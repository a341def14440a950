"""`mien evaluate`: how often the system errs, by a public protocol or on your own photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.evaluate_output import deliver
from mien.cli.evaluate_run import (
    IDENTIFY_PROTOCOLS,
    VERIFY_PROTOCOLS,
    Lists,
    Run,
    identification_set,
    verification_set,
)
from mien.cli.inputs import DetectorName, LicenceUse, MinFace, ModelName, PresetName
from mien.cli.output import JsonFlag

if TYPE_CHECKING:
    from mien.evaluate.protocols import Missing
    from mien.evaluate.verification import ListedScores

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Measure error rates: with intervals, and by stated rules.")


Where = Annotated[
    Path, typer.Argument(metavar="FOLDER", show_default=False, help="The data set's folder (for bin: the file).")
]
PairsList = Annotated[
    Path | None, typer.Option("--pairs", help="The list of pairs: LFW's pairs.txt, YTF's splits.txt.")
]
PeopleList = Annotated[Path | None, typer.Option("--people", help="The list of people, for lfw-people.")]
Failing = Annotated[
    str, typer.Option("--failures", help="A picture without a face: error (the system's), or exclude it.")
]
MissingToo = Annotated[bool, typer.Option("--skip-missing", help="Leave out listed pictures that are not there.")]
Out = Annotated[Path | None, typer.Option("--out", help="Write report.html and report.json into this folder.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of every random draw.")]
Most = Annotated[int | None, typer.Option("--most", min=1, help="At most so many pictures of a person (folder).")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Compute every embedding anew, and keep none.")]


@app.command()
def verify(
    context: typer.Context,
    folder: Where,
    *,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help=f"{', '.join(VERIFY_PROTOCOLS)}. Without it: every pair of FOLDER.")
    ] = None,
    pairs: PairsList = None,
    threshold_pairs: Annotated[
        Path | None,
        typer.Option("--threshold-pairs", help="Choose the accuracy's threshold on this list of LFW pairs (one fold)."),
    ] = None,
    people: PeopleList = None,
    far: Annotated[list[float] | None, typer.Option("--far", help="False acceptance rates to report TAR at.")] = None,
    failures: Failing = "error",
    skip_missing: MissingToo = False,
    most: Most = None,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    seed: Seed = 0,
    no_cache: NoCache = False,
    out: Out = None,
    as_json: JsonFlag = False,
) -> None:
    """Are two pictures of one person? Accuracy, EER, and TAR at stated FARs, over a list of pairs or every pair."""
    from mien.evaluate.rates import FARS
    from mien.evaluate.verification import listed_scores, verify_set

    run = Run(
        context,
        failures=failures,
        seed=seed,
        preset=preset,
        model=model,
        detector=detector,
        licence=licence,
        min_face=min_face,
        cached=not no_cache,
    )
    lists = Lists(folder=folder, pairs=pairs, people=people, missing=_missing(skip_missing), most=most, seed=seed)
    data = verification_set(protocol, lists)
    chosen: tuple[str, ListedScores] | None = None
    if threshold_pairs is not None:
        from mien.evaluate.protocols import LfwPairs

        other = LfwPairs(threshold_pairs, folder, missing=lists.missing).read()
        chosen = (threshold_pairs.name, listed_scores(other, run.embed(other.pictures)))
    result = verify_set(data, run.embed(data.pictures), run.setup(), fars=far or FARS, chosen_on=chosen)
    deliver(result, out, as_json=as_json)


@app.command()
def identify(
    context: typer.Context,
    folder: Where,
    *,
    protocol: Annotated[str | None, typer.Option("--protocol", help=f"{', '.join(IDENTIFY_PROTOCOLS)}.")] = None,
    people: PeopleList = None,
    strangers: Annotated[
        float, typer.Option("--strangers", min=0, max=1, help="Share of the people who are not enrolled.")
    ] = 0.5,
    gallery: Annotated[int, typer.Option("--gallery", min=1, help="Which of a protocol's galleries (ijb).")] = 1,
    fpir: Annotated[list[float] | None, typer.Option("--fpir", help="False-positive rates to report DIR at.")] = None,
    failures: Failing = "error",
    skip_missing: MissingToo = False,
    most: Most = None,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    seed: Seed = 0,
    no_cache: NoCache = False,
    out: Out = None,
    as_json: JsonFlag = False,
) -> None:
    """Whose picture is this, or nobody's? DIR at stated FPIRs with strangers among the probes, and ranks (CMC)."""
    from mien.evaluate.identification import FPIRS, all_pictures, identify_set

    run = Run(
        context,
        failures=failures,
        seed=seed,
        preset=preset,
        model=model,
        detector=detector,
        licence=licence,
        min_face=min_face,
        cached=not no_cache,
    )
    lists = Lists(folder=folder, people=people, missing=_missing(skip_missing), most=most, seed=seed)
    data = identification_set(protocol, lists, strangers=strangers, gallery=gallery)
    result = identify_set(data, run.embed(all_pictures(data)), run.setup(), fpirs=fpir or FPIRS)
    deliver(result, out, as_json=as_json)


def _missing(skip: bool) -> Missing:
    return "exclude" if skip else "error"
