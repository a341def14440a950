"""IJB-B, IJB-C and sets of their style: templates of photos and video frames, 1:1 and 1:N with two galleries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError, NotFoundError
from mien.evaluate.protocols.ijb_rows import IjbRows, Row, csv_rows, insightface_rows
from mien.evaluate.protocols.lists import integer_table, read_table
from mien.evaluate.protocols.pairing import Missing
from mien.evaluate.protocols.pictures import PictureFolder
from mien.evaluate.protocols.sets import Exclusion, IdentificationSet, Indices, TemplateSet
from mien.images import source_name

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["IjbProtocol", "InsightFaceIjb"]

_POOLING: Final = (
    "A template's embedding is the mean within each photo or video, then the mean over those, scaled to unit length."
)
_ONE_TO_MANY: Final = (
    "Every probe template is searched in one of two galleries with disjoint people; probes whose person is not in it "
    f"are unknown to it. Rates are given for each gallery and as their mean. {_POOLING}"
)


class IjbProtocol:
    """IJB-style protocols from their CSV files (TEMPLATE_ID, SUBJECT_ID, FILENAME, and FACE_X, ... where given).

    Thread-safe: every call starts afresh.

    Args:
        images: the folder that FILENAME is relative to.
        galleries: the CSV files of the galleries (two in IJB-B and IJB-C).
        probes: the CSV file of the probes.
        matches: the CSV file of pairs of templates to verify (two numbers a row), or None.
        name: what reports call it.
        missing: what to do about listed pictures that are not there.
        allow_links: whether links in `images` may lead out of it.
    """

    def __init__(
        self,
        images: str | os.PathLike[str],
        galleries: Sequence[str | os.PathLike[str]],
        probes: str | os.PathLike[str],
        matches: str | os.PathLike[str] | None = None,
        *,
        name: str = "IJB",
        missing: Missing = "error",
        allow_links: bool = False,
    ) -> None:
        self.images, self.galleries, self.probes, self.matches = images, tuple(galleries), probes, matches
        self.name = name
        self._missing: Missing = missing
        self._allow_links = allow_links

    @classmethod
    def of_folder(
        cls, folder: str | os.PathLike[str], *, missing: Missing = "error", allow_links: bool = False
    ) -> IjbProtocol:
        """The protocol of a set as NIST lays it out: `protocol(s)/ijb?_1N_gallery_*1.csv` and so on, and `images/`.

        Raises:
            NotFoundError: a file of it is not there.
        """
        root = Path(folder)
        first, second = (_one(root, f"protocol*/*_1N_gallery_[SG]{i}.csv") for i in (1, 2))
        images = root / "images"
        return cls(
            images if images.is_dir() else root,
            (first, second),
            _one(root, "protocol*/*_1N_probe_mixed.csv"),
            _one(root, "protocol*/*_11_[SG]1_[SG]2_matches.csv"),
            name=f"IJB-{first.name[3].upper()}" if first.name[:3].lower() == "ijb" else "IJB",
            missing=missing,
            allow_links=allow_links,
        )

    def _rows(self) -> IjbRows:
        files = PictureFolder(self.images, allow_links=self._allow_links)
        lists = (*self.galleries, self.probes)
        return IjbRows(self.name, files, [row for path in lists for row in csv_rows(path, files)], self._missing)

    def verification(self) -> TemplateSet:
        """Pairs of templates, 1:1.

        Raises:
            InputError: there is no list of pairs, a list is malformed or leads out of the folder, or names templates or
                pictures that are not there.
        """
        if self.matches is None:
            raise InputError(f"{self.name}: verification needs the list of pairs of templates (matches)")
        rows = self._rows()
        pairs = integer_table(self.matches, 2)
        ids = np.unique(pairs)
        subjects, at = rows.subject_of(ids), np.searchsorted(ids, pairs)
        same = subjects[at[:, 0]] == subjects[at[:, 1]]
        return _verification(self.name, rows, pairs, same)

    def identification(self) -> tuple[IdentificationSet, ...]:
        """Probes in each gallery, 1:N.

        Raises:
            InputError: as `verification`.
        """
        rows = self._rows()
        return _identification(self.name, rows, [_template_subjects(path) for path in (*self.galleries, self.probes)])


class InsightFaceIjb:
    """IJB-B or IJB-C as InsightFace hands them on: `loose_crop/` with faces, and `meta/` with lists and landmarks.

    Thread-safe: every call starts afresh.

    Args:
        folder: the folder with `loose_crop` and `meta`.
        missing: what to do about listed pictures that are not there.
        allow_links: whether links in `loose_crop` may lead out of it.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, missing: Missing = "error", allow_links: bool = False
    ) -> None:
        self.folder = Path(folder)
        self._missing: Missing = missing
        self._allow_links = allow_links
        self._media = _one(self.folder, "meta/*_face_tid_mid.txt")
        self.name = f"IJB-{self._media.name[3].upper()}" if self._media.name[:3].lower() == "ijb" else "IJB"

    def _rows(self, subjects: dict[int, int] | None = None) -> IjbRows:
        files = PictureFolder(self.folder / "loose_crop", allow_links=self._allow_links)
        points = _one(self.folder, "meta/*_name_5pts_score.txt")
        rows: list[Row] = insightface_rows(self._media, points, files, subjects or {})
        return IjbRows(self.name, files, rows, self._missing)

    def verification(self) -> TemplateSet:
        """Pairs of templates, 1:1. Raises InputError as `IjbProtocol.verification`."""
        path = _one(self.folder, "meta/*_template_pair_label.txt")
        table = integer_table(path, 3)
        if not np.isin(table[:, 2], (0, 1)).all():
            raise InputError(f"{source_name(path)}: expected 0 or 1 in the third column")
        return _verification(self.name, self._rows(), table[:, :2], table[:, 2] == 1)

    def identification(self) -> tuple[IdentificationSet, ...]:
        """Probes in each gallery, 1:N. Raises InputError as `IjbProtocol.verification`."""
        lists = [_template_subjects(_one(self.folder, f"meta/*_1N_gallery_[SG]{i}.csv")) for i in (1, 2)]
        lists.append(_template_subjects(_one(self.folder, "meta/*_1N_probe_mixed.csv")))
        return _identification(self.name, self._rows({k: v for part in lists for k, v in part.items()}), lists)


def _one(root: Path, pattern: str) -> Path:
    found = sorted(root.glob(pattern))
    if not found:
        raise NotFoundError(f"{source_name(root)}: expected a file {pattern}, found none")
    return found[0]


def _template_subjects(path: str | os.PathLike[str]) -> dict[int, int]:
    """The person of every template of a CSV file."""
    found: dict[int, int] = {}
    for line, row in read_table(path, ("TEMPLATE_ID", "SUBJECT_ID")):
        try:
            template, subject = int(row["TEMPLATE_ID"]), int(row["SUBJECT_ID"])
        except ValueError:
            raise line.wrong("whole numbers for TEMPLATE_ID and SUBJECT_ID") from None
        if found.setdefault(template, subject) != subject:
            raise line.wrong("one person for each template")
    return found


def _verification(name: str, rows: IjbRows, pairs: NDArray[np.int64], same: NDArray[np.bool_]) -> TemplateSet:
    numbers = rows.positions(pairs)
    exclusions = list(rows.exclusions)
    low, high = np.minimum(pairs[:, 0], pairs[:, 1]), np.maximum(pairs[:, 0], pairs[:, 1])
    keep = low != high
    _note(exclusions, ~keep, "compare a template with itself")
    first = np.zeros(len(pairs), np.bool_)
    first[np.unique(np.stack([low, high], 1), axis=0, return_index=True)[1]] = True
    _note(exclusions, keep & ~first, "repeat an earlier pair")
    keep &= first
    there = (numbers >= 0).all(axis=1)
    _note(exclusions, keep & ~there, "name a template of which no picture is there")
    keep &= there
    if not keep.any():
        raise InputError(f"{name}: no pair is left to measure")
    return TemplateSet(
        f"{name} 1:1",
        f"Pairs of templates; TAR at FAR down to 1e-6. {_POOLING}",
        rows.pictures,
        rows.templates,
        numbers[keep],
        same[keep],
        np.zeros(int(keep.sum()), np.intp),
        tuple(exclusions),
    )


def _note(exclusions: list[Exclusion], where: NDArray[np.bool_], why: str) -> None:
    if count := int(where.sum()):
        exclusions.append(Exclusion(f"{count} pairs of templates", f"they {why}"))


def _identification(name: str, rows: IjbRows, lists: list[dict[int, int]]) -> tuple[IdentificationSet, ...]:
    *galleries, probes = ([*_present(rows, part)] for part in lists)
    if not probes or not all(galleries):
        raise InputError(f"{name}: no probe or no gallery is left to measure")
    subject = rows.templates.subject
    probe = np.array(probes, np.intp)
    sets = []
    for i, part in enumerate(galleries):
        gallery: Indices = np.array(part, np.intp)
        enrolled = np.isin(subject[probe], subject[gallery])
        sets.append(
            IdentificationSet(
                f"{name} 1:N gallery {i + 1}",
                _ONE_TO_MANY,
                rows.pictures,
                rows.templates,
                gallery,
                probe[enrolled],
                probe[~enrolled],
                exclusions=rows.exclusions,
            )
        )
    return tuple(sets)


def _present(rows: IjbRows, part: dict[int, int]) -> list[int]:
    found = rows.positions(np.fromiter(part, np.int64, len(part)))
    return [int(i) for i in found if i >= 0]
