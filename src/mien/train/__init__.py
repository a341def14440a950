"""Making a model: losses, classification heads and, above them, the training loop (extra ``train``).

Needs PyTorch: without it, importing anything below this package raises
[mien.errors.MissingExtraError][]. The base install never imports this package.
"""

from __future__ import annotations

from importlib.util import find_spec

from mien.errors import MissingExtraError

if find_spec("torch") is None:
    raise MissingExtraError("Training", "train")

__all__: list[str] = []
