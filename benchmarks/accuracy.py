"""Accuracy of the default models on LFW through the public API, both presets, failures counted as errors.

    python benchmarks/accuracy.py $MIEN_DATA/lfw --lists $MIEN_DATA/lists          # View 1, for choosing
    python benchmarks/accuracy.py lfw/ --pairs pairs.txt                           # View 2, ten folds, for reporting

View 1: the threshold that is best on pairsDevTrain is applied to pairsDevTest; TAR at FAR over all pairs of the people
in peopleDevTest, with a 95 % interval by bootstrap over people. View 2: ten folds, the threshold of each chosen on the
other nine, mean and standard error; TAR over all its pairs. TAR uses the smallest threshold whose FAR does not exceed
the stated one. A picture without a detected face scores -1 with everything. Writes benchmarks/results/accuracy.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np

import mien

HERE = Path(__file__).resolve().parent
RATES = (1e-2, 1e-3, 1e-4)


def picture(folder: Path, name: str, number: str | int) -> str:
    return str(folder / name / f"{name}_{int(number):04d}.jpg")


def read_pairs(path: Path, folder: Path) -> tuple[list[tuple[str, str]], np.ndarray, int]:
    """Pairs, whether each is genuine, and the number of folds, from a file of LFW's format."""
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    folds = int(header.split()[0]) if len(header.split()) == 2 else 1
    pairs, same = [], []
    for words in (line.split("\t") for line in lines if line.strip()):
        if len(words) == 3:
            pairs.append((picture(folder, words[0], words[1]), picture(folder, words[0], words[2])))
        else:
            pairs.append((picture(folder, words[0], words[1]), picture(folder, words[2], words[3])))
        same.append(len(words) == 3)
    return pairs, np.array(same), folds


def read_people(path: Path, folder: Path) -> list[tuple[str, str]]:
    """(person, picture) for every picture of the people in a list of LFW's format."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    return [(name, picture(folder, name, n)) for name, count in rows for n in range(1, int(count) + 1)]


def embed(rec: mien.Recognizer, paths: list[str]) -> tuple[dict[str, np.ndarray], int, float]:
    """The main face's embedding of each picture (missing where there is none), failures, photos per second."""
    start = time.perf_counter()
    found = {a.source: a.embeddings[a.main()] for a in rec.analyze(paths) if len(a.faces)}
    return found, len(paths) - len(found), len(paths) / (time.perf_counter() - start)


def scores(pairs: list[tuple[str, str]], vectors: dict[str, np.ndarray]) -> np.ndarray:
    return np.array([float(vectors[a] @ vectors[b]) if a in vectors and b in vectors else -1.0 for a, b in pairs])


def best_threshold(score: np.ndarray, same: np.ndarray) -> float:
    """The threshold with most right decisions; the middle of the best ones where several are as good."""
    candidates = np.unique(score)
    genuine, impostor = np.sort(score[same]), np.sort(score[~same])
    right = (len(genuine) - np.searchsorted(genuine, candidates)) + np.searchsorted(impostor, candidates)
    best = np.flatnonzero(right == right.max())
    return float(candidates[best[len(best) // 2]])


def tar_at(genuine: np.ndarray, impostor: np.ndarray, far: float) -> tuple[float, float]:
    """TAR, and the smallest threshold whose FAR does not exceed `far`."""
    allowed = int(np.floor(far * len(impostor)))
    limit = np.partition(impostor, len(impostor) - allowed - 1)[len(impostor) - allowed - 1]
    threshold = float(np.nextafter(limit, 2.0))
    return float((genuine >= threshold).mean()), threshold


def ten_folds(score: np.ndarray, same: np.ndarray, folds: int) -> dict[str, float]:
    part = np.arange(len(score)) // (len(score) // folds)
    right = [
        ((score[part == k] >= best_threshold(score[part != k], same[part != k])) == same[part == k]).mean()
        for k in range(folds)
    ]
    return {"mean": float(np.mean(right)), "standard_error": float(np.std(right, ddof=1) / np.sqrt(folds))}


def all_pairs(items: list[tuple[str, str]], vectors: dict[str, np.ndarray], rounds: int = 200) -> dict[str, object]:
    """TAR at FAR over all pairs of pictures, with a bootstrap over people."""
    dimension = len(next(iter(vectors.values())))
    matrix = np.stack([vectors.get(path, np.zeros(dimension, np.float32)) for _, path in items])
    score = matrix @ matrix.T
    missing = np.array([path not in vectors for _, path in items])
    score[missing], score[:, missing] = -1, -1
    names, person = np.unique([name for name, _ in items], return_inverse=True)
    i, j = np.triu_indices(len(items), 1)
    score, first, second = score[i, j], person[i], person[j]
    same = first == second
    genuine, impostor, whose = score[same], score[~same], first[same]
    result: dict[str, object] = {"genuine": len(genuine), "impostor": len(impostor)}
    random = np.random.default_rng(0)
    # The impostor tail that decides FAR <= 1 % is all a resample needs; weights are products of the people's counts.
    tail = np.argsort(-impostor)[: int(0.05 * len(impostor))]
    a, b, value = first[~same][tail], second[~same][tail], impostor[tail]
    order = {far: [] for far in RATES}
    for _ in range(rounds):
        counts = np.bincount(random.integers(0, len(names), len(names)), minlength=len(names))
        cumulative = np.cumsum(counts[a] * counts[b])
        total = (counts.sum() ** 2) * len(impostor) / len(names) ** 2
        for far in RATES:
            threshold = value[min(np.searchsorted(cumulative, far * total), len(value) - 1)]
            weight = counts[whose]
            order[far].append(float((weight * (genuine > threshold)).sum() / max(weight.sum(), 1)))
    for far in RATES:
        tar, threshold = tar_at(genuine, impostor, far)
        low, high = np.percentile(order[far], [2.5, 97.5])
        result[f"tar_at_{far:g}"] = {"tar": tar, "low": float(low), "high": float(high), "threshold": threshold}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="LFW's folder: Name/Name_0001.jpg")
    parser.add_argument("--lists", type=Path, help="folder of View 1's lists")
    parser.add_argument("--pairs", type=Path, help="a pairs file with folds (View 2)")
    parser.add_argument("--preset", choices=["fast", "accurate"], action="append")
    options = parser.parse_args()
    if not (options.lists or options.pairs):
        parser.error("give --lists (View 1) or --pairs (View 2)")

    report: dict[str, object] = {"machine": platform.platform()}
    for preset in options.preset or ["fast", "accurate"]:
        rec, row = mien.Recognizer(preset), {}
        if options.pairs:
            pairs, same, folds = read_pairs(options.pairs, options.folder)
            vectors, failures, speed = embed(rec, sorted({p for pair in pairs for p in pair}))
            score = scores(pairs, vectors)
            row["view2"] = ten_folds(score, same, folds) | {
                f"tar_at_{far:g}": tar_at(score[same], score[~same], far)[0] for far in (1e-2, 1e-3)
            }
        else:
            train, train_same, _ = read_pairs(options.lists / "pairsDevTrain.txt", options.folder)
            test, test_same, _ = read_pairs(options.lists / "pairsDevTest.txt", options.folder)
            people = read_people(options.lists / "peopleDevTest.txt", options.folder)
            paths = sorted({p for pair in train + test for p in pair} | {path for _, path in people})
            vectors, failures, speed = embed(rec, paths)
            threshold = best_threshold(scores(train, vectors), train_same)
            right = (scores(test, vectors) >= threshold) == test_same
            row["view1"] = {"accuracy": float(right.mean()), "threshold": threshold, "pairs": len(test)}
            row["people"] = all_pairs(people, vectors)
        row |= {"failures": failures, "photos_per_second": speed, "model": str(rec.identity)}
        report[preset] = row
        print(preset, json.dumps(row, indent=2))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "accuracy.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
