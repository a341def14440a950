"""Public data sets: what they are, who gives them out, and whether what the user has placed is whole.

Only what may be downloaded freely, and has a published checksum, is downloaded. For the rest the owner's page is named.
"""

from __future__ import annotations

import functools
import itertools
import tarfile
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from mien.errors import InputError, ModelFileError, NotFoundError
from mien.file_lock import file_lock
from mien.models.download import download, file_sha256, https_opener

if TYPE_CHECKING:
    import os

    from mien.models.download import Opener, Progress

__all__ = ["DataSet", "Expectation", "Finding", "data_set", "data_sets", "fetch", "missing", "verify_placed"]

_MOST_UNPACKED = 64 << 30  # bytes


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that may be downloaded, with its published checksum."""

    name: str
    url: str
    sha256: str
    unpack: bool = False


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a placed set holds.

    Attributes:
        pattern: of paths, as `Path.glob` has it.
        count: how many there are.
        what: in words.
        least: whether `count` is the least number, not the exact one.
        folders: whether folders are counted, not files.
        within: sub-folders of which the first that is there is looked into.
    """

    pattern: str
    count: int
    what: str
    least: bool = False
    folders: bool = False
    within: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DataSet:
    """A public data set.

    Attributes:
        name: by which the commands know it.
        title: its own name.
        about: what it is for.
        people: how many; None where people are not told apart.
        pictures: how many.
        terms: in short; the owner's page is what counts.
        access: "download" (freely), "request" (from its owner), or "withdrawn" (nobody gives it out any more).
        source: the owner's page.
        how: how to come by it, where it cannot be downloaded.
        use: a command that uses it.
        files: what may be downloaded.
        expect: what it holds once it is placed.
    """

    name: str
    title: str
    about: str
    people: int | None
    pictures: int
    terms: str
    access: Literal["download", "request", "withdrawn"]
    source: str
    how: str
    use: str
    files: tuple[RemoteFile, ...]
    expect: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether one expectation is met."""

    what: str
    expected: str
    found: int
    ok: bool


@functools.cache
def data_sets() -> tuple[DataSet, ...]:
    """All sets of the catalogue, by name."""
    folder = resources.files("mien.prepare") / "sets"
    cards = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return tuple(_card(f.name.removesuffix(".toml"), tomllib.loads(f.read_text("utf-8"))) for f in cards)


def data_set(name: str) -> DataSet:
    """The set of that name. Raises NotFoundError, which lists the names."""
    for found in data_sets():
        if found.name == name.lower():
            return found
    raise NotFoundError(f"{name}: no such data set; expected one of {', '.join(s.name for s in data_sets())}")


def fetch(
    name: str,
    folder: str | os.PathLike[str],
    *,
    opener: Opener | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Download and unpack a set that may be downloaded. What is there whole is not fetched again.

    Args:
        name: of the set.
        folder: where to; made when it is not there.
        opener: opens web addresses; https only by default.
        progress: called with the bytes that are here and those expected.

    Returns:
        The files.

    Raises:
        NotFoundError: there is no such set.
        InputError: it cannot be downloaded freely (the message says whom to ask), or a file is not what was published.
    """
    wanted, target = _downloadable(name), Path(folder)
    places = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        busy = InputError(f"{target}: another process is downloading there")
        with file_lock(target / ".mien-fetch.lock", wait_s=0, busy=busy):
            for file in wanted.files:
                place = target / file.name
                if not _is_there(place, file):
                    part = place.with_name(f"{place.name}.part")
                    found = download(file.url, part, size=None, opener=opener or https_opener(), progress=progress)
                    if found != file.sha256:
                        part.unlink(missing_ok=True)
                        raise InputError(f"{file.url}: expected a file with sha256 {file.sha256}, got {found}")
                    part.replace(place)
                if file.unpack:
                    unpack_tar(place, target)
                places.append(place)
    except ModelFileError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    return places


def missing(name: str, folder: str | os.PathLike[str]) -> list[RemoteFile]:
    """What `fetch` would download into a folder; nothing is written.

    Raises:
        NotFoundError, InputError: as `fetch` does.
    """
    return [file for file in _downloadable(name).files if not _is_there(Path(folder) / file.name, file)]


def _downloadable(name: str) -> DataSet:
    wanted = data_set(name)
    if wanted.access != "download":
        raise InputError(f"{wanted.title}: {wanted.how}: {wanted.source} (terms: {wanted.terms})")
    return wanted


def _is_there(place: Path, file: RemoteFile) -> bool:
    return place.is_file() and file_sha256(place) == file.sha256


def verify_placed(name: str, folder: str | os.PathLike[str]) -> list[Finding]:
    """Compare what is in a folder with what a set holds.

    Raises:
        NotFoundError: there is no such set or folder.
    """
    wanted, root = data_set(name), Path(folder)
    if not root.is_dir():
        raise NotFoundError(f"{root}: there is no such folder")
    findings = []
    for e in wanted.expect:
        base = next((root / sub for sub in e.within if (root / sub).is_dir()), root)
        # One more than expected is enough to know.
        matches = (p for p in base.glob(e.pattern) if (p.is_dir() if e.folders else p.is_file()))
        found = sum(1 for _ in (itertools.islice(matches, e.count) if e.least else matches))
        expected = f"at least {e.count:,}" if e.least else f"{e.count:,}"
        findings.append(Finding(e.what, expected, found, found >= e.count if e.least else found == e.count))
    return findings


def unpack_tar(archive: Path, target: Path) -> None:
    """Unpack plain files and folders of a tar; nothing outside `target`, no links, no devices, bounded in size.

    Raises:
        InputError: the archive is damaged, or holds something else.
    """
    size = 0
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                size += member.size
                if size > _MOST_UNPACKED:
                    raise InputError(f"{archive}: unpacks to more than {_MOST_UNPACKED >> 30} GiB")
                if not (member.isreg() or member.isdir()):
                    raise InputError(f"{archive}: expected plain files, got {member.name!r:.80}")
                place = target / member.name
                if place.is_file() and place.stat().st_size == member.size:
                    continue  # of an earlier run
                tar.extract(member, target, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{archive}: cannot be unpacked: {error}") from error


def _card(name: str, card: dict[str, Any]) -> DataSet:
    return DataSet(
        name=name,
        title=card["title"],
        about=card["about"],
        people=card.get("people"),
        pictures=card["pictures"],
        terms=card["terms"],
        access=cast("Literal['download', 'request', 'withdrawn']", card["access"]),
        source=card["source"],
        how=card.get("how", ""),
        use=card.get("use", ""),
        files=tuple(RemoteFile(**file) for file in card.get("file", ())),
        expect=tuple(
            Expectation(
                pattern=e["pattern"],
                count=e["count"],
                what=e["what"],
                least=e.get("least", False),
                folders=e.get("folders", False),
                within=tuple(e.get("within", ())),
            )
            for e in card["expect"]
        ),
    )
