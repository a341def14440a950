"""Faces cut out of whole folders of photos: stopped anywhere, gone on with, and every decision on record."""

from __future__ import annotations

import contextlib
import itertools
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError, NoFaceError, NotFoundError
from mien.images import list_images
from mien.match import VERIFY_FMR, calibration_for
from mien.prepare.cropping_cut import Cutter, Photo, Piece, content_sha256
from mien.prepare.cropping_folder import BLOCK, chosen_by_folder
from mien.prepare.cropping_options import Choice, CropOptions
from mien.prepare.cropping_past import Past
from mien.prepare.cropping_sources import Sources
from mien.prepare.cropping_writing import Crop, Cropped, Writer
from mien.prepare.manifest import Manifest, check_head
from mien.prepare.places import Naming, Shelter
from mien.prepare.ray_pipeline import chunk_for

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from mien.prepare.cropping_writing import Draft
    from mien.prepare.ray_pipeline import Cluster
    from mien.recognizer import Recognizer
    from mien.types import Analysis, Floats

__all__ = ["Choice", "Crop", "CropOptions", "Cropped", "crop", "photos_to_crop"]


def crop(
    folder: str | os.PathLike[str],
    target: str | os.PathLike[str],
    recognizer: Recognizer,
    options: CropOptions | None = None,
    *,
    person: Sequence[str | os.PathLike[str]] = (),
    match_folder: bool = False,
    threshold: float | None = None,
    fresh: bool = False,
    moved: bool = False,
    dry_run: bool = False,
    pinned: Mapping[str, Any] | None = None,
    photos: Sequence[Path] | None = None,
    cluster: Cluster | None = None,
) -> Generator[Cropped]:
    """Cut faces out of the photos of a folder, into folders like theirs; lazily, an answer a photo.

    `target/manifest.jsonl` tells of every photo: its path, size, time of change and sha256, the decision, and each
    crop's file, box and landmarks. A run that was stopped, even by `kill -9`, goes on where it was: an answer is given
    when its crops and its line are on the disk. One that is left early (its iterator is closed, an error or Ctrl-C
    comes) brings to the disk what is finished. Photos that were done are not looked at again unless they changed, or
    their crop has gone; photos that failed are. Memory does not grow with the number of photos, save for about
    200 bytes of each, nor with the number of faces in one, save for their encoded crops where a choice is still open.

    Args:
        folder: a folder of photos, or of folders of photos; or one photo.
        target: the output folder; made when it is not there. One run at a time writes there.
        recognizer: finds the faces, and embeds them where a person is looked for.
        options: which face, and how it is cut.
        person: photos of the person that is looked for: the face most like the main face of one of them is cut.
        match_folder: cut the face that is most like those in the other photos of the same folder.
        threshold: least similarity to the person, -1 to 1; by default what the model's calibration gives for
            `VERIFY_FMR`.
        fresh: cut everything again.
        moved: `folder` is the one of earlier runs, which was called otherwise then: photos that are not the same any
            more have changed. Needed only where they are refused without it.
        dry_run: only tell what would be done; no photo of the folder is opened, nothing written.
        pinned: what else decides the result, such as the detector's name: a run with other values is refused.
        photos: the photos of the folder, where the caller has listed them.
        cluster: where to work instead of this machine; see `mien.prepare.ray_pipeline`.

    Yields:
        An answer a photo; first those that were done before.

    Raises:
        InputError: the folders cannot be used; the output folder was made with other options; a crop would replace
            one of another source folder's photo; no calibration gives a threshold.
        NoFaceError: a photo of the person shows no face.
    """
    source, output, options = Path(folder), Path(target), options or CropOptions()
    if match_folder and (person or options.choose != "main"):
        raise InputError("match_folder: chooses the face itself; leave `person` and `choose` alone")
    if person and options.choose != "main":
        raise InputError("person: chooses the face itself; leave `choose` alone")
    if moved and fresh:
        raise InputError("moved: means nothing with `fresh`, which forgets the earlier runs")
    if threshold is not None and not -1 <= threshold <= 1:
        raise InputError(f"threshold: expected a similarity from -1 to 1, got {threshold}")
    if threshold is not None and not (person or match_folder):
        raise InputError("threshold: means nothing without `person` or `match_folder`")
    photos = photos_to_crop(source, output) if photos is None else photos
    shelter = Shelter(output, photos)
    root = source if source.is_dir() else source.parent
    numbered = options.choose == "all"
    first = "~1" if numbered else ""
    sources = Sources(output, root, first)
    past = Past(output, first, fresh=fresh, sources=sources)
    standing = _Standing(photos, root, past, by_folder=match_folder)
    if person and threshold is None:
        threshold = calibration_for(recognizer.identity).threshold(fmr=VERIFY_FMR)
    elif match_folder and threshold is None:
        threshold = _threshold(recognizer)
    settings = {
        **asdict(options),
        "person": [content_sha256(Path(p)) for p in person],
        "match_folder": match_folder,
        "threshold": threshold,
        "model": str(recognizer.identity) if person or match_folder else None,
        "since": past.since,
        **(pinned or {}),
    }
    if dry_run:
        if not fresh:
            check_head(output, "crop", settings)
            sources.check(standing.named(), past.unchanged, moved=moved)
        yield from standing.answers()
        yield from (Cropped(photo.path, "to do") for photo in standing.photos() if photo.todo)
        return
    reference = _reference(recognizer, person) if person else None
    cutter = Cutter(options=options, person=reference, threshold=threshold or 0.0, candidates=match_folder)
    with Manifest(output, "crop", settings, fresh=fresh, more=sources.head) as manifest:
        if manifest.found != past.found:
            raise InputError(f"{output}: another run was writing there until now; run this one again")
        if past.found and (begun := sources.check(standing.named(), past.unchanged, moved=moved)):
            manifest.add([begun])
        writer = Writer(output, manifest, shelter, past, numbered=numbered)
        try:
            for answer in standing.answers():
                if answer.decision == "there":
                    writer.there(standing.photo(answer.source))
                    yield from writer.ready()
                else:
                    yield answer
            yield from writer.flush()
            drafts = _drafts(standing, recognizer, cutter, writer=writer, threshold=threshold, cluster=cluster)
            with contextlib.closing(drafts):  # so that no worker writes any more when the rest is saved
                for draft in drafts:
                    writer.add(draft)
                    yield from writer.ready()
            yield from writer.flush()
        except BaseException:
            writer.save_the_rest()
            raise


def photos_to_crop(source: Path, target: Path) -> list[Path]:
    """The photos of a folder without those in `target`, which are crops of an earlier run; or the one photo.

    Raises:
        NotFoundError: there is no such file or folder.
        InputError: there are no photos, or the two are the same folder.
    """
    if not source.exists():
        raise NotFoundError(f"{source}: no such file or folder")
    if not source.is_dir():
        return [source]
    # `Path.resolve` raises for a link in a circle
    inside, outside = Path(os.path.realpath(target)), Path(os.path.realpath(source))
    if inside == outside:
        raise InputError(f"{target}: is the folder of the photos; crops need another one")
    photos = list_images(source)
    if inside.is_relative_to(outside):
        photos = [photo for photo in photos if not Path(os.path.realpath(photo)).is_relative_to(inside)]
    if not photos:
        raise InputError(f"{source}: no pictures in it; expected JPEG, PNG, WebP, HEIC, BMP, TIFF or GIF")
    return photos


class _Standing:
    """Which photos were decided on before, and the others in the order they are worked on. A byte a photo is kept."""

    _current: Photo

    def __init__(self, photos: Sequence[Path], root: Path, past: Past, *, by_folder: bool) -> None:
        self._photos, self._root, self._past, self._by_folder = photos, root, past, by_folder
        self._done: bytearray | None = None
        self.photos_in_all = len(photos)

    def answers(self) -> Iterator[Cropped]:
        """The decisions that stand."""
        if self._past.nothing:
            return
        self._done = bytearray(len(self._photos))
        for i, photo in enumerate(self.named()):
            decision = self._past.standing(photo.look())
            if decision is not None:
                self._done[i] = 1
                self._current = photo
                yield Cropped(photo.path, decision, before=True)

    def photo(self, path: Path) -> Photo:
        """The photo of the last answer."""
        if self._current.path != path:
            raise ValueError(f"{path}: not the photo of the last answer")
        return self._current

    def photos(self) -> Iterator[Photo]:
        """The rest; with `by_folder`, also those of the same block of a folder, to compare with."""
        done = self._done or bytearray(len(self._photos))
        marked = zip(self.named(), done, strict=True)
        if not self._by_folder:
            yield from (photo for photo, flag in marked if not flag)
            return
        for _, folder in itertools.groupby(marked, key=lambda both: both[0].path.parent):
            while block := list(itertools.islice(folder, BLOCK)):
                if not all(flag for _, flag in block):
                    yield from (replace(photo, todo=not flag) for photo, flag in block)

    def named(self) -> Iterator[Photo]:
        """All photos, with their names and places."""
        naming, base = Naming([self._root]), os.path.join(self._root, "")  # noqa: PTH118
        for path in self._photos:
            text = os.fspath(path)
            name = text[len(base) :] if text.startswith(base) else path.name
            yield Photo(path, name if os.sep == "/" else name.replace(os.sep, "/"), naming.name(path))


def _drafts(
    standing: _Standing,
    recognizer: Recognizer,
    cutter: Cutter,
    *,
    writer: Writer,
    threshold: float | None,
    cluster: Cluster | None,
) -> Generator[Draft]:
    """Every photo that is to be worked on, its crops written but not yet in their places."""

    def drafted(photos: Sequence[Photo], analyses: Sequence[Analysis]) -> Iterator[Draft]:
        for pieces in cutter.batches(photos, analyses):
            yield from writer.drafts(pieces)

    chunk = chunk_for(standing.photos_in_all)  # not of what is left: batches of a resumed run are of the same size
    if cluster is None and not cutter.candidates:
        yield from recognizer.map_batches(standing.photos(), drafted, embed=cutter.embeds, chunk=chunk)
        return
    pieces: Iterator[Piece]
    if cluster is not None:
        pieces = cluster.map(standing.photos(), cutter, embed=cutter.embeds, chunk=chunk)
    else:
        pieces = recognizer.map(standing.photos(), cutter, embed=cutter.embeds, chunk=chunk)
    if cutter.candidates:
        pieces = (piece for piece in chosen_by_folder(pieces, threshold) if piece.photo.todo)
    for piece in pieces:
        yield from writer.drafts([piece])


def _reference(recognizer: Recognizer, person: Sequence[str | os.PathLike[str]]) -> Floats:
    """float32 (M, D): the main face of each photo."""
    vectors = []
    for found in recognizer.analyze(person):
        if found.error is not None:
            raise found.error
        if not len(found.faces):
            raise NoFaceError(f"{found.source}: no face found; expected the person that is looked for")
        vectors.append(found.embeddings[found.main()])
    return np.stack(vectors)


def _threshold(recognizer: Recognizer) -> float | None:
    try:
        return calibration_for(recognizer.identity).threshold(fmr=VERIFY_FMR)
    except InputError:  # a model without calibration: the likeliest face, and nobody is turned away
        return None
