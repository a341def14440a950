"""Erasing a person for good, with a receipt, and proving from the bytes of the files that nothing is left."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from mien.errors import UnsupportedError
from mien.gallery.privacy.byte_search import search_file
from mien.gallery.privacy.gallery_files import beside, drop_drafts, drop_index
from mien.gallery.privacy.receipt import Receipt
from mien.gallery.privacy.traces import explained_texts, fingerprints_of
from mien.gallery.two_models import KeepsTwoModels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mien.gallery.home import AuditEntry, Home, StoredFace
    from mien.gallery.sealing import Sealer
    from mien.types import Floats, Subject

__all__ = ["ErasableHome", "erase", "merged_into"]

_SAME: Final = 0.99999  # cosine from which two vectors are copies of one
_NEAREST: Final = 256  # subjects who are asked whether they hold a copy

_PLAIN_LIMITS: Final = (
    "Backups and copies made before the erasure still hold the person: the gallery is not encrypted.",
    "Blocks that the file system or the drive has freed were not read.",
)
_ENCRYPTED_LIMITS: Final = (
    "Backups of the gallery cannot be read any more, save with a backup of the KEY FILE from before the erasure.",
    "Blocks of the key file that the drive has freed were not read; changing the master key makes them worthless.",
)


class ErasableHome(Protocol):
    """What a home whose capability is `erasure_proof` has beside what every `Home` has."""

    file: Path | None
    sealer: Sealer

    def pseudonym_of(self, name: str) -> str:
        """What the audit log and the keys call a subject. Raises NotFoundError."""
        ...

    def remove(self, name: str, *, action: str = "remove") -> Subject:
        """Forget a subject. With any action but "remove", its key is destroyed and `vacuum` is noted as due."""
        ...

    def vacuum(self) -> None:
        """Finish what `remove` has begun: no byte of what was deleted is left in the file and its log."""
        ...


def erase(
    home: Home,
    name: str,
    *,
    receipt: str | os.PathLike[str] | None = None,
    action: str = "erase",
    texts: bool = True,
) -> Receipt:
    """Erase a person: rows, vectors, crops, sightings, the key, and every byte of them in the gallery's files.

    Copies of the person's vectors that others hold as "not this person" are erased, too. Copies that are enrolled
    under another name are not: the receipt tells, by pseudonym, who has them.

    The receipt is written before anything is erased, and again when it is done. An erasure that is cut off in between
    is finished when the gallery is next opened for writing.

    Args:
        home: the gallery's home.
        name: the person.
        receipt: where to write the receipt; a new file.
        action: what the audit log calls it: "erase" or "expire".
        texts: fingerprint names and other texts, too. Who has the receipt can then confirm a guessed name.

    Raises:
        NotFoundError: there is nobody of this name.
        UnsupportedError: the home cannot prove an erasure.
        GalleryFileError: the receipt or the gallery cannot be written.
        GalleryError: another program is reading the gallery, so that its log could not be emptied. The person is
            erased; `prove_erased` tells when the last bytes are gone.
    """
    erasable, file = _erasable(home)
    faces = home.faces(name)
    vectors = home.embeddings([face.id for face in faces])
    staged = _staged(home, faces)
    pseudonym = erasable.pseudonym_of(name)
    crops = [crop for face in faces if face.crop and (crop := home.crop(face.id)) is not None]
    salt = os.urandom(16)
    prints, plain = fingerprints_of(salt, home.subject(name), faces, [*vectors, *staged], crops, texts=texts)
    encrypted = erasable.sealer.encrypted
    draft = Receipt(
        gallery=file.name,
        encrypted=encrypted,
        pseudonyms=(pseudonym, *sorted(merged_into(home.audit(), pseudonym))),
        time=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        counts={
            "faces": sum(not face.negative for face in faces),
            "negatives": sum(face.negative for face in faces),
            "crops": len(crops),
            "sightings": sum(1 for _ in home.sightings(name=name)),
            **({"staged": len(staged)} if staged else {}),
        },
        prints=prints,
        limits=_ENCRYPTED_LIMITS if encrypted else _PLAIN_LIMITS,
    )
    if receipt is not None:
        draft.write(receipt)
    shared = _give_up_copies(home, erasable, name, vectors)
    erasable.sealer.destroy(*draft.pseudonyms[1:])
    erasable.remove(name, action=action)
    erasable.vacuum()
    drop_drafts(file)
    drop_index(file)
    found = [part for path in beside(file) for part in search_file(prints, path)]
    known = explained_texts(home, found, plain)
    if known:
        draft = draft.without_texts(known)
        found = [part for path in beside(file) for part in search_file(draft.prints, path)]
    last = _last(home.audit())
    done = replace(
        draft,
        done=True,
        audit_seq=last.seq if last else 0,
        audit_head=last.digest if last else "",
        shared_with=tuple(sorted(shared)),
        remains=tuple(f"{part.file.name}: {part.kind} at byte {part.offset}" for part in found),
    )
    if receipt is not None:
        done.write(receipt, over=True)
    return done


def merged_into(audit: Iterable[AuditEntry], pseudonym: str) -> set[str]:
    """Pseudonyms of all subjects that were merged into a subject, also by way of others.

    A merge is two entries: who was merged, and right behind it, into whom.
    """
    sources: dict[str, set[str]] = {}
    before: AuditEntry | None = None
    for entry in audit:
        if before is not None and entry.action == before.action == "merge" and before.pseudonym and entry.pseudonym:
            sources.setdefault(entry.pseudonym, set()).add(before.pseudonym)
            before = None
        else:
            before = entry
    found: set[str] = set()
    waiting = [pseudonym]
    while waiting:
        new = sources.get(waiting.pop(), set()) - found - {pseudonym}
        found |= new
        waiting += new
    return found


def _erasable(home: Home) -> tuple[ErasableHome, Path]:
    can = home.capabilities
    file = getattr(home, "file", None)
    if not can.erasure_proof or not isinstance(file, Path):
        raise UnsupportedError(
            f"{home.source}: a gallery in {can.home} cannot prove an erasure, for it does not own its files; "
            "remove the person there and follow that database's own erasure procedure, or copy the gallery into a file"
        )
    return home, file  # type: ignore[return-value]  # what the capability promises


def _staged(home: Home, faces: Sequence[StoredFace]) -> list[Floats]:
    """The person's embeddings of a second model, which a gallery has while it changes its model."""
    return list(home.staged_embeddings([f.id for f in faces]).values()) if isinstance(home, KeepsTwoModels) else []


def _give_up_copies(home: Home, erasable: ErasableHome, name: str, vectors: Floats) -> set[str]:
    """Remove copies of vectors from others' negative exemplars; pseudonyms of those who have one as their face."""
    if not len(vectors):
        return set()
    known = home.counts()
    k = max(1, min(_NEAREST, known.people + known.ignored))
    near = {
        candidate.name
        for candidates in home.search(vectors, k=k)
        for candidate in candidates
        if candidate.name != name and max(candidate.score, candidate.against) >= _SAME
    }
    shared: set[str] = set()
    for other in sorted(near):
        faces = home.faces(other)
        scores = home.embeddings([face.id for face in faces]) @ vectors.T
        copies = [face for face, row in zip(faces, scores, strict=True) if np.max(row) >= _SAME]
        if negatives := [face.id for face in copies if face.negative]:
            home.remove_faces(negatives)
        if len(negatives) < len(copies):
            shared.add(erasable.pseudonym_of(other))
    return shared


def _last(entries: Iterable[AuditEntry]) -> AuditEntry | None:
    last = None
    for entry in entries:
        last = entry
    return last
