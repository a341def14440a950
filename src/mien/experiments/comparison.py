"""Several training runs under one budget, one after another, each in its own process; stopped anywhere, gone on."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.errors import InputError, TrainingError
from mien.experiments.drawing import COLOURS, panels, save_figure
from mien.experiments.outcome import Outcome, write_json, write_whole
from mien.train.config import TrainConfig
from mien.train.records import read_records

if TYPE_CHECKING:
    from types import FrameType
    from typing import Self

__all__ = ["Runner", "compare", "in_own_process"]

Runner = Callable[["TrainConfig", Path], Mapping[str, Any]]
"""Trains by a config in a folder, where it goes on with an unfinished run, and returns `TrainResult.to_dict`."""

_HEADER: Final = ("", "accuracy", "best", "TAR", "img/s", "peak MiB", "steps", "minutes")
_OUTCOMES: Final = "outcomes"  # a small JSON file for each run that is done


def in_own_process(config: TrainConfig, folder: Path) -> Mapping[str, Any]:
    """Train as ``mien train`` does, in a new process, so that its peak memory is its own.

    Raises:
        TrainingError: the run failed; the message is on stderr.
        KeyboardInterrupt: it was interrupted.
        SystemExit: by SIGTERM, which is passed on, so that it writes its checkpoint.
    """
    settings = write_json(folder.with_name(f"{folder.name}.config.json"), config.to_dict())
    command = [sys.executable, "-m", "mien", "train", str(settings), "--out", str(folder), "--json"]
    with _Termination() as stop, subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - mien
        try:
            stop.pass_on(process)
            said, _ = process.communicate()
        except KeyboardInterrupt:  # the terminal told it, too: let it write its checkpoint
            process.communicate()
            raise
        except BaseException:
            process.terminate()
            raise
    if stop.asked:
        raise SystemExit(128 + signal.SIGTERM)
    if process.returncode in (130, 143, -2, -15):
        raise KeyboardInterrupt
    if process.returncode:
        raise TrainingError(f"{folder}: training ended with exit code {process.returncode}; see above")
    result: dict[str, Any] = json.loads(said)
    return result


class _Termination:
    """SIGTERM while entered: remembered, and passed on. Off the main thread, where signals do not arrive, nothing."""

    def __init__(self) -> None:
        self.asked = False
        self._process: subprocess.Popen[bytes] | None = None
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def pass_on(self, process: subprocess.Popen[bytes]) -> None:
        """From now on to this process, also what came before."""
        self._process = process
        if self.asked:
            process.terminate()

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        if self._process is not None:
            self._process.terminate()


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    """How a run converged: at each measuring, minutes, steps and accuracy."""

    minutes: list[float]
    steps: list[int]
    accuracy: list[float]


def compare(
    name: str,
    configs: Mapping[str, TrainConfig],
    out: Path,
    *,
    facts: Mapping[str, Any],
    runner: Runner = in_own_process,
    say: Callable[[str], None] = lambda _text: None,
) -> Outcome:
    """Train by each config, and write a table of them.

    Writes ``NAME.md``, ``NAME.json`` and ``NAME.png`` (accuracy over minutes, and over steps), anew after each run;
    runs lie in ``runs/``. A run that is done is not made again; one that was stopped goes on. One that fails (NaN, say)
    is told in the table, is no reason to stop, and is tried again by the next call.

    Args:
        name: of the experiment.
        configs: what is compared, by name.
        out: the folder.
        facts: about the budget and the data, for the record.
        runner: trains.
        say: is told what happens.

    Raises:
        InputError: nothing to compare, or a run that is done was made with another config.
    """
    if not configs:
        raise InputError(f"{name}: expected something to compare")
    done: dict[str, dict[str, Any]] = {}
    for i, (key, config) in enumerate(configs.items()):
        place = out / _OUTCOMES / f"{key.replace(':', '-')}.json"
        known = _known(place, key, config)
        if known is not None:
            say(f"{key}: done before")
            done[key] = known
            continue
        say(f"{key}: run {i + 1} of {len(configs)}")
        folder = out / "runs" / key.replace(":", "-")
        try:
            result = runner(config, folder)
        except TrainingError as error:
            say(f"{key}: {error}")
            done[key] = {"name": key, "failed": str(error)}
        else:
            if result["stopped"] == "interrupted":
                raise KeyboardInterrupt
            done[key] = _facts(key, config, result, folder)
            write_json(place, done[key])
        _write(name, done, out, facts)
    return _write(name, done, out, facts)


def _known(place: Path, key: str, config: TrainConfig) -> dict[str, Any] | None:
    try:
        known = json.loads(place.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{place}: damaged; delete it to make the run {key} again") from error
    if not isinstance(known, dict) or _changed(known.get("config"), config):
        raise InputError(
            f"{place}: {key} was made with other settings; take another --out, or delete the file and its run"
        )
    return known


def _changed(known: object, config: TrainConfig) -> bool:
    """Whether a run's settings differ; those that it did not know yet count as they are by default."""
    try:
        before = TrainConfig.from_dict(known) if isinstance(known, dict) else None
    except InputError:
        return True
    return before is None or json.dumps(before.to_dict()) != json.dumps(config.to_dict())


def _facts(key: str, config: TrainConfig, result: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """One run in numbers: what it reached, how fast it was, what it took."""
    records = read_records(folder)
    if config.before is not None:
        records, result = _joined(read_records(folder / "before"), records, result)
    steps = [r for r in records if r.get("kind") == "step"]
    speeds = [r["speed"] for r in steps if isinstance(r.get("speed"), int | float)]
    curve = _curve(records)
    measured = result["measured"][0] if result["measured"] else None
    return {
        "name": key,
        "accuracy": measured and measured["accuracy"],
        "standard_error": measured and measured["error"],
        "best_accuracy": result["best"] and result["best"]["accuracy"],
        "tar": measured and measured["tar"],
        "far": measured and measured["far"],
        "pairs": measured and measured["name"],
        "images_per_second": statistics.median(speeds) if speeds else None,
        "peak_memory_bytes": max((r["memory"] for r in steps if isinstance(r.get("memory"), int)), default=None),
        "steps": result["step"],
        "epochs": result["epoch"],
        "seconds": result["seconds"],
        "people": result["people"],
        "pictures": result["pictures"],
        "convergence": {"minutes": curve.minutes, "steps": curve.steps, "accuracy": curve.accuracy},
        "config": json.loads(json.dumps(config.to_dict())),
    }


def _joined(
    first: list[dict[str, Any]], second: list[dict[str, Any]], result: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The records of two runs as those of one, and what the second reached with what both took.

    A run ends with a measuring, whose record has its step, its epochs and its time.
    """
    steps = max((r["step"] for r in first if isinstance(r.get("step"), int)), default=0)
    seconds = max((r["seconds"] for r in first if isinstance(r.get("seconds"), int | float)), default=0.0)
    epochs = max((r["epoch"] for r in first if r.get("kind") == "measure"), default=0)
    moved = [
        {**r, "step": r["step"] + steps, **({"seconds": r["seconds"] + seconds} if "seconds" in r else {})}
        for r in second
        if "step" in r
    ]
    took = {"step": steps, "epoch": epochs, "seconds": seconds}
    return [*first, *moved], {**result, **{name: result[name] + value for name, value in took.items()}}


def _curve(records: list[dict[str, Any]]) -> _Curve:
    """Accuracy of the first set at each measuring; its time is that of the steps about it."""
    steps = [r for r in records if r.get("kind") == "step" and isinstance(r.get("seconds"), int | float)]
    measured = [r for r in records if r.get("kind") == "measure" and isinstance(r.get("accuracy"), int | float)]
    first = [r for r in measured if r.get("name") == measured[0].get("name")]
    at = [r["step"] for r in first]
    known = [(r["step"], r["seconds"]) for r in steps] or [(0, 0.0)]
    seconds = np.interp(at, [k for k, _ in known], [s for _, s in known])
    return _Curve((seconds / 60).tolist(), at, [r["accuracy"] for r in first])


def _write(name: str, done: Mapping[str, dict[str, Any]], out: Path, facts: Mapping[str, Any]) -> Outcome:
    record = {"experiment": name, **facts, "runs": list(done.values())}
    rows = tuple(_row(one) for one in done.values())
    files = (
        write_whole(out / f"{name}.md", _markdown(name, rows, facts).encode("utf-8")),
        write_json(out / f"{name}.json", record),
        _draw(done, out / f"{name}.png"),
    )
    return Outcome(name, record, (name, *_HEADER[1:]), rows, files)


def _row(one: Mapping[str, Any]) -> tuple[object, ...]:
    if "failed" in one:
        return (one["name"], "failed", *([None] * (len(_HEADER) - 2)))
    memory, speed = one["peak_memory_bytes"], one["images_per_second"]
    return (
        one["name"],
        None if one["accuracy"] is None else f"{one['accuracy']:.4f} ± {one['standard_error']:.4f}",
        None if one["best_accuracy"] is None else f"{one['best_accuracy']:.4f}",
        None if one["tar"] is None else f"{one['tar']:.3f} at {one['far']:g}",
        None if speed is None else f"{speed:.0f}",
        None if memory is None else f"{memory / 2**20:,.0f}",
        f"{one['steps']:,}",
        f"{one['seconds'] / 60:.1f}",
    )


def _markdown(name: str, rows: tuple[tuple[object, ...], ...], facts: Mapping[str, Any]) -> str:
    def line(cells: tuple[object, ...]) -> str:
        return "| " + " | ".join("-" if cell is None else str(cell).replace("|", "\\|") for cell in cells) + " |"

    told = "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in facts.items())
    heads = [line((name, *_HEADER[1:])), "|---" + "|---:" * (len(_HEADER) - 1) + "|"]
    note = "Accuracy is of the last weights, best that of the best measuring; ± is the standard error."
    return "\n".join([*heads, *(line(row) for row in rows), "", f"{told}.", "", note, ""])


def _draw(done: Mapping[str, dict[str, Any]], path: Path) -> Path:
    figure, axes = panels(1, 2, width=6.4, height=4.4)
    for axis, unit in zip(axes.flat, ("minutes", "steps"), strict=True):
        for i, (key, one) in enumerate(done.items()):
            curve = one.get("convergence")
            if curve and curve["accuracy"]:
                style = ("-", "--", ":")[i // len(COLOURS) % 3]
                colour = COLOURS[i % len(COLOURS)]
                axis.plot(curve[unit], curve["accuracy"], style, color=colour, marker=".", linewidth=1.4, label=key)
        axis.set(xlabel=unit, ylabel="accuracy on the pairs")
        axis.grid(color="#dfe2e1", linewidth=0.6)
    if axes.flat[0].has_data():
        axes.flat[0].legend(fontsize=7.5, frameon=False, ncols=2, loc="lower right")
    return save_figure(figure, path)
