"""What is kept of a run where NaN or infinity comes up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mien.errors import TrainingError
from mien.train.run_folder import RunFolder
from mien.train.step import Stepper

__all__ = ["FEW", "kept_if_broken"]

FEW: Final = 20
"""Steps: fewer are not worth to be kept where a run breaks, for a checkpoint binds the folder to its config."""


@contextmanager
def kept_if_broken(
    stepper: Stepper, step: int, *, save: Callable[[], None], keep: Callable[[], None], run: RunFolder
) -> Iterator[None]:
    """Where NaN or infinity comes up inside, what was before that step is kept, once it is worth it.

    As a checkpoint, from which the same command goes on, and as a network, from which a run in another folder can start
    with other settings. All processes of a run enter it together.

    Args:
        stepper: whose state it is.
        step: how many have been.
        save: writes the checkpoint; earlier ones stay.
        keep: writes the network to ``run.last``.
        run: the folder.

    Raises:
        TrainingError: what came up, and what is kept.
    """
    try:
        yield
    except TrainingError as error:
        bound = stepper.processes.shared(run.bound)
        if step < FEW and not bound:
            raise
        stepper.take_back()
        told = f". {_kept(stepper, save, keep, run.last)}" if step else ""
        raise TrainingError(f"{error} in another folder{told}") from error


def _kept(stepper: Stepper, save: Callable[[], None], keep: Callable[[], None], last: Path) -> str:
    try:
        save()
    except Exception as error:  # noqa: BLE001 - the NaN is what must be told, with whatever else went wrong
        return f"What was before this step could not be kept ({error}); earlier checkpoints stay"
    unfinished = ""
    try:
        try:
            keep()
        except Exception as error:  # noqa: BLE001 - most likely a last layer; on all processes alike
            stepper.finish = None
            keep()
            unfinished = f"; it could be written without its last step only ({error})"
    except Exception as error:  # noqa: BLE001
        return f"What was before this step is the newest checkpoint; no network could be written ({error})"
    return (
        f"What was before this step is the newest checkpoint, and the network in {last}: a run may start from it "
        f"(network.weights){unfinished}"
    )
