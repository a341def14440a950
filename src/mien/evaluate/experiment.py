"""What an evaluation measures: the model by its card, the rule for failures, and the facts that a result carries."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

import numpy as np

from mien.errors import InputError, NotFoundError
from mien.evaluate.results import Experiment, ModelFacts, Shot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.evaluate.embeddings import Embedded
    from mien.evaluate.protocols.pictures import Picture
    from mien.evaluate.protocols.sets import Exclusion
    from mien.types import ModelIdentity

__all__ = ["FAILED_SCORE", "FailurePolicy", "Setup", "model_facts", "shot"]

FailurePolicy: TypeAlias = Literal["error", "exclude"]
"""What a picture without an embedding is: an error of the system, or left out to see the embedder alone."""

FAILED_SCORE: Final = np.float32(-1)
"""The score of a pair of which a picture has no embedding, where that is the system's error."""

_RULES: Final = {
    "error": "A picture in which no face is found, or that cannot be read, matches nobody: its pairs score -1, so that "
    "a genuine pair is a false non-match of the system.",
    "exclude": "Pairs with a picture in which no face is found, or that cannot be read, are left out: these are the "
    "rates of the embedder alone, not of the system.",
}


class _Set(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def rules(self) -> str: ...
    @property
    def exclusions(self) -> tuple[Exclusion, ...]: ...


@dataclass(frozen=True, slots=True)
class Setup:
    """What is the same for every protocol of a run.

    Attributes:
        model: what is measured.
        failures: see `FailurePolicy`.
        command: the command line, or how else the evaluation was called.
        seed: of every random draw.
        started: when the run began, by `time.monotonic`.
    """

    model: ModelFacts
    failures: FailurePolicy = "error"
    command: str = ""
    seed: int = 0
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.failures not in ("error", "exclude"):
            raise InputError(f"failures: expected error or exclude, got {self.failures!r}")

    def failure_rule(self, pairs: int) -> str:
        """What is done with so many pairs of which a picture has no embedding, in words."""
        return f"{_RULES[self.failures]} That concerns {pairs} pairs."

    def experiment(self, data: _Set, embedded: Embedded, rule: str, *, more: Sequence[Exclusion] = ()) -> Experiment:
        """The facts of one evaluation, with the time until now."""
        return Experiment(
            protocol=data.name,
            rules=data.rules,
            failure_policy=self.failures,
            failure_rule=rule,
            failures=embedded.failures,
            pictures=len(embedded.found),
            exclusions=(*data.exclusions, *more),
            model=self.model,
            command=self.command,
            seed=self.seed,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=time.monotonic() - self.started,
            cached=embedded.cached,
        )


def model_facts(
    identity: ModelIdentity, *, embedder: str | None = None, detector: str | None = None, settings: str = ""
) -> ModelFacts:
    """The facts of a model's card.

    Args:
        identity: of the embedder.
        embedder: its card's name or path, where that is not the identity's name.
        detector: the detector's card; the default one if None.
        settings: what else decides the embeddings, in words.
    """
    from mien.models import catalogue

    try:
        card = catalogue.get(embedder or identity.name)
    except NotFoundError:  # an embedder of the caller's own
        card = None
    finder = catalogue.get(detector or catalogue.DEFAULT_DETECTOR)
    facts: list[tuple[str, str]] = []
    if card is not None:
        facts += [("Embedder", card.title), ("Source", card.source), ("Paper", card.paper)]
        facts += [("Licence", f"{card.licence}. {card.licence_notes}".strip())]
    facts += [("Detector", finder.title), ("Detector's licence", finder.licence)]
    return ModelFacts(
        name=identity.name,
        preset=identity.preset,
        sha256=identity.sha256,
        dimension=identity.dimension,
        licence=card.licence if card else "unknown",
        detector=finder.name,
        detector_licence=finder.licence,
        settings=settings,
        facts=tuple((title, text) for title, text in facts if text),
    )


def shot(picture: Picture, embedded: Embedded, position: int) -> Shot:
    """A picture as a report shows it."""
    points = embedded.landmarks[position]
    landmarks = tuple((float(x), float(y)) for x, y in points) if embedded.found[position] else None
    return Shot(picture.name, picture.source, landmarks)
