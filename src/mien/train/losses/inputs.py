"""What every loss asks of its inputs, said once: shapes, label range, known names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from mien.errors import InputError

__all__ = ["Reduction", "check_choice", "check_labels", "check_number", "check_rows", "reduced"]

Reduction: TypeAlias = Literal["mean", "sum", "none"]


def check_rows(rows: Tensor, name: str, dim: int | None = None) -> None:
    """Rows must be a floating-point matrix (N, D), D as given.

    Raises:
        InputError: they are not.
    """
    if rows.ndim != 2 or not rows.is_floating_point():
        raise InputError(f"{name}: expected floating-point rows (N, D), got {rows.dtype} {tuple(rows.shape)}")
    if dim is not None and rows.shape[1] != dim:
        raise InputError(f"{name}: expected {dim} numbers a row, got {rows.shape[1]}")


def check_labels(labels: Tensor, count: int, classes: int | None) -> None:
    """Labels must be int64 (N,), in [0, classes) where classes is given.

    Raises:
        InputError: they are not; names the first wrong one.
    """
    if labels.dtype != torch.int64 or labels.ndim != 1 or labels.shape[0] != count:
        raise InputError(f"labels: expected int64 ({count},), got {labels.dtype} {tuple(labels.shape)}")
    if classes is None or count == 0:
        return
    wrong = (labels < 0) | (labels >= classes)
    if bool(wrong.any()):
        at = int(wrong.nonzero()[0])
        raise InputError(f"labels: expected 0 to {classes - 1}, got {int(labels[at])} at row {at}")


def check_number(value: float, name: str, low: float, high: float = math.inf) -> None:
    """A setting must be a finite number in [low, high].

    Raises:
        InputError: it is not.
    """
    if not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")


def check_choice(value: str, name: str, known: Iterable[str]) -> None:
    """A setting must be one of the known names.

    Raises:
        InputError: it is not.
    """
    known = tuple(known)
    if value not in known:
        raise InputError(f"{name}: expected one of {', '.join(known)}; got {value!r}")


def reduced(losses: Tensor, reduction: Reduction) -> Tensor:
    """Losses (N,) as their mean, their sum, or as they are; nothing at all has mean 0.

    Raises:
        InputError: another reduction.
    """
    check_choice(reduction, "reduction", ("mean", "sum", "none"))
    if reduction == "none":
        return losses
    return losses.sum() / max(losses.shape[0], 1) if reduction == "mean" else losses.sum()
