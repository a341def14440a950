"""Fetching one file over https: resumable, bounded, and hashed on the way. The result is not trusted until checked."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from mien.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Opener", "Progress", "download", "https_opener"]

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes that are here, and the bytes expected (None: unknown)."""

CHUNK = 1 << 20
TIMEOUT_S = 30.0
ATTEMPTS = 3
UNKNOWN_SIZE_LIMIT = 2 * 1024**3


class Opener(Protocol):
    """Opens a web address; `urllib.request.OpenerDirector.open` is one. Raises URLError."""

    def __call__(self, request: urllib.request.Request, *, timeout: float) -> Any:  # noqa: ANN401 - urllib's response
        """Answer with a response that has `status`, `headers`, `read` and `close`."""
        ...


class HttpsRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but only to https."""

    def redirect_request(  # noqa: PLR0917 - as the base class has it
        self,
        req: urllib.request.Request,
        fp: Any,  # noqa: ANN401
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Refuse an insecure target."""
        if not newurl.lower().startswith("https://"):
            raise urllib.error.URLError(f"refused to follow a redirect to {newurl!r}: only https is allowed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def https_opener() -> Opener:
    """An opener that knows https and nothing else: no http, no file, no ftp."""
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(),
        HttpsRedirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        director.add_handler(handler)

    def open_(request: urllib.request.Request, *, timeout: float) -> Any:  # noqa: ANN401
        return director.open(request, timeout=timeout)

    return open_


class _InterruptedError(Exception):
    """The connection broke; what arrived is kept."""


def download(
    url: str,
    part: Path,
    *,
    size: int | None,
    opener: Opener,
    progress: Progress | None = None,
    pause_s: float = 0.5,
) -> str:
    """Bring `part` to the whole content of `url`, going on where an earlier call stopped.

    The caller holds a lock on `part`, and verifies the checksum before it uses the file.

    Args:
        url: the address.
        part: the file to fill; what it holds already is taken for the beginning of the content.
        size: the expected length in bytes, if known; one byte more is refused.
        opener: opens the address.
        progress: told after every chunk.
        pause_s: seconds to wait after the first broken connection; doubled each time.

    Returns:
        The sha256 of the file, lower-case hex.

    Raises:
        ModelFileError: the server refuses, the content is too long, or the connection keeps breaking.
    """
    for attempt in range(ATTEMPTS):
        try:
            return _attempt(url, part, size, opener, progress)
        except _InterruptedError as error:
            reason = str(error)
            if attempt + 1 < ATTEMPTS:
                time.sleep(pause_s * 2**attempt)
    raise ModelFileError(f"{url}: {reason}; run the same command again to go on from there")


def _attempt(url: str, part: Path, size: int | None, opener: Opener, progress: Progress | None) -> str:
    limit = UNKNOWN_SIZE_LIMIT if size is None else size
    have = part.stat().st_size if part.exists() else 0
    if have > limit or (size is None and have):  # without a known size, a finished part cannot be told from a torn one
        part.unlink()
        have = 0
    if have == size:
        return file_sha256(part)
    with _answer(url, have, opener) as response:
        if response is None:  # the server has nothing after what we hold, so what we hold is not its file
            part.unlink()
            raise _InterruptedError("the server's file is shorter than expected")
        start = _start(response, have)
        if start is None:
            part.unlink()
            raise _InterruptedError("the server sent another range than asked for")
        digest = _digest_of(part, start)
        announced = _length(response)
        total = size if size is not None else (None if announced is None else start + announced)
        if total is not None and announced is not None and start + announced > limit:
            raise ModelFileError(f"{url}: expected at most {limit} bytes, the server announces {start + announced}")
        done = start
        with part.open("r+b" if start else "wb") as out:
            out.truncate(start)
            out.seek(start)
            while chunk := _read(response):
                done += len(chunk)
                if done > limit:
                    break
                out.write(chunk)
                digest.update(chunk)
                if progress is not None:
                    progress(done, total)
    if done > limit:
        part.unlink()
        raise ModelFileError(f"{url}: expected at most {limit} bytes, got more; the download was thrown away")
    if total is not None and done < total:
        raise _InterruptedError(f"the connection broke after {done} of {total} bytes")
    return str(digest.hexdigest())


@contextlib.contextmanager
def _answer(url: str, have: int, opener: Opener) -> Iterator[Any]:
    """The server's response, or None when it says that there is nothing after `have` bytes."""
    headers = {"User-Agent": "mien", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = opener(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)  # noqa: S310 - see https_opener
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            yield None
            return
        if error.code >= 500 or error.code in (408, 429):
            raise _InterruptedError(f"the server answers {error.code} {error.reason}") from error
        raise ModelFileError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        if "only https" in str(reason) or "unknown url type" in str(reason):
            raise ModelFileError(f"{url}: {reason}") from error
        raise _InterruptedError(f"cannot be reached ({reason})") from error
    with contextlib.closing(response):
        yield response


def _start(response: Any, have: int) -> int | None:  # noqa: ANN401
    """Where the answer begins: at `have` when the server honours the range, at 0 when it sends all; None: elsewhere."""
    if not have or response.status != http.client.PARTIAL_CONTENT:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range") or "")
    return have if found and int(found[1]) == have else None


def _length(response: Any) -> int | None:  # noqa: ANN401
    value = response.headers.get("Content-Length")
    return int(value) if value and re.fullmatch(r"\d{1,15}", value) else None


def _read(response: Any) -> bytes:  # noqa: ANN401
    try:
        chunk: bytes = response.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedError(f"the connection broke ({error})") from error
    return chunk


def _digest_of(path: Path, length: int) -> Any:  # noqa: ANN401 - hashlib's object
    """The running sha256 of the first `length` bytes."""
    digest = hashlib.sha256()
    if length:
        with path.open("rb") as stream:
            while length > 0 and (chunk := stream.read(min(CHUNK, length))):
                digest.update(chunk)
                length -= len(chunk)
    return digest


def file_sha256(path: Path) -> str:
    """The sha256 of a whole file, lower-case hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
