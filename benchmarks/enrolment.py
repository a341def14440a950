"""Does the enrolment gate keep wrong people out, and right ones in?

    python benchmarks/enrolment.py $MIEN_DATA --cache FOLDER

Everything is measured on the people of peopleDevTest with at least two pictures, under the gate's default rates. Their
thresholds come from other people: LFW View 1 outside peopleDevTest and `celebs`, of the two the stricter. The
thresholds of the calibration that mien ships are measured beside them (peopleDevTest was among the data it is made on).
All of the gate is on, picture quality included: a right picture that is refused for any reason counts as refused.

one by one     A person's pictures come in random order; a wrong picture comes in place of each after the first.
folder of K    A person's pictures come together, K of them, one of them wrong: the wrong one must be refused and the
               others kept. Refusals of right ones are counted in the folder as it is and in the one with the wrong one.
folder of two  One right, one wrong: nobody can tell which, so both must be refused. Two right ones must pass.
new subject    A subject's first picture: refused only where it looks like somebody else.

A wrong person is a stranger (no picture of theirs is enrolled) or somebody enrolled (all their other pictures are),
taken at random; or the likest: of all the others' pictures the one most like the subject's first. Intervals are 95 %,
by bootstrap over subjects (Wilson's where all or none are hit). Writes benchmarks/results/enrolment.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from quality_faces import FaceSet, face_set

import mien
from mien.evaluate.metrics.intervals import wilson
from mien.gallery.gate import GateFace, GateLimits, GateThresholds, OwnFaces, judge
from mien.images import decode
from mien.match import Candidate, calibrate, calibration_for
from mien.quality import FaceQuality, fingerprint_distance, measure_quality
from mien.recognizer import PRESETS
from mien.types import ModelIdentity

HERE = Path(__file__).resolve().parent
MOST = 12  # pictures of one person
LIMITS = GateLimits()


class Counts:
    """Hits and trials by case and subject."""

    def __init__(self) -> None:
        self._by: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))

    def add(self, case: str, subject: str, hit: bool) -> None:
        """One more trial."""
        cell = self._by[case][subject]
        cell[0] += hit
        cell[1] += 1

    def rates(self) -> dict[str, dict[str, float]]:
        """Rate, interval and trials by case."""
        rng = np.random.default_rng(5)
        result = {}
        for case, subjects in self._by.items():
            cells = np.array(list(subjects.values()))
            draws = cells[rng.integers(0, len(cells), (1000, len(cells)))].sum(1)
            low, high = np.percentile(draws[:, 0] / draws[:, 1], [2.5, 97.5])
            hits, trials = cells.sum(0)
            if hits in (0, trials):  # nothing varies between draws, but subjects are as few as they are
                low, high = wilson(len(cells) * int(hits > 0), len(cells))
            result[case] = {
                "rate": hits / trials, "low": low, "high": high, "hits": int(hits), "trials": int(trials),
                "subjects": len(cells),
            }  # fmt: skip
        return result


class Gallery:
    """Everybody's enrolled faces, searched the slow and exact way."""

    def __init__(self, people: np.ndarray, vectors: np.ndarray, paths: np.ndarray) -> None:
        self.people, self.vectors, self.paths = people, vectors, paths

    def others(self, probe: np.ndarray, name: str, without: int | None = None, hide: str = "") -> list[Candidate]:
        """The best subject besides `name`; `without` one picture, and `hide` a person who is not enrolled."""
        scores = self.vectors @ probe
        scores[(self.people == name) | (self.people == hide)] = -2
        if without is not None:
            scores[without] = -2
        best = int(scores.argmax())
        return [Candidate(best, str(self.people[best]), float(scores[best]), str(self.paths[best]))]


def experiment(
    faces: FaceSet, vectors: np.ndarray, quality: list[FaceQuality], thresholds: GateThresholds
) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(7)
    gallery = Gallery(faces.people, vectors, faces.paths)
    names, counts = np.unique(faces.people, return_counts=True)
    rows_of = {n: np.flatnonzero(faces.people == n) for n in names}
    got = Counts()

    def ask(i: int, name: str, *, stranger: bool = False) -> GateFace:
        hide = str(faces.people[i]) if stranger else ""
        return GateFace(
            str(faces.paths[i]), vectors[i], quality[i], int(faces.counts[i]),
            gallery.others(vectors[i], name, without=i, hide=hide),
        )  # fmt: skip

    def verdicts(asked: list[GateFace], name: str, own: np.ndarray | None = None):
        held = None if own is None else OwnFaces(vectors[own], [str(p) for p in faces.paths[own]])
        return judge(asked, name=name, thresholds=thresholds, own=held, limits=LIMITS)

    for name in names[counts >= 2]:
        rows = rng.permutation(rows_of[name])[:MOST]
        elsewhere = np.flatnonzero(faces.people != name)
        enrolled = elsewhere[np.isin(faces.people[elsewhere], names[counts >= 2])]
        likest = elsewhere[(vectors[elsewhere] @ vectors[rows[0]]).argmax()]
        likest_enrolled = enrolled[(vectors[enrolled] @ vectors[rows[0]]).argmax()]
        kinds = {"stranger": elsewhere, "enrolled": enrolled, "likest": [likest], "likest enrolled": [likest_enrolled]}
        alone = verdicts([ask(rows[0], name)], name)[0]
        got.add("new subject: right refused", name, not alone.accepted)
        for k in range(1, len(rows)):
            own = rows[:k]
            right = verdicts([ask(rows[k], name)], name, own)[0]
            got.add("one by one: right refused", name, not right.accepted)
            got.add(f"one by one, {min(k, 4)}{'+' * (k >= 4)} own: right refused", name, not right.accepted)
            for code in right.codes if not right.accepted else ():
                got.add(f"one by one: right refused for {code}", name, True)
            for kind, pool in kinds.items():
                wrong = int(rng.choice(pool))
                caught = verdicts([ask(wrong, name, stranger=kind in ("stranger", "likest"))], name, own)[0]
                got.add(f"one by one: {kind} caught", name, not caught.accepted)
                if kind in ("stranger", "enrolled"):
                    got.add(f"one by one, {min(k, 4)}{'+' * (k >= 4)} own: wrong caught", name, not caught.accepted)
                if kind == "enrolled":
                    named = "looks_like_somebody_else" in caught.codes
                    got.add("one by one: enrolled, and named", name, named)
        for size in (3, 4, 6, 10):
            if len(rows) < size - 1:
                continue
            whole = rows[:size] if len(rows) >= size else None
            if whole is not None:
                for v in verdicts([ask(i, name) for i in whole], name):
                    got.add(f"folder of {size}: right refused, none wrong", name, not v.accepted)
            for kind, pool in kinds.items():
                wrong = int(rng.choice(pool))
                mixed = [ask(i, name) for i in rows[: size - 1]]
                place = int(rng.integers(size))
                mixed.insert(place, ask(wrong, name, stranger=kind in ("stranger", "likest")))
                for at, v in enumerate(verdicts(mixed, name)):
                    what = f"{kind} caught" if at == place else f"right refused beside {kind}"
                    got.add(f"folder of {size}: {what}", name, not v.accepted)
        pair = [ask(i, name) for i in rows[:2]]
        for v in verdicts(pair, name):
            got.add("folder of two: right refused, none wrong", name, not v.accepted)
        wrong = int(rng.choice(elsewhere))
        both = verdicts([pair[0], ask(wrong, name, stranger=True)], name)
        got.add("folder of two: both refused, one wrong", name, not any(v.accepted for v in both))
        got.add("folder of two: wrong one refused", name, not both[1].accepted)
    return got.rates()


def of_set(identity: ModelIdentity, people: np.ndarray, vectors: np.ndarray, size: int) -> GateThresholds:
    """The gate's thresholds from all pairs of one data set."""
    i, j = np.triu_indices(len(people), 1)
    scores, same = (vectors @ vectors.T)[i, j], people[i] == people[j]
    made = calibrate(identity, genuine=scores[same], impostor=scores[~same], made_on="other people", date="2026-01-01")
    return GateThresholds.of(made, LIMITS, gallery_size=size)


def copies(faces: FaceSet, folder: Path, most: int) -> dict[str, float]:
    """Copies of pictures, and other pictures of the same person: what the limits for copies let through."""
    rng = np.random.default_rng(9)
    rec = mien.Recognizer("fast")
    chosen = rng.permutation(len(faces.paths))[:most]
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    marks = {}
    for i in chosen:
        pixels = decode(str(folder / faces.paths[i])).pixels
        marks[i] = measure_quality(pixels, faces.faces(i))[0].fingerprint
        h, w = pixels.shape[:2]
        bgr = pixels[:, :, ::-1]
        changed = {
            "JPEG 50": decode(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 50])[1].tobytes()).pixels,
            "half size": cv2.resize(pixels, (w // 2, h // 2), interpolation=cv2.INTER_AREA),
            "brighter": np.clip(pixels * 1.2 + 10, 0, 255).astype(np.uint8),
            "cropped": np.ascontiguousarray(pixels[20:-10, 10:-20]),
        }
        for kind, analysis in zip(changed, rec.analyze(changed.values(), keep_images=True), strict=True):
            if len(analysis.faces):
                main = analysis.main()
                mark = measure_quality(analysis.image.pixels, analysis.faces.take([main]))[0].fingerprint
                found[kind].append(
                    (float(analysis.embeddings[main] @ faces.fast[i]), fingerprint_distance(mark, marks[i]))
                )
    for name in np.unique(faces.people):
        rows = np.flatnonzero(faces.people == name)[:2]
        if len(rows) == 2:
            one, two = (
                measure_quality(decode(str(folder / faces.paths[i])).pixels, faces.faces(i))[0].fingerprint
                for i in rows
            )
            found["other picture"].append(
                (float(faces.fast[rows[0]] @ faces.fast[rows[1]]), fingerprint_distance(one, two))
            )
    result = {}
    for kind, pairs in found.items():
        cosine, distance = np.array(pairs).T
        said = (cosine >= LIMITS.copy_cosine) & (distance <= LIMITS.copy_distance)
        result[kind] = float(said.mean())
        spread = (
            np.round(np.percentile(cosine, [1, 5, 50, 95, 99, 100]), 4),
            np.round(np.percentile(distance, [0, 1, 5, 50, 95, 99]), 3),
        )
        print(f"  {kind:14} called a copy: {said.mean():.4f} of {len(pairs)}; cosine {spread[0]}, distance {spread[1]}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="where embeddings are kept between runs")
    parser.add_argument("--copies", type=int, default=300, help="pictures that are copied; 0 for none")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "enrolment.json")
    args = parser.parse_args()
    lines = (args.data / "lists" / "peopleDevTest.txt").read_text(encoding="utf-8").splitlines()[1:]
    lfw = face_set("lfw", args.data / "lfw", args.cache)
    test = np.isin(lfw.people, [line.split("\t")[0] for line in lines])
    celebs = face_set("celebs", args.data / "celebs", args.cache, per_person=60)
    choose, faces = lfw.take(~test), lfw.take(test)
    qualities = [
        measure_quality(decode(str(args.data / "lfw" / p)).pixels, faces.faces(i))[0] for i, p in enumerate(faces.paths)
    ]
    result: dict[str, object] = {}
    for preset in PRESETS:
        start = time.perf_counter()
        identity, size = mien.Recognizer(preset).identity, len(faces.people)
        apart = [of_set(identity, s.people, getattr(s, preset), size) for s in (choose, celebs)]
        shipped = GateThresholds.of(calibration_for(identity), LIMITS, gallery_size=size)
        stricter = replace(shipped, own=max(t.own for t in apart), collision=max(t.collision for t in apart))
        for source, thresholds in (("of other people", stricter), ("shipped", shipped)):
            rates = experiment(faces, getattr(faces, preset), qualities, thresholds)
            limits = {"own": thresholds.own, "collision": thresholds.collision}
            result[f"{preset}, thresholds {source}"] = {**limits, "cases": rates}
            print(f"\n{preset}, thresholds {source}: own {thresholds.own:.4f}, collision {thresholds.collision:.4f}")
            for case, r in sorted(rates.items()):
                interval, counts = f"({r['low']:.4f}, {r['high']:.4f})", f"{r['hits']} of {r['trials']}"
                print(f"  {case:58} {r['rate']:.4f} {interval}  {counts}, {r['subjects']} subjects")
        print(f"{time.perf_counter() - start:.0f} s", flush=True)
    if args.copies:
        print("\ncopies, on people outside peopleDevTest")
        result["copies"] = copies(choose, args.data / "lfw", args.copies)
    args.out.write_text(json.dumps(result, indent=1, default=float) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
