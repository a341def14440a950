"""From what was found in a picture to the face that asks to be enrolled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.gallery.gate import GateFace
from mien.quality import measure_quality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.match import Candidate
    from mien.types import Analysis

__all__ = ["gate_face"]


def gate_face(analysis: Analysis, *, others: Sequence[Candidate] = ()) -> GateFace:
    """The main face of an analysed picture, measured, for `judge`; the picture itself is not kept.

    Args:
        analysis: with embeddings, and with its image where quality is to be judged (`keep_images=True`).
        others: the nearest other subjects, best first; they may be put in later with `dataclasses.replace`.

    Raises:
        MienError: the picture could not be analysed: the analysis's own error.
    """
    if analysis.error is not None:
        raise analysis.error
    found = len(analysis.faces)
    if not found:
        return GateFace(analysis.source, faces=0)
    main = analysis.main()
    quality = None
    if analysis.image is not None:
        face = analysis.faces.take([main])
        quality = measure_quality(analysis.image.pixels, face, turns=analysis.turns)[0]
    return GateFace(analysis.source, analysis.embeddings[main], quality, found, others)
