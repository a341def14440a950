"""From the type of a result to the body of its report."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from mien.evaluate.clustering import ClusterResult
from mien.evaluate.detection import DetectionResult
from mien.evaluate.liveness import LivenessResult
from mien.evaluate.megaface import MegafaceResult
from mien.evaluate.report.account import model_card
from mien.evaluate.report.body import Body
from mien.evaluate.report.clustering_report import clustering_body
from mien.evaluate.report.detection_report import detection_body
from mien.evaluate.report.identification_report import (
    identification_headline,
    identification_sections,
    identification_subtitle,
)
from mien.evaluate.report.liveness_report import liveness_body
from mien.evaluate.report.megaface_report import megaface_body
from mien.evaluate.report.verification_report import (
    verification_headline,
    verification_sections,
    verification_subtitle,
)
from mien.evaluate.report.wording import of_model
from mien.evaluate.results import IdentificationResult, VerificationResult

if TYPE_CHECKING:
    from mien.evaluate.report.body import Sections
    from mien.evaluate.report.markup import Markup
    from mien.evaluate.results import Experiment

__all__ = ["Result", "body_of"]

Result: TypeAlias = (
    VerificationResult | IdentificationResult | ClusterResult | DetectionResult | LivenessResult | MegafaceResult
)
"""Everything that has a report."""


def body_of(result: Result) -> Body:
    """The body of a result's report."""
    if isinstance(result, ClusterResult):
        return clustering_body(result)
    if isinstance(result, DetectionResult):
        return detection_body(result)
    if isinstance(result, LivenessResult):
        return liveness_body(result)
    if isinstance(result, MegafaceResult):
        return megaface_body(result)
    if isinstance(result, VerificationResult):
        said, headline = verification_subtitle(result), verification_headline(result)
        return _of_model("Verification", said, headline, verification_sections(result), result.experiment)
    said, headline = identification_subtitle(result), identification_headline(result)
    return _of_model("Identification", said, headline, identification_sections(result), result.experiment)


def _of_model(kind: str, subtitle: str, headline: Markup, sections: Sections, experiment: Experiment) -> Body:
    return Body(kind, subtitle, headline, sections, of_model(experiment.model), model_card(experiment.model))
