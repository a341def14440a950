"""Moving house: a gallery copied from any home to any other, resumable, and shown to be whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import GalleryError, InputError, NotFoundError
from mien.gallery.recall import Recall, recall_of
from mien.gallery.two_models import KeepsTwoModels

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.gallery.home import Batch, Counts, Home
    from mien.types import ModelIdentity

__all__ = ["CopyReport", "copy"]

_BATCH = 4096  # faces


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyReport:
    """What a copy did.

    Attributes:
        source, destination: the homes.
        counts: what both now hold.
        copied: faces and negative exemplars that were written.
        found: those that an earlier, cut off copy had written already.
        crops: aligned crops among the copied.
        audit, sightings: entries of the logs that are now in the destination.
        calibration: whether a calibration was kept with the gallery.
        left_behind: what the destination does not keep, in words; empty when everything moved.
        recall: the destination's search against exact search; None for a gallery without two people.
    """

    source: str
    destination: str
    counts: Counts
    copied: int
    found: int
    crops: int
    audit: int
    sightings: int
    calibration: bool
    left_behind: tuple[str, ...]
    recall: Recall | None


def copy(
    source: Home,
    destination: Home,
    *,
    progress: Callable[[int, int], None] | None = None,
    resume: bool = True,
    probes: int = 100,
) -> CopyReport:
    """Copy a gallery with its ids, names, calibration and logs, and check the copy.

    Stopped at any point, also by kill -9, it goes on when it is called again: what is there is compared and kept. The
    source must not change meanwhile; where it did, the check at the end says so.

    Args:
        source: what is copied; only read.
        destination: an empty gallery, or what an earlier copy of this source left.
        progress: called with (faces done, faces in all) after each batch.
        resume: go on with a partial copy; False refuses a destination that holds anybody.
        probes: faces of the source that the recall audit searches for; 0 leaves the audit out.

    Raises:
        GalleryModelError: the destination belongs to another model.
        GalleryError: the source is empty, the destination holds other people, or the copy is not the same as the
            source.
    """
    if probes < 0:
        raise InputError(f"probes: expected 0 or more, got {probes}")
    identity = source.identity
    if identity is None:
        raise GalleryError(f"{source.source}: holds nothing yet, so there is nothing to copy")
    _refuse_strangers(source, destination, resume=resume)
    destination.pin(identity)
    before = source.counts()
    copied, found, crops = _rows(source, destination, identity, before.faces + before.negatives, progress)
    audit, sightings, left = _logs(source, destination)
    if isinstance(source, KeepsTwoModels) and (staged := source.staged()) is not None:
        left = (*left, f"the embeddings of {staged.identity} ({staged.faces} faces), kept for a change of the model")
    calibration = source.calibration()
    if calibration is not None and destination.calibration() != calibration:
        destination.keep_calibration(calibration)
    _check(source, destination, before)
    build = getattr(destination, "build_index", None)  # only some homes have one to be made after a bulk load
    if build is not None:
        build()
    return CopyReport(
        source=source.source,
        destination=destination.source,
        counts=before,
        copied=copied,
        found=found,
        crops=crops,
        audit=audit,
        sightings=sightings,
        calibration=calibration is not None,
        left_behind=left,
        recall=recall_of(source, destination, probes=probes) if probes else None,
    )


def _refuse_strangers(source: Home, destination: Home, *, resume: bool) -> None:
    there = {subject.id: subject.name for subject in destination.subjects()}
    if not there:
        return
    if not resume:
        raise GalleryError(f"{destination.source}: holds {len(there)} subjects already; copy into a new gallery")
    here = {subject.id: subject.name for subject in source.subjects()}
    other = [name for number, name in there.items() if here.get(number) != name]
    if other:
        raise GalleryError(
            f"{destination.source}: holds {other[0]!r}, who is not in {source.source} under the same number; "
            "copy into a new gallery"
        )


def _rows(
    source: Home,
    destination: Home,
    identity: ModelIdentity,
    total: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[int, int, int]:
    copied = found = crops = 0
    for batch in source.batches(size=_BATCH):
        if batch.faces and _is_there(batch, destination):
            found += len(batch.faces)
        else:
            destination.load(batch, identity)
            copied += len(batch.faces)
            crops += len(batch.crops)
        if progress is not None:
            progress(copied + found, total)
    return copied, found, crops


def _is_there(batch: Batch, destination: Home) -> bool:
    """Whether all of a batch was written before; a part of it is written again, which changes nothing."""
    try:
        there = destination.embeddings([face.id for face in batch.faces])
    except NotFoundError:
        return False
    if not np.array_equal(there, batch.embeddings):
        raise GalleryError(f"{destination.source}: holds other faces under the same numbers; copy into a new gallery")
    return True


def _logs(source: Home, destination: Home) -> tuple[int, int, tuple[str, ...]]:
    """Copy the logs where both homes keep them; returns their lengths, and what was left behind."""
    left = []
    have, keep = source.capabilities, destination.capabilities
    audit = list(source.audit()) if have.audit else []
    sightings = list(source.sightings()) if have.sightings else []
    if audit and not keep.audit:
        left.append(f"the audit log ({len(audit)} entries): a gallery in {keep.home} keeps none")
        audit = []
    if sightings and not keep.sightings:
        left.append(f"the log of who was seen ({len(sightings)} entries): a gallery in {keep.home} keeps none")
        sightings = []
    if have.encryption and not keep.encryption:
        left.append(f"encryption, where there was any: a gallery in {keep.home} is readable by whoever may read it")
    there = list(destination.audit()) if keep.audit else []
    if not audit or there[: len(audit)] != audit:  # else an earlier copy has brought both, for they come as one
        seen = sum(1 for _ in destination.sightings()) if keep.sightings and not audit else 0
        destination.load_beside(audit=audit, sightings=[] if sightings and seen == len(sightings) else sightings)
    return len(audit), len(sightings), tuple(left)


def _check(source: Home, destination: Home, before: Counts) -> None:
    """Compare everything that can be compared without reading the embeddings again."""
    advice = "the source may have changed meanwhile: copy again, into a new gallery"
    if source.counts() != before or destination.counts() != before:
        raise GalleryError(
            f"{destination.source}: holds {destination.counts()}, and {source.source} {source.counts()}; {advice}"
        )
    for here, there in zip(source.subjects(), destination.subjects(), strict=True):
        if here != there:
            raise GalleryError(f"{destination.source}: {there.name!r} is not as in {source.source}; {advice}")
