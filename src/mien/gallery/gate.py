"""The enrolment gate: a face is judged before it enters a gallery. Pure judgement: nothing here reads or stores.

    verdicts = judge(faces, name="Ada", own=own, thresholds=thresholds)

One call judges all the new faces of one subject: one face that arrives alone as well as a folder in which one picture
shows somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mien.gallery.gate_identity import collision, consensus
from mien.gallery.gate_limits import GateLimits, GateThresholds, Policy, check_policy
from mien.gallery.gate_quality import quality_reasons
from mien.gallery.gate_reasons import Reason, ReasonCode, Verdict
from mien.match import similarity_blocks, unit_embeddings
from mien.quality import fingerprint_distance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.match import Candidate
    from mien.quality import FaceQuality
    from mien.types import Floats

__all__ = ["GateFace", "GateLimits", "GateThresholds", "OwnFaces", "Policy", "Reason", "ReasonCode", "Verdict", "judge"]


@dataclass(frozen=True, slots=True, eq=False)
class GateFace:
    """A face that asks to be enrolled, or a picture without one.

    Attributes:
        picture: name of its picture.
        embedding: float32 (D,), unit norm; None where the picture shows no face.
        quality: what `measure_quality` says; None where it was not measured, and then not judged.
        faces: how many faces the picture shows.
        others: the nearest *other* subjects of the gallery, best first; one is enough.
    """

    picture: str
    embedding: Floats | None = None
    quality: FaceQuality | None = None
    faces: int = 1
    others: Sequence[Candidate] = ()


@dataclass(frozen=True, slots=True, eq=False)
class OwnFaces:
    """The faces that a subject holds already.

    Attributes:
        embeddings: float32 (n, D), unit norm.
        pictures: their pictures' names, or empty.
        fingerprints: of `FaceQuality.fingerprint`, or empty; without, copies are not looked for among them.
    """

    embeddings: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    pictures: Sequence[str] = ()
    fingerprints: Sequence[bytes] = ()


def judge(
    faces: Sequence[GateFace],
    *,
    name: str,
    thresholds: GateThresholds | None,
    own: OwnFaces | None = None,
    policy: Policy = "strict",
    limits: GateLimits | None = None,
) -> list[Verdict]:
    """Judge the new faces of one subject.

    Args:
        faces: the candidates, in order; a folder's together, so that the odd one out is found by the others.
        name: the subject's name, for the messages.
        thresholds: see `GateThresholds.of`; None for a model without calibration: identity is then not judged.
        own: the faces that the subject holds already, which are trusted.
        policy: what becomes of a face against which something speaks.
        limits: where the lines are; the defaults where None.

    Returns:
        One verdict a face, in order. Under "off" only a missing face is looked for; under "warn" everything else is
        said, and accepted. A face that its picture already rules out does not vote on who the others are.

    Raises:
        InputError: no such policy, or embeddings that are not of unit length or of one dimension.

    Pure, so safe to call from several threads at once.
    """
    check_policy(policy)
    limits = limits or GateLimits()
    own = own or OwnFaces()
    if policy == "off":
        absent = quality_reasons(None, limits)
        return [Verdict(True) if face.embedding is not None else Verdict(False, tuple(absent)) for face in faces]
    found = [_of_picture(face, limits) for face in faces]
    voters = [i for i, reasons in enumerate(found) if not any(r.refuses for r in reasons)]
    vectors = _vectors(faces)
    for i, reasons in _of_identity(
        faces, voters, vectors, own=own.embeddings, name=name, thresholds=thresholds
    ).items():
        found[i] += reasons
    for i, reason in _copies(faces, vectors, own, limits).items():
        found[i].append(reason)
    return [
        Verdict(
            face.embedding is not None and (policy == "warn" or not any(r.refuses for r in reasons)), tuple(reasons)
        )
        for face, reasons in zip(faces, found, strict=True)
    ]


def _of_picture(face: GateFace, limits: GateLimits) -> list[Reason]:
    if face.embedding is None or face.quality is not None:
        return quality_reasons(face.quality if face.embedding is not None else None, limits, faces=face.faces)
    return []


def _vectors(faces: Sequence[GateFace]) -> dict[int, Floats]:
    """The embeddings by place in `faces`, checked."""
    rows = {i: face.embedding for i, face in enumerate(faces) if face.embedding is not None}
    if not rows:
        return {}
    checked = unit_embeddings(np.stack(list(rows.values())), what="embeddings to enrol")
    return dict(zip(rows, checked, strict=True))


def _of_identity(
    faces: Sequence[GateFace],
    voters: Sequence[int],
    vectors: dict[int, Floats],
    *,
    own: Floats,
    name: str,
    thresholds: GateThresholds | None,
) -> dict[int, list[Reason]]:
    """Whom the faces show, by their place in `faces`."""
    if thresholds is None or not voters:
        return {}
    embeddings = np.stack([vectors[i] for i in voters])
    held = len(own)
    trusted = unit_embeddings(own, dimension=embeddings.shape[1], what="own faces") if held else None
    agreed = consensus(embeddings, thresholds.own, own=trusted)
    kept = int(agreed.member.sum())
    compared = np.concatenate([trusted, embeddings]) if trusted is not None else embeddings
    among = np.concatenate([np.ones(held, bool), agreed.member])
    result: dict[int, list[Reason]] = {}
    for place, i in enumerate(voters):
        reasons = []
        odd = not agreed.member[place]
        score = float(agreed.score[place])
        if not agreed.decided:
            reasons.append(_disagree(len(voters), name, score, thresholds.own))
        elif odd:
            reasons.append(_unlike(held + kept, name, score, thresholds.own))
        mates = among.copy()
        mates[held + place] = False
        mates &= agreed.decided
        clash = collision(faces[i].others, compared[mates] @ vectors[i], thresholds, doubtful=odd)
        result[i] = reasons + ([clash] if clash else [])
    return result


def _unlike(count: int, name: str, score: float, limit: float) -> Reason:
    faces = f"{count} other faces" if count > 1 else "other face"
    return Reason(
        "unlike_own_faces",
        f"does not look like {name}'s {faces}: score {score:.3f}, at least {limit:.3f} is expected; check whose "
        'picture it is. If it is right, use the policy "warn"; if the enrolled ones are wrong, remove them first',
        value=score,
        limit=limit,
    )


def _disagree(count: int, name: str, score: float, limit: float) -> Reason:
    these = "these two pictures do" if count == 2 else f"these {count} pictures do"
    return Reason(
        "people_disagree",
        f"{these} not look like one person (score {score:.3f}, at least {limit:.3f} is expected), and nothing tells "
        f"which shows {name}; enrol one that is right first, then the others",
        value=score,
        limit=limit,
    )


def _copies(
    faces: Sequence[GateFace], vectors: dict[int, Floats], own: OwnFaces, limits: GateLimits
) -> dict[int, Reason]:
    """Faces cut from a picture that is there already, re-encoded or resized; each with the earlier one's name."""
    held = min(len(own.embeddings), len(own.fingerprints), len(own.pictures))
    marks = [*own.fingerprints[:held]]
    names = [*own.pictures[:held]]
    looked = [i for i in vectors if (quality := faces[i].quality) is not None and quality.fingerprint]
    if not looked:
        return {}
    new = np.stack([vectors[i] for i in looked])
    known = np.concatenate([own.embeddings[:held], new]) if held else new
    result: dict[int, Reason] = {}
    for first, scores in similarity_blocks(new, known):
        for row, i in enumerate(looked[first : first + len(scores)], start=first):
            mark = getattr(faces[i].quality, "fingerprint", b"")
            for other in np.flatnonzero(scores[row - first, : held + row] >= limits.copy_cosine):
                if fingerprint_distance(marks[other], mark) <= limits.copy_distance:
                    text = f"a copy of {names[other]}, which is there already; it adds nothing"
                    score = float(scores[row - first, other])
                    result[i] = Reason("duplicate_picture", text, False, score, limits.copy_cosine, names[other])
                    break
            marks.append(mark)
            names.append(faces[i].picture)
    return result
