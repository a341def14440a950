"""The gallery with pictures: enrol people from photos, and ask a photo who is in it."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from mien.errors import GalleryError, ImageError, InputError, NoFaceError, NotFoundError
from mien.gallery.embeddings import EmbeddingGallery
from mien.gallery.enrol import enrol_people
from mien.gallery.reports import EnrolReport, FolderReport
from mien.gallery.sources import as_pictures
from mien.gallery.store import SqliteStore
from mien.images import people_of, person_name
from mien.interfaces import Analyzer
from mien.match import IDENTIFY_FPIR
from mien.types import Identification

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Self

    from mien.gallery.records import FaceRecord
    from mien.match import Calibration
    from mien.types import Analysis, ModelIdentity, Subject

    MakeAnalyzer: TypeAlias = Callable[[ModelIdentity | None], Analyzer]

__all__ = ["Gallery"]

PHOTOS_AT_ONCE = 16  # photos whose faces are searched together


class Gallery(EmbeddingGallery):
    """Known people, enrolled from pictures or embeddings; open it with `Gallery.open`, close it after use.

    It works on embeddings; the methods that take pictures need a recognizer, given or made on first need. As a context
    manager it closes itself.

    Thread-safe, and safe beside other processes: see `EmbeddingGallery`.
    """

    def __init__(
        self,
        store: SqliteStore,
        *,
        identity: ModelIdentity | None = None,
        recognizer: Analyzer | MakeAnalyzer | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self._making = threading.Lock()
        self._recognizer: Analyzer | None = None
        self._make: MakeAnalyzer = self.default_recognizer
        super().__init__(store, identity=identity, calibration=calibration)
        if hasattr(type(recognizer), "analyze"):  # not isinstance: it would ask for `identity`, which may load models
            self._recognizer = cast("Analyzer", recognizer)
            self._agree(self._recognizer.identity)
        elif recognizer is not None:
            self._make = cast("MakeAnalyzer", recognizer)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        identity: ModelIdentity | None = None,
        recognizer: Analyzer | MakeAnalyzer | None = None,
        calibration: Calibration | None = None,
        readonly: bool = False,
        create: bool = True,
    ) -> Self:
        """Open a gallery, or make it.

        Args:
            path: a file such as "people.db" (made with mode 0600), or ":memory:" for one that is gone when closed.
            identity: the model whose embeddings will be used; None for the one that the gallery is bound to.
            recognizer: for the methods that take pictures: an analyzer, or a function that makes one on first need
                from the identity that the gallery is bound to (or None).
            calibration: thresholds for this model, in place of the shipped ones.
            readonly: refuse changes.
            create: make the file where it is missing.

        Raises:
            GalleryFileError: the file cannot be used; says why and what to do.
            GalleryModelError: it is bound to another model.
            NotFoundError: it is missing, and `create` is off or `readonly` is on.
        """
        store = SqliteStore(path, readonly=readonly, create=create)
        try:
            return cls(store, identity=identity, recognizer=recognizer, calibration=calibration)
        except BaseException:
            store.close()
            raise

    def enrol(self, name: str, images: Any) -> EnrolReport:  # noqa: ANN401 - see `mien.images.decode`
        """Enrol a person from one picture or several; each gives its main face (see `Faces.main`).

        A picture without a face, or that cannot be read, is reported and skipped; one whose content this person
        already has is not enrolled twice. All that remains is stored in one step.

        Raises:
            InputError: the name cannot be used, or there is no picture.
            ImageError: the only picture cannot be read.
            NoFaceError: no picture shows a face.
        """
        cleaned = person_name(name)
        report = next(self.enrol_people([(cleaned, as_pictures(images))]))
        if not report.pictures:
            raise InputError(f"{cleaned}: expected at least one picture to enrol")
        if report.added or report.known:
            return report
        if len(report.skipped) == 1 and report.skipped[0].error:
            raise ImageError(report.skipped[0].picture, report.skipped[0].reason)
        listed = "; ".join(f"{p.picture}: {p.reason}" for p in report.skipped[:5])
        kind = InputError if all(p.error for p in report.skipped) else NoFaceError
        raise kind(f"{cleaned} was not enrolled: no picture could be used ({listed})")

    def enrol_people(self, people: Iterable[tuple[str, Iterable[Any]]]) -> Iterator[EnrolReport]:
        """Enrol any number of people, lazily and in order, each stored in one step before its report is given.

        Nothing happens until the reports are taken; those that were given stay true when the rest is never taken.

        Args:
            people: (name, pictures); consumed as reports are taken.
        """
        recognizer = self._need_recognizer()
        identity = recognizer.identity

        def keep(name: str, records: Sequence[FaceRecord]) -> Subject | None:
            if records:
                return self._store.add([(name, records)], identity)[0][0]
            try:
                return self._store.subject(name)
            except NotFoundError:
                return None

        return enrol_people(people, recognizer, contents_of=self._store.contents_of, keep=keep)

    def enrol_folder(
        self, folder: str | os.PathLike[str], *, progress: Callable[[EnrolReport, int, int], None] | None = None
    ) -> FolderReport:
        """Enrol everybody in a folder: a folder per person, or a flat folder where the file stem is the name.

        Each person is stored in one step. A second run enrols only what is new.

        Args:
            folder: where the pictures are.
            progress: called after each person with its report, the pictures done and the pictures in all.

        Returns:
            What became of every picture; bad files are reported and stop nothing.

        Raises:
            InputError: there is no such folder, or no picture in it.
        """
        people = people_of(folder)
        total = sum(len(pictures) for _, pictures in people)
        reports: list[EnrolReport] = []
        done = 0
        for report in self.enrol_people(people):
            reports.append(report)
            done += len(report.pictures)
            if progress:
                progress(report, done, total)
        return FolderReport(tuple(reports))

    def identify(
        self,
        image: Any,  # noqa: ANN401
        *,
        fpir: float = IDENTIFY_FPIR,
        threshold: float | None = None,
    ) -> list[Identification]:
        """Name every face in one picture, largest face first; empty where there is no face.

        Args:
            image: a picture.
            fpir: the share of strangers who may be named.
            threshold: name from this score on instead.

        Raises:
            ImageError: the picture cannot be read.
            InputError: the model has no calibration and no threshold was given.
        """
        analysis, found = next(self.identify_all([image], fpir=fpir, threshold=threshold))
        if analysis.error is not None:
            raise analysis.error
        return found

    def identify_all(
        self, images: Iterable[Any], *, fpir: float = IDENTIFY_FPIR, threshold: float | None = None
    ) -> Iterator[tuple[Analysis, list[Identification]]]:
        """Name every face in any number of pictures, lazily and in order, at the recognizer's full speed.

        Yields:
            Each picture's analysis and its faces; an analysis with `error` set has none.
        """
        analyses = self._need_recognizer().analyze(images)
        while batch := list(itertools.islice(analyses, PHOTOS_AT_ONCE)):
            rows = [analysis.embeddings for analysis in batch if len(analysis.faces)]
            found = self.identify_embeddings(np.concatenate(rows), fpir=fpir, threshold=threshold) if rows else []
            matches = iter(found)
            for analysis in batch:
                yield analysis, [Identification(face, next(matches)) for face in analysis.faces]

    def default_recognizer(self, identity: ModelIdentity | None) -> Analyzer:
        """Make the recognizer, on first need, where none was given; a layer above overrides this.

        Args:
            identity: the model that the gallery is bound to, or None for a new gallery.
        """
        raise GalleryError(
            f"{self._store.source}: nothing says which model to use{f' (it holds {identity})' if identity else ''}; "
            "use mien.Gallery, or open with recognizer=... (or with identity=... for embeddings only)"
        )

    def _need_identity(self) -> ModelIdentity:
        return self.identity or self._need_recognizer().identity

    def _need_recognizer(self) -> Analyzer:
        with self._making:
            if self._recognizer is None:
                made = self._make(self.identity)
                self._agree(made.identity)
                self._recognizer = made
            return self._recognizer
