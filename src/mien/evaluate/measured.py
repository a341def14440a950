"""What evaluations without an embedder have in common: those of score files, and of detectors."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mien.evaluate.results import VERSION

if TYPE_CHECKING:
    from mien.evaluate.protocols.sets import Exclusion
    from mien.evaluate.results import Failure

__all__ = ["Call", "Measured"]


@dataclass(frozen=True, slots=True)
class Measured:
    """The facts of a measurement. Immutable, so safe to share between threads.

    Attributes:
        protocol: name of the protocol, or of the file that was measured.
        rules: what is measured and how, in words.
        failure_rule: what a picture that cannot be read counts for, in words; empty where no picture is looked at.
        failures: pictures that could not be read.
        pictures: how many pictures there are.
        exclusions: what was left out and why.
        command: the command line.
        seed: of every random draw.
        date: when, ISO 8601 in UTC.
        seconds: how long it took, in all.
    """

    protocol: str
    rules: str
    failure_rule: str
    failures: tuple[Failure, ...]
    pictures: int
    exclusions: tuple[Exclusion, ...]
    command: str
    seed: int
    date: str
    seconds: float

    def record(self, kind: str) -> dict[str, Any]:
        """The common part of the JSON, with the keys of `Experiment.record` as far as they apply."""
        return {
            "version": VERSION,
            "kind": kind,
            "protocol": self.protocol,
            "rules": self.rules,
            "pictures": self.pictures,
            "failures": len(self.failures),
            "failure_rule": self.failure_rule,
            "errors": [{"source": f.name, "error": f.reason} for f in self.failures],
            "exclusions": [{"what": e.what, "why": e.why} for e in self.exclusions],
            "command": self.command,
            "seed": self.seed,
            "date": self.date,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Call:
    """How a measurement was asked for.

    Attributes:
        command: the command line, or how else it was called.
        seed: of every random draw.
        started: when it began, by `time.monotonic`.
    """

    command: str = ""
    seed: int = 0
    started: float = field(default_factory=time.monotonic)

    def measured(
        self,
        protocol: str,
        rules: str,
        *,
        pictures: int,
        exclusions: tuple[Exclusion, ...] = (),
        failures: tuple[Failure, ...] = (),
        failure_rule: str = "",
    ) -> Measured:
        """The facts, with the time until now."""
        return Measured(
            protocol=protocol,
            rules=rules,
            failure_rule=failure_rule,
            failures=failures,
            pictures=pictures,
            exclusions=exclusions,
            command=self.command,
            seed=self.seed,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=time.monotonic() - self.started,
        )
