"""Checkpoints on the disk: whole or not there, checked when they are read, the newest good one taken.

A file's name ends in a checksum of its content, so that neither a torn write nor a flipped bit is taken for a state.
Only tensors and plain values are in it, and nothing else is ever read (``weights_only``).
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch

from mien.errors import InputError, TrainingError

__all__ = ["checkpoints", "newest_checkpoint", "read_checkpoint", "write_checkpoint"]

FORMAT: Final = 1
_NAME: Final = re.compile(r"step-(\d{1,12})-([0-9a-f]{16})\.pt")
_BLOCK: Final = 1 << 20


def write_checkpoint(folder: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write a state and let go of all but the newest ``keep``. A crash leaves the earlier ones as they are.

    Args:
        folder: made if need be.
        step: part of the name.
        state: tensors and plain values, nested in dicts and lists.
        keep: how many stay.

    Raises:
        InputError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".draft-*"):
            left.unlink(missing_ok=True)
        handle, draft = tempfile.mkstemp(prefix=".draft-", dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save({"format": FORMAT, **state}, file)
                file.flush()
                os.fsync(file.fileno())
            made = folder / f"step-{step:08d}-{_checksum(Path(draft))}.pt"
            Path(draft).replace(made)
        finally:
            Path(draft).unlink(missing_ok=True)
        _sync(folder)
        earlier = 1
        for path in checkpoints(folder):
            if path == made:
                continue
            earlier += (older := _step(path) < step)
            if not older or earlier > keep:  # a later one is of a history that was given up
                path.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        raise InputError(f"{folder}: the checkpoint cannot be written ({error})") from error
    return made


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()[:16]


def _sync(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _step(path: Path) -> int:
    name = _NAME.fullmatch(path.name)
    return int(name[1]) if name else -1


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder by their names, newest first."""
    found = [path for path in folder.glob("step-*.pt") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: (_step(path), path.name), reverse=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A state as [write_checkpoint][] wrote it, on the CPU.

    Raises:
        TrainingError: it is damaged, or of another format.
    """
    name = _NAME.fullmatch(path.name)
    try:
        whole = name is not None and _checksum(path) == name[2]
        state = torch.load(path, map_location="cpu", weights_only=True) if whole else None
    except pickle.UnpicklingError as error:  # PyTorch's own words advise to read it all the same
        raise TrainingError(
            f"{path}: damaged, or it holds something else than tensors and plain values; it is not read"
        ) from error
    except Exception as error:  # the reader's errors are of every kind
        raise TrainingError(
            f"{path}: cannot be read ({str(error).splitlines()[0][:200] if str(error) else error!r})"
        ) from error
    if not whole:
        raise TrainingError(f"{path}: damaged: its content is not what was written")
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise TrainingError(f"{path}: expected a checkpoint of format {FORMAT}")
    return state


def whence(step: int, epoch: int, *, done: bool, path: Path | None = None) -> str:
    """What is told of a run that is found: how far it is, and from which checkpoint it goes on, if it does.

    >>> whence(1200, 3, done=False)
    'goes on after step 1,200 (epoch 4)'
    """
    if done:
        return f"done already, after step {step:,} (epoch {epoch}); --no-resume starts anew"
    return f"goes on after step {step:,} (epoch {epoch + 1})" + (f", from {path.name}" if path else "")


def newest_checkpoint(folder: Path, say: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that is whole, and its state; each damaged one that is passed over is named."""
    for path in checkpoints(folder):
        try:
            return path, read_checkpoint(path)
        except TrainingError as error:
            say(f"{error}; the one before is taken")
    return None
