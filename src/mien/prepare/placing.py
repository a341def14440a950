"""Chosen pictures to where they belong: copied, hard linked, or listed; gone on with after a stop, never mixed.

A folder belongs to one choice. Its manifest pins how and from what the choice was made, so that another choice is
refused there rather than put among the first; a manifest's line is written before its picture is, so that all that an
earlier run may have placed can be found again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from mien.errors import InputError
from mien.file_draft import DRAFTS, draft_beside
from mien.file_lock import file_lock
from mien.prepare.manifest import NAME, Manifest, read_manifest, stamp
from mien.prepare.putting import Below, Chosen, alike, is_there, put_pictures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mien.prepare.people import People

    Advance: TypeAlias = Callable[[int], None]

__all__ = ["PLACINGS", "Placed", "Placing", "place"]

Placing: TypeAlias = Literal["copy", "link", "list"]
PLACINGS: Final[tuple[Placing, ...]] = get_args(Placing)
"""Copies of the pictures, hard links to them (no space, same disk), or only a list of their paths."""

_LOCK: Final = f".{NAME}.lock"


@dataclass(frozen=True, slots=True)
class Placed:
    """What `place` did: pictures placed now, and those that were there already."""

    placed: int
    there: int


def place(
    sets: Mapping[str, People],
    root: Path,
    target: Path,
    how: Placing,
    *,
    verb: str,
    settings: Mapping[str, Any],
    force: bool = False,
    dry_run: bool = False,
    advance: Advance = lambda _n: None,
) -> Placed:
    """Put the pictures of sets into a folder each, or their paths into a list each.

    A run that was stopped goes on; one with other settings, or of other pictures, is refused.

    Args:
        sets: name -> people; the name "" stands for `target` itself.
        root: the folder that the pictures lie in; their place below it is kept.
        target: the folder of the sets; for "list" of the one set "", the text file.
        how: see `PLACINGS`; a list has one path a line, relative to `root`.
        verb: which verb chose.
        settings: how it chose; plain JSON values.
        force: write over lists, and take back first what an earlier run placed. Only copies and links whose sources are
            still there, unchanged, are taken back.
        dry_run: only look whether it can be done, and what is there.
        advance: called with how many more pictures are done.

    Raises:
        InputError: the folder is not empty and holds another choice, something cannot be written, or another file is in
            the way.
    """
    inside = os.path.realpath(root)
    if how != "list" and Path(os.path.realpath(target)).is_relative_to(inside):
        raise InputError(f"{target}: lies in {root}, whose pictures are placed; choose another folder")
    settings = {"source": inside, "place": how, **settings, "chosen": _digest(sets, root)}
    try:
        made = _made(target, verb)
        if made is not None and not force:
            _same_choice(target, made, settings)
        elif made is None and how != "list" and target.is_dir() and any(_foreign(target)):
            raise InputError(f"{target}: expected an empty folder, or one that mien data {verb} made")
        lists = {target if not name else target / f"{name}.txt": people for name, people in sets.items()}
        if how == "list" and not force:
            for path, people in lists.items():
                _no_other_list(path, _lines_of(people, root))
        if how == "list" and "" in sets:
            if not dry_run:
                _write_list(target, _lines_of(sets[""], root))
            advance(_count(sets))
            return Placed(_count(sets), 0)
        if dry_run:
            if made is not None and force:
                _to_take_back(target, made)
            there = 0 if how == "list" or (made is not None and force) else _there(sets, root, target)
            return Placed(_count(sets) - there, there)
        if made is not None and force:
            _take_back(target, made)
        with Manifest(target, verb, settings) as manifest:
            if how == "list":
                for path, people in lists.items():
                    manifest.add([{"decision": "listed", "set": path.stem, "to": path.name}])
                    _write_list(path, _lines_of(people, root))
                advance(_count(sets))
                return Placed(_count(sets), 0)
            there = put_pictures(_chosen(sets, root), target, how, manifest, advance=advance)
    except OSError as error:
        raise InputError(f"{error.filename or target}: cannot be written ({error.strerror or error})") from error
    return Placed(_count(sets) - there, there)


def _chosen(sets: Mapping[str, People], root: Path) -> Iterator[Chosen]:
    for name, people in sets.items():
        for _, pictures in people:
            for path in pictures:
                below = path.relative_to(root).as_posix()
                to = f"{name}/{below}" if name else below
                yield Chosen(path, to, {"source": below, "decision": "chosen", "set": name, "to": to})


def _there(sets: Mapping[str, People], root: Path, target: Path) -> int:
    """How many pictures are at their places. Raises InputError for what `put_pictures` would refuse."""
    below, there = Below(target), 0
    for picture in _chosen(sets, root):
        place_at = target / str(picture.to)
        below.check(place_at)
        there += is_there(picture.source, place_at)
    return there


def _lines_of(people: People, root: Path) -> bytes:
    lines = [f"{picture.relative_to(root).as_posix()}\n" for _, pictures in people for picture in pictures]
    return "".join(lines).encode("utf-8", "surrogateescape")


def _no_other_list(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() != content:
        raise InputError(f"{path}: another list is there already; choose another name, or --force")


def _write_list(path: Path, content: bytes) -> None:
    with draft_beside(path) as draft:
        draft.write_bytes(content)


def _made(target: Path, verb: str) -> dict[str, Any] | None:
    """How the folder's choice was made; None where there is none. Raises InputError where another verb made it."""
    path = target / NAME
    try:
        with path.open("rb") as file:
            head = file.readline(1 << 20)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not head.endswith(b"\n"):  # a run that was killed at once
        return None
    try:
        made = json.loads(head)
        by, settings = made["verb"], dict(made["settings"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path}: the manifest is damaged; choose another folder") from error
    if by != verb:
        raise InputError(f"{path}: the folder was made by {by!r}; choose another one")
    return settings


def _same_choice(target: Path, before: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    now = json.loads(json.dumps(settings))
    other = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if other:
        listed = ", ".join(f"{name} was {before.get(name)!r:.60}, is {now.get(name)!r:.60}" for name in other)
        what = f"{target}: was made with other settings ({listed})"
        raise InputError(f"{what}; choose another folder, or --force, which takes back what is there")


def _take_back(target: Path, made: Mapping[str, Any]) -> None:
    """Remove what the manifest's run placed, and the manifest: all of it, or nothing where something has changed."""
    busy = InputError(f"{target}: another run is writing there; wait for it to end or choose another folder")
    with file_lock(target / _LOCK, wait_s=0, busy=busy):
        for path in _to_take_back(target, made):
            path.unlink(missing_ok=True)
        for draft in target.rglob(DRAFTS):  # of a run that was killed
            draft.unlink(missing_ok=True)
        for folder, _, _ in os.walk(target, topdown=False):
            with contextlib.suppress(OSError):  # not empty: the manifest lies there, or files of others
                Path(folder).rmdir()
        (target / NAME).unlink()


def _to_take_back(target: Path, made: Mapping[str, Any]) -> list[Path]:
    """What the manifest's run placed. Raises InputError where it was changed, or files of others lie there."""
    source = Path(str(made.get("source", "")))
    last = {entry["to"]: entry for entry in read_manifest(target) if "to" in entry}  # of several lines the last counts
    placed = [path for entry in last.values() if (path := _placed(target, source, entry)) is not None]
    if made.get("place") != "list":
        own = {*placed, target / NAME, target / _LOCK}
        for folder, folders, files in os.walk(target):
            links = (path for name in folders if (path := Path(folder, name)).is_symlink())
            paths = (path for name in files if not (path := Path(folder, name)).match(DRAFTS))
            if (other := next((path for path in (*links, *paths) if path not in own), None)) is not None:
                raise InputError(f"{other}: is of somebody else; choose another folder")
    return placed


def _placed(target: Path, root: Path, entry: Mapping[str, Any]) -> Path | None:
    """Where a line's picture or list lies; None where it does not. Raises InputError for what may not be removed."""
    path = target / str(entry.get("to", ""))
    if "to" not in entry or not (path.exists() or path.is_symlink()):
        return None
    if path.is_symlink() or not path.is_file() or not _inside(path, target):
        raise InputError(f"{path}: is not what was placed there; choose another folder")
    if entry.get("decision") == "listed":
        return path
    try:
        source = root / str(entry["source"])
        marks = stamp(source)
        recorded = {name: entry[name] for name in marks}
        # The copy's own time proves nothing: disks keep it more or less finely.
        same = path.samefile(source) or (marks == recorded and alike(path, source))
    except (OSError, KeyError):
        same = False
    if not same:
        raise InputError(f"{path}: it or its source was changed since it was placed; choose another folder")
    return path


def _inside(path: Path, target: Path) -> bool:
    return Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(target))


def _foreign(target: Path) -> Iterator[Path]:
    return (path for path in target.iterdir() if path.name not in (NAME, _LOCK))


def _count(sets: Mapping[str, People]) -> int:
    return sum(len(pictures) for people in sets.values() for _, pictures in people)


def _digest(sets: Mapping[str, People], root: Path) -> str:
    """What was chosen, in a few letters: people who came or went since change who is in which set."""
    text = hashlib.sha256()
    for name, people in sets.items():
        for _, pictures in people:
            for path in pictures:
                text.update(f"{name}\0{path.relative_to(root).as_posix()}\n".encode("utf-8", "surrogatepass"))
    return f"{_count(sets)} pictures, {text.hexdigest()[:16]}"
