"""The URL of a gallery in PostgreSQL: libpq's, with the gallery's own settings beside libpq's in the query."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from mien.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Address", "Settings", "parse"]

_SCHEMES = ("postgresql", "postgres")
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::(\d*))?")
_SECRETS = ("password", "sslpassword", "passfile")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a gallery is kept and searched; each may also be said in the URL's query.

    Attributes:
        schema: the PostgreSQL schema that holds the gallery's tables; one gallery a schema.
        exact_below: up to so many faces every search is exact; above, the HNSW index is made and asked.
        m: HNSW: links a node.
        ef_construction: HNSW: candidates looked at when a node is linked.
        ef_search: HNSW: candidates looked at in a search; more finds more and takes longer.
        connections: the most that are kept open.
        timeout: seconds after which the server gives up a statement, a wait for a lock, or an idle transaction.
    """

    schema: str = "mien"
    exact_below: int = 20_000
    m: int = 16
    ef_construction: int = 100
    ef_search: int = 200
    connections: int = 8
    timeout: int = 60

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.schema) or self.schema.startswith("pg_"):
            raise InputError(
                f"schema: expected lower-case letters, digits and _, at most 63 and not pg_*, got {self.schema!r:.80}"
            )
        for name, low, high in (
            ("exact_below", 0, 10**9),
            ("m", 2, 100),
            ("ef_construction", 4, 1000),
            ("ef_search", 1, 1000),
            ("connections", 1, 1000),
            ("timeout", 1, 86_400),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{name}: expected {low} to {high}, got {value}")
        if self.ef_construction < 2 * self.m:
            raise InputError(f"ef_construction: expected at least 2 * m = {2 * self.m}, got {self.ef_construction}")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a gallery is.

    Attributes:
        source: the URL without anything secret, for messages.
        parameters: libpq's connection parameters; not shown by `repr`, for they hold the password.
        settings: the gallery's own.
    """

    source: str
    parameters: Mapping[str, str] = field(repr=False)
    settings: Settings

    def hushed(self, text: str) -> str:
        """A message without the secrets that a server or a library may have put into it."""
        for name in _SECRETS:
            secret = self.parameters.get(name)
            if secret:
                text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
        return text


def parse(url: str, settings: Settings) -> Address:
    """Take a URL apart.

    Args:
        url: ``postgresql://[user[:password]@][host[:port][,...]][/database][?parameter=value&...]``.
        settings: what holds where the URL says nothing.

    Raises:
        InputError: it is no such URL; the message does not repeat it, for it may hold a password.
    """
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise InputError("the gallery's URL: not a URL; expected postgresql://user@host/database") from None
    if parts.scheme not in _SCHEMES or parts.fragment:
        raise InputError(
            "the gallery's URL: expected postgresql://user:password@host:port/database, with / ? # @ : in the user and "
            "password written as %2F %3F %23 %40 %3A"
        )
    parameters: dict[str, str] = {}
    login, at, place = parts.netloc.rpartition("@")
    if at:
        user, _, password = login.partition(":")
        parameters |= {name: unquote(v) for name, v in (("user", user), ("password", password)) if v}
    hosts, ports = _places(place)
    parameters |= {name: value for name, value in (("host", hosts), ("port", ports)) if value}
    if parts.path.strip("/"):
        parameters["dbname"] = unquote(parts.path[1:])
    own = {f.name for f in fields(Settings)}
    said: dict[str, str | int] = {}
    for name, value in query:
        if name not in own:
            parameters[name] = value
        elif name == "schema":
            said[name] = value
        elif value.isascii() and value.isdigit():
            said[name] = int(value)
        else:
            raise InputError(f"the gallery's URL: {name} is expected to be a whole number, got {value!r:.40}")
    settings = replace(settings, **said)  # type: ignore[arg-type] # schema is text, the rest are numbers
    return Address(_shown(parameters, settings), parameters, settings)


def _places(text: str) -> tuple[str, str]:
    """The host and port parameters from ``host:port,[v6]:port``."""
    hosts, ports = [], []
    for place in text.split(","):
        found = _PLACE.fullmatch(place)
        if found is None:
            raise InputError("the gallery's URL: expected host:port behind the @")
        hosts.append(unquote(found[1].strip("[]")))
        ports.append(found[2] or "")
    return ",".join(hosts), ",".join(ports) if any(ports) else ""


def _shown(parameters: Mapping[str, str], settings: Settings) -> str:
    user = f"{parameters['user']}@" if "user" in parameters else ""
    port = f":{parameters['port']}" if "port" in parameters else ""
    schema = "" if settings.schema == Settings().schema else f"?schema={settings.schema}"
    return f"postgresql://{user}{parameters.get('host', '')}{port}/{parameters.get('dbname', '')}{schema}"
