"""What the verbs of `mien evaluate` share: the protocol that the options name, and one run of one recognizer."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mien.cli.inputs import make_recognizer
from mien.cli.output import printable, progress, say
from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import typer

    from mien.evaluate.embeddings import Embedded
    from mien.evaluate.experiment import FailurePolicy, Setup
    from mien.evaluate.protocols import IdentificationSet, IjbProtocol, InsightFaceIjb, Missing, Picture
    from mien.evaluate.verification import VerificationSet
    from mien.recognizer import Recognizer

__all__ = ["IDENTIFY_PROTOCOLS", "VERIFY_PROTOCOLS", "Lists", "Run", "identification_set", "verification_set"]

VERIFY_PROTOCOLS = ("folder", "lfw", "lfw-people", "cfp-ff", "cfp-fp", "bin", "ytf", "ijb", "megaface")
IDENTIFY_PROTOCOLS = ("folder", "lfw-people", "ijb", "megaface")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """The data that the options name.

    Attributes:
        folder: the data set's folder, or its file.
        pairs, people: lists.
        missing: what to do about listed pictures that are not there.
        most: pictures of a person at most.
        seed: of random draws.
    """

    folder: Path
    pairs: Path | None = None
    people: Path | None = None
    missing: Missing = "error"
    most: int | None = None
    seed: int = 0

    def needed(self, option: str) -> Path:
        """The list of that option."""
        path: Path | None = getattr(self, option)
        if path is None:
            raise InputError(f"--{option}: this protocol needs its list")
        return path


def verification_set(protocol: str | None, lists: Lists) -> VerificationSet:
    """The pairs of a protocol.

    Raises:
        InputError: there is no such protocol, or its files are not what it expects.
    """
    from mien.evaluate import protocols as p

    missing = lists.missing
    name = protocol or ("lfw" if lists.pairs else "bin" if lists.folder.suffix == ".bin" else "folder")
    if lists.pairs is not None and name not in ("lfw", "ytf"):
        raise InputError(f"--pairs: the protocol {name} has no such list")
    match name:
        case "folder":
            return p.FolderProtocol(lists.folder, most=lists.most, seed=lists.seed).all_pairs()
        case "lfw":
            return p.LfwPairs(lists.needed("pairs"), lists.folder, missing=missing).read()
        case "lfw-people":
            return p.LfwPeople(lists.needed("people"), lists.folder, missing=missing).all_pairs()
        case "cfp-ff" | "cfp-fp":
            part = cast("p.CfpPart", name[-2:].upper())
            return p.CfpProtocol(lists.folder, part, missing=missing).read()
        case "bin":
            return p.InsightFaceProtocol(lists.folder).read()
        case "ytf":
            return p.YtfProtocol(lists.folder, lists.pairs, missing=missing).read()
        case "ijb":
            return _ijb(lists).verification()
    raise InputError(f"--protocol: expected one of {', '.join(VERIFY_PROTOCOLS)}, got {name!r}")


def identification_set(protocol: str | None, lists: Lists, *, strangers: float, gallery: int) -> IdentificationSet:
    """The gallery and the probes of a protocol.

    Raises:
        InputError: there is no such protocol or gallery, or its files are not what it expects.
    """
    from mien.evaluate import protocols as p

    name = protocol or ("lfw-people" if lists.people else "folder")
    match name:
        case "folder":
            return p.FolderProtocol(lists.folder, most=lists.most, seed=lists.seed).identification(
                seed=lists.seed, strangers=strangers
            )
        case "lfw-people":
            people = p.LfwPeople(lists.needed("people"), lists.folder, missing=lists.missing)
            return people.identification(seed=lists.seed, strangers=strangers)
        case "ijb":
            sets = _ijb(lists).identification()
            if gallery > len(sets):
                raise InputError(f"--gallery: the protocol has {len(sets)}, got {gallery}")
            return sets[gallery - 1]
    raise InputError(f"--protocol: expected one of {', '.join(IDENTIFY_PROTOCOLS)}, got {name!r}")


def _ijb(lists: Lists) -> IjbProtocol | InsightFaceIjb:
    from mien.evaluate.protocols import IjbProtocol, InsightFaceIjb

    if (lists.folder / "loose_crop").is_dir():
        return InsightFaceIjb(lists.folder, missing=lists.missing)
    return IjbProtocol.of_folder(lists.folder, missing=lists.missing)


class Run:
    """One recognizer, measured. Belongs to one thread.

    Args:
        context: of the command, which names what was asked for.
        failures: what a picture without a face is.
        seed: of random draws.
        preset, model, detector, licence, min_face: as `make_recognizer`.
        cached: whether embeddings are looked up and kept.
    """

    def __init__(
        self,
        context: typer.Context,
        *,
        failures: str,
        seed: int,
        preset: str | None,
        model: str | None,
        detector: str | None,
        licence: str | None,
        min_face: float | None,
        cached: bool = True,
    ) -> None:
        self._started = time.monotonic()
        self._command, self._failures, self._seed = command_line(context), failures, seed
        self._model, self._detector, self._cached = model, detector, cached
        self._settings = "" if min_face is None else f"smallest face {min_face:g}"
        self.recognizer: Recognizer = make_recognizer(preset, min_face, model=model, detector=detector, licence=licence)

    def setup(self) -> Setup:
        """What is measured, and how."""
        from mien.evaluate.experiment import Setup, model_facts

        facts = model_facts(
            self.recognizer.identity, embedder=self._model, detector=self._detector, settings=self._settings
        )
        return Setup(facts, cast("FailurePolicy", self._failures), self._command, self._seed, self._started)

    def embed(self, pictures: Sequence[Picture], *, quiet: bool = False) -> Embedded:
        """The embeddings of pictures, under a progress bar unless `quiet`; broken pictures are named on stderr."""
        from mien.evaluate.embedding_cache import EmbeddingCache
        from mien.evaluate.embeddings import embed_pictures

        cache = EmbeddingCache.of(self.recognizer.identity, self._found_by()) if self._cached else None
        try:
            with progress(0 if quiet else len(pictures), "Looking at pictures") as advance:
                found = embed_pictures(pictures, self.recognizer, cache=cache, advance=advance)
        finally:
            if cache:
                cache.close()
        for failure in found.failures:
            if failure.unreadable:
                say(printable(f"{failure.name}: {failure.reason}"), label="skipped:")
        return found

    def _found_by(self) -> str:
        """Everything about finding faces that decides which embeddings come out."""
        from mien.models import catalogue

        card = catalogue.get(self._detector or catalogue.DEFAULT_DETECTOR)
        return repr((card.name, [(file.name, file.sha256) for file in card.files], self._settings))


def command_line(context: typer.Context) -> str:
    """The command as it would be typed: only what was given, not the defaults."""
    words, arguments = ["mien", "evaluate", str(context.info_name)], []
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        for item in value if isinstance(value, list | tuple) else [value]:
            if parameter.param_type_name == "argument":
                arguments.append(str(item))
            else:
                words += [parameter.opts[0]] if item is True else [parameter.opts[0], str(item)]
    return shlex.join([*words, *arguments])
