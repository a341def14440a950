"""What each form of an exported model is worth: accuracy on pairs with the loss against float32, size and time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mien.models.session import open_session
from mien.train.export.faces import embed_with, with_landmarks
from mien.train.promotion_measures import Change, accuracy_of, compare_pairs, pair_scores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mien.evaluate.protocols.sets import PairSet
    from mien.models.card import ModelCard

__all__ = ["Form", "face_time", "measured_on"]

_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class Form:
    """One form of the exported model.

    Attributes:
        variant: "fp32", "fp16" or "int8".
        file: the graph's.
        size: its length in bytes.
        milliseconds: for one view of a face, one core, batches of eight, on the machine that exported.
        cosine: the smallest cosine to the trained network's embedding, on real faces.
        accuracy: on the pairs; None where none were given.
        changes: against fp32, on the pairs; empty for fp32.
    """

    variant: str
    file: str
    size: int
    milliseconds: float
    cosine: float
    accuracy: float | None = None
    changes: tuple[Change, ...] = ()

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        changes = [
            {"rate": c.rate, "fp32": c.before, "value": c.after, "low": c.low, "high": c.high} for c in self.changes
        ]
        return {
            "variant": self.variant,
            "file": self.file,
            "bytes": self.size,
            "ms_per_view": round(self.milliseconds, 3),
            "min_cosine": self.cosine,
            "accuracy": self.accuracy,
            "against_fp32": changes,
        }


def face_time(model: bytes, batch: NDArray[Any]) -> float:
    """Milliseconds for one row of a batch, on one core: the best of five runs."""
    session = open_session(model, threads=1, engine="onnxruntime")
    session.run(batch)
    best = float("inf")
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        session.run(batch)
        best = min(best, time.perf_counter() - start)
    return 1e3 * best / len(batch)


def measured_on(
    pairs: PairSet, cards: Mapping[str, ModelCard], *, preset: str = "accurate"
) -> dict[str, tuple[float, tuple[Change, ...]]]:
    """Accuracy of each form, and its change against fp32; faces are looked for once.

    Args:
        pairs: the list.
        cards: variant -> card; "fp32" comes first.
        preset: what is measured.
    """
    found: dict[str, tuple[float, tuple[Change, ...]]] = {}
    pictures, reference = pairs.pictures, None
    for variant, card in cards.items():
        embedded = embed_with(card, preset, pictures)
        scores = pair_scores(embedded.vectors, pairs)
        if reference is None:
            reference, pictures = scores, with_landmarks(pairs.pictures, embedded.landmarks)
            found[variant] = accuracy_of(scores)[0], ()
        else:
            found[variant] = accuracy_of(scores)[0], compare_pairs(reference, scores)
    return found
