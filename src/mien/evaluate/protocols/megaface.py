"""MegaFace: a small set of probes among up to a million distractors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError
from mien.evaluate.protocols.lists import read_lines
from mien.evaluate.protocols.pairing import Missing, missing_files, numbered
from mien.evaluate.protocols.pictures import PictureFolder
from mien.evaluate.protocols.sets import Exclusion, IdentificationSet, Templates
from mien.images import source_name

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["MegafaceProtocol"]


class MegafaceProtocol:
    """MegaFace challenge 1: rank-1 of every mate among the distractors, and verification at FAR 1e-6.

    Lists are text with a path a line, or the devkit's JSON with a list named "path"; paths are relative to their
    folder, or begin with the way to it (`data/facescrub_images/...` for a folder `facescrub_images`).

    Thread-safe: every `read` starts afresh.

    Args:
        probes: the folder of probes, with a folder for each person (FaceScrub).
        distractors: the folder of distractors, of any depth; None where they are known by their embeddings only, which
            is for the measurement to bring: the set then has none.
        probe_list: the probes; all pictures of the folder by default.
        distractor_list: the distractors; all pictures of the folder by default.
        most: use at most so many distractors.
        seed: of the order of the distractors.
        probe_noise: list of file names to leave out of the probes (the "(R)" variant).
        distractor_noise: list of paths to leave out of the distractors (the "(R)" variant).
        missing: what to do about listed pictures that are not there.
        allow_links: whether links in the folders may lead out of them.
    """

    def __init__(
        self,
        probes: str | os.PathLike[str],
        distractors: str | os.PathLike[str] | None,
        *,
        probe_list: str | os.PathLike[str] | None = None,
        distractor_list: str | os.PathLike[str] | None = None,
        most: int = 1_000_000,
        seed: int = 0,
        probe_noise: str | os.PathLike[str] | None = None,
        distractor_noise: str | os.PathLike[str] | None = None,
        missing: Missing = "error",
        allow_links: bool = False,
    ) -> None:
        if most < 1:
            raise InputError(f"MegaFace: expected at least 1 distractor, got most={most}")
        self.probes, self.distractors, self.most, self.seed = probes, distractors, most, seed
        self._lists = (probe_list, distractor_list)
        self._noise = (probe_noise, distractor_noise)
        self._missing: Missing = missing
        self._allow_links = allow_links

    @property
    def name(self) -> str:
        """MegaFace, or MegaFace (R) where a list of noise is given."""
        return "MegaFace (R)" if any(noise is not None for noise in self._noise) else "MegaFace"

    def read(self) -> IdentificationSet:
        """Find the probes and distractors.

        The distractors come in a random order of `seed`, so that any number of them from the start is a fair sample.

        Raises:
            InputError: a list is malformed, leads out of its folder, or names pictures that are not there; or there are
                no distractors or no person with two probes.
        """
        files = PictureFolder(self.probes, allow_links=self._allow_links)
        others: PictureFolder | None = None
        background: list[str] = []
        noisy: list[Exclusion] = []
        if self.distractors is not None:
            others = PictureFolder(self.distractors, allow_links=self._allow_links)
            background, noisy = self._kept(others, 1)
        names, dropped = self._kept(files, 0)
        order = np.random.default_rng(self.seed).permutation(len(background))[: self.most]
        if any("/" not in name for name in names):
            raise InputError(f"{files.shown}: expected a folder for each person, got pictures beside them")
        people, subject = numbered([name.rpartition("/")[0] for name in names])
        mates = np.bincount(subject, minlength=len(people)) > 1
        known = np.flatnonzero(mates[subject]) if len(subject) else subject
        if not len(known) or (others is not None and not len(order)):
            lacking = "a person with two probes" if not len(known) else "distractors"
            raise InputError(f"{self.name}: expected {lacking}, got none")
        alone = [Exclusion(people[i], "has one probe, and so no mate to find") for i in np.flatnonzero(~mates).tolist()]
        among = "embeddings of distractors, in their order"
        if others is not None:
            among = f"{len(order)} distractors (drawn with seed {self.seed})"
        rules = (
            "Every probe is searched for each other picture of its person in turn, which is enrolled alone among the "
            f"{among}: rank-1 is how often it comes first. "
            "Verification: genuine pairs are all pairs of a person's probes, impostor pairs are probes against "
            "distractors; VR at FAR 1e-6."
        )
        if self.name.endswith("(R)"):
            rules += " Pictures in the lists of noise are left out (not replaced by other vectors, as some scripts do)."
        pictures = files.pictures(names)
        everyone = np.arange(len(names))
        return IdentificationSet(
            self.name,
            rules,
            pictures,
            Templates.single(pictures.names, people, subject),
            everyone,
            known,
            everyone[:0],
            () if others is None else others.pictures([background[i] for i in order.tolist()]),
            "each-mate",
            (*dropped, *noisy, *alone),
        )

    def _kept(self, files: PictureFolder, which: int) -> tuple[list[str], list[Exclusion]]:
        listed = self._lists[which]
        exclusions: list[Exclusion] = []
        if listed is None:
            names = files.walk()
        else:
            named = dict.fromkeys(self._relative(files, path, where) for path, where in _paths(listed))
            shown = source_name(listed)
            found = {name: files.find(name, where=shown) for name in named}
            exclusions += missing_files(
                self.name, (name for name, path in found.items() if path is None), self._missing
            )
            names = [path for path in found.values() if path is not None]
        noise = self._noise[which]
        if noise is None:
            return names, exclusions
        # Probes are named by their file alone, distractors by the last three parts of their path.
        noisy = {line.text.rpartition("\t")[2].strip() for line in read_lines(noise) if not line.text.startswith("#")}
        depth = 3 if which else 1
        kept = [name for name in names if name not in noisy and "/".join(name.split("/")[-depth:]) not in noisy]
        dropped = set(names).difference(kept)
        return kept, exclusions + [Exclusion(name, "is in the list of noise") for name in names if name in dropped]

    @staticmethod
    def _relative(files: PictureFolder, path: str, where: str) -> str:
        parts = path.split("/")
        if files.root.name in parts[:-1]:
            path = "/".join(parts[parts.index(files.root.name) + 1 :])
        return files.relative(path, where=where)


def _paths(listed: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """The paths of a list and where each stands."""
    lines = read_lines(listed)
    first = next(lines, None)
    if first is None:
        return
    if not first.text.startswith("{"):
        yield first.text, first.where
        yield from ((line.text, line.where) for line in lines)
        return
    shown = source_name(listed)
    try:
        content: Any = json.loads("".join([first.text, *(line.text for line in lines)]))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{shown}: expected JSON ({type(error).__name__})") from error
    paths = content.get("path")
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise InputError(f'{shown}: expected a list of paths named "path"')
    yield from ((path, f"{shown}, path {i}") for i, path in enumerate(paths))
