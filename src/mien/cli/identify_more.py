"""What `mien identify` adds when asked: why a face is called what it is called, and the log of who was seen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mien.cli.output import print_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mien.gallery import Gallery
    from mien.gallery.rules import Rule
    from mien.types import Analysis, Identification

__all__ = ["explain_faces", "log_sightings", "show_witness"]

_PEOPLE, _FACES = 3, 3  # told of a face


def explain_faces(
    known: Gallery,
    found: Analysis,
    who: Sequence[Identification],
    records: Sequence[dict[str, Any]],
    *,
    group: str | None,
    rule: Rule,
) -> None:
    """Put the nearest people and their nearest faces into the record of each face of a photo."""
    from mien.gallery.explaining import explanation

    nearest = known.search(found.embeddings, k=_PEOPLE, group=group, rule=rule) if who else []
    for probe, one, record, candidates in zip(found.embeddings, who, records, nearest, strict=True):
        told = explanation(known.home, probe, one.match, candidates, exemplars=_FACES)
        record["explanation"] = [
            {
                "name": witness.candidate.name,
                "known_stranger": witness.candidate.told == "ignored",
                "score": round(witness.candidate.score, 6),
                "faces": [
                    {
                        "id": exemplar.face.id,
                        "picture": exemplar.face.picture,
                        "score": round(exemplar.score, 6),
                        "negative": exemplar.face.negative,
                    }
                    for exemplar in witness.exemplars
                ],
            }
            for witness in told.witnesses
        ]


def show_witness(witness: dict[str, Any]) -> None:
    """Print one of the nearest people of a face, with the faces that speak for and against them."""
    stranger = " (a known stranger)" if witness["known_stranger"] else ""
    print_line(f"    {witness['score']:.3f}  {witness['name']}{stranger}")
    for face in witness["faces"]:
        against = "  said NOT to be them" if face["negative"] else ""
        print_line(f"      {face['score']:.3f}  face {face['id']}, {face['picture']}{against}")


def log_sightings(known: Gallery, path: Path, who: Sequence[Identification], when: str) -> None:
    """Note the faces of one photo in the gallery's log; strangers without a name.

    Args:
        known: the gallery.
        path: the photo.
        who: its faces.
        when: "now", or "file" for the time at which the photo was last written.
    """
    from mien.gallery import Sighting

    moment = path.stat().st_mtime if when == "file" else time.time()
    known.log([Sighting(moment, one.match.subject_id, max(-1.0, min(1.0, one.match.score)), str(path)) for one in who])
