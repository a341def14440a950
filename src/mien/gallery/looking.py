"""What a picture offers to a gallery: its main face, measured, or the reason why there is none."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from mien.errors import InputError
from mien.gallery.crops import encoded_crop
from mien.gallery.gate_reasons import Reason
from mien.gallery.records import FaceRecord
from mien.gallery.reports import PictureReport
from mien.quality import measure_quality

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mien.interfaces import Analyzer
    from mien.quality import FaceQuality
    from mien.types import Analysis

__all__ = ["Applicant", "Several", "analysed_by", "check_several", "looked_at"]

Several: TypeAlias = Literal["main", "refuse"]
"""Of several faces in a picture take the main one (see `Faces.main`), or refuse the picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Applicant:
    """A face that asks to be enrolled.

    Attributes:
        record: what would be stored.
        quality: of the face; None where the analyzer does not hand out pictures.
        faces: how many faces its picture shows.
    """

    record: FaceRecord
    quality: FaceQuality | None
    faces: int


def check_several(several: str) -> None:
    """Raises InputError unless `several` is one of the two."""
    if several not in get_args(Several):
        raise InputError(f'several: expected "main" or "refuse", got {several!r}')


def analysed_by(analyzer: Analyzer, images: Iterable[Any]) -> Iterator[Analysis]:
    """The analyses of some pictures, with the pictures themselves where the analyzer can hand them out."""
    analyze: Any = analyzer.analyze
    able = "keep_images" in inspect.signature(analyze).parameters
    found: Iterator[Analysis] = analyze(images, keep_images=True) if able else analyze(images)
    return found


def looked_at(
    analysis: Analysis, name: str, sha256: str | None, *, several: Several, keep_crops: bool
) -> PictureReport | tuple[PictureReport, Applicant]:
    """What becomes of one picture as far as it alone decides; with the face where there is one to be judged.

    Args:
        analysis: of the picture; its pixels are not kept.
        name: of the picture.
        sha256: checksum of its content, or None.
        several: what becomes of a picture with several faces.
        keep_crops: cut the face out, too; needs the picture.
    """
    found = len(analysis.faces)
    if analysis.error is not None:
        reason = getattr(analysis.error, "reason", None) or str(analysis.error)
        return PictureReport(name, "skipped", reason, error=True)
    if not found:
        return _skipped(name, Reason("no_face", "no face found"))
    main = analysis.main()
    face = analysis.faces[main]
    if found > 1 and several == "refuse":
        text = f"{found} faces in the picture; cut the right one out"
        return _skipped(name, Reason("several_faces", text, value=found, limit=1), faces=found, face=face)
    quality = crop = None
    if analysis.image is not None:
        one = analysis.faces.take([main])
        quality = measure_quality(analysis.image.pixels, one, turns=analysis.turns)[0]
        crop = encoded_crop(analysis.image.pixels, one, turns=analysis.turns) if keep_crops else None
    elif keep_crops:
        raise InputError("keep_crops: this recognizer does not hand out pictures, so no face can be cut out of them")
    score = None if quality is None else quality.score
    record = FaceRecord(analysis.embeddings[main], name, sha256, face, score, crop)
    report = PictureReport(name, "added", faces=found, face=face)
    if found > 1:
        reason = Reason("several_faces", f"the main one of {found} faces", refuses=False, value=found, limit=1)
        report = PictureReport(name, "added", reason.message, found, reasons=(reason,), face=face)
    return report, Applicant(record, quality, found)


def _skipped(name: str, reason: Reason, **more: Any) -> PictureReport:  # noqa: ANN401 - fields of the report
    return PictureReport(name, "skipped", reason.message, reasons=(reason,), **more)
