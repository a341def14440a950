"""One number for how well a face can be recognised: the cosine it is expected to lose for its flaws.

Every flaw has a price: how much lower the cosine of two pictures of one person becomes for it. Small size, blur and
darkness are rare in collected photos; their prices come from photos that were shrunk, blurred and darkened. The others
were fitted to genuine pairs as they are, of LFW View 1 (people outside peopleDevTest) and of web photos of actors,
every person with the same weight. `benchmarks/quality.py` measures both again, and shows on other people what rejecting
the worst pictures does to the errors. What cost nothing there is left out: the detector's score, too much light, uneven
light, high contrast, and looking down.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

__all__ = ["INDUCED", "PRICES", "PRICES_WITH_STABILITY", "expected_loss", "flaws", "overall_score"]

INDUCED: Final[Mapping[str, float]] = MappingProxyType({"small": 1.4, "blurred": 0.034, "dark": 0.0006})
"""Cosine lost per unit of the flaws (see `flaws`) that were induced to measure them."""

PRICES: Final[Mapping[str, float]] = MappingProxyType(
    {"soft": 0.0036, "turned": 0.0089, "looking_up": 0.034, "leaning": 0.0079, "clipped": 0.018, "hidden": 0.0104}
)
"""Cosine lost per unit of each flaw as it occurs in photos."""

PRICES_WITH_STABILITY: Final[Mapping[str, float]] = MappingProxyType(
    {"soft": 0.0032, "looking_up": 0.0215, "leaning": 0.0043, "clipped": 0.0097, "hidden": 0.0049, "unstable": 3.4}
)
"""The same where the stability of the embedding is known too, which sees part of every flaw."""

_HALF: Final = (0.009, 0.0245)  # the loss that makes a score of 0.5; without and with stability
_WIDTH: Final = (0.0025, 0.0035)


def flaws(measures: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
    """How much of each flaw faces have; 0 for none, without an upper end.

    Args:
        measures: the fields of `FaceQuality` by name, numbers or arrays of one shape; `stability` may be missing.
    """
    m = {name: np.asarray(value, np.float64) for name, value in measures.items()}
    found = {
        "small": np.square(1 / np.maximum(m["eye_distance"], 1e-3)),
        "blurred": np.log(0.1 / np.clip(m["sharpness"], 1e-3, 0.1)),
        "dark": 1 / np.clip(m["brightness"], 1e-3, 0.3) - 1 / 0.3,
        "soft": np.log(0.25 / np.clip(m["sharpness"], 0.1, 0.25)),
        "turned": np.square(m["yaw"]),
        "looking_up": np.square(np.maximum(m["pitch"], 0)),
        "leaning": np.maximum(np.abs(m["roll"]) - 0.1, 0),
        "clipped": m["clipped"],
        "hidden": 1 - m["visible"],
    }
    if "stability" in m:
        found["unstable"] = 1 - m["stability"]
    return found


def expected_loss(measures: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
    """The cosine that faces are expected to lose, against a flawless picture: the sum of flaws times prices.

    Args:
        measures: see `flaws`.
    """
    prices = dict(INDUCED) | dict(PRICES_WITH_STABILITY if "stability" in measures else PRICES)
    found = flaws(measures)
    return np.asarray(sum(price * found[name] for name, price in prices.items()), np.float64)


def overall_score(measures: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
    """How well faces can be recognised, 0 to 1, falling with `expected_loss`.

    0.5 stands for the worst twentieth of ordinary portraits, 0.9 for the middle one. NaN measures give 0.

    Args:
        measures: see `flaws`.
    """
    known = "stability" in measures
    with np.errstate(over="ignore"):
        score = 1 / (1 + np.exp((expected_loss(measures) - _HALF[known]) / _WIDTH[known]))
    return np.nan_to_num(score, nan=0.0)
