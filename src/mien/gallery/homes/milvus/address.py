"""The URL of a gallery in Milvus: a server, or the folder of an embedded Milvus Lite."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from mien.errors import InputError

__all__ = ["Address", "parse"]

_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,31}")
_INDEXES = ("FLAT", "HNSW")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a gallery is.

    Attributes:
        source: the URL without anything secret, for messages.
        path: the folder of a Milvus Lite, or None for a server.
        uri: what pymilvus connects to.
        token: user and password, or an API key.
        database: the server's database.
        prefix: what the names of the gallery's collections begin with; one gallery a prefix.
        index: "FLAT" (exact) or "HNSW".
        m, ef_construction, ef_search: HNSW's parameters.
        timeout: seconds after which a request is given up.
    """

    source: str
    path: Path | None
    uri: str
    token: str = field(default="", repr=False)
    database: str = ""
    prefix: str = "mien"
    index: str = "HNSW"
    m: int = 16
    ef_construction: int = 200
    ef_search: int = 128
    timeout: float = 60.0

    def hushed(self, text: str) -> str:
        """A message without the password."""
        for secret in (self.token, self.token.partition(":")[2]):
            if secret:
                text = text.replace(secret, "***")
        return text


def parse(url: str) -> Address:
    """Take ``milvus://[user:password@]host[:port][/database]`` or ``milvus:///path/file.db`` apart.

    The query may say ``prefix``, ``index`` (flat or hnsw), ``m``, ``ef_construction``, ``ef_search``, ``timeout``,
    ``secure`` (true for TLS) and ``token`` (an API key).

    Raises:
        InputError: it is no such URL; the message does not repeat it, for it may hold a password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        said = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise InputError("the gallery's URL: expected milvus://host:port/database or milvus:///path/file.db") from None
    place = unquote(parts.path)
    if parts.scheme != "milvus" or parts.fragment or (not host and len(place) < 2):
        raise InputError("the gallery's URL: expected milvus://user:password@host:port/database or milvus:///path/f.db")
    numbers: dict[str, Any] = {
        name: int(_word(said, name, "[0-9]{1,5}")) for name in ("m", "ef_construction", "ef_search") if name in said
    }
    index = said.pop("index", "hnsw" if host else "flat").upper()
    if index not in _INDEXES:
        raise InputError(f"the gallery's URL: index is expected to be flat or hnsw, got {index.lower()!r:.40}")
    prefix = said.pop("prefix", "mien")
    if not _PREFIX.fullmatch(prefix):
        raise InputError(f"the gallery's URL: prefix is expected to be a-z, 0-9 and _, at most 32, got {prefix!r:.80}")
    timeout = float(_word(said, "timeout", "[0-9]{1,5}")) if "timeout" in said else 60.0
    secure = said.pop("secure", "false") == "true"
    token = said.pop("token", "")
    for name in (*numbers, "timeout"):
        said.pop(name, None)
    if said:
        raise InputError(f"the gallery's URL: Milvus knows no parameter {next(iter(said))!r:.40}")
    shown = "" if prefix == "mien" else f"?prefix={prefix}"
    if not host:
        path = Path(place)
        return Address(
            source=f"milvus://{path}{shown}",
            path=path,
            uri=str(path),
            prefix=prefix,
            index=index,
            timeout=timeout,
            **numbers,
        )
    if parts.username:
        token = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    where = f"[{host}]" if ":" in host else host
    database = place.strip("/")
    user = f"{unquote(parts.username)}@" if parts.username else ""
    return Address(
        source=f"milvus://{user}{where}:{port or 19530}/{database}{shown}",
        path=None,
        uri=f"http{'s' if secure else ''}://{where}:{port or 19530}",
        token=token,
        database=database,
        prefix=prefix,
        index=index,
        timeout=timeout,
        **numbers,
    )


def _word(said: dict[str, str], name: str, pattern: str) -> str:
    if not re.fullmatch(pattern, said[name]):
        raise InputError(f"the gallery's URL: {name} is expected to be a whole number, got {said[name]!r:.40}")
    return said[name]
