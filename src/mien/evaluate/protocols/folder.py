"""Any folder with a folder for each person: your own photos as a protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.evaluate.protocols.pictures import PictureFolder
from mien.evaluate.protocols.sets import Exclusion, IdentificationSet, SubjectSet, Templates
from mien.images import people_of, source_name

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

__all__ = ["FolderProtocol", "leave_one_out", "subject_set"]


def _flat(
    name: str, people: Sequence[tuple[str, Sequence[str]]]
) -> tuple[tuple[str, ...], list[str], np.ndarray[tuple[int], np.dtype[np.intp]], list[Exclusion]]:
    kept = [(person, pictures) for person, pictures in people if pictures]
    empty = [Exclusion(person, "the person has no picture") for person, pictures in people if not pictures]
    if not kept:
        raise InputError(f"{name}: no person with a picture is left to measure")
    subject = np.repeat(np.arange(len(kept)), [len(pictures) for _, pictures in kept])
    return tuple(person for person, _ in kept), [path for _, pictures in kept for path in pictures], subject, empty


def subject_set(
    name: str, files: PictureFolder, people: Sequence[tuple[str, Sequence[str]]], exclusions: Sequence[Exclusion] = ()
) -> SubjectSet:
    """Every picture of some people against every other.

    Args:
        name: the protocol's name.
        files: where the pictures are.
        people: name and pictures (paths relative to the folder) of each person.
        exclusions: what was left out before.

    Raises:
        InputError: nobody has a picture.
    """
    names, paths, subject, empty = _flat(name, people)
    found = SubjectSet(
        name,
        "Every picture is compared with every other; a pair is genuine when both lie in one person's folder.",
        files.pictures(paths),
        names,
        subject,
        (*exclusions, *empty),
    )
    if not found.genuine or not found.impostor:
        kind = "person with two pictures" if not found.genuine else "second person"
        raise InputError(f"{name}: expected at least one {kind}, for pairs of both kinds")
    return found


def leave_one_out(
    name: str,
    files: PictureFolder,
    people: Sequence[tuple[str, Sequence[str]]],
    exclusions: Sequence[Exclusion] = (),
    *,
    seed: int = 0,
    strangers: float = 0.5,
) -> IdentificationSet:
    """Open-set identification in which every picture is a probe once; see `FolderProtocol.identification`.

    Raises:
        InputError: there are too few people, or no enrolled person has two pictures.
    """
    names, paths, subject, empty = _flat(name, people)
    if not 0 < strangers < 1:
        raise InputError(f"{name}: expected a share of strangers between 0 and 1, got {strangers}")
    apart = round(len(names) * strangers)
    if not 0 < apart < len(names):
        raise InputError(f"{name}: expected enough people for both strangers and enrolled ones, got {len(names)}")
    unknown_person = np.zeros(len(names), np.bool_)
    unknown_person[np.random.default_rng(seed).permutation(len(names))[:apart]] = True
    several = np.bincount(subject, minlength=len(names)) > 1
    gallery = np.flatnonzero(~unknown_person[subject])
    known = gallery[several[subject[gallery]]]
    if not len(known):
        raise InputError(f"{name}: expected at least one enrolled person with two pictures")
    alone = [
        Exclusion(names[i], "enrolled by their only picture, which therefore is no probe")
        for i in np.flatnonzero(~several & ~unknown_person).tolist()
    ]
    rules = (
        f"Some of the people (a share of {strangers:g}, drawn with seed {seed} whatever number of pictures they "
        "have) are strangers; the others are enrolled with all their pictures. Every picture is a probe: one of a "
        "stranger must be rejected; one of an enrolled person is searched with that very picture taken out of the "
        "gallery, so that the person stays enrolled by the others."
    )
    pictures = files.pictures(paths)
    return IdentificationSet(
        name,
        rules,
        pictures,
        Templates.single(pictures.names, names, subject),
        gallery,
        known,
        np.flatnonzero(unknown_person[subject]),
        scheme="leave-one-out",
        exclusions=(*exclusions, *empty, *alone),
    )


class FolderProtocol:
    """A folder of people, one sub-folder (or one picture) each, as `mien.images.people_of` reads it.

    Thread-safe: every call starts afresh. Links are followed, for the folder is the user's own.

    Args:
        folder: the folder of people.
        most: use at most so many pictures of a person, drawn at random with `seed`, so that a few people with many
            pictures do not decide everything; None for all.
        seed: of that draw.

    Raises:
        NotFoundError: there is no such folder.
        InputError: `most` is less than 1.
    """

    def __init__(self, folder: str | os.PathLike[str], *, most: int | None = None, seed: int = 0) -> None:
        if most is not None and most < 1:
            raise InputError(f"expected at least 1 picture of a person, got most={most}")
        self.folder, self._most, self._seed = folder, most, seed

    @property
    def name(self) -> str:
        """The folder's name."""
        return Path(source_name(self.folder)).name or "folder"

    def _people(self) -> tuple[PictureFolder, list[tuple[str, list[str]]], list[Exclusion]]:
        files = PictureFolder(self.folder, allow_links=True)
        draw = np.random.default_rng(self._seed)
        people: list[tuple[str, list[str]]] = []
        exclusions: list[Exclusion] = []
        for person, found in people_of(files.root):
            paths = [path.relative_to(files.root).as_posix() for path in found]
            if self._most is not None and len(paths) > self._most:
                exclusions.append(
                    Exclusion(f"{len(paths) - self._most} of {person}", f"more than {self._most} pictures")
                )
                chosen = np.sort(draw.permutation(len(paths))[: self._most])
                paths = [paths[i] for i in chosen]
            people.append((person, paths))
        return files, people, exclusions

    def all_pairs(self) -> SubjectSet:
        """Every picture against every other.

        Raises:
            InputError: the folder cannot be read, or does not hold pairs of both kinds.
        """
        files, people, exclusions = self._people()
        return subject_set(self.name, files, people, exclusions)

    def identification(self, *, seed: int = 0, strangers: float = 0.5) -> IdentificationSet:
        """Open-set identification: a random half of the people are strangers, the others are enrolled.

        Every picture of an enrolled person who has several is a known probe, searched without itself ("leave-one-out");
        every picture of a stranger is an unknown probe.

        Args:
            seed: of the draw of strangers.
            strangers: the share of people who are.

        Raises:
            InputError: the folder cannot be read, or holds too few people.
        """
        files, people, exclusions = self._people()
        return leave_one_out(self.name, files, people, exclusions, seed=seed, strangers=strangers)
