"""A gallery of embeddings: known people, kept for good, and exact open-set search among their faces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.errors import GalleryError, InputError, NotFoundError
from mien.gallery.explaining import explanation
from mien.gallery.names import other_model
from mien.gallery.records import FaceRecord
from mien.gallery.register import Register
from mien.gallery.rules import CALIBRATED, check_rule, ranked
from mien.images import person_name
from mien.match import IDENTIFY_FPIR, Calibration, calibration_for, check_threshold, decide, unit_embeddings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike

    from mien.gallery.explaining import Explanation
    from mien.gallery.home import Home, StoredFace
    from mien.gallery.rules import Rule
    from mien.match import Candidate
    from mien.types import Face, Floats, Match, ModelIdentity, Subject

__all__ = ["EmbeddingGallery"]


class EmbeddingGallery(Register):
    """Known people and their embeddings; knows nothing of pictures. `Gallery` adds them.

    A subject scores as its nearest enrolled face does: one good picture of a person is enough to be known by.

    Thread-safe: any number of threads may call any method. What else holds depends on the home (`capabilities`); for a
    SQLite file: what a method has returned from is on the disk, searches do not wait for writers, other processes may
    open the file at the same time, and every search sees what they have committed. Do not carry it over `os.fork`.

    Args:
        home: the durable truth; closed with the gallery.
        identity: the model whose embeddings will be used; None for the one that the gallery is bound to.
        calibration: thresholds for this model, in place of the shipped ones.

    Raises:
        GalleryModelError: the gallery is bound to another model.
        GalleryFileError: what it holds is damaged.
    """

    def __init__(
        self, home: Home, *, identity: ModelIdentity | None = None, calibration: Calibration | None = None
    ) -> None:
        super().__init__(home)
        self._identity: ModelIdentity | None = None
        self._bound = False
        self._calibration = calibration
        self._kept: tuple[str, Calibration] | None = None
        if identity is not None:
            self._agree(identity)

    @property
    def identity(self) -> ModelIdentity | None:
        """The model that the gallery is bound to, or will be by the first enrolment; None while nobody has said.

        Raises:
            GalleryModelError: another process has bound it to another model since it was opened.
        """
        # Another process, or an enrolment here, may have bound it meanwhile.
        if not self._bound and (pinned := self._home.identity) is not None:
            if self._identity not in (None, pinned):
                raise other_model(self._home.source, pinned, self._identity)
            self._home.pin(pinned)  # it may have been opened on another one, and changed since
            self._identity, self._bound = pinned, True
        return self._identity

    @property
    def calibration(self) -> Calibration:
        """Where thresholds for a rate come from.

        Raises:
            GalleryError: nobody has said which model made the embeddings.
            InputError: the model has no calibration.
        """
        return self._calibrated()

    def keep_calibration(self, calibration: Calibration | None) -> None:
        """Keep a calibration with the gallery; it then comes before the shipped one. None takes it away.

        Raises:
            InputError: it was made for another model.
        """
        if calibration is not None:
            calibration.need_for(self._need_identity())
        self._home.keep_calibration(None if calibration is None else calibration.to_toml())

    # Faces

    def add(
        self,
        name: str,
        embeddings: ArrayLike,
        *,
        pictures: Sequence[str] = (),
        sha256: Sequence[str | None] = (),
        faces: Sequence[Face | None] = (),
    ) -> Subject:
        """Enrol faces of one person, new or known, all or nothing.

        Args:
            name: the person's name; made NFC and stripped.
            embeddings: (N, D) of unit norm, N at least 1.
            pictures: names of the N pictures; made up when left out.
            sha256: checksums of the pictures' contents; a content that the person already has is left out.
            faces: box and detection score of each.

        Returns:
            The person as now enrolled.

        Raises:
            InputError: the name or the embeddings cannot be used.
            GalleryError: nobody has said which model made the embeddings.
        """
        identity = self._need_identity()
        records = _records(embeddings, identity.dimension, pictures, sha256, faces)
        subjects, _ = self._home.add([(person_name(name), records)], identity)
        return subjects[0]

    def add_many(self, people: Iterable[tuple[str, ArrayLike]]) -> int:
        """Enrol many people's embeddings (name, (N, D)) in one step, all or nothing: the fast way to fill a gallery.

        Returns:
            How many faces were added.

        Raises:
            InputError: a name or an embedding cannot be used; nobody was enrolled.
        """
        identity = self._need_identity()
        checked = [(person_name(name), _records(rows, identity.dimension)) for name, rows in people]
        return self._home.add(checked, identity)[1] if checked else 0

    def reject(
        self, name: str, embedding: ArrayLike, *, picture: str = "<embedding>", sha256: str | None = None
    ) -> StoredFace:
        """Remember that a face is NOT this person: it, and what is at least as near to it, is not called them again.

        Args:
            name: the person that the face was taken for.
            embedding: (D,) or (1, D), unit norm.
            picture: name of the picture it comes from.
            sha256: checksum of the picture's content.

        Raises:
            InputError: the embedding cannot be used.
            NotFoundError: there is no such person.
        """
        identity = self._need_identity()
        records = _records(embedding, identity.dimension, [picture], [sha256])
        return self._home.reject(person_name(name), records[0])

    def ignore(self, label: str, embeddings: ArrayLike, *, pictures: Sequence[str] = ()) -> Subject:
        """Make somebody a known stranger: a poster, the postman. Their face is recognised, and stays unnamed.

        Args:
            label: what to call them in the reason.
            embeddings: (N, D) of unit norm.
            pictures: names of the N pictures.

        Raises:
            GalleryError: a person of this name is enrolled.
        """
        identity = self._need_identity()
        return self._ignore(label, _records(embeddings, identity.dimension, pictures), identity)

    def search(
        self, embeddings: ArrayLike, *, k: int = 5, group: str | None = None, rule: Rule = "max"
    ) -> list[list[Candidate]]:
        """The k most similar people of each probe, best first, whatever their score; known strangers take part.

        Args:
            embeddings: (Q, D) of unit norm.
            k: people wanted; fewer come back from a smaller gallery.
            group: only people of this group.
            rule: how a person with several faces scores: by the nearest one, or see `mien.gallery.rules`.

        Raises:
            InputError: the embeddings cannot be used, k is below 1, or there is no such rule.
        """
        if k < 1:
            raise InputError(f"k: expected at least 1, got {k}")
        check_rule(rule)
        group = None if group is None else person_name(group)
        return ranked(self._home, self._probes(embeddings), rule=rule, k=k, group=group)

    def identify_embeddings(
        self,
        embeddings: ArrayLike,
        *,
        fpir: float = IDENTIFY_FPIR,
        threshold: float | None = None,
        group: str | None = None,
        rule: Rule = "blend",
    ) -> list[Match]:
        """Name each probe, or call it unknown.

        Args:
            embeddings: (Q, D) of unit norm.
            fpir: the share of strangers who may be named; the threshold follows from it, the number of enrolled faces
                and the calibration.
            threshold: name from this score on instead.
            group: only people of this group; the threshold stays that of the whole gallery.
            rule: how a person with several faces scores; "mean" and "top3" need a threshold, see `mien.gallery.rules`.

        Returns:
            One match a probe, with the runner-up, the nearest picture, and the reason.

        Raises:
            InputError: the embeddings cannot be used, or no threshold follows and none was given.
        """
        check_threshold(threshold)
        probes = self._probes(embeddings)
        found = self._unsuppressed(probes, group, rule)
        extrapolated = False
        rate: float | None = None
        if threshold is None:
            if rule not in CALIBRATED:
                raise InputError(f"rule: no calibration is right for the scores of {rule!r}; give threshold=...")
            rate = fpir
            calibration, size = self._calibrated(), self._home.counts().faces
            threshold = calibration.threshold_for(fpir=fpir, gallery_size=size)
            extrapolated = not calibration.supports_fpir(fpir=fpir, gallery_size=size)
        return [decide(row, threshold=threshold, fpir=rate, extrapolated=extrapolated) for row in found]

    def explain(
        self,
        embedding: ArrayLike,
        *,
        fpir: float = IDENTIFY_FPIR,
        threshold: float | None = None,
        group: str | None = None,
        rule: Rule = "blend",
        k: int = 3,
        exemplars: int = 3,
    ) -> Explanation:
        """Why a face is called what it is called: the nearest people, and of each the faces that speak for it.

        Args:
            embedding: (D,) or (1, D), unit norm.
            fpir: as for `identify_embeddings`.
            threshold: as for `identify_embeddings`.
            group: as for `identify_embeddings`.
            rule: as for `identify_embeddings`; the people are told of by the scores that decide.
            k: people told of.
            exemplars: faces told of each.

        Raises:
            InputError: the embedding cannot be used, or k or exemplars is below 1.
        """
        probes = self._probes(embedding)
        if len(probes) != 1 or k < 1 or exemplars < 1:
            raise InputError(f"explain: expected one embedding, k and exemplars of 1 or more, got {len(probes)}, {k}, "
                             f"{exemplars}")  # fmt: skip
        (match,) = self.identify_embeddings(probes, fpir=fpir, threshold=threshold, group=group, rule=rule)
        (nearest,) = self.search(probes, k=k, group=group, rule=rule)
        return explanation(self._home, probes[0], match, nearest, exemplars=exemplars)

    # Inside

    def _unsuppressed(self, probes: Floats, group: str | None, rule: Rule) -> list[list[Candidate]]:
        """The best people of each probe, as many as it takes to have two who may be named, where there are.

        All probes are asked again, so that their answers are of one moment.
        """
        k = 4
        while True:
            found = self.search(probes, k=k, group=group, rule=rule)
            if not any(len(row) == k and sum(not c.suppressed for c in row) < 2 for row in found):
                return found
            k *= 8

    def _ignore(self, label: str, records: Sequence[FaceRecord], identity: ModelIdentity) -> Subject:
        label = person_name(label)
        try:
            there = self._home.subject(label)
        except NotFoundError:
            there = None
        if there is not None and there.told != "ignored":
            raise GalleryError(
                f"{self._home.source}: {label!r} is enrolled as a person; give another label, or make them a known "
                'stranger with describe(..., told="ignored")'
            )
        return self._home.add([(label, records)], identity, told="ignored")[0][0]

    def _probes(self, embeddings: ArrayLike) -> Floats:
        identity = self.identity
        return unit_embeddings(embeddings, dimension=identity.dimension if identity else None, what="probes")

    def _calibrated(self) -> Calibration:
        """The calibration that was given, else the one kept with the gallery, else the shipped one."""
        if self._calibration is not None:
            if (bound := self.identity) is not None:
                self._calibration.need_for(bound)
            return self._calibration
        identity = self._need_identity()
        toml = self._home.calibration()
        if toml is None:
            return calibration_for(identity)
        kept = self._kept
        if kept is None or kept[0] != toml:
            source = f"{self._home.source}: the calibration kept with it"
            kept = self._kept = (toml, Calibration.from_toml(toml, source=source))
        kept[1].need_for(identity)
        return kept[1]

    def _agree(self, identity: ModelIdentity) -> None:
        """Refuse a model other than the gallery's; a new gallery is bound to it by its first enrolment."""
        pinned = self.identity
        if pinned is None:
            self._identity = identity
        elif pinned != identity:
            raise other_model(self._home.source, pinned, identity)

    def _need_identity(self) -> ModelIdentity:
        identity = self.identity
        if identity is None:
            raise GalleryError(
                f"{self._home.source}: it is not said which model makes the embeddings; open with identity=... "
                "or recognizer=..."
            )
        return identity


def _records(
    embeddings: ArrayLike,
    dimension: int,
    pictures: Sequence[str] = (),
    sha256: Sequence[str | None] = (),
    faces: Sequence[Face | None] = (),
) -> list[FaceRecord]:
    rows = unit_embeddings(embeddings, dimension=dimension)
    if not len(rows):
        raise InputError("embeddings: expected at least one row, got none")
    columns = []
    for what, values, default in (
        ("pictures", pictures, "<embedding>"),
        ("sha256", sha256, None),
        ("faces", faces, None),
    ):
        if values and (isinstance(values, str) or len(values) != len(rows)):
            raise InputError(f"{what}: expected {len(rows)}, one an embedding, got {values!r:.60}")
        columns.append(values or [default] * len(rows))
    return [FaceRecord(row, *rest) for row, *rest in zip(rows, *columns, strict=True)]
