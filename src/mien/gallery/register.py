"""The people of a gallery and what is said of them, without any search."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mien.errors import GalleryError, InputError, NotFoundError, UnsupportedError
from mien.gallery.attendance import attendance
from mien.gallery.said import checked_changes
from mien.gallery.upkeep import Approximates, BacksUp, Checks, Vacuums
from mien.images import person_name

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Self

    from mien.gallery.attendance import Attendance
    from mien.gallery.home import AuditEntry, Capabilities, Home, Sighting, StoredFace
    from mien.gallery.search import RecallReport
    from mien.gallery.upkeep import CheckReport
    from mien.types import ModelIdentity, Subject

__all__ = ["GalleryStats", "Register"]


@dataclass(frozen=True, slots=True)
class GalleryStats:
    """How much a gallery holds.

    Attributes:
        path: its file, its URL without a password, or ":memory:".
        subjects: enrolled people.
        faces: enrolled faces, those of known strangers included.
        file_bytes: size on disk as far as its home can tell, the write-ahead log included; 0 in memory.
        identity: the model it is bound to, or None while it is new.
        ignored: known strangers.
        negatives: exemplars of who subjects are not.
    """

    path: str
    subjects: int
    faces: int
    file_bytes: int
    identity: ModelIdentity | None
    ignored: int = 0
    negatives: int = 0


class Register:
    """Who is in a gallery. `EmbeddingGallery` adds the faces and the search.

    Thread-safe as its home is.

    Args:
        home: the durable truth; closed with the gallery.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    def close(self) -> None:
        """Let go of the home. A second call does nothing; any other method raises GalleryError afterwards."""
        self._home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Number of enrolled people; known strangers do not count."""
        return self._home.counts().people

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._home.source}>"

    @property
    def home(self) -> Home:
        """Where the gallery lives: the way to what only some homes can do."""
        return self._home

    @property
    def capabilities(self) -> Capabilities:
        """What the gallery's home promises."""
        return self._home.capabilities

    @property
    def stats(self) -> GalleryStats:
        """How much the gallery holds."""
        home, counts = self._home, self._home.counts()
        size, identity = home.size_on_disk(), home.identity
        return GalleryStats(home.source, counts.people, counts.faces, size, identity, counts.ignored, counts.negatives)

    def search_approximately(self, *, recall: float | None = 0.995) -> RecallReport | None:
        """Answer from a faster index that finds the nearest person almost always, as long as the gallery is open.

        For many millions of faces; see docs/search.md. Scores stay true: somebody can only be overlooked. How often is
        measured while the index is built, and `recall` says it. Needs faiss, extra `large`.

        Args:
            recall: share of nearest people to find; None to search exactly again.

        Returns:
            What was measured, on faces that had no part in choosing how far to look.

        Raises:
            UnsupportedError: the home searches in its own way.
            MissingExtraError: faiss is not installed.
            InputError: recall is not between 0 and 1, or there are too few faces.
        """
        home = self._home
        if not isinstance(home, Approximates):
            raise UnsupportedError(f"{home.source}: a gallery in {home.capabilities.home} searches in its own way")
        if recall is None:
            home.exact()
            return None
        if not 0 < recall <= 1:
            raise InputError(f"recall: expected more than 0 and at most 1, got {recall}")
        return home.approximate(recall)

    @property
    def recall(self) -> RecallReport | None:
        """What was measured of approximate search; None where searches are exact or the home does not say."""
        return self._home.recall if isinstance(self._home, Approximates) else None

    # People

    def subjects(self, *, group: str | None = None) -> list[Subject]:
        """Everybody, known strangers included (`told` is "ignored"), in order of enrolment; or those of a group."""
        return self._home.subjects(group=None if group is None else person_name(group))

    def subject(self, name: str) -> Subject:
        """One person. Raises NotFoundError, which suggests similar names."""
        return self._home.subject(person_name(name))

    def subject_of(self, external_id: str) -> Subject:
        """The person that another system knows by this id. Raises NotFoundError."""
        return self._home.subject_of(person_name(external_id))

    def remove(self, name: str) -> Subject:
        """Forget a person with all their faces and sightings; returns what was forgotten.

        Raises:
            NotFoundError: nobody has this name; similar ones are suggested.
        """
        return self._home.remove(person_name(name))

    def rename(self, old: str, new: str) -> Subject:
        """Give a person another name.

        Raises:
            NotFoundError: nobody is named `old`; similar names are suggested.
            GalleryError: somebody is named `new` already.
        """
        return self._home.rename(person_name(old), person_name(new))

    def describe(self, name: str, **changes: Any) -> Subject:  # noqa: ANN401 - see Args
        """Change what is said of a person.

        Args:
            name: the person.
            changes: any of `external_id` (what another system calls them; text or None), `told` ("person", or
                "ignored" for a known stranger), `groups` (names), `metadata` (a JSON object), `expires` (seconds since
                the epoch or None), `consent` (text).

        Raises:
            InputError: a value cannot be kept.
            NotFoundError: there is no such person.
            GalleryError: the external id belongs to somebody else.
        """
        return self._home.describe(person_name(name), **checked_changes(changes))

    def merge(self, name: str, into: str) -> Subject:
        """Make two entries of one person one: `into` gets all faces and sightings of `name`, which is forgotten.

        A picture that both hold is kept once; what was said of `name` (groups, metadata) goes with it.

        Raises:
            InputError: they are one already.
            NotFoundError: there is no such person.
        """
        one, other = person_name(name), person_name(into)
        if one == other:
            raise InputError(f"merge: expected two people, got {one!r} twice")
        return self._home.merge(one, other)

    def expire(self, now: float | None = None) -> list[Subject]:
        """Forget everybody whose time has come (see `describe`); returns who that was.

        Args:
            now: seconds since the epoch; the present by default.
        """
        if now is None:
            now = time.time()
        gone = []
        for subject in self._home.subjects():
            if subject.expires is not None and subject.expires <= now:
                try:
                    gone.append(self._home.remove(subject.name, action="expire"))
                except NotFoundError:  # somebody else was faster
                    continue
        if gone and self._home.capabilities.erasure_proof and isinstance(self._home, Vacuums):
            self._home.vacuum()
        return gone

    # Faces

    def faces(self, name: str) -> list[StoredFace]:
        """A person's enrolled faces, and the exemplars of who they are not (`negative`), in order of enrolment."""
        return self._home.faces(person_name(name))

    def split(self, name: str, face_ids: Sequence[int], new_name: str) -> Subject:
        """Make somebody new of some of a person's faces; returns the new person.

        Args:
            name: whose the faces are.
            face_ids: their numbers, from `faces`; not all of the person's, that would be `rename`.
            new_name: the new person's name.

        Raises:
            InputError: a face is not the person's, or none would be left.
            NotFoundError: there is no such person.
            GalleryError: somebody is named `new_name` already.
        """
        old, new = person_name(name), person_name(new_name)
        wanted = _numbers(face_ids)
        own = {face.id for face in self._home.faces(old) if not face.negative}
        strange = [i for i in wanted if i not in own]
        if strange:
            raise InputError(f"split: face {strange[0]} is not one of {old!r}; `faces` shows which are")
        if own == set(wanted):
            raise InputError(f"split: {old!r} would have no face left; use rename")
        try:
            self._home.subject(new)
        except NotFoundError:
            return self._home.move_faces(wanted, new)
        raise GalleryError(f"{self._home.source}: {new!r} is already enrolled; use move_faces, or another name")

    def move_faces(self, face_ids: Sequence[int], to: str) -> Subject:
        """Give faces to a person, new or known; whom they leave stays, also without faces.

        Raises:
            NotFoundError: a face is not there.
        """
        return self._home.move_faces(_numbers(face_ids), person_name(to))

    def remove_faces(self, face_ids: Sequence[int]) -> int:
        """Forget faces, or exemplars of who somebody is not; returns how many.

        Raises:
            NotFoundError: one is not there; none was removed.
        """
        return self._home.remove_faces(_numbers(face_ids))

    # Logs

    def log(self, sightings: Sequence[Sighting]) -> None:
        """Append to the log of who was seen. Raises UnsupportedError where the home keeps none."""
        self._promised("sightings", "keeps no log of sightings")
        for one in sightings:
            if not math.isfinite(one.time) or not -1 <= one.score <= 1:
                raise InputError(f"log: expected a finite time and a cosine, got {one}")
        self._home.log(sightings)

    def sightings(
        self, *, since: float | None = None, until: float | None = None, name: str | None = None
    ) -> Iterator[Sighting]:
        """Who was seen, oldest first: since <= time < until (seconds since the epoch), one person if named."""
        self._promised("sightings", "keeps no log of sightings")
        return self._home.sightings(since=since, until=until, name=None if name is None else person_name(name))

    def attendance(self, *, since: float | None = None, until: float | None = None) -> list[Attendance]:
        """When each person was first and last seen, in the order in which they were first seen."""
        return attendance(self.sightings(since=since, until=until))

    def audit(self) -> Iterator[AuditEntry]:
        """What was done to the gallery, oldest first. Raises UnsupportedError where the home keeps no log of it."""
        self._promised("audit", "keeps no audit log")
        return self._home.audit()

    # Upkeep

    def backup(self, path: str | os.PathLike[str]) -> Path:
        """Write a verified copy to a new file, while the gallery is in use; whole or not at all.

        Raises:
            GalleryFileError: there is something at `path` already, or it cannot be written.
            UnsupportedError: the home cannot; use its own tools.
        """
        self._promised("backup", "cannot back itself up; use the server's own tools")
        if not isinstance(self._home, BacksUp):
            raise UnsupportedError(f"{self._home.source}: cannot back itself up; use the server's own tools")
        return self._home.backup(path)

    def check(self) -> CheckReport:
        """Look whether all is well with the gallery, row by row.

        Raises:
            UnsupportedError: the home cannot; use its own tools.
        """
        if not isinstance(self._home, Checks):
            raise UnsupportedError(f"{self._home.source}: cannot check itself; use the server's own tools")
        return self._home.check()

    def _promised(self, what: str, otherwise: str) -> None:
        if not getattr(self._home.capabilities, what):
            raise UnsupportedError(f"{self._home.source}: {otherwise}")


def _numbers(face_ids: Sequence[int]) -> list[int]:
    try:
        numbers = list(dict.fromkeys(int(i) for i in face_ids))
    except (TypeError, ValueError) as error:
        raise InputError(f"faces: expected their numbers, got {face_ids!r:.60}") from error
    if not numbers:
        raise InputError("faces: expected at least one number, got none")
    return numbers
