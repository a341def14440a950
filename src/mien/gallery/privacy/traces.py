"""Every form in which a person's data can stand in a file, as fingerprints."""

from __future__ import annotations

import contextlib
import json
import unicodedata
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from mien.gallery.privacy.byte_search import Fingerprints, fingerprint_text, fingerprint_windows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mien.gallery.home import Home, StoredFace
    from mien.gallery.privacy.byte_search import Remains
    from mien.types import Floats, Subject

__all__ = ["explained_texts", "fingerprints_of"]

_VECTOR_PERIOD: Final = 32  # bytes; see `byte_search`
_CROP_PERIOD: Final = 256

_Row: TypeAlias = tuple[int, bytes]


def fingerprints_of(
    salt: bytes,
    subject: Subject,
    faces: Sequence[StoredFace],
    vectors: Iterable[Floats],
    crops: Sequence[bytes],
    *,
    texts: bool,
) -> tuple[Fingerprints, dict[tuple[str, _Row], bytes]]:
    """What to look for after a person was erased, and the texts behind it: (kind, row) -> the bytes."""
    prints = Fingerprints(salt)
    long = [("face vector", np.asarray(v, "<f4").tobytes(), _VECTOR_PERIOD) for v in vectors]
    long += [("crop", _telling_part(crop), _CROP_PERIOD) for crop in crops]
    for kind, content, period in long:
        rows, missing = fingerprint_windows(salt, content, period)
        prints.windows[kind] = prints.windows.get(kind, b"") + rows
        _count(prints, kind, missing)
    plain: dict[tuple[str, _Row], bytes] = {}
    for kind, text in dict.fromkeys(_texts(subject, faces) if texts else ()):
        searchable = False
        for form in _forms(text):
            row = fingerprint_text(salt, form)
            if row is not None:
                plain[kind, row] = form
                searchable = True
        _count(prints, kind, not searchable)
    for kind, row in plain:
        prints.texts[kind] = (*prints.texts.get(kind, ()), row)
    return prints, plain


def explained_texts(home: Home, found: Sequence[Remains], plain: dict[tuple[str, _Row], bytes]) -> dict[str, set[_Row]]:
    """Texts of those that were found that also are part of what is kept of others: kind -> rows.

    A photo of two people is named with both; "Anna" is in "Anna Berg". Nothing can be proven with such a text.
    """
    if not any(part.kind in {kind for kind, _ in plain} for part in found):
        return {}
    wanted = dict(plain)
    explained: dict[str, set[_Row]] = {}
    for text in _kept_texts(home):
        for key in [key for key, form in wanted.items() if form in text]:
            explained.setdefault(key[0], set()).add(key[1])
            del wanted[key]
        if not wanted:
            break
    return explained


def _kept_texts(home: Home) -> Iterator[bytes]:
    for subject in home.subjects():
        faces = home.faces(subject.name)
        texts = [text for _, text in _texts(subject, faces)] + list(subject.groups)
        yield b"\0\0".join(form for text in texts for form in _forms(text))
    for sighting in home.sightings():
        yield sighting.source.encode("utf-8", "surrogatepass")
    yield (home.calibration() or "").encode()


def _texts(subject: Subject, faces: Sequence[StoredFace]) -> Iterator[tuple[str, str]]:
    yield "name", subject.name
    if subject.external_id:
        yield "external id", subject.external_id
    if subject.consent:
        yield "consent note", subject.consent
    for text in _strings(subject.metadata):
        yield "metadata", text
    for face in faces:
        yield "picture name", face.picture
        if face.sha256:
            yield "picture checksum", face.sha256


def _strings(value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _strings(part)


def _forms(text: str) -> Iterator[bytes]:
    """A text as UTF-8, decomposed UTF-8, UTF-16 of both orders, and in JSON; a checksum also as its bytes."""
    utf8 = text.encode("utf-8", "surrogatepass")
    forms = [
        utf8,
        unicodedata.normalize("NFD", text).encode("utf-8", "surrogatepass"),
        text.encode("utf-16-le", "surrogatepass"),
        text.encode("utf-16-be", "surrogatepass"),
        json.dumps(text)[1:-1].encode(),
    ]
    if len(text) == 64:
        with contextlib.suppress(ValueError):
            forms.append(bytes.fromhex(text))
    yield from dict.fromkeys(forms)


def _telling_part(crop: bytes) -> bytes:
    """A crop without the tables that every JPEG of one encoder has in common: what follows the start of the scan."""
    start = crop.find(b"\xff\xda") if crop[:2] == b"\xff\xd8" else -1
    return crop[start + 16 :] if start >= 0 else crop[64:]


def _count(prints: Fingerprints, kind: str, missing: int) -> None:
    if missing:
        prints.unsearchable[kind] = prints.unsearchable.get(kind, 0) + int(missing)
