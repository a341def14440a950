"""Finding near subjects in Milvus: near faces, ranked again in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.gallery.homes.milvus.link import key_of, listed
from mien.gallery.homes.milvus.rows import SUBJECT
from mien.gallery.homes.reranking import NearFace, highest, reranked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.gallery.homes.milvus.link import Link, Row
    from mien.gallery.homes.milvus.tables import Tables
    from mien.match import Candidate
    from mien.types import Floats

__all__ = ["search"]

_FACES_A_SUBJECT = 16
_LEAST = 64
_MOST = 4096
_PROBES = 64
_OWNERS = 4096  # ids in a filter


def search(link: Link, tables: Tables, probes: Floats, *, k: int, group: str | None) -> list[list[Candidate]]:
    """The k nearest subjects of each probe."""
    scopes: list[str] = ["negative == false"]
    if group is not None:
        where = f'array_contains(group_keys, "{key_of(group)}")'
        owners = [int(row["id"]) for row in link.rows("subjects", where, ("id",))]
        parts = [owners[i : i + _OWNERS] for i in range(0, len(owners), _OWNERS)]
        scopes = [f"negative == false and subject_id in {listed(part)}" for part in parts]
    answers: list[list[Candidate]] = []
    for start in range(0, len(probes), _PROBES):
        answers += _some(link, tables, probes[start : start + _PROBES], k, scopes)
    return answers


def _some(link: Link, tables: Tables, probes: Floats, k: int, scopes: Sequence[str]) -> list[list[Candidate]]:
    limit = min(_MOST, max(_LEAST, _FACES_A_SUBJECT * k))
    found: list[list[Row]] = [[] for _ in probes]
    for scope in scopes:
        for i, first in enumerate(link.near(probes, scope, limit)):
            hits = first
            found[i] += hits
            mine = {int(hit["subject_id"]) for hit in hits}
            # Where some subjects' many pictures took all the places, ask again without those subjects.
            while len(mine) < k and len(hits) == limit:
                (hits,) = link.near(probes[i : i + 1], f"{scope} and subject_id not in {listed(sorted(mine))}", limit)
                found[i] += hits
                mine |= {int(hit["subject_id"]) for hit in hits}
    ids = sorted({int(hit["subject_id"]) for hits in found for hit in hits})
    said = {int(row["id"]): row["row"] for row in link.rows_in("subjects", "id", ids, SUBJECT)}
    negatives = tables.faces_in(ids, "embedding", also="negative == true")
    exemplars, owners = tables.vectors(negatives), [int(row["subject_id"]) for row in negatives]
    answers = []
    for probe, hits in zip(probes, found, strict=True):
        # A subject may have been removed since its face was found.
        there = [hit for hit in hits if int(hit["subject_id"]) in said]
        near = [_near(hit, said[int(hit["subject_id"])]) for hit in there]
        against = highest(probe, owners, exemplars) if owners else {}
        answers.append(reranked(probe, near, tables.vectors(there), k=k, against=against))
    return answers


def _near(hit: Row, owner: Row) -> NearFace:
    return NearFace(int(hit["id"]), int(hit["subject_id"]), owner["name"], owner["told"], hit["row"]["picture"])
