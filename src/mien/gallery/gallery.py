"""The gallery with pictures: enrol people from photos, and ask a photo who is in it."""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from mien.errors import GalleryError, InputError, NoFaceError
from mien.gallery.admission import Admission
from mien.gallery.embeddings import EmbeddingGallery
from mien.gallery.enrol import enrol_people
from mien.gallery.gate_limits import check_policy
from mien.gallery.homes import open_home
from mien.gallery.looking import check_several
from mien.gallery.records import FaceRecord
from mien.gallery.reports import EnrolReport, FolderReport, nothing_enrolled
from mien.gallery.sealing import PLAIN
from mien.gallery.sources import as_pictures, content_sha256, is_embedding, readable_again
from mien.images import people_of, person_name
from mien.interfaces import Analyzer
from mien.match import IDENTIFY_FPIR
from mien.types import Identification

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Self, Unpack

    from mien.gallery.admission import HowToEnrol
    from mien.gallery.gate_limits import Policy
    from mien.gallery.home import Home, StoredFace
    from mien.gallery.looking import Several
    from mien.gallery.rules import Rule
    from mien.gallery.sealing import Sealer
    from mien.match import Calibration
    from mien.types import Analysis, Match, ModelIdentity, Subject

    MakeAnalyzer: TypeAlias = Callable[[ModelIdentity | None], Analyzer]

__all__ = ["Gallery"]

PHOTOS_AT_ONCE = 16  # photos whose faces are searched together


class Gallery(EmbeddingGallery):
    """Known people, enrolled from pictures or embeddings; opened by `Gallery.open`, closed after use or by `with`.

    It works on embeddings; the methods that take pictures need a recognizer, given or made on first need.

    Thread-safe, and safe beside other processes: see `EmbeddingGallery`.
    """

    def __init__(
        self,
        home: Home,
        *,
        identity: ModelIdentity | None = None,
        recognizer: Analyzer | MakeAnalyzer | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self._making = threading.Lock()
        self._recognizer: Analyzer | None = None
        self._make: MakeAnalyzer = self.default_recognizer
        super().__init__(home, identity=identity, calibration=calibration)
        if hasattr(type(recognizer), "analyze"):  # not isinstance: it would ask for `identity`, which may load models
            self._recognizer = cast("Analyzer", recognizer)
            self._agree(self._recognizer.identity)
        elif recognizer is not None:
            self._make = cast("MakeAnalyzer", recognizer)

    @classmethod
    def open(
        cls,
        place: str | os.PathLike[str],
        *,
        identity: ModelIdentity | None = None,
        recognizer: Analyzer | MakeAnalyzer | None = None,
        calibration: Calibration | None = None,
        readonly: bool = False,
        create: bool = True,
        sealer: Sealer = PLAIN,
        key: str | None = None,
    ) -> Self:
        """Open a gallery, or make it.

        Args:
            place: a file such as "people.db" (made with mode 0600), ":memory:" for one that is gone when closed, or the
                URL of a server: "postgresql://..." or "milvus://...".
            identity: the model whose embeddings will be used; None for the one that the gallery is bound to.
            recognizer: for the methods that take pictures: an analyzer, or a function that makes one on first need
                from the identity that the gallery is bound to (or None).
            calibration: thresholds for this model, in place of those kept with the gallery and of the shipped ones.
            readonly: refuse changes.
            create: make it where it is missing.
            sealer: the keys of an encrypted gallery.
            key: in place of `sealer`, where the master key comes from: "file:PATH", "env:NAME", "keyring:SERVICE/USER"
                or "passphrase:NAME"; the people's keys are then beside the gallery, in "people.db.keys".

        Raises:
            GalleryFileError: the file cannot be used; says why and what to do.
            GalleryModelError: it is bound to another model.
            NotFoundError: it is missing, and `create` is off or `readonly` is on.
        """
        if key is not None:
            from mien.gallery.privacy.opening import sealer_for

            sealer = sealer_for(place, key, create=create, readonly=readonly)
        with contextlib.ExitStack() as undo:
            undo.callback(sealer.close)
            home = open_home(place, readonly=readonly, create=create, sealer=sealer)
            undo.callback(home.close)
            made = cls(home, identity=identity, recognizer=recognizer, calibration=calibration)
            undo.pop_all()
        return made

    def enrol(
        self,
        name: str,
        images: Any,  # noqa: ANN401 - see `mien.images.decode`
        *,
        policy: Policy = "strict",
        several: Several = "main",
        keep_crops: bool = False,
    ) -> EnrolReport:
        """Enrol a person from one picture or several; each gives its main face (see `Faces.main`).

        Each face is judged first (see docs/enrolment.md): whether its picture is good enough, and whether it shows this
        person. What is refused, shows no face or cannot be read is reported and skipped; a picture whose content this
        person already has is not enrolled twice. All that remains is stored in one step.

        Args:
            name: the person's name.
            images: a picture, or several.
            policy: "strict" refuses faces against which something speaks, "warn" enrols and reports them, "off" takes
                every face.
            several: take the "main" one of several faces, or "refuse" the picture.
            keep_crops: keep each face with its surroundings as a picture, so that a later model can be given it.

        Raises:
            InputError: the name cannot be used, there is no picture, or every picture was refused.
            ImageError: the only picture cannot be read.
            NoFaceError: no picture shows a face.
        """
        cleaned = person_name(name)
        people = [(cleaned, as_pictures(images))]
        report = next(self.enrol_people(people, policy=policy, several=several, keep_crops=keep_crops))
        if not report.pictures:
            raise InputError(f"{cleaned}: expected at least one picture to enrol")
        if not (report.added or report.known):
            raise nothing_enrolled(report)
        return report

    def enrol_people(
        self,
        people: Iterable[tuple[str, Iterable[Any]]],
        **how: Unpack[HowToEnrol],
    ) -> Iterator[EnrolReport]:
        """Enrol any number of people, lazily and in order, each stored in one step before its report is given.

        Nothing happens until the reports are taken; those that were given stay true when the rest is never taken. A
        person's pictures are judged together, once all of them were looked at.

        Args:
            people: (name, pictures); consumed as reports are taken.
            how: `policy`, `several` and `keep_crops`, as for `enrol`.
        """
        policy, several = how.get("policy", "strict"), how.get("several", "main")
        check_policy(policy)
        check_several(several)
        recognizer = self._need_recognizer()
        admit = Admission(self._home, recognizer.identity, calibration=self._any_calibration, policy=policy)
        known, crops = self._home.contents_of, how.get("keep_crops", False)
        return enrol_people(people, recognizer, contents_of=known, admit=admit, several=several, keep_crops=crops)

    def enrol_folder(
        self,
        folder: str | os.PathLike[str],
        *,
        progress: Callable[[EnrolReport, int, int], None] | None = None,
        **how: Unpack[HowToEnrol],
    ) -> FolderReport:
        """Enrol everybody in a folder: a folder per person, or a flat folder where the file stem is the name.

        Each person is stored in one step. A second run enrols only what is new.

        Args:
            folder: where the pictures are.
            progress: called after each person with its report, the pictures done and the pictures in all.
            how: `policy`, `several` and `keep_crops`, as for `enrol`.

        Returns:
            What became of every picture; bad files and sub-folders that cannot be read are reported and stop nothing.

        Raises:
            InputError: there is no such folder, or no picture in it.
        """
        unread: list[str] = []
        people = people_of(folder, on_error=lambda error: unread.append(str(error)))
        total = sum(len(pictures) for _, pictures in people)
        reports: list[EnrolReport] = []
        done = 0
        for report in self.enrol_people(people, **how):
            reports.append(report)
            done += len(report.pictures)
            if progress:
                progress(report, done, total)
        return FolderReport(tuple(reports), tuple(unread))

    def identify(
        self,
        image: Any,  # noqa: ANN401
        *,
        fpir: float = IDENTIFY_FPIR,
        threshold: float | None = None,
        group: str | None = None,
        rule: Rule = "blend",
    ) -> list[Identification]:
        """Name every face in one picture, largest face first; empty where there is no face.

        For what decides see `identify_embeddings`.

        Raises:
            ImageError: the picture cannot be read.
            InputError: the model has no calibration and no threshold was given.
        """
        answers = self.identify_all([image], fpir=fpir, threshold=threshold, group=group, rule=rule)
        analysis, found = next(answers)
        if analysis.error is not None:
            raise analysis.error
        return found

    def identify_all(
        self,
        images: Iterable[Any],
        *,
        fpir: float = IDENTIFY_FPIR,
        threshold: float | None = None,
        group: str | None = None,
        rule: Rule = "blend",
    ) -> Iterator[tuple[Analysis, list[Identification]]]:
        """Name every face in any number of pictures, lazily and in order, at the recognizer's full speed.

        Yields:
            Each picture's analysis and its faces; an analysis with `error` set has none.
        """
        analyses = self._need_recognizer().analyze(images)
        while batch := list(itertools.islice(analyses, PHOTOS_AT_ONCE)):
            rows = [analysis.embeddings for analysis in batch if len(analysis.faces)]
            matches: Iterator[Match] = iter(())
            if rows:
                probes = np.concatenate(rows)
                matches = iter(self.identify_embeddings(probes, fpir=fpir, threshold=threshold, group=group, rule=rule))
            for analysis in batch:
                yield analysis, [Identification(face, next(matches)) for face in analysis.faces]

    def reject(
        self,
        name: str,
        embedding: Any,  # noqa: ANN401
        *,
        picture: str | None = None,
        sha256: str | None = None,
    ) -> StoredFace:
        """Remember that a face is NOT this person: it, and what is at least as near to it, is not called them again.

        Args:
            name: the person that the face was taken for.
            embedding: a picture, of which the face nearest to the person is meant; or the embedding, a float array (D,)
                or (1, D).
            picture: name of the picture, where an embedding is given.
            sha256: checksum of its content, where an embedding is given.

        Raises:
            NotFoundError: there is no such person.
            ImageError: the picture cannot be read.
            NoFaceError: the picture shows no face.
        """
        if is_embedding(embedding):
            return super().reject(name, embedding, picture=picture or "<embedding>", sha256=sha256)
        subject = self.subject(name)
        faces = self._records_of(embedding, one=False)
        own, _ = self._home.template_faces([subject.id])
        probes = np.stack([record.embedding for record in faces])
        nearest = int((probes @ own.T).max(axis=1).argmax()) if len(own) else 0
        return self._home.reject(subject.name, faces[nearest])

    def ignore(self, label: str, embeddings: Any, *, pictures: Sequence[str] = ()) -> Subject:  # noqa: ANN401
        """Make somebody a known stranger: a poster, the postman. Their face is recognised, and stays unnamed.

        Args:
            label: what to call them in the reason.
            embeddings: a picture or several, each giving its main face; or embeddings, a float array (N, D) or (D,).
            pictures: names of the N pictures, where embeddings are given.

        Raises:
            GalleryError: a person of this name is enrolled.
            ImageError: a picture cannot be read.
            NoFaceError: a picture shows no face.
        """
        if is_embedding(embeddings):
            return super().ignore(label, embeddings, pictures=pictures)
        records = [record for image in as_pictures(embeddings) for record in self._records_of(image, one=True)]
        if not records:
            raise InputError(f"{label}: expected at least one picture")
        return self._ignore(label, records, self._need_recognizer().identity)

    def _records_of(self, image: Any, *, one: bool) -> list[FaceRecord]:  # noqa: ANN401
        """The faces of a picture, or its main face alone. Raises ImageError, and NoFaceError where there is none."""
        image = readable_again(image)
        (analysis,) = self._need_recognizer().analyze([image])
        if analysis.error is not None:
            raise analysis.error
        if not len(analysis.faces):
            raise NoFaceError(f"{analysis.source}: no face found; expected at least one")
        sha256 = content_sha256(image)
        wanted = [analysis.main()] if one else range(len(analysis.faces))
        return [FaceRecord(analysis.embeddings[i], analysis.source, sha256, analysis.faces[i]) for i in wanted]

    def default_recognizer(self, identity: ModelIdentity | None) -> Analyzer:
        """Make the recognizer where none was given, of the model that the gallery is bound to, if any; to override."""
        raise GalleryError(
            f"{self._home.source}: nothing says which model to use{f' (it holds {identity})' if identity else ''}; "
            "use mien.Gallery, or open with recognizer=... (or with identity=... for embeddings only)"
        )

    def _any_calibration(self) -> Calibration | None:
        """The calibration, or None for a model that has none."""
        try:
            return self.calibration
        except InputError:
            if self._calibration is not None:
                raise
            return None

    def _need_identity(self) -> ModelIdentity:
        return self.identity or self._need_recognizer().identity

    def _need_recognizer(self) -> Analyzer:
        with self._making:
            if self._recognizer is None:
                made = self._make(self.identity)
                self._agree(made.identity)
                self._recognizer = made
            return self._recognizer
