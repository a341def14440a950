"""WebDataset: tar files of samples; the files of a sample share the name up to the first dot.

Written are `KEY.jpg` (or `.png`, ...), `KEY.cls` (the label) and `KEY.json` (key, label, person). Nothing is ever
unpacked to the disk here, so no name in a tar can reach outside; links, devices and oversized members are refused.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Final

from mien.data.samples import Sample, checked_picture, picture_suffix, safe_key
from mien.errors import InputError
from mien.images import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["read_shard", "write_shard"]

_PICTURES: Final = ("jpg", "jpeg", "png", "webp", "bmp", "ppm", "pgm", "bin")
_SMALL: Final = 1 << 20  # bytes of a label or of a json


def write_shard(file: IO[bytes], samples: Iterable[Sample]) -> int:
    """Write samples as one uncompressed tar; returns how many."""
    count = 0
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for sample in samples:
            # WebDataset cuts a name at its first dot, so a key with dots before its suffix would change its meaning.
            stem = str(PurePosixPath(sample.key).with_suffix("")).replace(".", "_")
            facts = {"key": sample.key, "label": sample.label, "person": sample.person}
            members = (
                (picture_suffix(sample.picture), bytes(sample.picture)),
                ("cls", str(sample.label).encode()),
                ("json", json.dumps(facts, ensure_ascii=False).encode()),
            )
            for suffix, content in members:
                info = tarfile.TarInfo(f"{stem}.{suffix}")
                info.size, info.mode = len(content), 0o644
                tar.addfile(info, io.BytesIO(content))
            count += 1
    return count


def read_shard(path: Path) -> Iterator[Sample]:
    """Read the samples of one tar, in order.

    Raises:
        InputError: it cannot be read, is cut short, or holds links, devices, names that climb out, or other things.
    """
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|") as tar:  # "|": no compression to bomb with
            stem, members = "", dict[str, bytes]()
            for info in tar:
                name, suffix, content = _member(tar, info, path)
                if name != stem and members:
                    yield _sample(stem, members, path)
                    members = {}
                stem = name
                if suffix in members:
                    raise InputError(f"{path}: {info.name!r:.80} is there twice")
                members[suffix] = content
            if members:
                yield _sample(stem, members, path)
    except tarfile.TarError as error:
        raise InputError(f"{path}: not a tar file as expected, or damaged: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _member(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> tuple[str, str, bytes]:
    where = f"{path}, member {info.name!r:.80}"
    if not info.isreg():
        raise InputError(
            f"{where}: expected plain files, got a {'link' if info.islnk() or info.issym() else 'special file'}"
        )
    safe_key(info.name, str(path))
    folder, _, last = info.name.rpartition("/")
    stem, _, suffix = last.partition(".")
    suffix = suffix.lower()
    if info.size > (MAX_BYTES if suffix in _PICTURES else _SMALL):
        raise InputError(f"{where}: {info.size:,} bytes are too many")
    content = tar.extractfile(info)
    data = content.read() if content else b""
    if len(data) != info.size:
        raise InputError(f"{where}: the file is cut short")
    return (f"{folder}/{stem}" if folder else stem), suffix, data


def _sample(stem: str, members: dict[str, bytes], path: Path) -> Sample:
    where = f"{path}, sample {stem!r:.80}"
    kind = next((suffix for suffix in _PICTURES if suffix in members), None)
    if kind is None:
        raise InputError(f"{where}: expected a picture, got {', '.join(members)!r:.80}")
    facts: dict[str, Any] = {}
    if "json" in members:
        try:
            found = json.loads(members["json"])
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: its json cannot be read: {error}") from error
        facts = found if isinstance(found, dict) else {}
    label: object = facts.get("label", members.get("cls", b"").decode("ascii", "replace").strip())
    if isinstance(label, str) and label.isdecimal() and len(label) < 19:
        label = int(label)
    if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < 1 << 63:
        raise InputError(f"{where}: expected a label, got {label!r:.40}")
    key, person = facts.get("key"), facts.get("person", "")
    return Sample(
        safe_key(key if isinstance(key, str) else f"{stem}.{kind}", where),
        label,
        person if isinstance(person, str) else "",
        checked_picture(members[kind], where),
    )
