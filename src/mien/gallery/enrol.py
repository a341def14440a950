"""People's pictures through one analyzer and into the gallery, a person at a time."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from mien.errors import MienError, ModelError
from mien.gallery.looking import Applicant, analysed_by, looked_at
from mien.gallery.reports import EnrolReport, PictureReport
from mien.gallery.sources import content_sha256, readable_again
from mien.images import person_name, source_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mien.gallery.gate_reasons import Verdict
    from mien.gallery.looking import Several
    from mien.gallery.reports import Outcome
    from mien.interfaces import Analyzer
    from mien.types import Subject

    Admit: TypeAlias = Callable[[str, Sequence[Applicant]], tuple[Subject | None, list[Verdict]]]

__all__ = ["enrol_people"]


_IDLE = 64  # pictures and people in a row that need no analysis, after which those before are finished and reported


@dataclass(slots=True)
class _Picture:
    name: str
    sha256: str | None
    report: PictureReport | None = None
    applicant: Applicant | None = None
    twin: _Picture | None = None  # an earlier picture of the person with the same content: its fate is this one's


@dataclass(slots=True)
class _Person:
    name: str
    pictures: list[_Picture] = field(default_factory=list)
    usable: bool = True  # its name can be one
    whole: bool = False  # all its pictures are in the list
    asked: int = 0  # of them, those given to the analyzer; final once whole
    answered: int = 0  # of them, those that came back


class _Firsts:
    """Of each name under way, the first picture of each content; for a name may come twice in one run.

    Thread-safe: the analyzer may draw pictures from a thread of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[str, tuple[dict[str, _Picture], int]] = {}

    def begin(self, name: str) -> dict[str, _Picture]:
        with self._lock:
            firsts, users = self._names.get(name, ({}, 0))
            self._names[name] = (firsts, users + 1)
            return firsts

    def end(self, name: str) -> None:
        """A person is stored: what is known of it can be asked of the gallery."""
        with self._lock:
            firsts, users = self._names.pop(name)
            if users > 1:
                self._names[name] = (firsts, users - 1)


def enrol_people(
    people: Iterable[tuple[str, Iterable[Any]]],
    analyzer: Analyzer,
    *,
    contents_of: Callable[[str], set[str]],
    admit: Admit,
    several: Several = "main",
    keep_crops: bool = False,
) -> Iterator[EnrolReport]:
    """Enrol people, lazily and in order; each is stored before its report is given.

    Pictures go through one `analyze` call as long as there are enough of them, so that its batches reach across people.
    The analyzer may draw them from a thread of its own: what it has drawn but not answered is all that is kept of a
    person besides the embeddings. People who need no analysis are reported without waiting for one.

    Args:
        people: (name, pictures); a name that cannot be one is reported, with its pictures skipped.
        analyzer: decodes, detects and embeds.
        contents_of: checksums that a subject already holds.
        admit: judges the faces of one person, stores those that pass, all or nothing, and returns the subject and a
            verdict a face; with no faces the subject as it is, or None for a stranger.
        several: what becomes of a picture with several faces.
        keep_crops: cut each face out, to be stored with it.

    Yields:
        One report a person.
    """
    run = _Run(iter(people), analyzer, contents_of=contents_of, admit=admit, several=several, keep_crops=keep_crops)
    while run.more:
        yield from run.go()


class _Run:
    def __init__(
        self,
        people: Iterator[tuple[str, Iterable[Any]]],
        analyzer: Analyzer,
        *,
        contents_of: Callable[[str], set[str]],
        admit: Admit,
        several: Several,
        keep_crops: bool,
    ) -> None:
        self.more = True
        self._people, self._analyzer, self._contents_of, self._admit = people, analyzer, contents_of, admit
        self._several, self._keep_crops = several, keep_crops
        self._firsts = _Firsts()

    def go(self) -> Iterator[EnrolReport]:
        """Report people until some need analysis; then analyse, until a long row of people needs none."""
        for raw_name, sources in self._people:
            person = _Person(str(raw_name))
            wanted = self._examined(person, raw_name, sources)
            first = next(wanted, None)
            if first is not None:
                yield from self._analysed(person, first, wanted)
                return
            yield self._finished(person)
        self.more = False

    def _analysed(
        self, person: _Person, first: tuple[_Picture, Any], rest: Iterator[tuple[_Picture, Any]]
    ) -> Iterator[EnrolReport]:
        begun: deque[_Person] = deque([person])
        asked: deque[tuple[_Person, _Picture]] = deque()

        def feed() -> Iterator[Any]:
            for entry, picture in itertools.chain([first], rest):
                asked.append((person, entry))
                yield picture
            idle = 0
            while idle < _IDLE and (following := next(self._people, None)) is not None:
                other = _Person(str(following[0]))
                begun.append(other)
                for entry, picture in self._examined(other, *following):
                    asked.append((other, entry))
                    yield picture
                idle = 0 if other.asked else idle + 1 + len(other.pictures)

        for analysis in analysed_by(self._analyzer, feed()):
            if not asked:
                raise ModelError("the analyzer gave more analyses than it was given pictures")
            whose, entry = asked.popleft()
            found = looked_at(analysis, entry.name, entry.sha256, several=self._several, keep_crops=self._keep_crops)
            entry.report, entry.applicant = found if isinstance(found, tuple) else (found, None)
            whose.answered += 1
            while begun and begun[0].whole and begun[0].answered == begun[0].asked:
                yield self._finished(begun.popleft())
        if asked:
            raise ModelError(f"the analyzer gave no analysis for {asked[0][1].name} and {len(asked) - 1} more pictures")
        for other in begun:  # those after the last picture that needed analysing
            yield self._finished(other)

    def _examined(self, person: _Person, raw_name: str, sources: Iterable[Any]) -> Iterator[tuple[_Picture, Any]]:
        """Take in a person's pictures; yields those that need analysis."""
        try:
            name, problem = person_name(raw_name), ""
            firsts = self._firsts.begin(name)  # before asking what is stored: what ends in between is still in it
            known = self._contents_of(name)
        except MienError as error:
            name, problem, known, firsts = str(raw_name), str(error), set(), {}
        person.name, person.usable = name, not problem
        for source in sources:
            picture = readable_again(source)
            entry = _Picture(source_name(source), None if problem else content_sha256(picture))
            person.pictures.append(entry)
            if problem:
                entry.report = PictureReport(entry.name, "skipped", problem, error=True)
            elif entry.sha256 in known:
                entry.report = _already(entry)
            elif entry.sha256 in firsts:
                entry.twin = firsts[entry.sha256]
            else:
                if entry.sha256:
                    firsts[entry.sha256] = entry
                person.asked += 1
                yield entry, picture
        person.whole = True

    def _finished(self, person: _Person) -> EnrolReport:
        report = _finish(person, self._admit)
        if person.usable:
            self._firsts.end(person.name)
        return report


def _already(entry: _Picture) -> PictureReport:
    return PictureReport(entry.name, "known", "this picture is already enrolled")


def _finish(person: _Person, admit: Admit) -> EnrolReport:
    asking = [entry for entry in person.pictures if entry.applicant is not None]
    subject, verdicts = None, list[Any]()
    if person.usable:
        subject, verdicts = admit(person.name, [entry.applicant for entry in asking if entry.applicant])
    for entry, verdict in zip(asking, verdicts, strict=True):
        assert entry.report is not None
        if verdict.reasons:  # what the picture alone said is said by the gate, too, where it could look at it
            said = [reason for reason in entry.report.reasons if reason.code not in verdict.codes]
            reasons = (*said, *verdict.reasons)
            outcome: Outcome = "added" if verdict.accepted else "skipped"
            text = "; ".join(reason.message for reason in reasons)
            entry.report = replace(entry.report, outcome=outcome, reason=text, reasons=reasons)
    for entry in person.pictures:
        if entry.twin is not None and entry.twin.report is not None:
            used = entry.twin.report.outcome == "added"
            entry.report = _already(entry) if used else replace(entry.twin.report, picture=entry.name)
    reports = tuple(entry.report for entry in person.pictures if entry.report is not None)
    return EnrolReport(person.name, subject, reports)
