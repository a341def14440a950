"""Reasons that lie in the picture: too small, blurred, dark, turned away, cut off."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mien.gallery.gate_reasons import Reason

if TYPE_CHECKING:
    from mien.gallery.gate_limits import GateLimits
    from mien.gallery.gate_reasons import ReasonCode
    from mien.quality import FaceQuality

__all__ = ["quality_reasons"]


def quality_reasons(quality: FaceQuality | None, limits: GateLimits, *, faces: int = 1) -> list[Reason]:
    """What the picture itself has against being enrolled.

    Args:
        quality: of the face that would be enrolled; None where its picture shows none.
        limits: where the lines are.
        faces: how many faces the picture shows.
    """
    if quality is None:
        return [Reason("no_face", "no face found; use a picture in which the face is larger or seen from the front")]
    q, found = quality, list[Reason]()

    def at_least(code: ReasonCode, value: float, limit: float, text: str) -> None:
        if not value >= limit:  # written so that NaN is refused too
            found.append(Reason(code, text, value=value, limit=limit))

    def at_most(code: ReasonCode, value: float, limit: float, text: str) -> None:
        if not value <= limit:
            found.append(Reason(code, text, value=value, limit=limit))

    if faces > 1:
        refuses = limits.several_faces == "refuse"
        todo = "cut the right one out" if refuses else "the main one was taken"
        found.append(Reason("several_faces", f"{faces} faces in the picture; {todo}", refuses, faces, 1))
    at_least(
        "too_small",
        q.eye_distance,
        limits.eye_distance,
        f"the face is too small: {q.eye_distance:.0f} pixels between the eyes, at least {limits.eye_distance:.0f} are "
        "needed; use a larger picture (enlarging this one does not help)",
    )
    if q.eye_distance > 0:  # else there is no chip to look at, and nothing more to say
        at_least(
            "blurred",
            q.sharpness,
            limits.sharpness,
            f"the face is blurred: sharpness {q.sharpness:.3f}, at least {limits.sharpness:.3f} is needed; "
            "hold the camera still, focus on the face, or use another picture",
        )
        at_least(
            "dark",
            q.brightness,
            limits.darkest,
            f"the face is too dark: brightness {q.brightness:.2f}, at least {limits.darkest:.2f} is needed; add light",
        )
        if q.brightness > limits.brightest or (q.clipped > limits.clipped and q.brightness > 0.5):
            found.append(
                Reason(
                    "bright",
                    f"the face is overexposed: brightness {q.brightness:.2f} (at most {limits.brightest:.2f}), "
                    f"{q.clipped:.0%} of it pure white or black (at most {limits.clipped:.0%}); use less light",
                    value=q.brightness,
                    limit=limits.brightest,
                )
            )
        at_least(
            "flat",
            q.contrast,
            limits.contrast,
            f"the face has too little contrast: {q.contrast:.3f}, at least {limits.contrast:.3f} is needed; "
            "avoid fog, glass and light behind the head",
        )
        for angle, limit, sides in (
            (q.yaw, limits.yaw, ("to the left", "to the right")),
            (q.pitch, limits.pitch, ("down", "up")),
        ):
            at_most(
                "turned_away",
                abs(angle),
                limit,
                f"the face is turned {math.degrees(abs(angle)):.0f} degrees {sides[angle > 0]}, at most "
                f"{math.degrees(limit):.0f} are fine; look into the camera",
            )
        at_least(
            "cut_off",
            q.visible,
            limits.visible,
            f"only {q.visible:.0%} of the face is in the picture, at least {limits.visible:.0%} is needed; "
            "use a picture that shows all of it",
        )
        if not any(reason.refuses for reason in found):
            at_least(
                "low_quality",
                q.score,
                limits.score,
                f"too many small flaws together: quality {q.score:.3f}, at least {limits.score:.3f} is needed; "
                "use a sharper, larger or more frontal picture",
            )
    return found
