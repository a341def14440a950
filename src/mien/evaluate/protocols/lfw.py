"""Labeled Faces in the Wild: the lists of pairs (View 1 and View 2) and of people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mien.errors import InputError
from mien.evaluate.protocols.folder import leave_one_out, subject_set
from mien.evaluate.protocols.lists import Line, count_of, person_folder, read_lines
from mien.evaluate.protocols.pairing import FOLD_RULE, Missing, Pairing, missing_files, numbered
from mien.evaluate.protocols.pictures import PictureFolder
from mien.evaluate.protocols.sets import PairSet
from mien.images import is_image_name, source_name

if TYPE_CHECKING:
    import os

    from mien.evaluate.protocols.sets import Exclusion, IdentificationSet, SubjectSet

__all__ = ["LfwPairs", "LfwPeople", "ListedPair", "read_lfw_pairs", "read_lfw_people"]

_PAIR: Final = "name, number, number of a pair of one person, or name, number, name, number of a pair of two"


@dataclass(frozen=True, slots=True)
class ListedPair:
    """A pair as `pairs.txt` gives it: two names with numbers (or file names), its fold from 0, and its line."""

    a: tuple[str, int | str]
    b: tuple[str, int | str]
    fold: int
    where: str

    @property
    def same(self) -> bool:
        """Whether both pictures are of one person."""
        return self.a[0] == self.b[0]


def read_lfw_pairs(path: str | os.PathLike[str]) -> tuple[list[ListedPair], int]:
    """Read a `pairs.txt`: a header ``folds <tab> n`` (View 2) or ``n`` (View 1), then per fold n pairs of each kind.

    Returns:
        The pairs in order, and the number of folds (1 for View 1).

    Raises:
        InputError: a line is malformed, or there are fewer or more pairs than the header says.
    """
    lines = read_lines(path)
    header = next(lines, None)
    if header is None:
        raise InputError(f"{source_name(path)}: expected a list of pairs, got an empty file")
    numbers = header.fields()
    if len(numbers) not in (1, 2):
        raise header.wrong("the number of folds and of pairs of each kind in a fold, or the latter alone")
    counts = [count_of(header, number, "one or two whole numbers in the header") for number in numbers]
    folds, per_kind = counts if len(counts) == 2 else (1, counts[0])
    expected = 2 * folds * per_kind
    pairs: list[ListedPair] = []
    same_in_fold: Counter[int] = Counter()
    for line in lines:
        if len(pairs) == expected:
            raise line.wrong(f"the end of the list after {expected} pairs, as its header says")
        pair = _pair(line, len(pairs) // (2 * per_kind))
        same_in_fold[pair.fold] += pair.same
        pairs.append(pair)
    if len(pairs) < expected:
        raise InputError(
            f"{source_name(path)}: expected {expected} pairs, as its header says, got {len(pairs)}; is it cut short?"
        )
    for fold in range(folds):
        if (same := same_in_fold[fold]) != per_kind:
            raise InputError(
                f"{source_name(path)}: expected {per_kind} pairs of one person in fold {fold + 1}, got {same}"
            )
    return pairs, folds


def _pair(line: Line, fold: int) -> ListedPair:
    parts = line.fields()
    if len(parts) not in (3, 4):
        raise line.wrong(_PAIR)
    name = person_folder(line, parts[0])
    other = person_folder(line, parts[2]) if len(parts) == 4 else name
    if len(parts) == 4 and other == name:
        raise line.wrong("two different names where four fields are given")
    return ListedPair((name, _picture(line, parts[1])), (other, _picture(line, parts[-1])), fold, line.where)


def _picture(line: Line, field: str) -> int | str:
    """A number, as LFW's lists have it, or the name of a file, as `mien data pairs` writes it for other folders."""
    if not is_image_name(field):
        return count_of(line, field, _PAIR)
    if "/" in field or "\\" in field:
        raise line.wrong("file names without folders")
    return field


class LfwPairs:
    """LFW verification: pairs of pictures ``Name/Name_0001.jpg``, in ten folds (View 2) or one (View 1).

    A list may also name files of the people's folders in place of numbers, for folders that are not numbered so.

    Thread-safe: every `read` starts afresh.

    Args:
        pairs: the list, such as `pairs.txt` or `pairsDevTest.txt`.
        folder: the folder of people.
        missing: what to do about listed pictures that are not there.
        allow_links: whether links in `folder` may lead out of it.
    """

    def __init__(
        self,
        pairs: str | os.PathLike[str],
        folder: str | os.PathLike[str],
        *,
        missing: Missing = "error",
        allow_links: bool = False,
    ) -> None:
        self.pairs, self.folder = pairs, folder
        self._missing: Missing = missing
        self._allow_links = allow_links

    def read(self) -> PairSet:
        """Read the list and find its pictures.

        Raises:
            InputError: the list is malformed, leads out of the folder, or names pictures that are not there.
        """
        listed, folds = read_lfw_pairs(self.pairs)
        name = "LFW View 2" if folds > 1 else "LFW View 1"
        files = PictureFolder(self.folder, allow_links=self._allow_links)
        pairing: Pairing[str] = Pairing(source_name(self.pairs), self._missing)
        for p in listed:
            pairing.add(_stem(*p.a), _stem(*p.b), same=p.same, fold=p.fold, where=p.where)

        def find(key: str, where: str) -> str | None:
            return (files.find if is_image_name(key) else files.find_with_suffix)(key, where=where)

        pairs, same, numbers, exclusions = pairing.settle(find)
        people, subject = numbered([key.partition("/")[0] for key in pairing.keys])
        return PairSet(
            name,
            _TEN_FOLD if folds > 1 else _ONE_FOLD,
            files.pictures(pairing.items),
            pairs,
            same,
            numbers,
            people,
            subject,
            exclusions,
        )


def _stem(name: str, picture: int | str) -> str:
    return f"{name}/{name}_{picture:04d}" if isinstance(picture, int) else f"{name}/{picture}"


_TEN_FOLD: Final = (
    f"Pairs of pictures in disjoint folds of people. {FOLD_RULE} View 2 is for reporting only: nothing is chosen on it."
)
_ONE_FOLD: Final = (
    "Pairs of pictures of View 1, which is for development: thresholds and models are chosen here, and accuracies on "
    "it are not reported as results."
)


def read_lfw_people(path: str | os.PathLike[str]) -> list[tuple[str, int, int]]:
    """Read a list of people.

    It is ``n`` and n lines ``name <tab> pictures`` (View 1), or the number of folds and such a block for each (View 2).

    Returns:
        (name, number of pictures, fold from 0) of each person.

    Raises:
        InputError: a line is malformed, the counts do not fit, or a person is listed twice.
    """
    lines = list(read_lines(path))
    if not lines:
        raise InputError(f"{source_name(path)}: expected a list of people, got an empty file")
    first = count_of(lines[0], lines[0].text, "the number of people or folds")
    in_folds = len(lines) > 1 and len(lines[1].fields()) == 1
    folds, at = (first, 1) if in_folds else (1, 0)
    people: dict[str, tuple[str, int, int]] = {}
    for fold in range(folds):
        if at >= len(lines):
            raise InputError(f"{source_name(path)}: expected {folds} folds, got {fold}; is it cut short?")
        count = count_of(lines[at], lines[at].text, "the number of people in a fold")
        block = lines[at + 1 : at + 1 + count]
        if len(block) < count:
            raise InputError(
                f"{lines[at].where}: expected {count} people to follow, got {len(block)}; is the list cut short?"
            )
        for line in block:
            parts = line.fields()
            if len(parts) != 2:
                raise line.wrong("a name and a number of pictures")
            name = person_folder(line, parts[0])
            if name in people:
                raise line.wrong("a person who is not listed before")
            people[name] = (name, count_of(line, parts[1], "a name and a number of pictures"), fold)
        at += 1 + count
    if at < len(lines):
        raise lines[at].wrong("the end of the list")
    return list(people.values())


class LfwPeople:
    """All pictures of the people in an LFW list: every pair, or open-set identification.

    Thread-safe: every call starts afresh.

    Args:
        people: the list, such as `peopleDevTest.txt`.
        folder: the folder of people.
        missing: what to do about pictures ``1..n`` of a person that are not there.
        allow_links: whether links in `folder` may lead out of it.
    """

    def __init__(
        self,
        people: str | os.PathLike[str],
        folder: str | os.PathLike[str],
        *,
        missing: Missing = "error",
        allow_links: bool = False,
    ) -> None:
        self.people, self.folder = people, folder
        self._missing: Missing = missing
        self._allow_links = allow_links

    def _pictures(self) -> tuple[PictureFolder, list[tuple[str, list[str]]], list[Exclusion]]:
        files = PictureFolder(self.folder, allow_links=self._allow_links)
        found: list[tuple[str, list[str]]] = []
        gone: list[str] = []
        for name, count, _ in read_lfw_people(self.people):
            where = f"{source_name(self.people)}, {name}"
            there: list[str] = []
            for number in range(1, count + 1):
                path = files.find_with_suffix(_stem(name, number), where=where)
                (there if path else gone).append(path or _stem(name, number))
            found.append((name, there))
        return files, found, missing_files("LFW people", gone, self._missing)

    def all_pairs(self) -> SubjectSet:
        """Every picture against every other."""
        files, people, exclusions = self._pictures()
        return subject_set("LFW people", files, people, exclusions)

    def identification(self, *, seed: int = 0, strangers: float = 0.5) -> IdentificationSet:
        """Open-set identification; see `FolderProtocol.identification`."""
        files, people, exclusions = self._pictures()
        return leave_one_out("LFW people", files, people, exclusions, seed=seed, strangers=strangers)
