"""MegaFace on the command line: what its options name, and the run."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from mien.cli.output import progress
from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mien.cli.evaluate_run import Run
    from mien.evaluate.megaface import MegafaceResult
    from mien.evaluate.protocols import Missing

__all__ = ["Megaface", "run_megaface"]


@dataclass(frozen=True, slots=True)
class Megaface:
    """The options of `--protocol megaface`.

    Attributes:
        distractors: a folder of pictures, or a .npy file of embeddings.
        size: numbers of distractors to report rank 1 at.
        probe_list, distractor_list: which pictures of the folders.
        probe_noise, distractor_noise: what to leave out (the "(R)" variant); row numbers where distractors are stored.
    """

    distractors: Path | None
    size: Sequence[int] | None
    probe_list: Path | None
    distractor_list: Path | None
    probe_noise: Path | None
    distractor_noise: Path | None

    def asked(self, protocol: str | None) -> bool:
        """Whether the protocol is MegaFace. Raises InputError where it is not, and an option of MegaFace is given."""
        if protocol == "megaface":
            return True
        for field in fields(self):
            if getattr(self, field.name) is not None:
                raise InputError(f"--{field.name.replace('_', '-')}: belongs to --protocol megaface")
        return False

    @staticmethod
    def only(others: Mapping[str, object]) -> None:
        """Raises InputError where an option that means nothing to MegaFace is given."""
        for option, value in others.items():
            if value is not None:
                raise InputError(f"{option}: means nothing to --protocol megaface")


def run_megaface(
    run: Run, folder: Path, options: Megaface, *, missing: Missing, fars: Sequence[float] | None = None
) -> MegafaceResult:
    """Measure MegaFace; the distractors' embeddings are never all in memory.

    Raises:
        InputError: the options or the files are not what the protocol expects.
    """
    from mien.evaluate.distractor_sources import PictureDistractors, StoredDistractors
    from mien.evaluate.megaface import FARS, SIZES, measure_megaface
    from mien.evaluate.protocols import MegafaceProtocol

    path = options.distractors
    if path is None:
        raise InputError("--distractors: megaface needs a folder of pictures, or a .npy file of embeddings")
    stored = None
    if not path.is_dir():
        if options.distractor_list is not None:
            raise InputError("--distractor-list: chooses pictures of a folder, but --distractors is a file")
        dimension = run.recognizer.identity.dimension
        stored = StoredDistractors(path, dimension, noise=options.distractor_noise)
    sizes = options.size or SIZES
    protocol = MegafaceProtocol(
        folder,
        path if stored is None else None,
        probe_list=options.probe_list,
        distractor_list=options.distractor_list,
        most=max(sizes),
        seed=run.setup().seed,
        probe_noise=options.probe_noise,
        distractor_noise=options.distractor_noise if stored is None else None,
        missing=missing,
    )
    data = protocol.read()
    probes = run.embed(data.pictures)
    others = stored or PictureDistractors(data.distractors, lambda part: run.embed(part, quiet=True))
    with progress(min(max(sizes), len(others)), "Looking at distractors") as advance:
        result = measure_megaface(data, probes, others, run.setup(), sizes=sizes, fars=fars or FARS, advance=advance)
    experiment = result.experiment
    if isinstance(others, PictureDistractors):
        experiment = replace(
            experiment,
            pictures=experiment.pictures + result.distractors,
            failures=(*experiment.failures, *others.failures),
            cached=experiment.cached + others.cached,
        )
    elif options.distractor_noise is not None:
        said = f"{others.dropped} rows of the distractors are left out (R)." if stored else ""
        experiment = replace(experiment, rules=f"{experiment.rules} {said}".strip())
    return replace(result, experiment=experiment)
