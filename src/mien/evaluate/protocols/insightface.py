"""Any InsightFace `.bin`: LFW, CFP, AgeDB, CALFW, CPLFW, VGGFace2-FP ... as aligned pairs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from mien.data.insightface_bin import read_bin
from mien.evaluate.protocols.pairing import FOLD_RULE, Pairing, kfold
from mien.evaluate.protocols.pictures import Picture
from mien.evaluate.protocols.sets import PairSet
from mien.images import ARCFACE_112, source_name

if TYPE_CHECKING:
    import os

__all__ = ["InsightFaceProtocol"]


class InsightFaceProtocol:
    """Pairs of aligned 112 x 112 faces in an InsightFace `.bin`, in ten folds by their order.

    A picture that occurs in several pairs is found out by its content, and embedded once.

    Thread-safe: every `read` starts afresh.

    Args:
        path: the file.
        aligned: whether the faces lie as the ArcFace template wants them, which is then given as every picture's
            landmarks; otherwise they are to be detected.
        folds: how many.
    """

    def __init__(self, path: str | os.PathLike[str], *, aligned: bool = True, folds: int = 10) -> None:
        self.path, self.aligned, self._folds = path, aligned, folds

    def read(self) -> PairSet:
        """Read the file.

        Raises:
            InputError: it is not such a file, is damaged or hostile, or no pair is left.
        """
        found = read_bin(self.path)
        name = Path(source_name(self.path)).stem
        first: dict[str, int] = {}
        digests = [hashlib.sha256(picture).hexdigest() for picture in found.pictures]
        for i, digest in enumerate(digests):
            first.setdefault(digest, i)
        names = {digest: f"{name}.bin[{i}]" for digest, i in first.items()}
        pairing: Pairing[int] = Pairing(name, "error")
        for i, (same, fold) in enumerate(
            zip(found.same.tolist(), kfold(len(found), self._folds).tolist(), strict=True)
        ):
            a, b = names[digests[2 * i]], names[digests[2 * i + 1]]
            pairing.add(a, b, same=same, fold=fold, where=f"pair {i}")
        places = {names[digest]: i for digest, i in first.items()}
        pairs, same, folds, exclusions = pairing.settle(lambda key, _: places[key])
        points = tuple((float(x), float(y)) for x, y in ARCFACE_112) if self.aligned else None
        pictures = [Picture(f"{name}.bin[{i}]", found.pictures[i], landmarks=points) for i in pairing.items]
        how = "The faces are aligned already: no face is detected. " if self.aligned else ""
        rules = f"Pairs of pictures, in {self._folds} folds by their order in the file. {how}{FOLD_RULE}"
        return PairSet(name, rules, pictures, pairs, same, folds, exclusions=exclusions)
