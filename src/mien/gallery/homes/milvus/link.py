"""A connection to Milvus, the gallery's collections, and Milvus's complaints turned into advice.

No text from outside is ever part of a filter: names, external ids, groups and checksums are found by their SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import warnings
from typing import TYPE_CHECKING, Any, Final

from mien.errors import GalleryError, GalleryFileError, InputError, MissingExtraError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mien.gallery.homes.milvus.address import Address
    from mien.types import Floats

__all__ = ["LITE_OPTIONS", "Link", "Row", "key_of", "listed"]

Row = dict[str, Any]

_IDS_A_REQUEST = 1000
_ROWS_A_REQUEST = 16_000  # Milvus answers with 16,384 at most
_WIDE_ROWS = 2000  # with their embeddings
_BYTES_A_REQUEST = 8 << 20
_BLANK = [0.0, 0.0]  # Milvus wants a vector in every collection


def key_of(text: str | None) -> str:
    """What a text is found by; empty for none."""
    return "" if text is None else hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def listed(values: Sequence[int] | Sequence[str]) -> str:
    """A list for a filter, of whole numbers or keys."""
    return "[" + ", ".join(str(v) if isinstance(v, int) else f'"{v}"' for v in values) + "]"


LITE_OPTIONS: Final = {"grpc.keepalive_time_ms": 600_000, "grpc.keepalive_permit_without_calls": 0}
"""For Milvus Lite, whose server hangs up on a client that asks too often whether it is there (pymilvus: every 10 s)."""


class Link:
    """One gallery's collections: ``subjects``, ``faces`` and ``kept`` behind the gallery's prefix.

    Thread-safe as pymilvus's client is. Reads follow writes (consistency level Strong).
    """

    def __init__(self, address: Address, *, readonly: bool, create: bool) -> None:
        self.address = address
        self.source = address.source
        self.readonly = readonly
        missing = f"{self.source}: there is no such gallery; enrol somebody first or check the URL"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from pymilvus import MilvusClient
        except ImportError as error:
            raise MissingExtraError("a gallery in Milvus", "milvus") from error
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it prints each error that it also raises
        if address.path is not None:
            if not address.path.parent.is_dir():
                raise GalleryFileError(f"{self.source}: its folder does not exist; make it first")
            if not address.path.exists() and (readonly or not create):
                raise NotFoundError(missing)
        more: dict[str, Any] = {} if address.path else {"token": address.token, "db_name": address.database}
        if address.path:
            more["grpc_options"] = LITE_OPTIONS
        self._client: Any = None
        self._there: set[str] = set()  # collections that were seen: they are never dropped
        with self.explained(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._client = MilvusClient(address.uri, timeout=address.timeout, **more)
            except (ImportError, RuntimeError, OSError) as error:  # Milvus Lite is missing or cannot start here
                raise GalleryFileError(f"{self.source}: Milvus Lite does not start ({error})") from error
        try:
            self._prepare(missing, readonly=readonly, create=create)
        except BaseException:
            self.close()
            raise

    def _prepare(self, missing: str, *, readonly: bool, create: bool) -> None:
        if self.has("kept"):
            for name in ("subjects", "kept"):
                self._call("load_collection", self.name(name))
            if self._call("has_collection", self.name("faces")):
                self._call("load_collection", self.name("faces"))
            return
        if readonly or not create:
            raise NotFoundError(missing)
        text, number = {"datatype": "VARCHAR"}, {"datatype": "INT64"}
        key = {**text, "max_length": 64}
        self.make(
            "subjects",
            {
                "id": number | {"is_primary": True},
                "name_key": key,
                "external_key": key,
                "told": key,
                "group_keys": {"datatype": "ARRAY", "element_type": "VARCHAR", "max_capacity": 1024, "max_length": 64},
                "row": {"datatype": "JSON"},
                "blank": {"datatype": "FLOAT_VECTOR", "dim": 2},
            },
        )
        # Last, for a gallery that has it is whole.
        self.make(
            "kept",
            {
                "key": text | {"is_primary": True, "max_length": 200},
                "value": text | {"max_length": 65_535},
                "blank": {"datatype": "FLOAT_VECTOR", "dim": 2},
            },
        )

    def name(self, collection: str) -> str:
        """The collection's full name."""
        return f"{self.address.prefix}_{collection}"

    def has(self, collection: str) -> bool:
        """Whether there is such a collection."""
        if collection not in self._there and self._call("has_collection", self.name(collection)):
            self._there.add(collection)
        return collection in self._there

    def make_faces(self, dimension: int) -> None:
        """Make the collection of faces where it is missing."""
        if not self.has("faces"):
            self.make(
                "faces",
                {
                    "id": {"datatype": "INT64", "is_primary": True},
                    "subject_id": {"datatype": "INT64"},
                    "negative": {"datatype": "BOOL"},
                    "content_key": {"datatype": "VARCHAR", "max_length": 64},
                    "row": {"datatype": "JSON"},
                    "embedding": {"datatype": "FLOAT_VECTOR", "dim": dimension},
                },
            )

    def make(self, collection: str, fields: Mapping[str, Mapping[str, Any]]) -> None:
        """Make a collection with these fields, and what finds vectors in it."""
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        index = MilvusClient.prepare_index_params()
        for name, facts in fields.items():
            kinds = {k: DataType[v] for k, v in facts.items() if k in ("datatype", "element_type")}
            schema.add_field(name, **{**facts, **kinds})
            if facts["datatype"] == "FLOAT_VECTOR":
                hnsw = collection == "faces" and self.address.index == "HNSW"
                params = {"M": self.address.m, "efConstruction": self.address.ef_construction} if hnsw else {}
                index.add_index(name, index_type="HNSW" if hnsw else "FLAT", metric_type="IP", params=params)
        full = self.name(collection)
        self._call("create_collection", full, schema=schema, consistency_level="Strong")
        # Of an empty collection the index is there at once; to wait for it would take half a second.
        self._call("create_index", full, index, sync=False)
        self._call("load_collection", full)

    def rows(self, collection: str, where: str, fields: Sequence[str], *, after: int = 0) -> Iterator[Row]:
        """The rows of a filter with ids behind `after`, in order of id, in ranges that one answer holds."""
        last = self.last(collection)
        step = _WIDE_ROWS if "embedding" in fields else _ROWS_A_REQUEST
        while after < last:
            yield from self._page(collection, f"{where} and id > {after} and id <= {after + step}", fields, "id")
            after += step

    def rows_in(
        self, collection: str, column: str, values: Sequence[Any], fields: Sequence[str], *, also: str = ""
    ) -> list[Row]:
        """The rows whose column is one of some values, whole numbers or keys; in no order."""
        found: list[Row] = []
        step = _WIDE_ROWS if "embedding" in fields else _IDS_A_REQUEST
        for start in range(0, len(values), step):
            where = f"{column} in {listed(values[start : start + step])}{also and ' and ' + also}"
            page = self._page(collection, where, fields, "key" if collection == "kept" else "id")
            # Milvus cuts an answer off at its limit without a word: then in ranges of ids, which cannot be too many.
            found += page if len(page) < _ROWS_A_REQUEST else self.rows(collection, where, fields)
        return found

    def _page(self, collection: str, where: str, fields: Sequence[str], key: str) -> list[Row]:
        if collection == "faces" and not self.has("faces"):
            return []
        found = self._call(
            "query",
            self.name(collection),
            filter=where,
            output_fields=[*fields],
            limit=_ROWS_A_REQUEST,
            consistency_level="Strong",
        )
        return sorted((dict(row) for row in found), key=lambda row: row[key])

    def last(self, collection: str) -> int:
        """The highest id that was ever given out in ``subjects`` or ``faces``."""
        key = f"next {collection[:-1]}/0"
        found = self.rows_in("kept", "key", [key], ("key", "value"))
        return int(found[0]["value"]) - 1 if found else 0

    def count(self, collection: str, where: str) -> int:
        """How many rows a filter has."""
        if collection == "faces" and not self.has("faces"):
            return 0
        found = self._call(
            "query", self.name(collection), filter=where, output_fields=["count(*)"], consistency_level="Strong"
        )
        return int(found[0]["count(*)"])

    def put(self, collection: str, rows: Sequence[Row]) -> None:
        """Insert or replace rows, so many at a time as a request takes."""
        if not rows:
            return
        for row in rows:
            if collection != "faces":
                row["blank"] = _BLANK
        width = (
            4 * len(rows[0]["embedding"]) + 1024 if collection == "faces" else 70_000 if collection == "kept" else 4096
        )
        step = max(1, min(_IDS_A_REQUEST, _BYTES_A_REQUEST // width))
        for start in range(0, len(rows), step):
            self._call("upsert", self.name(collection), rows[start : start + step])

    def drop(self, collection: str, keys: Sequence[Any]) -> None:
        """Delete rows by their key."""
        for start in range(0, len(keys), _IDS_A_REQUEST):
            self._call("delete", self.name(collection), ids=list(keys[start : start + _IDS_A_REQUEST]))

    def near(self, probes: Floats, where: str, limit: int) -> list[list[Row]]:
        """The nearest faces of each probe: rows with id, subject_id, row and embedding."""
        params = {"ef": max(limit, self.address.ef_search)} if self.address.index == "HNSW" else {}
        found = self._call(
            "search",
            self.name("faces"),
            list(probes),
            limit=limit,
            filter=where,
            output_fields=["subject_id", "row", "embedding"],
            search_params={"metric_type": "IP", "params": params},
            consistency_level="Strong",
        )
        return [[{"id": hit["id"], **hit["entity"]} for hit in hits] for hits in found]

    def check_writable(self) -> None:
        """Raise GalleryError when it was opened readonly."""
        if self.readonly:
            raise GalleryError(f"{self.source}: was opened readonly; open it again without readonly to change it")

    def close(self) -> None:
        """Let go; a second call does nothing."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _call(self, method: str, *values: Any, **more: Any) -> Any:  # noqa: ANN401 - pymilvus's
        client = self._client
        if client is None:
            raise GalleryError(f"{self.source}: the gallery is closed; open it again")
        with self.explained():
            return getattr(client, method)(*values, timeout=self.address.timeout, **more)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Raise an error of mien's, without secrets, for what Milvus reports."""
        from grpc import RpcError
        from pymilvus.exceptions import MilvusException, ParamError

        try:
            yield
        except (ParamError, UnicodeEncodeError) as error:
            raise InputError(f"{self.source}: Milvus cannot keep such a value ({self._told(error)})") from None
        except (MilvusException, RpcError) as error:
            if self._client is None and "connection first" in str(error):
                raise GalleryError(f"{self.source}: the gallery is closed; open it again") from None
            raise GalleryFileError(
                f"{self.source}: Milvus cannot be reached or refuses ({self._told(error)}); check that it runs, and "
                "look before repeating a change"
            ) from None

    def _told(self, error: Exception) -> str:
        text = str(getattr(error, "message", "") or error).strip()
        return self.address.hushed(text.splitlines()[0] if text else type(error).__name__)[:500]
