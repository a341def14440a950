"""The short way in: what `import mien` offers, with the default recognizer filled in."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

from mien import gallery
from mien.errors import GalleryModelError, NoFaceError
from mien.match import VERIFY_FMR, calibration_for, check_threshold
from mien.recognizer import DEFAULT_PRESET, PRESETS, Recognizer
from mien.types import Verification

if TYPE_CHECKING:
    from mien.match import Calibration
    from mien.types import Analysis, ModelIdentity, Preset

__all__ = ["Gallery", "default_recognizer", "verify"]

_lock = threading.Lock()


@functools.cache
def _shared(preset: Preset) -> Recognizer:
    return Recognizer(preset)


def default_recognizer(preset: Preset = DEFAULT_PRESET) -> Recognizer:
    """The recognizer that this process shares: made on first use, one a preset. Thread-safe."""
    with _lock:  # functools.cache alone may build two under a race
        return _shared(preset)


class Gallery(gallery.Gallery):
    """Known people, enrolled from pictures and found in pictures, with the default recognizer where none is given.

        with mien.Gallery.open("people.db") as people:
            people.enrol("Ada Lovelace", ["ada1.jpg", "ada2.jpg"])
            people.identify("group.jpg")

    A new gallery is bound to the model and preset that first fills it; an old one is opened with the preset it is bound
    to. Thread-safe, and safe beside other processes.
    """

    def default_recognizer(self, identity: ModelIdentity | None) -> Recognizer:
        """The shared recognizer of the preset that the gallery is bound to.

        Raises:
            GalleryModelError: the gallery is bound to another model than the default one.
        """
        if identity is None:
            return default_recognizer()
        for preset in PRESETS:
            if preset == identity.preset and (recognizer := default_recognizer(preset)).identity == identity:
                return recognizer
        raise GalleryModelError(
            f"the gallery holds embeddings of {identity}, which is not a default model of this version; "
            "open it with recognizer=mien.Recognizer(embedder=...) of that model"
        )


def verify(
    a: Any,  # noqa: ANN401 - anything `mien.images.decode` reads
    b: Any,  # noqa: ANN401
    *,
    fmr: float = VERIFY_FMR,
    threshold: float | None = None,
    recognizer: Recognizer | None = None,
    calibration: Calibration | None = None,
) -> Verification:
    """Decide whether two pictures show the same person.

    Args:
        a: a picture; its main face is used.
        b: the other picture.
        fmr: the false match rate to decide at; the threshold comes from the model's calibration.
        threshold: decide at this score instead.
        recognizer: instead of the shared default one.
        calibration: instead of the one that mien ships for the model (`mien.match.Calibration.read`).

    Raises:
        ImageError: a picture cannot be read.
        NoFaceError: a picture holds no face.
        InputError: the threshold is no cosine, the calibration is of another model, or there is neither.
    """
    check_threshold(threshold)
    recognizer = recognizer or default_recognizer()
    first, second = recognizer.analyze_one(a), recognizer.analyze_one(b)
    i, j = _main(first), _main(second)
    score = float(first.embeddings[i] @ second.embeddings[j])
    rate, provisional = None, False
    if threshold is None:
        calibration = calibration or calibration_for(recognizer.identity)
        calibration.need_for(recognizer.identity)
        rate, threshold, provisional = fmr, calibration.threshold(fmr=fmr), calibration.provisional
    return Verification(
        matched=score >= threshold,
        score=score,
        threshold=threshold,
        fmr=rate,
        face_a=first.faces[i],
        face_b=second.faces[j],
        faces_in_a=len(first.faces),
        faces_in_b=len(second.faces),
        provisional=provisional,
    )


def _main(found: Analysis) -> int:
    if not len(found.faces):
        raise NoFaceError(f"{found.source}: no face found; expected at least one")
    return found.main()
