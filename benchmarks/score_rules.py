"""How should a person with several enrolled faces score? DIR at FPIR 1 % for each rule, with a paired bootstrap.

    python benchmarks/score_rules.py --lfw LFW --people lists/peopleDevTest.txt --cache lfw-fast.npz

Half of the people are strangers. Of the others all pictures but one are enrolled, and that one is the probe; people
with a single picture are enrolled and not asked for. A stranger gives one probe. This is repeated over random halves,
and the people, not the pictures, are drawn anew in each replicate of the bootstrap, the same ones for all rules.
The rules as the gallery computes them (`Gallery.search(rule=...)`) are checked against plain NumPy on the first half.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from mien.gallery import Gallery
from mien.gallery.rules import RULES, means_of
from mien.recognizer import Recognizer

FPIR = 0.01


def load(folder: Path, people: Path, cache: Path) -> tuple[np.ndarray, np.ndarray, object]:
    """Embeddings of the main faces of the fast preset and whose they are; from the cache when they are there."""
    recognizer = Recognizer("fast")
    if not cache.exists():
        named = [line.split("\t")[0] for line in people.read_text().splitlines() if "\t" in line]
        files = [(name, file) for name in named for file in sorted((folder / name).glob("*.jpg"))]
        whose, rows = [], []
        for (name, _), found in zip(files, recognizer.analyze([file for _, file in files]), strict=True):
            if len(found.faces):
                whose.append(name)
                rows.append(found.embeddings[found.main()])
        np.savez(cache, people=np.array(whose), embeddings=np.stack(rows))
    with np.load(cache, allow_pickle=False) as stored:
        return stored["embeddings"].astype(np.float32), stored["people"], recognizer.identity


def scores(gallery: np.ndarray, owner: np.ndarray, probes: np.ndarray, rule: str) -> np.ndarray:
    """(Q, S): every probe against every enrolled person, by the definition of the rule."""
    mean = probes @ means_of(gallery, owner)[1].T
    if rule == "mean":
        return mean
    if rule == "blend":
        return (mean + scores(gallery, owner, probes, "max")) / 2
    cosines = probes @ gallery.T
    columns = []
    for person in np.unique(owner):
        own = np.sort(cosines[:, owner == person], axis=1)[:, ::-1]
        columns.append(own[:, 0] if rule == "max" else own[:, :3].mean(axis=1))
    return np.stack(columns, axis=1)


def split(numbers: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that are enrolled, rows of known probes, rows of strangers' probes."""
    people = rng.permutation(numbers.max() + 1)
    strangers = set(people[: len(people) // 2].tolist())
    enrolled, known, unknown = [], [], []
    for person in range(numbers.max() + 1):
        rows = rng.permutation(np.flatnonzero(numbers == person))
        if person in strangers:
            unknown.append(rows[0])
        elif len(rows) == 1:
            enrolled.append(rows[0])
        else:
            known.append(rows[0])
            enrolled += rows[1:].tolist()
    return np.array(enrolled), np.array(known), np.array(unknown)


def threshold_at(tops: np.ndarray, weights: np.ndarray, fpir: float) -> float:
    """The lowest score that at most this share of the (weighted) strangers reaches, exclusive."""
    order = np.argsort(-tops)
    share = np.cumsum(weights[order]) / weights.sum()
    over = int(np.searchsorted(share, fpir, side="right"))  # so many strangers may be named
    return float(tops[order[over]]) if over < len(tops) else -1.0


def measure(vectors: np.ndarray, numbers: np.ndarray, repeats: int, seed: int, identity: object) -> list[dict]:
    """For each random half and rule: who was asked, whether they came first, and the scores."""
    rng = np.random.default_rng(seed)
    halves = []
    for repeat in range(repeats):
        enrolled, known, unknown = split(numbers, rng)
        owner = numbers[enrolled]
        ids = np.unique(owner)
        probes = np.concatenate([known, unknown])
        half = {
            "known": numbers[known],
            "unknown": numbers[unknown],
            "several": np.bincount(owner, minlength=numbers.max() + 1)[numbers[known]] > 1,
        }
        for rule in RULES:
            found = scores(vectors[enrolled], owner, vectors[probes], rule)
            if not repeat:
                check(vectors[enrolled], owner, vectors[probes], rule, found, ids, identity)
            best = found.argmax(axis=1)
            half[rule] = (
                ids[best[: len(known)]] == numbers[known],
                found.max(axis=1)[: len(known)],
                found.max(axis=1)[len(known) :],
            )
        halves.append(half)
    return halves


def check(gallery, owner, probes, rule, expected, ids, identity) -> None:
    """The gallery's own answers are those of the definition."""
    with Gallery.open(":memory:", identity=identity) as made:
        made.add_many([(f"{person:05}", gallery[owner == person]) for person in ids])
        found = made.search(probes, k=1, rule=rule)
    np.testing.assert_allclose([row[0].score for row in found], expected.max(axis=1), atol=1e-5)


def dir_of(half: dict, rule: str, weights: np.ndarray) -> float:
    first, score, tops = half[rule]
    threshold = threshold_at(tops, weights[half["unknown"]], FPIR)
    w = weights[half["known"]]
    return float((w * (first & (score > threshold))).sum() / w.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    vectors, people, identity = load(options.lfw, options.people, options.cache)
    _, numbers = np.unique(people, return_inverse=True)
    halves = measure(vectors, numbers, options.repeats, 0, identity)
    ones = np.ones(numbers.max() + 1)
    result: dict = {"pictures": len(vectors), "people": int(numbers.max() + 1), "fpir": FPIR, "rules": {}}
    result["known"], result["unknown"] = (float(np.mean([len(h[k]) for h in halves])) for k in ("known", "unknown"))
    result["known_with_several_faces"] = float(np.mean([h["several"].sum() for h in halves]))
    rng = np.random.default_rng(1)
    draws = {rule: np.empty(options.replicates) for rule in RULES}
    for b in range(options.replicates):
        weights = np.bincount(rng.integers(0, len(ones), len(ones)), minlength=len(ones)).astype(float)
        for rule in RULES:
            draws[rule][b] = np.mean([dir_of(half, rule, weights) for half in halves])
    for rule in RULES:
        value = np.mean([dir_of(half, rule, ones) for half in halves])
        low, high = np.percentile(draws[rule], [2.5, 97.5])
        against = {}
        for other in RULES:
            if other != rule:
                d_low, d_high = np.percentile(draws[rule] - draws[other], [2.5, 97.5])
                point = value - np.mean([dir_of(half, other, ones) for half in halves])
                against[other] = {"difference": float(point), "low": float(d_low), "high": float(d_high)}
        shared = [np.mean(h[rule][2] > threshold_at(h["max"][2], ones[h["unknown"]], FPIR)) for h in halves]
        result["rules"][rule] = {
            "dir": float(value),
            "low": float(low),
            "high": float(high),
            "fpir_at_the_threshold_of_max": float(np.mean(shared)),
            "against": against,
        }
    text = json.dumps(result, indent=1)
    if options.out:
        options.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
