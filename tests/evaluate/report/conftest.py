"""Made-up results, with real pictures that installed packages ship."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.evaluate.metrics.curves import roc_points, thinned
from mien.evaluate.metrics.folds import fold_accuracy
from mien.evaluate.metrics.identification import Search, cmc, dir_at_fpir, open_set_curve
from mien.evaluate.metrics.scores import histogram, score_set
from mien.evaluate.metrics.verification import auc, d_prime, eer, tar_at_far
from mien.evaluate.protocols.sets import Exclusion
from mien.evaluate.results import (
    Accuracy,
    Experiment,
    Failure,
    IdentificationResult,
    ModelFacts,
    PairOfShots,
    RateAt,
    Shot,
    VerificationResult,
)

EYES_HOPPER = ((244.0, 175.0), (312.0, 172.0), (282.0, 214.0), (254.0, 250.0), (310.0, 248.0))
EYES_ASTRONAUT = ((203.0, 108.0), (246.0, 107.0), (227.0, 135.0), (208.0, 155.0), (243.0, 154.0))

HOSTILE = "<script>alert(1)</script>/\"'><img src=x onerror=alert(2)>"


@dataclass(frozen=True)
class Made:
    """Makers of results."""

    pairs: tuple[PairOfShots, ...]

    def experiment(self, **changed: Any) -> Experiment:
        model = ModelFacts(
            "mien-default", "accurate", "ab" * 32, 128, "CC0-1.0", "mtcnn", "MIT", facts=(("trained on", "<VGGFace>"),)
        )
        base = Experiment(
            protocol="lfw-view-1",
            rules="Pairs of LFW View 1.",
            failure_policy="error",
            failure_rule="A picture without an embedding counts as an error.",
            failures=(
                Failure("Ann/1.jpg", "no face was found"),
                Failure("Bob/2.jpg", "no face was found"),
                Failure("Zoë/1.jpg", "Zoë/1.jpg: the file ends too early", unreadable=True),
            ),
            pictures=1200,
            exclusions=(
                Exclusion("Ann/1.jpg Ann/1.jpg", "a picture with itself"),
                Exclusion("Ann/9.jpg", "there is no such picture"),
            ),
            model=model,
            command="mien evaluate verify --protocol lfw --pairs lists/pairsDevTest.txt lfw/",
            seed=7,
            date="2026-01-02T03:04:05Z",
            seconds=75.2,
            cached=3,
        )
        return replace(base, **changed)

    def verification(self, *, genuine: int = 500, impostor: int = 5000, **changed: Any) -> VerificationResult:
        random = np.random.default_rng(1)
        scores = score_set(random.normal(0.62, 0.13, genuine), random.normal(0.05, 0.1, impostor))
        same = np.arange(2000) < 1000
        values = np.where(same, random.normal(0.62, 0.13, 2000), random.normal(0.05, 0.1, 2000))
        folds = fold_accuracy(values, same, np.arange(2000) % 10)
        found = eer(scores)
        result = VerificationResult(
            experiment=self.experiment(),
            scores=scores,
            accuracy=Accuracy(folds, folds.standard_error, "The threshold of a fold is chosen on the others."),
            eer=found,
            eer_interval=(found.rate * 0.6, found.rate * 1.5, "bootstrap over subjects"),
            auc=auc(scores),
            d_prime=d_prime(scores),
            tar_at_far=tuple(_verified(scores, far) for far in (0.1, 0.01, 0.001, 0.00001)),
            curve=thinned(roc_points(scores)),
            histogram=histogram(scores),
            false_matches=self.pairs,
            false_non_matches=self.pairs[::-1],
        )
        return replace(result, **changed)

    def identification(self, *, strangers: bool = True, **changed: Any) -> IdentificationResult:
        random = np.random.default_rng(2)
        known = np.arange(900) < 400 if strangers else np.ones(900, np.bool_)
        mate = np.where(known, random.normal(0.6, 0.12, 900), -np.inf).astype(np.float32)
        other = random.normal(0.3, 0.07, 900).astype(np.float32)
        rank = np.where(known, np.where(mate > other, 1, random.integers(2, 9, 900)), 0)
        search = Search(known, mate, rank, np.maximum(mate, other), 200, 350)
        rows = tuple(_identified(search, fpir) for fpir in (0.1, 0.01)) if strangers else ()
        seen = score_set(mate[known], search.top_score[~known]) if strangers else None
        result = IdentificationResult(
            experiment=self.experiment(protocol="folder"),
            search=search,
            gallery_size=200,
            not_enrolled=2,
            known=int(known.sum()),
            unknown=int((~known).sum()),
            dir_at_fpir=rows,
            cmc=cmc(search),
            curve=open_set_curve(search) if strangers else None,
            histogram=histogram(seen) if seen is not None else None,
            false_matches=self.pairs,
            false_non_matches=self.pairs,
        )
        return replace(result, **changed)


def _verified(scores: Any, far: float) -> RateAt:
    row = tar_at_far(scores, far)
    if not row.sufficient:
        return RateAt(far, None, None, None, None, None, reason=f"needs {1 / far:,.0f} impostor pairs")
    return RateAt(far, row.tar, row.low, row.high, row.threshold, row.far, "Wilson")


def _identified(search: Search, fpir: float) -> RateAt:
    row = dir_at_fpir(search, fpir)
    return RateAt(fpir, row.dir, row.low, row.high, row.threshold, row.fpir, "Wilson")


@pytest.fixture
def made(hopper: Path, astronaut: Path) -> Made:
    first = Shot("Grace Hopper/1.jpg", str(hopper), EYES_HOPPER)
    second = Shot("Eileen Collins/portrait.png", str(astronaut), EYES_ASTRONAUT)
    faceless = Shot("Grace Hopper/2.jpg", memoryview(hopper.read_bytes()))
    gone = Shot("gone.jpg", str(hopper.with_name("no-such-picture.jpg")))
    return Made(
        (PairOfShots(first, second, 0.4123), PairOfShots(second, faceless, -1.0), PairOfShots(gone, first, -1.0))
    )
