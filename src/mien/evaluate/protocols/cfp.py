"""Celebrities in Frontal-Profile: frontal against frontal (FF) and frontal against profile (FP)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from mien.errors import InputError
from mien.evaluate.protocols.lists import count_of, read_lines
from mien.evaluate.protocols.pairing import FOLD_RULE, Missing, Pairing, numbered
from mien.evaluate.protocols.pictures import PictureFolder
from mien.evaluate.protocols.sets import PairSet
from mien.images import source_name

if TYPE_CHECKING:
    import os

__all__ = ["CfpPart", "CfpProtocol"]

CfpPart: TypeAlias = Literal["FF", "FP"]
"""FF: both pictures are frontal; FP: the second is a profile."""

_RULES: Final = {
    "FF": "Pairs of frontal pictures",
    "FP": "Pairs of a frontal picture and a profile",
}


class CfpProtocol:
    """CFP verification from its own folder: `Protocol/Split/FF|FP/01..10/same.txt|diff.txt` over two numbered lists.

    Thread-safe: every `read` starts afresh.

    Args:
        folder: the data set's folder, with `Protocol` and `Data` in it.
        part: FF or FP.
        missing: what to do about listed pictures that are not there.
        allow_links: whether links in `folder` may lead out of it.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        part: CfpPart,
        *,
        missing: Missing = "error",
        allow_links: bool = False,
    ) -> None:
        if part not in _RULES:
            raise InputError(f"CFP: expected the part FF or FP, got {part!r}")
        self.folder, self.part = folder, part
        self._missing: Missing = missing
        self._allow_links = allow_links

    def read(self) -> PairSet:
        """Read the lists and find their pictures.

        Raises:
            InputError: a list is malformed, leads out of the folder, or names pictures that are not there.
        """
        files = PictureFolder(self.folder, allow_links=self._allow_links)
        protocol = files.root / "Protocol"
        frontal = self._listed(files, "F")
        second = frontal if self.part == "FF" else self._listed(files, "P")
        splits = sorted(path for path in (protocol / "Split" / self.part).glob("[0-9][0-9]") if path.is_dir())
        if len(splits) < 2 or [split.name for split in splits] != [f"{i + 1:02d}" for i in range(len(splits))]:
            where = source_name(protocol / "Split" / self.part)
            raise InputError(f"{where}: expected the folders 01, 02, ... 10, one a fold")
        pairing: Pairing[str] = Pairing(f"CFP-{self.part}", self._missing)
        for fold, split in enumerate(splits):
            for kind in ("same", "diff"):
                self._add(pairing, split / f"{kind}.txt", (frontal, second), fold, same=kind == "same")
        pairs, same, folds, exclusions = pairing.settle(lambda key, where: files.find(key, where=where))
        people, subject = numbered([_person(key) for key in pairing.keys])
        return PairSet(
            f"CFP-{self.part}",
            f"{_RULES[self.part]}, in {len(splits)} folds of people. {FOLD_RULE}",
            files.pictures(pairing.items),
            pairs,
            same,
            folds,
            people,
            subject,
            exclusions,
        )

    def _listed(self, files: PictureFolder, kind: str) -> dict[int, str]:
        """The numbered list of pictures; its paths are relative to the folder that it lies in."""
        listed: dict[int, str] = {}
        for line in read_lines(files.root / "Protocol" / f"Pair_list_{kind}.txt"):
            parts = line.text.split(maxsplit=1)
            number = count_of(line, parts[0], "a number and a path")
            if len(parts) != 2 or number in listed:
                raise line.wrong("a number that is new and a path")
            listed[number] = files.relative(parts[1], base="Protocol", where=line.where)
        return listed

    @staticmethod
    def _add(
        pairing: Pairing[str],
        path: os.PathLike[str],
        lists: tuple[dict[int, str], dict[int, str]],
        fold: int,
        *,
        same: bool,
    ) -> None:
        for line in read_lines(path):
            parts = [part.strip() for part in line.text.split(",")]
            if len(parts) != 2:
                raise line.wrong("two numbers of pictures with a comma between")
            numbers = [count_of(line, part, "two numbers of pictures") for part in parts]
            sides = [listed.get(number) for listed, number in zip(lists, numbers, strict=True)]
            a, b = sides
            if a is None or b is None:
                raise line.wrong("numbers that the lists of pictures hold")
            if (_person(a) == _person(b)) != same:
                raise line.wrong(f"a pair of {'one person' if same else 'two people'}, by the folders of its pictures")
            pairing.add(a, b, same=same, fold=fold, where=line.where)


def _person(path: str) -> str:
    """The person's folder: Data/Images/001/frontal/01.jpg is of 001."""
    parts = path.split("/")
    return parts[-3] if len(parts) >= 3 else path
