"""`mien evaluate`: how often the system errs, by a public protocol or on your own photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.evaluate_groups import Bins, Gaps, GroupsFile, MeasuredToo, group_request
from mien.cli.evaluate_megaface import Megaface, run_megaface
from mien.cli.evaluate_output import deliver
from mien.cli.evaluate_run import (
    IDENTIFY_PROTOCOLS,
    VERIFY_PROTOCOLS,
    Lists,
    Run,
    identification_set,
    verification_set,
)
from mien.cli.evaluate_verbs import cluster, detect, liveness
from mien.cli.inputs import DetectorName, LicenceUse, MinFace, ModelName, PresetName
from mien.cli.output import JsonFlag

if TYPE_CHECKING:
    from mien.evaluate.protocols import Missing
    from mien.evaluate.verification import ListedScores

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Measure error rates: with intervals, and by stated rules.")
app.command()(cluster)
app.command()(detect)
app.command()(liveness)


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
Strangers = Annotated[
    Path | None, typer.Option("--distractors", help="megaface: a folder of pictures, or a .npy file of embeddings.")
]
Sizes = Annotated[
    list[int] | None, typer.Option("--size", min=1, help="megaface: numbers of distractors to report rank 1 at.")
]
ProbeList = Annotated[Path | None, typer.Option("--probe-list", help="megaface: which probes of FOLDER.")]
OtherList = Annotated[Path | None, typer.Option("--distractor-list", help="megaface: which of the distractors.")]
ProbeNoise = Annotated[Path | None, typer.Option("--probe-noise", help="megaface: probes to leave out (R).")]
OtherNoise = Annotated[Path | None, typer.Option("--distractor-noise", help="megaface: distractors to leave out (R).")]
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
    groups: GroupsFile = None,
    bins: Bins = None,
    gaps: Gaps = None,
    measure: MeasuredToo = None,
    alike_fmr: Annotated[float, typer.Option("--alike-fmr", help="List people who are too alike at this FMR.")] = 0.001,
    most: Most = None,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    distractors: Strangers = None,
    size: Sizes = None,
    probe_list: ProbeList = None,
    distractor_list: OtherList = None,
    probe_noise: ProbeNoise = None,
    distractor_noise: OtherNoise = None,
    seed: Seed = 0,
    no_cache: NoCache = False,
    out: Out = None,
    as_json: JsonFlag = False,
) -> None:
    """Are two pictures of one person? Accuracy, EER, and TAR at stated FARs, over a list of pairs or every pair."""
    from mien.evaluate.rates import FARS
    from mien.evaluate.verification import listed_scores, verify_set

    request = group_request(groups, bins, gaps, measure)
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
    mega = Megaface(distractors, size, probe_list, distractor_list, probe_noise, distractor_noise)
    if mega.asked(protocol):
        only: dict[str, object] = {
            "--pairs": pairs,
            "--people": people,
            "--most": most,
            "--threshold-pairs": threshold_pairs,
        }
        only |= {"--groups": groups, "--bin": bins, "--gap": gaps, "--measure": measure}
        mega.only(only)
        deliver(run_megaface(run, folder, mega, missing=_missing(skip_missing), fars=far), out, as_json=as_json)
        return
    lists = Lists(folder=folder, pairs=pairs, people=people, missing=_missing(skip_missing), most=most, seed=seed)
    data = verification_set(protocol, lists)
    chosen: tuple[str, ListedScores] | None = None
    if threshold_pairs is not None:
        from mien.evaluate.protocols import LfwPairs

        other = LfwPairs(threshold_pairs, folder, missing=lists.missing).read()
        chosen = (threshold_pairs.name, listed_scores(other, run.embed(other.pictures)))
    embedded = run.embed(data.pictures)
    result = verify_set(data, embedded, run.setup(), fars=far or FARS, chosen_on=chosen, alike_fmr=alike_fmr)
    if request is not None:
        from mien.evaluate.groups_run import with_verification_groups

        result = with_verification_groups(data, embedded, result, request)
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
    groups: GroupsFile = None,
    bins: Bins = None,
    measure: MeasuredToo = None,
    most: Most = None,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    distractors: Strangers = None,
    size: Sizes = None,
    probe_list: ProbeList = None,
    distractor_list: OtherList = None,
    probe_noise: ProbeNoise = None,
    distractor_noise: OtherNoise = None,
    seed: Seed = 0,
    no_cache: NoCache = False,
    out: Out = None,
    as_json: JsonFlag = False,
) -> None:
    """Whose picture is this, or nobody's? DIR at stated FPIRs with strangers among the probes, and ranks (CMC)."""
    from mien.evaluate.identification import FPIRS, all_pictures, identify_set

    request = group_request(groups, bins, None, measure)
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
    mega = Megaface(distractors, size, probe_list, distractor_list, probe_noise, distractor_noise)
    if mega.asked(protocol):
        mega.only(
            {
                "--people": people,
                "--most": most,
                "--fpir": fpir,
                "--groups": groups,
                "--bin": bins,
                "--measure": measure,
            }
        )
        deliver(run_megaface(run, folder, mega, missing=_missing(skip_missing)), out, as_json=as_json)
        return
    lists = Lists(folder=folder, people=people, missing=_missing(skip_missing), most=most, seed=seed)
    data = identification_set(protocol, lists, strangers=strangers, gallery=gallery)
    embedded = run.embed(all_pictures(data))
    result = identify_set(data, embedded, run.setup(), fpirs=fpir or FPIRS)
    if request is not None:
        from mien.evaluate.groups_run import with_probe_groups

        result = with_probe_groups(data, embedded, result, request)
    deliver(result, out, as_json=as_json)


def _missing(skip: bool) -> Missing:
    return "exclude" if skip else "error"
