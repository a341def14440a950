"""How fast a gallery finds a face, beside its peers, on the same data in the same run.

    python benchmarks/gallery.py [--size 1000000] [--large] [--lfw EMBEDDINGS.npz] [--plots FOLDER]

Face-like data made here: 5 faces a person, cosine 0.55 within; each probe is a sixth face of somebody enrolled, or a
stranger. Two threads, one probe at a time, top 5; repetitions of all contestants are interleaved, and the minimum and
the median are given. A peer that is not installed, or answers otherwise than comparing with every row, is named.
EMBEDDINGS.npz holds `embeddings`, float32 (N, D) of unit norm, and `people`, whose each is: real faces for approximate
search, as many of which are made as --size says by jittering copies.
Writes benchmarks/results/gallery.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

THREADS = 2
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, str(THREADS))

import numpy as np  # noqa: E402 -- its BLAS reads the number of threads when it is imported

import mien  # noqa: E402
from mien.gallery.search import ExactIndex, open_index, save_index  # noqa: E402

HERE = Path(__file__).resolve().parent
PER_PERSON, WITHIN, K = 5, 0.55, 5


def unit(rows):
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def faces(rng, n, d):
    """Faces, 5 of each person, with expected cosine 0.55 within a person."""
    rows = np.empty((n, d), np.float32)
    for start in range(0, n, 500_000):
        stop = min(start + 500_000, n)
        people = unit(rng.standard_normal((-(-(stop - start) // PER_PERSON), d), dtype=np.float32))
        rows[start:stop] = near(rng, np.repeat(people, PER_PERSON, 0)[: stop - start])
    return rows


def near(rng, centres):
    noise = unit(rng.standard_normal(centres.shape, dtype=np.float32))
    return unit(centres * np.float32(WITHIN**0.5) + noise * np.float32((1 - WITHIN) ** 0.5))


def probes_for(rng, rows, n):
    """Half of them sixth faces of enrolled people, half strangers."""
    people = rng.choice(len(rows) // PER_PERSON, n // 2, replace=False) * PER_PERSON
    centres = unit(
        np.add.reduceat(
            rows[(people[:, None] + np.arange(PER_PERSON)).ravel()], np.arange(0, n // 2 * PER_PERSON, PER_PERSON)
        )
    )
    return np.concatenate(
        [near(rng, centres), unit(rng.standard_normal((n - n // 2, rows.shape[1]), dtype=np.float32))]
    )


def bandwidth(pool):
    """Bytes a second of a plain sum over 512 MB by two threads: what reading can cost at best."""
    words = np.ones(64_000_000, np.int64)
    halves = np.array_split(words, THREADS)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        list(pool.map(np.sum, halves))
        times.append(time.perf_counter() - start)
    return words.nbytes / min(times)


# Contestants: name -> (search(probe) -> rows of the top 5, bytes it reads a probe, exact?)


def of_mien(rows, owners, *, compiled):
    index = ExactIndex(compiled=compiled).append(rows, owners)

    def search(probe):
        return index.search(probe[None], k=K, by_owner=False, threads=THREADS).rows[0]

    return search, index.resident_bytes, True


def of_numpy(rows, owners):
    def search(probe):
        scores = rows @ probe
        best = np.argpartition(scores, len(scores) - K)[-K:]
        return best[np.argsort(-scores[best])]

    return search, rows.nbytes, True


def of_faiss(rows, owners, *, kind):
    import faiss

    faiss.omp_set_num_threads(THREADS)
    if kind == "flat":
        index = faiss.IndexFlatIP(rows.shape[1])
    else:
        index = faiss.IndexScalarQuantizer(rows.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        index.train(rows[:100_000])
    index.add(rows)
    return lambda probe: index.search(probe[None], K)[1][0], rows.nbytes // (1 if kind == "flat" else 4), kind == "flat"


def of_usearch(rows, owners):
    from usearch.index import MetricKind, search

    return (lambda probe: search(rows, probe, K, MetricKind.IP, exact=True, threads=THREADS).keys), rows.nbytes, True


def of_products(rows, owners, *, package, pool):
    """int8 products by simsimd or numkong and numpy's top 5: no proof, no re-ranking."""
    import importlib

    module = importlib.import_module(package)
    scale = 127 / np.abs(rows).max()
    codes = np.rint(rows * scale).astype(np.int8)
    parts = np.array_split(codes, THREADS)

    def search(probe):
        q = np.rint(probe * (127 / np.abs(probe).max())).astype(np.int8)[None]
        scores = np.concatenate([np.asarray(s)[0] for s in pool.map(lambda part: module.cdist(q, part, "dot"), parts)])
        best = np.argpartition(scores, len(scores) - K)[-K:]
        return best[np.argsort(-scores[best])]

    return search, codes.nbytes, False


def of_lance(rows, owners, *, folder):
    import lancedb
    import pyarrow as pa

    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
    table = lancedb.connect(folder).create_table("faces", pa.table({"vector": vectors, "row": np.arange(len(rows))}))

    def search(probe):
        found = table.search(probe).distance_type("dot").limit(K).select(["row", "_distance"]).to_arrow()
        return found["row"].to_numpy()

    return search, rows.nbytes, True


def contestants(folder, pool):
    return {
        "simsimd int8": (of_products, {"package": "simsimd", "pool": pool}),
        "mien[fast]": (of_mien, {"compiled": True}),
        "mien": (of_mien, {"compiled": False}),
        "numpy float32": (of_numpy, {}),
        "FAISS IndexFlatIP": (of_faiss, {"kind": "flat"}),
        "FAISS SQ8": (of_faiss, {"kind": "sq8"}),
        "usearch exact": (of_usearch, {}),
        "numkong int8": (of_products, {"package": "numkong", "pool": pool}),
        "LanceDB flat": (of_lance, {"folder": folder}),
    }


def single_probe(rows, owners, probes, repeats, pool, only=None):
    """All contestants in turn, probe by probe."""
    ready, table = {}, {}
    truth = [np.argsort(-(rows @ probe), kind="stable")[:K] for probe in probes]
    speed = bandwidth(pool)
    print(f"memory: {speed / 1e9:.1f} GB/s by a plain sum in {THREADS} threads\n")
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, options) in contestants(folder, pool).items():
            if only and name not in only:
                continue
            start = time.perf_counter()
            try:
                ready[name] = (*make(rows, owners, **options), time.perf_counter() - start)
            except ImportError as error:
                print(f"{name}: left out ({error})")
        times, right = {name: [] for name in ready}, dict.fromkeys(ready, 0)
        for name in list(ready):
            try:
                ready[name][0](probes[0])
            except Exception as error:  # noqa: BLE001 -- a peer's trouble is its own
                print(f"{name}: left out ({error})")
                del ready[name]
        for _ in range(repeats):
            for probe, expected in zip(probes, truth, strict=True):
                for name, (search, *_) in ready.items():
                    start = time.perf_counter()
                    found = search(probe)
                    times[name].append(time.perf_counter() - start)
                    right[name] += len(set(np.asarray(found).tolist()) & set(expected.tolist()))
        int8 = rows.size
        heads = ("min ms", 8), ("median", 8), ("p95", 8), ("GB/s of int8", 13), ("of memory", 10), ("top-5 right", 12)
        print(f"{'':18}", *(head.rjust(width) for head, width in heads), " bytes/face")
        for name, (_, size, exact, build) in ready.items():
            spent = np.array(times[name])
            found = right[name] / (repeats * len(probes) * K)
            table[name] = {
                "min_ms": spent.min() * 1e3, "median_ms": float(np.median(spent)) * 1e3,
                "p95_ms": float(np.percentile(spent, 95)) * 1e3, "int8_gb_s": int8 / float(np.median(spent)) / 1e9,
                "share_of_bandwidth": int8 / float(np.median(spent)) / speed, "right": found, "exact": exact,
                "bytes_per_face": size / len(rows), "build_s": build,
            }  # fmt: skip
            t = table[name]
            print(
                f"{name:18} {t['min_ms']:8.2f} {t['median_ms']:8.2f} {t['p95_ms']:8.2f} {t['int8_gb_s']:13.1f} "
                f"{t['share_of_bandwidth']:10.0%} {found:12.4f}  {t['bytes_per_face']:.0f}"
            )
    return {"memory_gb_s": speed / 1e9, "contestants": table}


def opening(index):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "index"
        start = time.perf_counter()
        save_index(index, file, {})
        saved = time.perf_counter() - start
        start = time.perf_counter()
        opened, _ = open_index(file)
        spent = time.perf_counter() - start
        print(f"\nsnapshot of {len(opened):,} faces: written in {saved:.2f} s, opened in {spent * 1e3:.0f} ms")
        return {"save_s": saved, "open_s": spent, "file_bytes": file.stat().st_size}


def approximate(index, probes, *, strangers=True):
    """FAISS finds, float32 decides."""
    from mien.gallery.search import ApproximateIndex

    start = time.perf_counter()
    try:
        found = ApproximateIndex.built(index)
    except mien.MissingExtraError as error:
        print(f"approximate: left out ({error})")
        return None
    built = time.perf_counter() - start
    exact = index.search(probes, k=1).owners[:, 0]
    times, right = [], []
    for probe, best in zip(probes, exact, strict=True):
        start = time.perf_counter()
        hits = found.search(index, probe[None], k=1)
        times.append((time.perf_counter() - start) * 1e3)
        right.append(hits.owners[0, 0] == best)
    half = len(probes) // 2 if strangers else len(probes)
    result = {
        "p50_ms": float(np.median(times)), "p95_ms": float(np.percentile(times, 95)),
        "recall_enrolled": float(np.mean(right[:half])),
        "recall_strangers": float(np.mean(right[half:])) if strangers else None,
        "own_report": vars_of(found.report), "build_s": built,
        "bytes_per_face": found.nbytes / len(index), "with_exact": (found.nbytes + index.resident_bytes) / len(index),
    }  # fmt: skip
    print(
        f"\napproximate: p50 {result['p50_ms']:.2f} ms, p95 {result['p95_ms']:.2f}; recall@1 "
        f"{result['recall_enrolled']:.4f} of enrolled people"
        f"{f', {np.mean(right[half:]):.4f} of strangers' if strangers else ''}; "
        f"own check {found.report}; "
        f"{result['bytes_per_face']:.0f} bytes a face, with the exact index {result['with_exact']:.0f}; "
        f"built in {built:.0f} s"
    )
    return result


def vars_of(report):
    return {name: getattr(report, name) for name in ("recall", "samples", "lists", "deep")}


def real_faces(rng, file, size):
    """As many faces as asked for out of real ones, and probes: one picture of each person who has several, left out."""
    with np.load(file) as held:
        vectors, people = unit(np.asarray(held["embeddings"], np.float32)), held["people"]
    _, whose, counts = np.unique(people, return_inverse=True, return_counts=True)
    apart = np.unique(whose, return_index=True)[1][counts >= 2]
    enrolled = np.setdiff1d(np.arange(len(vectors)), apart)
    copies = -(-size // len(enrolled))
    rows, owners = np.tile(vectors[enrolled], (copies, 1)), np.tile(whose[enrolled], copies)
    owners += np.repeat(np.arange(copies), len(enrolled)) * len(counts)
    noise = unit(rng.standard_normal(rows.shape, dtype=np.float32))
    turned = np.arange(len(rows)) >= len(enrolled)  # the first copy stays as it is
    rows[turned] = unit(rows[turned] * np.float32(0.9) + noise[turned] * np.float32(0.19**0.5))
    probes = vectors[apart]
    return rows[:size], owners[:size], probes[:1000]


def through_the_gallery(rng, size):
    """`Gallery` as a user has it: enrolment of everybody, opening, one probe and a hundred."""
    import hashlib
    import logging

    from mien.gallery import Gallery
    from mien.types import ModelIdentity

    logging.getLogger("mien").setLevel(logging.ERROR)
    identity = ModelIdentity("benchmark", "gallery", hashlib.sha256(b"benchmark").hexdigest(), 128)
    rows = faces(rng, size, 128)
    probes = probes_for(rng, rows, 200)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "people.db"
        start = time.perf_counter()
        gallery = Gallery.open(file, identity=identity)
        for at in range(0, size, 25_000):
            stop = min(at + 25_000, size)
            gallery.add_many([(f"person {i}", rows[i : min(i + 5, size)]) for i in range(at, stop, 5)])
        enrolled = time.perf_counter() - start
        start = time.perf_counter()
        gallery.close()
        closed = time.perf_counter() - start
        del rows
        opened = []
        for _ in range(5):
            start = time.perf_counter()
            gallery = Gallery.open(file)
            opened.append(time.perf_counter() - start)
            if len(opened) < 5:
                gallery.close()
        start = time.perf_counter()
        gallery.identify_embeddings(probes[:1], threshold=0.5)
        first, times = time.perf_counter() - start, []
        for probe in probes[1:]:
            start = time.perf_counter()
            gallery.identify_embeddings(probe[None], threshold=0.5)
            times.append((time.perf_counter() - start) * 1e3)
        start = time.perf_counter()
        gallery.identify_embeddings(probes[:100], threshold=0.5)
        batch = (time.perf_counter() - start) * 10
        resident = gallery.home._current()
        bytes_a_face = (
            resident.index.resident_bytes + resident.face_ids.values.nbytes + resident.people.ids.nbytes
        ) / size
        gallery.close()
        index_bytes = file.with_name("people.db.index").stat().st_size if size >= 16_384 and os.name == "posix" else 0
        file_bytes = file.stat().st_size
    result = {
        "size": size, "faces_per_second": size / enrolled, "close_s": closed, "open_s": min(opened),
        "open_median_s": float(np.median(opened)), "first_identify_s": first, "identify_min_ms": min(times),
        "identify_median_ms": float(np.median(times)), "identify_batch_ms_per_probe": batch,
        "resident_bytes_per_face": bytes_a_face, "index_file_bytes": index_bytes, "file_bytes": file_bytes,
    }  # fmt: skip
    print(
        f"\ngallery of {size:,}: enrolled at {result['faces_per_second']:,.0f} faces a second; index built and kept in "
        f"{closed:.1f} s; opened in {min(opened) * 1e3:.0f} ms; identify {min(times):.1f} ms at best, median "
        f"{np.median(times):.1f}, {batch:.1f} a probe in a batch of 100; {bytes_a_face:.0f} bytes a face in memory"
    )
    return result


def enrolment(rng):
    """Durable, through the gallery: 100,000 faces, 1,000 people with 5 faces each a commit."""
    import hashlib

    from mien.gallery import Gallery
    from mien.types import ModelIdentity

    identity = ModelIdentity("benchmark", "gallery", hashlib.sha256(b"benchmark").hexdigest(), 128)
    rows = faces(rng, 100_000, 128)
    with (
        tempfile.TemporaryDirectory() as folder,
        Gallery.open(Path(folder) / "people.db", identity=identity) as gallery,
    ):
        start = time.perf_counter()
        for at in range(0, len(rows), 5000):
            gallery.add_many([(f"person {i}", rows[i : i + 5]) for i in range(at, at + 5000, 5)])
        spent = time.perf_counter() - start
    print(f"enrolment: {len(rows) / spent:,.0f} faces a second, durable, 5,000 a commit")
    return {"faces_per_second": len(rows) / spent}


def against_size(rng, sizes, pool):
    """Cost of one probe as the gallery grows."""
    curve = {}
    for size in sizes:
        rows = faces(rng, size, 128)
        owners, probes = np.arange(size) // PER_PERSON, probes_for(rng, rows, 20)
        index = ExactIndex().append(rows, owners)
        times = []
        for probe in np.repeat(probes, 3, axis=0):
            start = time.perf_counter()
            index.search(probe[None], k=K, threads=THREADS)
            times.append(time.perf_counter() - start)
        start = time.perf_counter()
        index.search(np.repeat(probes, 5, axis=0), k=K, threads=THREADS)
        curve[size] = {
            "min_ms": min(times) * 1e3, "median_ms": float(np.median(times)) * 1e3,
            "batch_ms_per_probe": (time.perf_counter() - start) * 10, "bytes_per_face": index.resident_bytes / size,
        }  # fmt: skip
        c = curve[size]
        print(
            f"{size:>10,} faces: {c['min_ms']:.3f} ms at best, median {c['median_ms']:.3f}; in batches of 100 "
            f"{c['batch_ms_per_probe']:.3f}; {c['bytes_per_face']:.0f} bytes a face"
        )
        del rows, index
        gc.collect()
    return curve


def plot(curve, folder):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sizes = list(curve)
    figure, axes = plt.subplots(figsize=(6, 4))
    axes.loglog(sizes, [curve[s]["median_ms"] for s in sizes], marker="o", label="one probe, exact")
    axes.loglog(
        sizes, [curve[s]["batch_ms_per_probe"] for s in sizes], marker="s", label="a probe in a batch of 100, exact"
    )
    axes.set_xlabel("enrolled faces, 128 dimensions")
    axes.set_ylabel("milliseconds")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "gallery-size.png", dpi=150, bbox_inches="tight")
    print(f"plotted to {folder / 'gallery-size.png'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1_000_000, help="faces to search among")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--lfw", type=Path, help="embeddings of real faces, for approximate search")
    parser.add_argument("--large", action="store_true", help="go to 10 million faces (12 GiB of memory)")
    parser.add_argument("--plots", type=Path, help="a folder for the plot")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    result = {"machine": platform.platform(), "processors": os.cpu_count(), "threads": THREADS, "size": options.size}
    rows = faces(rng, options.size, 128)
    owners = np.arange(len(rows)) // PER_PERSON
    with ThreadPoolExecutor(THREADS) as pool:
        result["one_probe"] = single_probe(rows, owners, probes_for(rng, rows, 20), options.repeats, pool)
    index = ExactIndex().append(rows, owners)
    result["opening"] = opening(index)
    result["approximate"] = approximate(index, probes_for(rng, rows, 1000))
    del rows, index
    gc.collect()
    if options.lfw:
        rows, owners, probes = real_faces(rng, options.lfw, options.size)
        result["approximate_lfw"] = approximate(ExactIndex().append(rows, owners), probes, strangers=False)
        del rows
    result["enrolment"] = enrolment(rng)
    result["gallery"] = through_the_gallery(rng, options.size)
    gc.collect()
    print()
    sizes = [1_000, 10_000, 100_000, 1_000_000] + ([10_000_000] if options.large else [])
    result["against_size"] = against_size(rng, sizes, None)
    if options.plots:
        plot(result["against_size"], options.plots)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "gallery.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
