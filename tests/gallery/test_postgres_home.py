"""What is PostgreSQL's alone: the index above a size, secrets that are never shown, a server that restarts."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mien.errors import GalleryError, GalleryFileError, InputError, MissingExtraError
from mien.gallery.homes import open_home
from mien.gallery.homes.postgres import PostgresHome, searching
from mien.gallery.homes.postgres.address import Settings, parse
from mien.gallery.homes.postgres.link import pack, unpack
from mien.gallery.homes.postgres.schema import extension_schema
from mien.gallery.recall import recall_of
from mien.gallery.records import FaceRecord

psycopg = pytest.importorskip("psycopg", reason="needs psycopg: pip install 'mien[postgres]'")


def fill(home, fakes, people=300, faces=3, start=0):
    names = range(start, start + people)
    home.add(
        [(str(i), [FaceRecord(fakes.embedding(str(i), str(j)), "x") for j in range(faces)]) for i in names],
        fakes.IDENTITY,
    )


def test_the_index_is_made_above_the_size_and_finds_what_a_scan_finds(postgres_url, fakes):
    # So small a table the planner would rather scan: without sorting it has to take the index.
    url = postgres_url(exact_below=500, options="-c%20enable_sort%3Doff")
    with PostgresHome(url) as home, PostgresHome(url.replace("exact_below=500", "exact_below=1000000")) as exact:
        fill(home, fakes, 160)
        assert not home.build_index()
        fill(home, fakes, 200, start=160)
        assert home.build_index()
        with home._link.reading() as db:
            query = "EXPLAIN " + searching._approximate(32, None)
            plan = "\n".join(row[0] for row in db.execute(query, {"probe": pack(fakes.embedding("7"))[0], "limit": 64}))
        assert "faces_near" in plan
        fill(home, fakes, 40, start=360)  # into the index
        probes = np.stack([fakes.embedding(str(i), "probe") for i in range(400)])
        ours, truth = home.search(probes, k=3), exact.search(probes, k=3)
        assert [found[0].name for found in ours] == [str(i) for i in range(400)]
        same = sum({c.name for c in a} == {c.name for c in b} for a, b in zip(ours, truth, strict=True))
        assert same >= 380
        assert recall_of(exact, home, probes=200).at_10 >= 0.97
        # More subjects than the index gives, and those of a group: the exact query answers.
        assert len(home.search(probes[:2], k=400)[0]) == 400
        for i in range(5):
            home.describe(str(i), groups=("few",))
        assert {c.name for c in home.search(probes[:1], k=50, group="few")[0]} == set("01234")
        home.remove("7")
        assert home.search(probes[7:8], k=1)[0][0].name != "7"


def test_a_large_group_is_filtered_within_the_index(postgres_url, fakes):
    with PostgresHome(postgres_url(exact_below=100)) as home:
        fill(home, fakes, 200)
        with psycopg.connect(**home._link.parameters, autocommit=True) as db:
            db.execute(f"SET search_path TO {home._settings.schema}")
            db.execute("UPDATE subjects SET groups = '{half}' WHERE id %% 2 = 0", [])
        members = {subject.name for subject in home.subjects(group="half")}
        probes = np.stack([fakes.embedding(str(i), "probe") for i in range(200)])
        for i, found in enumerate(home.search(probes, k=5, group="half")):
            assert {c.name for c in found} <= members
            assert len(found) == 5
            assert (str(i) in members) == (found[0].name == str(i))


def test_embeddings_travel_bit_by_bit():
    rows = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    np.testing.assert_array_equal(unpack(pack(rows), 7, "x"), rows)
    assert unpack([], 7, "x").shape == (0, 7)
    for sent, dimension in ((pack(rows), 8), (pack(np.full((1, 7), np.nan, np.float32)), 7)):
        with pytest.raises(GalleryFileError, match="x: holds"):
            unpack(sent, dimension, "x")


def test_the_password_is_never_shown(capfd):
    secret = "geheim9w"
    urls = [
        f"postgresql://ada:{secret}@localhost:1/people",
        f"postgresql://ada@localhost:1/people?password={secret}",
        f"postgresql://ada:{secret}@{secret}.invalid:1/people",
        f"postgresql://ada:{secret}@localhost:1/people?no_such_thing={secret}",
    ]
    for url in urls:
        with pytest.raises(GalleryError) as caught:
            open_home(url)
        assert secret not in str(caught.value).replace(f"@{secret}.invalid", "")
        assert "ada@" in str(caught.value)
        assert caught.value.__suppress_context__
    for url in (f"postgresql://ada:{secret}@localhost:x/p", f"postgresql://ada:{secret}/@#localhost"):
        with pytest.raises(InputError) as refused:
            open_home(url)
        assert secret not in str(refused.value)
    address = parse(urls[0], Settings())
    assert secret not in repr(address)
    assert address.hushed(f'password "{secret}" is wrong') == 'password "***" is wrong'
    assert secret not in "".join(capfd.readouterr())


def test_urls_are_taken_apart():
    address = parse("postgres://u%40x:p%2Fw@h1:1,[::1]:2/d%20b?sslmode=require&schema=other&m=8", Settings())
    assert address.parameters == {
        "user": "u@x", "password": "p/w", "host": "h1,::1", "port": "1,2", "dbname": "d b", "sslmode": "require",
    }  # fmt: skip
    assert (address.settings.schema, address.settings.m) == ("other", 8)
    assert address.source == "postgresql://u@x@h1,::1:1,2/d b?schema=other"
    assert parse("postgresql:///db?host=/tmp/x", Settings()).parameters == {"dbname": "db", "host": "/tmp/x"}


@pytest.mark.parametrize(
    "query",
    ["schema=A", 'schema=x"y', "schema=pg_x", "schema=", "m=1", "m=x", "ef_search=5000", "m=60&ef_construction=90"],
)
def test_settings_that_cannot_be_are_refused(query):
    with pytest.raises(InputError):
        parse(f"postgresql://localhost/db?{query}", Settings())


def test_another_programs_tables_are_left_alone(postgres_url, postgres_server):
    url = postgres_url()
    schema = url.rpartition("=")[2]
    with psycopg.connect(postgres_server, autocommit=True) as db:
        db.execute(f"CREATE SCHEMA {schema}")
        db.execute(f"CREATE TABLE {schema}.subjects (x int)")
    with pytest.raises(GalleryFileError, match="not a gallery"):
        PostgresHome(url)
    with psycopg.connect(postgres_server, autocommit=True) as db:
        db.execute(f"DROP TABLE {schema}.subjects")
    PostgresHome(url).close()
    with psycopg.connect(postgres_server, autocommit=True) as db:
        db.execute(f"UPDATE {schema}.about SET value = '99' WHERE key = 'version'")
    with pytest.raises(GalleryFileError, match=r"version 1, found '99'"):
        PostgresHome(url)


def test_dropped_connections_are_replaced(postgres_url, postgres_server, fakes):
    with PostgresHome(postgres_url()) as home:
        fill(home, fakes, 2)
        with psycopg.connect(postgres_server, autocommit=True) as db:
            killed = db.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND application_name = 'mien'"
            ).fetchone()[0]
        assert killed >= 1
        assert home.counts().people == 2
        fill(home, fakes, 1, start=2)
        assert home.counts().people == 3


def test_a_wait_for_another_writer_ends(postgres_url, fakes):
    url = postgres_url(timeout=1)
    with PostgresHome(url) as home:
        fill(home, fakes, 1)
        with psycopg.connect(**home._link.parameters, autocommit=True) as db:
            db.execute("SELECT pg_advisory_lock(%s)", [home._link.lock])
            with pytest.raises(GalleryFileError, match=r"writing|time limit"):
                home.keep_calibration("x = 1")
        home.keep_calibration("x = 1")


def test_values_that_the_server_cannot_keep_are_input_errors(postgres_url, fakes):
    with PostgresHome(postgres_url()) as home:
        for picture in ("nul\0byte", "lone \ud800 surrogate"):
            with pytest.raises(InputError):
                home.add([("Ada", [FaceRecord(fakes.embedding("Ada"), picture)])], fakes.IDENTITY)
        assert home.counts().people == 0


def test_without_the_driver_the_line_that_installs_it_is_told(monkeypatch):
    for url, module, extra in (
        ("postgresql://localhost/x", "psycopg", "postgres"),
        ("milvus://localhost/x", "pymilvus", "milvus"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtraError, match=rf'pip install "mien\[{extra}\]"'):
            open_home(url)


def test_a_pgvector_that_is_too_old_is_named():
    class Database:
        def execute(self, query):
            return self

        def fetchone(self):
            return ("public", "0.7.4")

    with pytest.raises(GalleryFileError, match=r"0\.8 or newer, found 0\.7\.4"):
        extension_schema(Database(), "x")
