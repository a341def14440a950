"""What `mien evaluate` shows: a table for people, one JSON object for programs, and a folder with the report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mien.cli.evaluate_groups import show_groups
from mien.cli.output import emit_json, finish, print_line, print_table, printable, say
from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mien.evaluate.report.bodies import Result
    from mien.evaluate.results import Experiment, IdentificationResult, RateAt, VerificationResult

__all__ = ["deliver"]

_SHOWN = 5  # exclusions on a terminal


def deliver(result: Result, out: Path | None, *, as_json: bool) -> None:
    """Print a result, write its report, and leave with 2 when pictures could not be read."""
    record = result.record()
    written = None if out is None else _write(out, result, record)
    if as_json:
        emit_json(record)
    else:
        _show(result)
    if written is not None:
        say(f"wrote {printable(str(written))}")
    finish(failed=any(failure.unreadable for failure in result.experiment.failures))


def _show(result: Result) -> None:
    from mien.cli import evaluate_show
    from mien.evaluate.clustering import ClusterResult
    from mien.evaluate.detection import DetectionResult
    from mien.evaluate.liveness import LivenessResult
    from mien.evaluate.megaface import MegafaceResult
    from mien.evaluate.results import VerificationResult

    if isinstance(result, ClusterResult):
        evaluate_show.show_clustering(result)
    elif isinstance(result, DetectionResult):
        evaluate_show.show_detection(result)
    elif isinstance(result, LivenessResult):
        evaluate_show.show_liveness(result)
    elif isinstance(result, MegafaceResult):
        _head(result.experiment)
        evaluate_show.show_megaface(result)
        _foot(result.experiment, result.tar_at_far)
    elif isinstance(result, VerificationResult):
        _show_verification(result)
    else:
        _show_identification(result)


def _write(out: Path, result: Result, record: dict[str, Any]) -> Path:
    from mien.evaluate.report import write_report

    try:
        out.mkdir(parents=True, exist_ok=True)
        temporary = out / ".report.json.part"
        temporary.write_text(json.dumps(record, ensure_ascii=True, allow_nan=False, indent=2) + "\n", encoding="utf-8")
        temporary.replace(out / "report.json")
        return write_report(out, result)
    except OSError as error:
        raise InputError(f"--out {printable(str(out))}: cannot be written ({error.strerror or error})") from error


def _show_verification(result: VerificationResult) -> None:
    from mien.evaluate.results import rate_key

    _head(result.experiment)
    scores = (result.scores.genuine, result.scores.impostor)
    for kind, values, failed in zip(("genuine", "impostor"), scores, result.failed, strict=True):
        without = f", {failed} of them without a face" if failed else ""
        mean = f", mean score {values[failed:].mean():.3f}" if len(values) > failed else ""
        print_line(f"{len(values)} {kind} pairs{without}{mean}")
    print_line()
    found = result.accuracy.found
    rows: list[Sequence[object]] = []
    if found is not None:
        spread = _interval(result.accuracy.low, result.accuracy.high)
        if result.accuracy.standard_error is not None:
            spread = f"± {result.accuracy.standard_error:.4f} (standard error)"
        at = f"{found.folds[0].threshold:.4f}" if len(found.folds) == 1 else None
        rows.append(("accuracy", f"{found.mean:.4f}", spread, at))
    spread = _interval(*result.eer_interval[:2]) if result.eer_interval else "-"
    rows.append(("EER", f"{result.eer.rate:.4f}", spread, f"{result.eer.threshold:.4f}"))
    rows.append(("AUC", f"{result.auc:.5f}", None, None))
    rows += [_rate(f"TAR at FAR {rate_key(row.target)}", row) for row in result.tar_at_far]
    print_table(("", "value", "95 % interval", "threshold"), rows, right=("value",))
    print_line()
    print_line(f"Accuracy: {result.accuracy.rule}.")
    if result.eer_reason:
        print_line(f"No interval of the EER: {result.eer_reason}.")
    print_line()
    show_groups(result)
    _foot(result.experiment, result.tar_at_far)


def _show_identification(result: IdentificationResult) -> None:
    from mien.evaluate.results import rate_key

    _head(result.experiment)
    print_line(f"{result.gallery_size} people enrolled; {result.not_enrolled} more could not be")
    print_line(f"{result.known} known probes, {result.unknown} unknown ones (strangers)")
    print_line()
    rows: list[Sequence[object]] = [_rate(f"DIR at FPIR {rate_key(row.target)}", row) for row in result.dir_at_fpir]
    if result.cmc is not None:
        for rank in (1, 5, 10, 20):
            if rank <= len(result.cmc.hits):
                rate = result.cmc.rate(rank)
                rows.append((f"rank {rank} (nobody rejected)", f"{rate.value:.4f}", _interval(*rate.interval()), None))
    print_table(("", "value", "95 % interval", "threshold"), rows, right=("value",))
    print_line()
    show_groups(result)
    _foot(result.experiment, result.dir_at_fpir)


def _rate(title: str, row: RateAt) -> Sequence[object]:
    if row.rate is None:
        return (title, None, row.reason, None)
    return (title, f"{row.rate:.4f}", _interval(row.low, row.high), f"{row.threshold:.4f}")


def _interval(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{low:.4f} to {high:.4f}"


def _head(experiment: Experiment) -> None:
    model = experiment.model
    print_line(experiment.protocol, style="bold")
    print_line(f"{model.name}/{model.preset} ({model.sha256[:12]}), licence {model.licence}; detector {model.detector}")
    without = sum(not failure.unreadable for failure in experiment.failures)
    broken = len(experiment.failures) - without
    print_line(f"{experiment.pictures} pictures: no face found in {without}, {broken} cannot be read")


def _foot(experiment: Experiment, rates: Sequence[RateAt]) -> None:
    intervals = dict.fromkeys(row.interval for row in rates if row.interval)
    if intervals:
        print_line(f"Intervals: {'; '.join(intervals)}.")
    print_line(f"Rules: {experiment.rules}")
    print_line(f"Failures: {experiment.failure_rule}")
    for excluded in experiment.exclusions[:_SHOWN]:
        print_line(f"Left out: {excluded.what}: {excluded.why}")
    if len(experiment.exclusions) > _SHOWN:
        print_line(f"Left out: {len(experiment.exclusions) - _SHOWN} more (all of them in --json)")
    print_line(f"{experiment.seconds:.1f} s; {experiment.cached} of {experiment.pictures} embeddings from the cache")
