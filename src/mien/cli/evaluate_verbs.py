"""The verbs of `mien evaluate` besides verify and identify: cluster, detect and liveness."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.evaluate_detect import DETECT_PROTOCOLS, detection_set, detector_facts, run_detector
from mien.cli.evaluate_output import deliver
from mien.cli.evaluate_run import Lists, Run, command_line, verification_set
from mien.cli.inputs import DetectorName, LicenceUse, MinFace, ModelName, PresetName
from mien.cli.output import JsonFlag
from mien.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from mien.evaluate.protocols.sets import SubjectSet
    from mien.recognizer import Recognizer

__all__ = ["cluster", "detect", "liveness"]

CLUSTER_FMR = 1e-5

Out = Annotated[Path | None, typer.Option("--out", help="Write report.html and report.json into this folder.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of every random draw.")]


def cluster(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CSV|FOLDER", show_default=False, help="A table picture, label, cluster; or a folder per person."
        ),
    ],
    *,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Join faces at or above this score (folder).")
    ] = None,
    fmr: Annotated[
        float, typer.Option("--fmr", help="Without --threshold: the calibrated one at this false match rate (folder).")
    ] = CLUSTER_FMR,
    failures: Annotated[
        str, typer.Option("--failures", help="A picture without a face: error (alone in a cluster), or exclude it.")
    ] = "error",
    most: Annotated[int | None, typer.Option("--most", min=1, help="At most so many pictures of a person.")] = None,
    preset: PresetName = None,
    model: ModelName = None,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    seed: Seed = 0,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Compute every embedding anew, and keep none.")] = False,
    out: Out = None,
    as_json: JsonFlag = False,
) -> None:
    """How well do clusters agree with the people? Of a table that any program wrote, or of mien's simple baseline."""
    from mien.evaluate.measured import Call

    if not source.is_dir():
        from mien.evaluate.clustering import measure_clusters, read_clusters

        call = Call(command_line(context), seed)
        deliver(measure_clusters(read_clusters(source), source.name, call), out, as_json=as_json)
        return
    from mien.evaluate.clustering_baseline import cluster_folder

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
    data = verification_set("folder", Lists(folder=source, most=most, seed=seed))
    least, how = _link_threshold(threshold, fmr, run.recognizer)
    subjects: SubjectSet = data  # type: ignore[assignment]  # of the folder protocol
    result = cluster_folder(subjects, run.embed(data.pictures), run.setup(), least, how)
    deliver(result, out, as_json=as_json)


def _link_threshold(threshold: float | None, fmr: float, recognizer: Recognizer) -> tuple[float, str]:
    if threshold is not None:
        return threshold, f"The threshold {threshold:g} was given."
    from mien.match import calibration_for

    found = calibration_for(recognizer.identity).threshold(fmr=fmr)
    return found, f"The threshold {found:.4f} is the calibrated one for a false match rate of {fmr:g}."


def detect(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", show_default=False, help="The data set's folder (imglab: or its XML).")
    ],
    *,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help=f"{', '.join(DETECT_PROTOCOLS)}. Without it: imglab for XML.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="The list of true faces, where it is not in its usual place.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Which part of WIDER FACE: train or val.")] = "val",
    detections: Annotated[
        Path | None, typer.Option("--detections", help="Measure this CSV of detections, and run no detector.")
    ] = None,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out listed pictures that are not there.")
    ] = False,
    detector: DetectorName = None,
    licence: LicenceUse = None,
    min_face: MinFace = None,
    confidence: Annotated[
        float | None, typer.Option("--confidence", help="Leave out detections that it is less sure of, 0 to 1.")
    ] = None,
    seed: Seed = 0,
    out: Out = None,
    as_json: JsonFlag = False,
) -> None:
    """How many faces are found, how exactly, and how often is there none? AP, recall by size, landmark error."""
    from mien.evaluate.detection import detection_result
    from mien.evaluate.measured import Call

    call = Call(command_line(context), seed)
    data = detection_set(protocol, folder, truth=truth, split=split, skip_missing=skip_missing)
    if detections is not None:
        from mien.evaluate.detections_file import read_detections

        if detector or min_face is not None or confidence is not None:
            raise InputError("--detections: no detector is run, so --detector, --min-face and --confidence do nothing")
        deliver(detection_result(data, read_detections(detections, data.pictures), call), out, as_json=as_json)
        return
    facts = detector_facts(detector, min_face, confidence)
    began = time.monotonic()
    found, failures = run_detector(data, detector, licence, min_face, confidence)
    seconds = time.monotonic() - began
    result = detection_result(data, found, call, detector=facts, failures=failures, seconds=seconds)
    deliver(result, out, as_json=as_json)


def liveness(
    context: typer.Context,
    scores: Annotated[
        Path, typer.Argument(metavar="CSV", show_default=False, help="A table picture, attack (empty: live), score.")
    ],
    *,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Also report the rates at this threshold.")
    ] = None,
    apcer: Annotated[list[float] | None, typer.Option("--apcer", help="APCERs to report BPCER at.")] = None,
    bpcer: Annotated[list[float] | None, typer.Option("--bpcer", help="BPCERs to report APCER at.")] = None,
    seed: Seed = 0,
    out: Out = None,
    as_json: JsonFlag = False,
) -> None:
    """How many attacks pass for a live face, and how many live faces for an attack? APCER by type, BPCER, ACER."""
    from mien.evaluate.liveness import APCERS, BPCERS, measure_liveness, read_scores
    from mien.evaluate.measured import Call

    if not scores.exists():
        raise NotFoundError(f"{scores}: there is no such file")
    call = Call(command_line(context), seed)
    result = measure_liveness(
        read_scores(scores),
        scores.name,
        call,
        threshold=threshold,
        apcers=APCERS if apcer is None else apcer,
        bpcers=BPCERS if bpcer is None else bpcer,
    )
    deliver(result, out, as_json=as_json)
