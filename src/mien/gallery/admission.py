"""The gate of a real gallery: what `mien.gallery.gate` judges, with what the gallery knows of everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np

from mien.errors import NotFoundError
from mien.gallery.gate import GateFace, GateLimits, GateThresholds, OwnFaces, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mien.gallery.gate import Policy, Verdict
    from mien.gallery.home import Home
    from mien.gallery.looking import Applicant, Several
    from mien.match import Calibration, Candidate
    from mien.types import ModelIdentity, Subject

__all__ = ["Admission", "HowToEnrol"]

_NEAREST = 4  # the subject's own entry, the nearest other, and room for those whom the face was said not to be


class HowToEnrol(TypedDict, total=False):
    """How pictures are taken in; see `Gallery.enrol`."""

    policy: Policy
    several: Several
    keep_crops: bool


class Admission:
    """Judges the new faces of one person after another, and stores those that pass.

    Thread-safe as the home is. Of two processes that enrol at the same time, neither sees whom the other is about to
    store; what both have stored is not judged again.

    Args:
        home: the gallery's home.
        identity: the model that made the embeddings.
        calibration: asked for each person, for it may be replaced; None judges nobody's identity.
        policy: what becomes of a face against which something speaks.
        limits: where the lines are.
    """

    def __init__(
        self,
        home: Home,
        identity: ModelIdentity,
        *,
        calibration: Callable[[], Calibration | None],
        policy: Policy,
        limits: GateLimits | None = None,
    ) -> None:
        self._home, self._identity, self._calibration = home, identity, calibration
        self._policy, self._limits = policy, limits or GateLimits()

    def __call__(self, name: str, applicants: Sequence[Applicant]) -> tuple[Subject | None, list[Verdict]]:
        """Judge the new faces of a person together, and store those that pass in one step.

        Returns:
            The subject as it is then, None for somebody of whom nothing is enrolled; and a verdict a face.
        """
        verdicts = self._judged(name, applicants) if applicants else []
        records = [a.record for a, verdict in zip(applicants, verdicts, strict=True) if verdict.accepted]
        if records:
            return self._home.add([(name, records)], self._identity)[0][0], verdicts
        return self._known(name), verdicts

    def _judged(self, name: str, applicants: Sequence[Applicant]) -> list[Verdict]:
        calibration = None if self._policy == "off" else self._calibration()
        own, thresholds = None, None
        others: list[list[Candidate]] = [[] for _ in applicants]
        if calibration is not None:
            size = self._home.counts().faces
            thresholds = GateThresholds.of(calibration, self._limits, gallery_size=size)
            if size:
                probes = np.stack([applicant.record.embedding for applicant in applicants])
                others = [_others(row, name) for row in self._home.search(probes, k=_NEAREST)]
            subject = self._known(name)
            if subject is not None and subject.faces:
                own = OwnFaces(self._home.template_faces([subject.id])[0])
        faces = [
            GateFace(a.record.picture, a.record.embedding, a.quality, a.faces, near)
            for a, near in zip(applicants, others, strict=True)
        ]
        return judge(faces, name=name, own=own, thresholds=thresholds, policy=self._policy, limits=self._limits)

    def _known(self, name: str) -> Subject | None:
        if not self._home.knows(name):  # first, for `subject` looks for similar names where there is none
            return None
        try:
            return self._home.subject(name)
        except NotFoundError:  # removed in between
            return None


def _others(found: Sequence[Candidate], name: str) -> list[Candidate]:
    """Those of the nearest subjects who are somebody else, and whom nobody said the face not to be."""
    return [candidate for candidate in found if candidate.name != name and not candidate.suppressed]
