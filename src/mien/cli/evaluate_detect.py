"""What `mien evaluate detect` measures: the true faces that the options name, and the detections of a detector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mien.cli.inputs import make_recognizer
from mien.cli.output import printable, progress, say
from mien.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from mien.evaluate.detection import DetectorFacts, FoundFaces
    from mien.evaluate.protocols import DetectionSet, Missing
    from mien.evaluate.results import Failure

__all__ = ["DETECT_PROTOCOLS", "detection_set", "detector_facts", "run_detector"]

DETECT_PROTOCOLS = ("wider", "fddb", "imglab")
_FDDB_LISTS = "FDDB-fold-*-ellipseList.txt"


def detection_set(
    protocol: str | None, folder: Path, *, truth: Path | None, split: str, skip_missing: bool
) -> DetectionSet:
    """The true faces of a protocol.

    Args:
        protocol: its name; None for imglab where `folder` or `truth` is XML.
        folder: the data set's folder.
        truth: the list, where it is not in its usual place.
        split: part of WIDER FACE.
        skip_missing: leave out listed pictures that are not there.

    Raises:
        InputError: there is no such protocol, or its files are not what it expects.
    """
    from mien.evaluate import protocols as p

    missing: Missing = "exclude" if skip_missing else "error"
    if truth is not None and not truth.exists() and (folder / truth).is_file():
        truth = folder / truth
    if protocol is None and (truth or folder).suffix.lower() == ".xml":
        protocol = "imglab"
    match protocol:
        case "wider":
            return _wider(folder, truth, split, missing)
        case "fddb":
            lists = [truth] if truth else _fddb_lists(folder)
            return p.FddbProtocol(lists, _inside(folder, "originalPics", "images"), missing=missing).read()
        case "imglab":
            return p.ImglabProtocol(*_imglab(folder, truth), missing=missing).read()
    raise InputError(f"--protocol: expected one of {', '.join(DETECT_PROTOCOLS)}, got {protocol!r}")


def _wider(folder: Path, truth: Path | None, split: str, missing: Missing) -> DetectionSet:
    from mien.evaluate.protocols import WiderProtocol

    if split not in ("train", "val"):
        raise InputError(f"--split: expected train or val (the test part has no public truth), got {split!r}")
    name = f"wider_face_{split}_bbx_gt.txt"
    found = truth or _first(folder / "wider_face_split" / name, folder / name)
    return WiderProtocol(found, _inside(folder, f"WIDER_{split}/images", "images"), missing=missing).read()


def _fddb_lists(folder: Path) -> list[Path]:
    lists = sorted(folder.glob(f"FDDB-folds/{_FDDB_LISTS}")) or sorted(folder.glob(_FDDB_LISTS))
    if not lists:
        raise NotFoundError(f"{folder}: expected {_FDDB_LISTS} in it or in its FDDB-folds; name one with --truth")
    return lists


def _imglab(folder: Path, truth: Path | None) -> tuple[Path, Path | None]:
    """The XML file, and the folder of its pictures where that is not the file's own."""
    if truth is not None:
        return truth, folder
    if not folder.is_dir():
        return folder, None
    files = sorted(folder.glob("*.xml"))
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise InputError(f"{folder}: expected one XML file in it, got {names}; name the file, or use --truth")
    return files[0], None


def _first(*places: Path) -> Path:
    for place in places:
        if place.is_file():
            return place
    shown = " or ".join(str(place) for place in places)
    raise NotFoundError(f"expected the list of true faces at {shown}; name it with --truth")


def _inside(folder: Path, *names: str) -> Path:
    """The first of some sub-folders that is there, or the folder itself."""
    return next((folder / name for name in names if (folder / name).is_dir()), folder)


def detector_facts(name: str | None, min_face: float | None, confidence: float | None) -> DetectorFacts:
    """The facts of a detector's card."""
    from mien.evaluate.detection import DetectorFacts
    from mien.models import catalogue

    card = catalogue.get(name or catalogue.DEFAULT_DETECTOR)
    settings = [f"smallest face {min_face:g}"] if min_face is not None else []
    settings += [f"least confidence {confidence:g}"] if confidence is not None else []
    facts = (("Detector", card.title), ("Source", card.source), ("Paper", card.paper))
    hashes = " ".join(str(file.sha256) for file in card.files if file.sha256)
    return DetectorFacts(
        card.name, hashes, card.licence, ", ".join(settings), tuple((title, text) for title, text in facts if text)
    )


def run_detector(
    data: DetectionSet, name: str | None, licence: str | None, min_face: float | None, confidence: float | None
) -> tuple[list[FoundFaces], tuple[Failure, ...]]:
    """The detections of each picture, and the pictures that cannot be read; they are named on stderr, too."""
    from mien.evaluate.detection import FoundFaces
    from mien.evaluate.results import Failure

    recognizer = make_recognizer(None, min_face, confidence=confidence, detector=name, licence=licence)
    found: list[FoundFaces] = []
    failures: list[Failure] = []
    pictures = data.pictures
    sources = [picture.source for picture in pictures]
    with progress(len(sources), "Looking for faces") as advance:
        for picture, analysis in zip(pictures, recognizer.analyze(sources, embed=False), strict=True):
            advance(1)
            if analysis.error is not None:
                reason = str(getattr(analysis.error, "reason", analysis.error))
                failures.append(Failure(picture.name, reason, unreadable=True))
                say(printable(f"{picture.name}: {reason}"), label="skipped:")
                found.append(FoundFaces.none())
            else:
                faces = analysis.faces
                found.append(FoundFaces(faces.boxes, faces.scores, faces.landmarks))
    return found, tuple(failures)
