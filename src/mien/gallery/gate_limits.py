"""What the enrolment gate lets pass: limits, and the thresholds that follow from a calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, TypeAlias

from mien.errors import InputError

if TYPE_CHECKING:
    from mien.match import Calibration

__all__ = ["POLICIES", "GateLimits", "GateThresholds", "Policy", "check_policy"]

Policy: TypeAlias = Literal["strict", "warn", "off"]
"""strict: what is wrong is refused; warn: it is enrolled and reported; off: only a face is needed."""

POLICIES: tuple[Policy, ...] = ("strict", "warn", "off")


def check_policy(policy: str) -> None:
    """Raises InputError unless `policy` is one."""
    if policy not in POLICIES:
        raise InputError(f"policy: expected one of {', '.join(POLICIES)}; got {policy!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """Where the gate draws its lines. Immutable, so safe to share between threads.

    The defaults stand where `benchmarks/quality.py` sees errors rise on LFW View 1: at each of them a genuine pair is
    missed at least half again as often as without the flaw.

    Attributes:
        eye_distance: least pixels between the eyes.
        sharpness: least sharpness (see `FaceQuality`).
        darkest, brightest: the range of brightness.
        contrast: least contrast.
        clipped: most clipped pixels, as a share.
        yaw, pitch: most radians from straight ahead, either way.
        visible: least share of the face inside the picture.
        score: least overall score.
        several_faces: take the main face of a picture that shows several, or refuse the picture.
        own_fmr: a face is said to be unlike the subject's other faces where this share of other people's faces would
            be as much like them.
        collision_fpir: rate at which a new face may by chance look like one of all enrolled faces.
        margin_one: how much higher a face may score with another subject than with the nearest of its own, where the
            subject holds one face.
        margin_several: the same where it holds several; then a right face nearly always has a near one among them.
        copy_cosine: least cosine between two copies of one picture.
        copy_distance: most difference between their fingerprints.

    Raises:
        InputError: at construction, when a limit is not a number of its range.
    """

    eye_distance: float = 12.0
    sharpness: float = 0.07
    darkest: float = 0.08
    brightest: float = 0.88
    contrast: float = 0.03
    clipped: float = 0.2
    yaw: float = 0.8
    pitch: float = 0.6
    visible: float = 0.75
    score: float = 0.02
    several_faces: Literal["main", "refuse"] = "main"
    own_fmr: float = 0.05
    collision_fpir: float = 1e-3
    margin_one: float = 0.03
    margin_several: float = 0.015
    copy_cosine: float = 0.99
    copy_distance: float = 0.1

    def __post_init__(self) -> None:
        if self.several_faces not in ("main", "refuse"):
            raise InputError(f'several_faces: expected "main" or "refuse", got {self.several_faces!r}')
        tops = {"eye_distance": math.inf, "yaw": math.pi, "pitch": math.pi}
        for name in (f.name for f in fields(self) if f.name != "several_faces"):
            value, top = getattr(self, name), tops.get(name, 1.0)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= top:
                raise InputError(f"{name}: expected a number from 0 to {top:g}, got {value!r}")


@dataclass(frozen=True, slots=True)
class GateThresholds:
    """The cosines that decide about identity, for one model and one size of gallery.

    Attributes:
        own: the least mean cosine of a face to the subject's other faces.
        collision: the cosine from which a face looks like somebody else, whatever else it looks like.
        margin_one, margin_several: how much its cosine to somebody else may exceed that to the subject's own nearest
            face, where there is one and where there are several.
    """

    own: float
    collision: float
    margin_one: float = 2.0
    margin_several: float = 2.0

    @classmethod
    def of(cls, calibration: Calibration, limits: GateLimits, *, gallery_size: int) -> GateThresholds:
        """Thresholds from what a model's scores mean.

        Args:
            calibration: of the model that made the embeddings.
            limits: the rates they stand for.
            gallery_size: enrolled faces.

        Raises:
            InputError: a rate is 0 or 1, or `gallery_size` negative.
        """
        collision = calibration.threshold_for(fpir=limits.collision_fpir, gallery_size=gallery_size)
        return cls(calibration.threshold(fmr=limits.own_fmr), collision, limits.margin_one, limits.margin_several)
