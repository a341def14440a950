"""The figures and tables of the papers, made again: one function and one command each, picture and numbers.

Needs PyTorch (extra ``train``), as what is measured does. The base install never imports this package.
"""

from __future__ import annotations

from importlib.util import find_spec

from mien.errors import MissingExtraError

if find_spec("torch") is None:
    raise MissingExtraError("Making figures and tables", "train")

from mien.experiments.angle_histograms import angles
from mien.experiments.digits import mnist
from mien.experiments.eight_people import toy
from mien.experiments.outcome import Outcome
from mien.experiments.tables import Budget, backbones, losses
from mien.experiments.target_logits import logits

__all__ = ["Budget", "Outcome", "angles", "backbones", "logits", "losses", "mnist", "toy"]
