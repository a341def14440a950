"""What the verbs of training share: lists of pairs to measure on, and how a run is shown."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mien.train.config import PairsConfig
    from mien.train.display import Display

__all__ = [
    "ImageFolders",
    "PairLists",
    "SkipMissing",
    "ThresholdLists",
    "best_measured",
    "display",
    "pair_sets",
    "tells",
]

_NONE: Final = "none"

PairLists = Annotated[
    list[Path] | None,
    typer.Option(
        "--pairs",
        show_default=False,
        help="Pairs to measure on, in LFW's format; repeatable: the first list chooses the best network.",
    ),
]
ImageFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--images",
        show_default=False,
        help="The folder that --pairs speaks of: one for all, or one each in order.",
    ),
]
ThresholdLists = Annotated[
    list[str] | None,
    typer.Option(
        "--threshold-pairs",
        show_default=False,
        help="Pairs to choose the threshold on; with several --pairs one each, or none.",
    ),
]
SkipMissing = Annotated[
    bool, typer.Option("--skip-missing", help="Leave out pairs of which a picture is not there, and say how many.")
]


def pair_sets(
    pairs: Sequence[Path] | None,
    images: Sequence[Path] | None,
    thresholds: Sequence[str] | None,
    *,
    skip_missing: bool = False,
) -> tuple[PairsConfig, ...]:
    """The sets that the options name, each by a name of its own.

    Raises:
        InputError: the numbers of options do not fit each other.
    """
    from mien.train.config import PairsConfig

    pairs, images, thresholds = list(pairs or ()), list(images or ()), list(thresholds or ())
    count = len(pairs)
    if bool(pairs) != bool(images):
        raise InputError("--pairs and --images: expected both, the list and the folder that it speaks of")
    if thresholds and not pairs:
        raise InputError("--threshold-pairs: expected --pairs beside it")
    if skip_missing and not pairs:
        raise InputError("--skip-missing: expected --pairs beside it")
    if pairs and len(images) not in (1, count):
        raise InputError(f"--images: expected one for all --pairs, or {count}, one each; got {len(images)}")
    if thresholds and len(thresholds) != count:
        raise InputError(
            f"--threshold-pairs: expected {count}, one for each --pairs in the same order ({_NONE}: a list that has "
            f"none), got {len(thresholds)}"
        )
    folders = images * count if len(images) == 1 else images
    chosen = [None if one == _NONE else one for one in thresholds] or [None] * count
    return tuple(
        PairsConfig(pairs=str(one), images=str(folder), threshold_pairs=threshold, name=name, skip_missing=skip_missing)
        for one, folder, threshold, name in zip(pairs, folders, chosen, _names(pairs, folders), strict=True)
    )


def _names(pairs: Sequence[Path], folders: Sequence[Path]) -> list[str]:
    """What the lists are called: by their files; where that is not enough by their pictures, too, then by numbers."""
    stems = [one.stem for one in pairs]
    told = [
        stem if stems.count(stem) == 1 else f"{stem} of {folder.resolve().name}"
        for stem, folder in zip(stems, folders, strict=True)
    ]
    return [one if told.count(one) == 1 else f"{one} {i}" for i, one in enumerate(told, 1)]


def best_measured(best: Mapping[str, Any]) -> str:
    """What the pairs say about the best network, the further lists beside the first, which chose it."""
    further = "".join(f"; {one['name']}: {one['accuracy']:.4f}" for one in best.get("further", ()))
    return f"{best['name']}: {best['accuracy']:.4f} after epoch {best['epoch']}{further}"


def tells() -> bool:
    """Whether this process tells how a run ended: the first of those that ``torchrun`` started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def display() -> Iterator[Display]:
    """How a run is shown on stderr: live on a terminal, plain lines elsewhere."""
    from mien.train.display import LiveDisplay, PlainDisplay

    shown: Display = LiveDisplay() if sys.stderr.isatty() else PlainDisplay()
    try:
        yield shown
    finally:
        shown.close()
