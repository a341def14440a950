"""One embedding for a template of many faces: by media first, then over media."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.evaluate.protocols.sets import Templates
    from mien.types import Floats

__all__ = ["pool_templates"]

_CHUNK: Final = 1 << 24  # numbers gathered at once: 64 MB


def pool_templates(
    embeddings: Floats, templates: Templates, *, found: NDArray[np.bool_] | None = None
) -> tuple[Floats, NDArray[np.bool_]]:
    """Pool the embeddings of each template: mean within a photo or video, then mean over those, then unit length.

    So a video of a thousand frames weighs no more than a photo.

    Args:
        embeddings: float32 (N, D), one row for each of the set's pictures.
        templates: T templates over those pictures.
        found: bool (N,), false where no face was found (its row is not looked at); None where all were.

    Returns:
        float32 (T, D) of unit length, and bool (T,): whether a template has an embedding; where not, its row is zero.

    Raises:
        ValueError: the shapes do not fit.

    Source:
        N. Crosswhite et al., "Template Adaptation for Face Verification and Identification", 2017, section 3.

    Thread-safe: it only reads its arguments.
    """
    if embeddings.ndim != 2 or (found is not None and found.shape != (len(embeddings),)):
        raise ValueError(f"pool_templates: expected (N, D) and (N,), got {embeddings.shape}")
    if len(templates.members) and int(templates.members.max()) >= len(embeddings):
        raise ValueError(f"pool_templates: the templates name more pictures than the {len(embeddings)} given")
    dimension = embeddings.shape[1]
    pooled = np.zeros((len(templates), dimension), np.float32)
    has = np.zeros(len(templates), np.bool_)
    offsets = templates.offsets
    start = 0
    while start < len(templates):
        limit = offsets[start] + max(1, _CHUNK // max(1, dimension))
        end = max(start + 1, int(np.searchsorted(offsets, limit, side="right")) - 1)
        pooled[start:end], has[start:end] = _pool(embeddings, templates, found, slice(start, end))
        start = end
    return pooled, has


def _pool(
    embeddings: Floats, templates: Templates, found: NDArray[np.bool_] | None, part: slice
) -> tuple[Floats, NDArray[np.bool_]]:
    offsets = templates.offsets[part.start : part.stop + 1]
    at = slice(offsets[0], offsets[-1])
    members, media = templates.members[at], templates.media[at]
    starts_template = np.zeros(len(members), np.bool_)
    starts_template[offsets[:-1] - offsets[0]] = True
    starts_medium = starts_template.copy()
    starts_medium[1:] |= media[1:] != media[:-1]
    good = np.ones(len(members), np.bool_) if found is None else found[members]
    rows = embeddings[members]
    rows[~good] = 0  # not multiplied: a row without a face may hold NaN
    media_at = np.flatnonzero(starts_medium)
    faces = np.add.reduceat(good.astype(np.intp), media_at)
    means = np.add.reduceat(rows, media_at) / np.maximum(faces, 1)[:, None].astype(np.float32)
    sums: Floats = np.add.reduceat(means, np.flatnonzero(starts_template[media_at]))
    lengths = np.linalg.norm(sums, axis=1)
    has = lengths > np.finfo(np.float32).tiny
    sums /= np.where(has, lengths, 1)[:, None].astype(np.float32)
    return sums, has
