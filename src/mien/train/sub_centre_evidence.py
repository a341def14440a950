"""What the sub-centres of an ArcFace training say of its pictures: which of them are probably of somebody else.

A class with K centres gathers its clean pictures on one of them, the dominant one; wrong pictures, and hard ones, hang
on the others, far from the dominant centre. The angle to it is the evidence that `mien data clean --evidence` takes.

Source:
    Deng et al., "Sub-center ArcFace: Boosting Face Recognition by Large-Scale Noisy Web Faces", ECCV 2020: pictures
    more than 75 degrees from their dominant centre are dropped.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from mien.errors import InputError, NotFoundError
from mien.images import is_image_name
from mien.train.backbones import Backbone, load_network
from mien.train.checkpoint import newest_checkpoint
from mien.train.parts import classes, opened_data
from mien.train.run_folder import read_config
from mien.train.step import network_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mien.train.data import TrainingSet
    from mien.types import Floats

__all__ = ["SubCentreEvidence", "run_evidence", "sub_centre_evidence", "write_evidence"]

LIMIT: Final = 75.0
"""Degrees from the dominant centre at which a picture is as likely wrong as right: the paper's."""

WIDTH: Final = 30.0
"""Degrees over which the evidence rises from 0 to 1, half of them on either side of `LIMIT`."""

_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class SubCentreEvidence:
    """What is known of N pictures of C people with K centres each.

    Attributes:
        dominant: (C,) the centre of each person that most of its pictures are nearest to; of equally many, the one that
            they are nearer to on average.
        nearest: (N,) the centre of its own person that each picture is nearest to.
        on_dominant: bool (N,): whether that is the dominant one.
        cosine: float32 (N,) to its person's dominant centre.
        score: float32 (N,) 0 (belongs there) to 1 (wrong).
    """

    dominant: NDArray[np.int64]
    nearest: NDArray[np.int64]
    on_dominant: NDArray[np.bool_]
    cosine: Floats
    score: Floats


def sub_centre_evidence(
    embeddings: Floats, labels: NDArray[np.int64], centres: Floats, *, limit: float = LIMIT, width: float = WIDTH
) -> SubCentreEvidence:
    """Say of every picture how far it is from its person's dominant centre.

    Args:
        embeddings: (N, D), of the network that the centres were trained with; any length but 0.
        labels: (N,) persons, 0 to C - 1.
        centres: (C, K, D); any length but 0.
        limit: degrees at which the score is a half.
        width: degrees over which it rises from 0 to 1.

    Raises:
        InputError: shapes do not fit, there is one centre a person, or numbers are not finite.
    """
    if centres.ndim != 3 or embeddings.ndim != 2 or embeddings.shape[1] != centres.shape[2]:
        raise InputError(f"evidence: expected (N, D) and (C, K, D), got {embeddings.shape} and {centres.shape}")
    people, count, _ = centres.shape
    if count < 2:
        raise InputError("evidence: expected several centres a person; train with loss.options.sub_centres=3")
    if labels.shape != embeddings.shape[:1] or (len(labels) and not 0 <= labels.min() <= labels.max() < people):
        raise InputError(f"evidence: expected {len(embeddings)} labels from 0 to {people - 1}")
    if not 0 < limit < 180 or not 0 < width <= 180:
        raise InputError(f"evidence: expected degrees from 0 to 180, got {limit} and {width}")
    rows, places = _unit(embeddings), _unit(centres)
    cosines = np.empty((len(rows), count), np.float32)
    for start in range(0, len(rows), 4096):  # (N, K, D) would not fit
        part = slice(start, start + 4096)
        cosines[part] = np.einsum("nd,nkd->nk", rows[part], places[labels[part]])
    nearest = cosines.argmax(axis=1)
    votes = np.zeros((people, count))
    sums = np.zeros((people, count))
    np.add.at(votes, (labels, nearest), 1.0)
    np.add.at(sums, labels, cosines.astype(np.float64))
    members = np.maximum(np.bincount(labels, minlength=people), 1)[:, None]
    dominant = (votes + 0.25 * sums / members).argmax(axis=1)  # the mean cosine, below 1, only breaks ties
    own = cosines[np.arange(len(rows)), dominant[labels]]
    degrees = np.degrees(np.arccos(np.clip(own.astype(np.float64), -1, 1)))
    score = np.clip((degrees - limit) / width + 0.5, 0, 1).astype(np.float32)
    main = nearest == dominant[labels]
    return SubCentreEvidence(dominant.astype(np.int64), nearest.astype(np.int64), main, own, score)


def _unit(values: Floats) -> Floats:
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise InputError("evidence: expected finite rows other than 0")
    unit: Floats = (values / lengths).astype(np.float32)
    return unit


def write_evidence(path: Path, names: Sequence[str], found: SubCentreEvidence) -> None:
    """Write the file that `mien data clean --evidence` reads, whole or not at all.

    Args:
        path: a CSV file: picture, score, and for people cosine, centre, dominant.
        names: of the N pictures, below their folder of people.
        found: of the same pictures.

    Raises:
        InputError: a name leads out of the folder or is of no picture, or the file cannot be written.
    """
    for name in names:
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or "\0" in name or not is_image_name(name):
            raise InputError(f"evidence: expected a picture below the folder, got {name!r:.200}")
    try:
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["picture", "score", "cosine", "centre", "on_dominant"])
                rows = zip(names, found.score.tolist(), found.cosine.tolist(), found.nearest.tolist(), strict=True)
                for (name, score, cosine, nearest), main in zip(rows, found.on_dominant.tolist(), strict=True):
                    writer.writerow([name, f"{score:.4f}", f"{cosine:.4f}", nearest, int(main)])
            Path(draft).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def run_evidence(
    run: Path, folder: Path, *, progress: Callable[[str, int, int], None] = lambda _label, _done, _total: None
) -> tuple[list[str], SubCentreEvidence]:
    """The evidence of a training run with sub-centres about its own pictures: (names below `folder`, evidence).

    Args:
        run: the run's folder; its newest checkpoint holds network and centres.
        folder: the folder of people that it was trained on.
        progress: called with (what, done, all).

    Raises:
        NotFoundError: no checkpoint is there.
        InputError: the run has no sub-centres, or its data are others now.
    """
    config = read_config(run)
    found = newest_checkpoint(run / "checkpoints", lambda _text: None)
    if found is None:
        raise NotFoundError(f"{run}: no checkpoint is there; it holds the centres")
    state = found[1]
    try:
        centres = state["objective"]["head.centres"]
        network = load_network(run / "last" if (run / "last").is_dir() else run / "best")
        network.load_state_dict(state["network"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{run}: holds no class centres of its network ({str(error)[:200]})") from error
    data = opened_data(config.data, network.spec, progress)
    try:
        if classes(config.data, data) != len(centres):
            raise InputError(f"{run}: {len(centres)} people were trained on, its data hold {len(data.people)} now")
        names = [_below(data.name(i), folder) for i in range(len(data))]
        keep = [i for i, name in enumerate(names) if name]
        if not keep:
            raise InputError(f"{folder}: none of the run's pictures lies in it, such as {data.name(0)}")
        rows = _embedded(network.eval(), data, keep, progress)
        evidence = sub_centre_evidence(rows, data.labels[keep], centres[: len(data.people)].float().numpy())
    finally:
        data.close()
    return [names[i] for i in keep], evidence


def _below(name: str, folder: Path) -> str:
    """A picture's path below the folder, or nothing where it lies elsewhere."""
    path = Path(name)
    if not path.is_absolute() and (folder / path).exists():
        return path.as_posix()
    try:
        return path.absolute().relative_to(folder.absolute()).as_posix()
    except ValueError:
        return ""


@torch.inference_mode()
def _embedded(network: Backbone, data: TrainingSet, which: Sequence[int], progress: Any) -> Floats:  # noqa: ANN401
    rows = np.empty((len(which), network.dim), np.float32)
    for start in range(0, len(which), _AT_ONCE):
        part = which[start : start + _AT_ONCE]
        pixels = torch.from_numpy(np.stack([data.picture(i) for i in part]))
        rows[start : start + len(part)] = network(network_input(pixels, network.spec)).float().numpy()
        progress("Asking the sub-centres", start + len(part), len(which))
    return rows
