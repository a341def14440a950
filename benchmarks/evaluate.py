"""How fast the metrics are, what memory they take, and how near they come to the machine's limits.

    python benchmarks/evaluate.py [--distractors 1000000] [--rounds 3]

Cases, each in a fresh process, with made-up embeddings of LFW's and MegaFace's sizes:
  all-pairs     13,233 x 128-d, LFW's pictures a person: 87 million pairs -> exact ROC, EER, AUC, TAR at FAR, intervals
  folds         6,000 pairs in ten folds, against a loop over 400 thresholds x 10 folds as common scripts have it
  roc           1 million scores, against sklearn.metrics.roc_curve and numpy
  distractors   3,530 probes x 1,000,000 distractors x 512-d from a memory-mapped file, float32 and float16
Memory is anonymous memory (RssAnon), sampled every 5 ms; the share of the GEMM limit compares with matrix products of
the same sizes, timed in turn with the scan. Writes benchmarks/results/evaluate.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from mien.evaluate.metrics.bootstrap import all_subject_pairs, bootstrap_tar
from mien.evaluate.metrics.curves import roc_points, thinned
from mien.evaluate.metrics.distractors import distractor_cmc, probe_pairs, scan_distractors
from mien.evaluate.metrics.folds import fold_accuracy
from mien.evaluate.metrics.pairs import all_pair_scores
from mien.evaluate.metrics.scores import histogram, score_set
from mien.evaluate.metrics.verification import auc, d_prime, eer, tar_at_far, tar_at_far_of_tail

HERE = Path(__file__).resolve().parent
MIB = 1 << 20


class Peak:
    """Anonymous memory over that at the start: the highest of samples taken by a thread."""

    def __enter__(self) -> Peak:
        self.start = self.highest = anonymous()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.highest = max(self.highest, anonymous())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def mib(self) -> dict[str, float]:
        """The highest, and how much of it came since the start."""
        return {"anonymous_mib": self.highest / MIB, "anonymous_mib_added": (self.highest - self.start) / MIB}


def anonymous() -> int:
    """Bytes of anonymous memory in use by this process (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def timed(call):
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def unit(rows):
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def lfw_like(rng, dimension=128):
    """13,233 rows of 5,749 people: 530, 236 and 144 pictures of the three most frequent, 4,069 with a single one."""
    pictures = np.concatenate([[530, 236, 144], np.full(4069, 1)])
    rest = 5749 - len(pictures)
    more = np.full(rest, (13233 - pictures.sum()) // rest)
    more[: 13233 - pictures.sum() - more.sum()] += 1
    who = np.repeat(np.arange(5749), np.concatenate([pictures, more]))
    rows = rng.standard_normal((5749, dimension), np.float32)[who]
    rows += 1.3 * rng.standard_normal(rows.shape, np.float32)
    return unit(rows), who


def exact_curves(rows, who) -> dict[str, object]:
    """All pairs and everything that is read from them; the scores are gone again when it returns."""
    scores, pairs_s = timed(lambda: all_pair_scores(rows, who))
    curve, roc_s = timed(lambda: roc_points(scores))
    parts = {
        "thinned": lambda: thinned(curve),
        "histograms": lambda: histogram(scores),
        "eer": lambda: eer(scores).rate,
        "auc": lambda: auc(scores),
        "d_prime": lambda: d_prime(scores),
        "tar_at_far_1e-6": lambda: tar_at_far(scores, 1e-6).tar,
    }
    done = {name: timed(call) for name, call in parts.items()}
    return {
        "pairs": len(scores.genuine) + len(scores.impostor),
        "genuine": len(scores.genuine),
        "vertices": len(curve.thresholds),
        **{name: done[name][0] for name in ("eer", "auc", "d_prime", "tar_at_far_1e-6")},
        "seconds": pairs_s + roc_s + sum(seconds for _, seconds in done.values()),
        "seconds_all_pairs_sorted": pairs_s,
        "seconds_roc": roc_s,
        "seconds_parts": {name: seconds for name, (_, seconds) in done.items()},
    }


def all_pairs(options: argparse.Namespace) -> dict[str, object]:
    rows, who = lfw_like(np.random.default_rng(0))
    rows[:2048] @ rows.T  # threads are up
    with Peak() as peak:
        rounds = [exact_curves(rows, who) for _ in range(options.rounds)]
    shown = min(rounds, key=lambda r: r["seconds"]) | {"seconds_of_rounds": [r["seconds"] for r in rounds]} | peak.mib()
    flat = np.random.default_rng(1).standard_normal(shown["pairs"], np.float32)
    shown["seconds_numpy_sort_alone"] = timed(flat.sort)[1]
    del flat
    gemm = [sum(timed(lambda i=i: rows[i : i + 512] @ rows[i:].T)[1] for i in range(0, len(rows), 512)) for _ in rounds]
    shown["seconds_gemm_alone"] = min(gemm)
    limit = shown["seconds_numpy_sort_alone"] + min(gemm)
    shown["share_of_sort_and_gemm_limit"] = limit / shown["seconds_all_pairs_sorted"]
    with Peak() as peak:
        pairs, kept_s = timed(lambda: all_subject_pairs(rows, who))
        interval, boot_s = timed(lambda: bootstrap_tar(pairs, 1e-3, replicates=200))
    shown["bootstrap"] = {
        "seconds_collect": kept_s,
        "seconds_200_replicates": boot_s,
        "tar": [interval.low, interval.value, interval.high],
    } | peak.mib()
    return shown


def common_folds(scores, same, folds):
    """What common scripts do: every one of 400 thresholds on every fold's training pairs, then on its test pairs."""
    found = []
    for fold in range(10):
        train, test = folds != fold, folds == fold
        right = [np.mean((scores[train] >= t) == same[train]) for t in np.arange(-1, 1, 0.005)]
        threshold = np.arange(-1, 1, 0.005)[int(np.argmax(right))]
        found.append(np.mean((scores[test] >= threshold) == same[test]))
    return np.mean(found)


def folds(options: argparse.Namespace) -> dict[str, object]:
    rng = np.random.default_rng(0)
    same, ids = np.tile(np.repeat([True, False], 300), 10), np.repeat(np.arange(10), 600)
    scores = (rng.normal(0, 0.1, 6000) + 0.45 * same).astype(np.float32)
    fold_accuracy(scores, same, ids)
    ours = min(timed(lambda: fold_accuracy(scores, same, ids))[1] for _ in range(options.rounds))
    theirs = min(timed(lambda: common_folds(scores, same, ids))[1] for _ in range(options.rounds))
    return {"seconds": ours, "seconds_common_loop": theirs, "ratio": theirs / ours}


def roc(options: argparse.Namespace) -> dict[str, object]:
    from sklearn.metrics import roc_auc_score, roc_curve

    rng = np.random.default_rng(0)
    genuine = rng.normal(0.4, 0.1, 50_000).astype(np.float32)
    impostor = rng.normal(0, 0.1, 950_000).astype(np.float32)
    values, same = np.concatenate([genuine, impostor]), np.repeat([1, 0], [50_000, 950_000])

    def ours():
        scores = score_set(genuine, impostor)
        return roc_points(scores), auc(scores), tar_at_far(scores, 1e-3)

    def theirs():
        fpr, tpr, _ = roc_curve(same, values)
        return roc_auc_score(same, values), tpr[np.argmin(np.abs(fpr - 1e-3))]

    assert abs(ours()[1] - theirs()[0]) < 1e-12
    mine, peer = (min(timed(call)[1] for _ in range(options.rounds)) for call in (ours, theirs))
    return {"scores": len(values), "seconds": mine, "seconds_scikit_learn": peer, "ratio": peer / mine}


def write_distractors(path: Path, count: int, dtype: type) -> None:
    rng = np.random.default_rng(1)
    with path.open("wb") as file:
        for start in range(0, count, 20_000):
            unit(rng.standard_normal((min(20_000, count - start), 512), np.float32)).astype(dtype).tofile(file)


def distractors(options: argparse.Namespace) -> dict[str, object]:
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(80), 45)[:3530]
    probes = unit(rng.standard_normal((80, 512), np.float32)[who] + 1.5 * rng.standard_normal((3530, 512), np.float32))
    shown: dict[str, object] = {"probes": len(probes), "distractors": options.distractors}
    with tempfile.TemporaryDirectory() as folder:
        for dtype in (np.float32, np.float16):
            path = Path(folder) / "distractors"
            write_distractors(path, options.distractors, dtype)
            rows = np.memmap(path, dtype, "r", shape=(options.distractors, 512))
            with Peak() as peak:
                scan, seconds = timed(lambda rows=rows: scan_distractors(probes, rows, ranks=10, tail=10_000))
                pairs, pairs_s = timed(lambda: probe_pairs(probes, who))
            scans, products = in_turn(probes, rows)
            flops = 2 * 3530 * 512 * options.distractors / seconds
            tar = tar_at_far_of_tail(pairs.scores, scan.tail, 1e-6)
            shown[np.dtype(dtype).name] = {
                "seconds": seconds,
                "seconds_probe_pairs": pairs_s,
                "gflops": flops / 1e9,
                "seconds_of_scans_in_turn": scans,
                "seconds_of_gemm_in_turn": products,
                "share_of_gemm_limit": sum(products) / sum(scans),
                "file_gib_per_second": rows.nbytes / seconds / (1 << 30),
                "rank_1": distractor_cmc(pairs, scan).rate(1).value,
                "vr_at_far_1e-6": [tar.low, tar.tar, tar.high],
            } | peak.mib()
            del rows, scan
    return shown


def in_turn(probes, rows) -> tuple[list[float], list[float]]:
    """Seconds of a scan, and of nothing but the matrix products, in turn on parts of the distractors.

    In turn, because other work on the machine then slows both alike.
    """
    out = np.empty((len(probes), 2376), np.float32)
    scans, products = [], []
    for start in range(0, min(len(rows), 500_000), 100_000):
        part = rows[start : start + 100_000]
        ready = np.asarray(part, np.float32)  # converted and paged in: the limit has no such work
        scans.append(timed(lambda part=part: scan_distractors(probes, part, ranks=10, tail=10_000))[1])
        pieces = [ready[i : i + 2376] for i in range(0, len(ready), 2376)]
        flat = out.reshape(-1)
        into = [flat[: len(probes) * len(p)].reshape(len(probes), len(p)) for p in pieces]
        products.append(
            timed(lambda p=pieces, o=into: [np.matmul(probes, a.T, out=b) for a, b in zip(p, o, strict=True)])[1]
        )
    return scans, products


CASES = {"all-pairs": all_pairs, "folds": folds, "roc": roc, "distractors": distractors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--distractors", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=sorted(CASES), help="run one case in this process and print it as JSON")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(CASES[options.case](options)))
        return
    machine = {"platform": platform.platform(), "python": platform.python_version(), "numpy": np.__version__}
    report: dict[str, object] = {"machine": machine}
    for case in CASES:
        command = [sys.executable, __file__, "--case", case]
        command += ["--distractors", str(options.distractors), "--rounds", str(options.rounds)]
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE, check=True)
        report[case] = json.loads(done.stdout)
        print(case, json.dumps(report[case], indent=2), flush=True)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "evaluate.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
