"""Loss scaling for float16, with a decision that all processes share.

PyTorch's own scaler looks at each process's gradients alone; with class centres shared out over processes one of them
could skip a step that the others take. Here the norm of the whole gradient, which all know, decides.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["LossScale"]

_LEAST: Final = 2.0**-10
_GROWTH_STEPS: Final = 2000


class LossScale:
    """The factor of the loss: halved at an overflow (that step is skipped), doubled after 2,000 good steps.

    Not thread-safe.

    Args:
        scale: where it starts; 1 for ever where ``dynamic`` is False.
        dynamic: whether it moves (float16).

    Source:
        Micikevicius et al.: Mixed Precision Training, ICLR 2018.
    """

    def __init__(self, scale: float = 2.0**16, *, dynamic: bool) -> None:
        self.dynamic = dynamic
        self.scale = scale if dynamic else 1.0
        self.good = 0

    def goes_on(self, norm: float) -> bool:
        """Whether to take the step with a gradient of this norm."""
        if not self.dynamic:
            return True
        if math.isfinite(norm):
            self.good += 1
            if self.good >= _GROWTH_STEPS:
                self.scale, self.good = self.scale * 2.0, 0
            return True
        self.scale, self.good = self.scale / 2.0, 0
        return False

    @property
    def exhausted(self) -> bool:
        """Whether so small a scale says that the gradient itself is not finite."""
        return self.scale < _LEAST

    def state_dict(self) -> dict[str, float]:
        """For a checkpoint."""
        return {"scale": self.scale, "good": self.good}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a checkpoint."""
        if self.dynamic:
            self.scale, self.good = float(state["scale"]), int(state["good"])
