"""Crops onto the disk, so that a run may be killed at any moment and what the manifest says is true.

A crop is written under a hidden name that depends on its own name alone, then the manifest tells of it, then it gets
its name. So what has its name is in the manifest; what the manifest tells of and has no name yet is made again; and
what is there without a line is somebody else's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mien.errors import ImageError, InputError, MienError
from mien.prepare.manifest import as_json, line_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mien.prepare.cropping_cut import Photo, Piece
    from mien.prepare.cropping_past import Past
    from mien.prepare.manifest import Entry, Line, Manifest
    from mien.prepare.places import Shelter
    from mien.types import Face

__all__ = ["Crop", "Cropped", "Draft", "Writer"]

_BATCH: Final = 256  # photos between two writes of the manifest
_SECONDS: Final = 1.0  # at most, between them
_NUMBERS: Final = (
    '"size":[%d,%d],"box":[%.2f,%.2f,%.2f,%.2f],"score":%.4f,'
    '"landmarks":[[%.2f,%.2f],[%.2f,%.2f],[%.2f,%.2f],[%.2f,%.2f],[%.2f,%.2f]]'
)
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True, slots=True)
class Crop:
    """One crop.

    Attributes:
        file: where it is.
        size: its (width, height) in pixels.
        face: where it lay in the photo.
        similarity: to the person that was looked for, or to the folder's other photos; None without such a question.
    """

    file: Path
    size: tuple[int, int]
    face: Face
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class Cropped:
    """What became of one photo.

    Attributes:
        source: the photo.
        decision: "cut"; "no face"; "not the person" or "like nobody else in the folder", when one was looked for;
            "failed"; "there", for a crop that no manifest tells of; with `dry_run` "to do".
        before: whether an earlier run had decided so.
        faces: how many there were in the photo; 0 where it was not looked at now.
        crops: what was cut now.
        error: why it failed.
    """

    source: Path
    decision: str
    before: bool = False
    faces: int = 0
    crops: tuple[Crop, ...] = ()
    error: MienError | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """One photo, its crops on the disk under hidden names.

    Attributes:
        cropped: what will be told of it.
        line: what the manifest will say; None where it has said it.
        moves: hidden name and place of each crop, in the order in which they get their names.
    """

    cropped: Cropped
    line: Line | None
    moves: tuple[tuple[str, str], ...] = ()


class Writer:
    """Writes the crops of pieces, and their lines.

    `drafts` may be called from several threads, all else from one.

    Args:
        folder: the output folder.
        manifest: open for it.
        shelter: keeps crops inside and off the photos.
        past: what earlier runs did.
        numbered: whether crops are called name~1, name~2, ...
    """

    def __init__(self, folder: Path, manifest: Manifest, shelter: Shelter, past: Past, *, numbered: bool) -> None:
        self._folder, self._manifest, self._shelter, self._past = folder, manifest, shelter, past
        self._numbered = numbered
        self._lock = threading.Lock()
        self._old: set[str] = set()  # places where something is that will be replaced
        self._made: dict[int, Draft] = {}  # by what `drafts` gave out, until it is on the disk for good
        self._pending: list[Draft] = []
        self._last = time.monotonic()

    def drafts(self, pieces: Sequence[Piece]) -> list[Draft]:
        """Write the crops of pieces under their hidden names."""
        asked = [self._files(piece) for piece in pieces]
        failed: dict[int, MienError] = {}
        moves: list[list[tuple[str, str]]] = []
        with self._lock:
            for number, files in enumerate(asked):
                places = [os.path.join(self._folder, file) for file in files]  # noqa: PTH118
                moves.append([(_hidden(place), place) for place in places])
                try:
                    self._old.update([place for place in places if self._shelter.open(place)])
                except MienError as error:
                    failed[number] = error
        try:
            for number, piece in enumerate(pieces):
                if number not in failed:
                    try:
                        for (hidden, place), content in zip(moves[number], piece.crops, strict=True):
                            _write(hidden, content, place)
                    except MienError as error:
                        failed[number] = error
                        _remove(moves[number])
            drafts = []
            for number, piece in enumerate(pieces):
                fault = piece.error or failed.get(number)
                drafts.append(self._failed(piece, fault) if fault else self._draft(piece, asked[number], moves[number]))
        except BaseException:
            for number, each in enumerate(moves):
                if number not in failed:  # where it may lie outside the folder
                    _remove(each)
            raise
        with self._lock:
            self._made.update([(id(draft), draft) for draft in drafts])
        return drafts

    def _draft(self, piece: Piece, files: Sequence[str], moves: Sequence[tuple[str, str]]) -> Draft:
        crops = tuple(
            [
                Crop(Path(place), size, face, piece.similarity)
                for (_, place), size, face in zip(moves, piece.sizes, piece.faces, strict=True)
            ]
        )
        decision = "cut" if crops else piece.reason or "no face"
        entry = {**_of(piece.photo), "sha256": piece.sha256, "decision": decision, "faces": piece.found}
        if piece.similarity is not None:
            entry["similarity"] = round(piece.similarity, 5)
        records = [_record(file, crop) for file, crop in zip(files, crops, strict=True)]
        line = line_of(entry, crops=f"[{','.join(records)}]") if crops else line_of(entry)
        # The first crop last: while it has no name, the photo is not done.
        return Draft(Cropped(piece.photo.path, decision, faces=piece.found, crops=crops), line, tuple(moves[::-1]))

    def _failed(self, piece: Piece, error: MienError) -> Draft:
        reason = str(getattr(error, "reason", error))
        if not piece.photo.marks:  # it could not even be read
            piece.photo.look()
        known = self._past.failed_so(piece.photo, reason)
        line = None if known else line_of({**_of(piece.photo), "decision": "failed", "error": reason})
        return Draft(Cropped(piece.photo.path, "failed", faces=piece.found, error=error), line)

    def there(self, photo: Photo) -> None:
        """Tell of a crop that was there before the manifest."""
        self.add(Draft(Cropped(photo.path, "there", before=True), line_of({**_of(photo), "decision": "there"})))

    def add(self, draft: Draft) -> None:
        """Take a draft, to be brought to the disk for good."""
        self._pending.append(draft)

    def ready(self) -> Iterator[Cropped]:
        """What is done for good, once enough has come together."""
        if len(self._pending) >= _BATCH or time.monotonic() - self._last > _SECONDS:
            yield from self.flush()

    def flush(self) -> Iterator[Cropped]:
        """Bring all that is pending to the disk, then tell of it."""
        pending, self._pending = self._pending, []
        moves = [move for draft in pending for move in draft.moves]
        try:
            # What is to be replaced goes first, or a kill would leave it as if it were new.
            for place in [place for _, place in moves if place in self._old]:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(place)  # noqa: PTH108
                self._old.discard(place)  # not before: where it cannot be removed, nothing may be told of its successor
            self._manifest.add(draft.line for draft in pending if draft.line is not None)
            for hidden, place in moves:
                os.replace(hidden, place)  # noqa: PTH105
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be written ({error.strerror or error})") from error
        for draft in pending:
            self._made.pop(id(draft), None)
        self._last = time.monotonic()
        yield from (draft.cropped for draft in pending)

    def save_the_rest(self) -> None:
        """Bring to the disk what is finished, when a run ends before its time; no hidden file stays. Raises nothing.

        All workers must have ended.
        """
        made, self._pending = list(self._made.values()), []
        self._made.clear()
        for draft in made:
            left = tuple([move for move in draft.moves if os.path.lexists(move[0])])
            if left or not draft.moves:  # a flush that was cut short may have given the others their names
                self.add(replace(draft, moves=left))
        with contextlib.suppress(MienError):
            deque(self.flush(), maxlen=0)
        for draft in made:
            _remove(draft.moves)

    def _files(self, piece: Piece) -> list[str]:
        """The places of a piece's crops, relative to the output folder."""
        if not self._numbered:
            return [piece.photo.place] * len(piece.faces)
        return [piece.photo.numbered(f"~{i + 1}") for i in range(len(piece.faces))]


def _remove(moves: Iterable[tuple[str, str]]) -> None:
    """Remove what waits under hidden names, as far as it is there."""
    for hidden, _ in moves:
        with contextlib.suppress(OSError):
            os.unlink(hidden)  # noqa: PTH108


def _write(path: str, content: bytes, place: str) -> None:
    """A file of some kilobytes, without the buffer and the questions of `open`; through no link.

    Raises ImageError, which names `place`.
    """
    try:
        file = os.open(path, _FLAGS, 0o666)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(file, rest) :]
        finally:
            os.close(file)
    except OSError as error:
        raise ImageError(place, f"cannot be written ({error.strerror or error})") from error


def _record(file: str, crop: Crop) -> str:
    """A crop as JSON. Written out, for rounding fifteen numbers one by one takes four times as long."""
    name = as_json(file if os.sep == "/" else file.replace(os.sep, "/"))
    face = crop.face
    points = [value for point in face.landmarks for value in point]
    return f'{{"file":{name},{_NUMBERS % (*crop.size, *face.box, face.score, *points)}}}'


def _of(photo: Photo) -> Entry:
    return {"source": photo.name, **photo.marks}


def _hidden(place: str) -> str:
    """The name under which a crop waits until the manifest tells of it: the same in each run."""
    folder, name = os.path.split(place)
    mark = hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()
    return os.path.join(folder, f".mien-{mark}.part")  # noqa: PTH118
