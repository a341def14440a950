"""Do quality measures predict errors? And what do blur, darkness, small size and turning cost?

    python benchmarks/quality.py $MIEN_DATA --cache FOLDER

1. Prices of flaws (`mien.quality.overall`), fitted on LFW people outside peopleDevTest and on `celebs`.
2. Error versus reject on LFW peopleDevTest: FNMR at the threshold of FMR 1e-3 while the worst pictures by a measure are
   rejected. A curve is summed up as its mean over 0 to 20 % rejected, as a share of the FNMR with nothing rejected:
   1 is what rejecting at random gives; the oracle rejects the pictures that match their own person worst.
3. What the gate's default limits refuse of photos as they are, for each population.
4. FNMR by yaw and by pitch against frontal pictures of the same person, on `celebs`.
5. Degradations of LFW View 1 pictures: what is measured, what is still found, and FNMR against the untouched picture of
   the other side. The gate's default limits stand where errors rise (`mien.gallery.gate_limits`).

Writes benchmarks/results/quality.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from quality_faces import FaceSet, face_set

import mien
from mien.gallery.gate import GateLimits
from mien.gallery.gate_quality import quality_reasons
from mien.images import decode
from mien.quality import measure_quality
from mien.quality.overall import INDUCED, expected_loss, flaws, overall_score
from mien.recognizer import PRESETS

HERE = Path(__file__).resolve().parent
FMR = 1e-3
PER_PERSON = 12  # pictures of one person in a curve: nobody decides it alone
CELEBS = 60
REJECT = np.linspace(0, 0.2, 41)
BETTER = {  # each turned so that higher is better
    "eye_distance": lambda m: m["eye_distance"],
    "yaw": lambda m: -np.abs(m["yaw"]),
    "pitch": lambda m: -np.abs(m["pitch"]),
    "looking up": lambda m: -m["pitch"],
    "roll": lambda m: -np.abs(m["roll"]),
    "visible": lambda m: m["visible"],
    "sharpness": lambda m: m["sharpness"],
    "brightness": lambda m: m["brightness"],
    "contrast": lambda m: m["contrast"],
    "low contrast": lambda m: -m["contrast"],
    "clipped": lambda m: -m["clipped"],
    "unevenness": lambda m: -m["unevenness"],
    "detection": lambda m: m["detection"],
    "stability": lambda m: m["stability"],
    "score": lambda m: overall_score({k: v for k, v in m.items() if k != "stability"}),
    "score with stability": overall_score,
}


def measures(faces: FaceSet, folder: Path) -> dict[str, np.ndarray]:
    """Every measure of every face: (N,) each."""
    rows, seconds = [], 0.0
    for i, path in enumerate(faces.paths):
        pixels = decode(str(folder / path)).pixels
        start = time.perf_counter()
        rows += measure_quality(pixels, faces.faces(i))
        seconds += time.perf_counter() - start
    print(f"measuring: {seconds / len(rows) * 1e3:.2f} ms a face, one at a time")
    names = [n for n in rows[0].__slots__ if n not in ("fingerprint", "stability", "score")]
    return {n: np.array([getattr(r, n) for r in rows]) for n in names} | {"stability": faces.stability.astype(float)}


def genuine_pairs(people: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    first, second = [], []
    for person in np.unique(people):
        rows = np.flatnonzero(people == person)
        if len(rows) > most:
            rows = np.sort(rng.choice(rows, most, replace=False))
        i, j = np.triu_indices(len(rows), 1)
        first.append(rows[i])
        second.append(rows[j])
    return np.concatenate(first), np.concatenate(second)


def threshold_at(people: np.ndarray, vectors: np.ndarray, fmr: float) -> float:
    i, j = np.triu_indices(len(vectors), 1)
    other = people[i] != people[j]
    scores = (vectors @ vectors.T)[i[other], j[other]]
    allowed = int(fmr * len(scores))
    return float(np.nextafter(np.partition(scores, -allowed - 1)[-allowed - 1], np.float32(2)))


def fit(parts: dict[str, tuple[np.ndarray, FaceSet, dict[str, np.ndarray]]], *, stable: bool) -> dict[str, float]:
    """Prices of flaws as they occur: how genuine scores fall with both pictures' flaws; people and sets weigh alike."""
    x, y, w = [], [], []
    for number, (people, faces, m) in enumerate(parts.values()):
        found = flaws(m if stable else {k: v for k, v in m.items() if k != "stability"})
        induced = sum(price * found.pop(name) for name, price in INDUCED.items())
        columns = np.column_stack(list(found.values()))
        a, b = genuine_pairs(people, 40)
        count = dict(zip(*np.unique(people[a], return_counts=True), strict=True))
        weight = np.array([count[p] ** -0.5 for p in people[a]])
        for vectors in (faces.fast, faces.accurate):
            scores = np.einsum("nd,nd->n", vectors[a], vectors[b])
            like = scores > 0.86  # below lie mostly wrong labels
            x.append(np.column_stack([-(columns[a] + columns[b]), np.eye(len(parts))[np.full(len(a), number)]])[like])
            y.append((scores + induced[a] + induced[b])[like])
            w.append(weight[like] / weight[like].sum())
    root = np.sqrt(np.concatenate(w))[:, None]
    names = [*found, *parts]
    active = list(range(len(names)))
    while True:  # a flaw that seems to help costs nothing
        solved = np.linalg.lstsq(np.concatenate(x)[:, active] * root, np.concatenate(y) * root[:, 0], rcond=None)[0]
        worst = min(range(len(active) - len(parts)), key=lambda i: solved[i])
        if solved[worst] >= 0:
            return {names[i]: round(float(v), 4) for i, v in zip(active, solved, strict=True) if names[i] in found}
        del active[worst]


def curve(quality: np.ndarray, a: np.ndarray, b: np.ndarray, wrong: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """FNMR at each share of `REJECT`; a pair is gone when either picture is."""
    rank = np.empty(len(quality))
    rank[np.argsort(quality, kind="stable")] = np.arange(len(quality)) / len(quality)
    worse = np.minimum(rank[a], rank[b])
    keep = worse[None, :] >= REJECT[:, None] - 1e-12
    return (keep * (weight * wrong)).sum(1) / (keep * weight).sum(1)


def error_versus_reject(people: np.ndarray, vectors: np.ndarray, m: dict[str, np.ndarray]) -> dict[str, object]:
    a, b = genuine_pairs(people, PER_PERSON)
    scores = np.einsum("nd,nd->n", vectors[a], vectors[b])
    threshold = threshold_at(people, vectors, FMR)
    wrong = scores < threshold
    used = np.unique(np.concatenate([a, b]))
    place = np.full(len(people), -1)
    place[used] = np.arange(len(used))
    a, b = place[a], place[b]
    total = np.bincount(a, scores, len(used)) + np.bincount(b, scores, len(used))
    own = total / (np.bincount(a, minlength=len(used)) + np.bincount(b, minlength=len(used)))
    qualities = {name: better({k: v[used] for k, v in m.items()}) for name, better in BETTER.items()}
    qualities["oracle"] = own
    names, group = np.unique(people[used][a], return_inverse=True)
    rng = np.random.default_rng(1)
    draws = [np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[group] for _ in range(200)]
    table: dict[str, object] = {}
    for name, quality in qualities.items():
        fnmr = curve(quality, a, b, wrong, np.ones(len(a)))
        ratios = [c.mean() / c[0] for c in (curve(quality, a, b, wrong, d.astype(float)) for d in draws)]
        low, high = np.percentile(ratios, [2.5, 97.5])
        table[name] = {
            "area": fnmr.mean() / fnmr[0],
            "low": low,
            "high": high,
            "fnmr": {f"{REJECT[i]:.2f}": fnmr[i] for i in (0, 2, 4, 10, 20, 40)},
        }
    return {"pictures": len(used), "pairs": len(a), "threshold": threshold, "fnmr": float(wrong.mean()), "by": table}


def refused(faces: FaceSet, folder: Path) -> dict[str, float]:
    """How often each reason of the picture speaks against a main face."""
    found: Counter[str] = Counter()
    for i, path in enumerate(faces.paths):
        quality = measure_quality(decode(str(folder / path)).pixels, faces.faces(i))[0]
        codes = [r.code for r in quality_reasons(quality, GateLimits())]
        found.update(codes)
        found["any"] += bool(codes)
    shares = {"no face": 1 - len(faces.paths) / int(faces.pictures)}
    shares |= {code: n / len(faces.paths) for code, n in found.most_common()}
    print(f"  {folder.name:10}", "  ".join(f"{code} {share:.4f}" for code, share in shares.items()))
    return shares


def by_angle(faces: FaceSet, m: dict[str, np.ndarray]) -> dict[str, dict[str, tuple[float, int]]]:
    """FNMR of turned faces against frontal ones, fast preset; the twentieth that is likeliest mislabelled is out."""
    alike = zip(faces.people, faces.fast, strict=True)
    typical = np.array([np.median(faces.fast[faces.people == person] @ vector) for person, vector in alike])
    rows = np.flatnonzero(typical > np.percentile(typical, 5))
    a, b = (rows[i] for i in genuine_pairs(faces.people[rows], CELEBS))
    wrong = np.einsum("nd,nd->n", faces.fast[a], faces.fast[b]) < threshold_at(faces.people, faces.fast, FMR)
    frontal = (np.abs(m["yaw"]) < 0.3) & (np.abs(m["pitch"]) < 0.3)
    result: dict[str, dict[str, tuple[float, int]]] = {}
    for name, angle in (("yaw", np.abs(m["yaw"])), ("up", m["pitch"]), ("down", -m["pitch"])):
        result[name] = {}
        for low in np.arange(10) / 10:
            inside = (angle >= low) & (angle < low + 0.1)
            hit = np.concatenate([wrong[inside[a] & frontal[b]], wrong[inside[b] & frontal[a]]])
            if len(hit):
                result[name][f"{low:.1f}"] = (float(hit.mean()), len(hit))
        print(f"  FNMR by {name}, radians from:", *(f"{k}: {r:.3f} ({n})" for k, (r, n) in result[name].items()))
    return result


def degraded(pixels: np.ndarray, eyes: float, kind: str, amount: float) -> np.ndarray:
    h, w = pixels.shape[:2]
    if kind == "size":  # pixels between the eyes
        f = amount / eyes
        return cv2.resize(pixels, (max(1, round(w * f)), max(1, round(h * f))), interpolation=cv2.INTER_AREA)
    if kind == "blur":  # sigma as a share of the distance between the eyes
        return cv2.GaussianBlur(pixels, (0, 0), amount * eyes)
    if kind == "dark":  # all light times this
        return (pixels * amount).astype(np.uint8)
    if kind == "bright":  # all light plus this
        return np.clip(pixels * 1.0 + 255 * amount, 0, 255).astype(np.uint8)
    if kind == "flat":  # contrast times this
        return np.clip((pixels - 128.0) * amount + 128, 0, 255).astype(np.uint8)
    raise ValueError(kind)


GRID = {
    "size": (6, 8, 10, 12, 14, 16, 20, 24, 32),
    "blur": (0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2),
    "dark": (0.6, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05),
    "bright": (0.1, 0.2, 0.3, 0.4, 0.5),
    "flat": (0.5, 0.3, 0.2, 0.1, 0.05),
    "cut": (0.1, 0.2, 0.3, 0.4, 0.5),
}


def cut_off(pixels: np.ndarray, landmarks: np.ndarray, share: float) -> np.ndarray:
    """The picture without what lies beyond a vertical line that leaves `1 - share` of the face."""
    x = landmarks[:, 0].mean() + (0.5 - share) * 2.2 * (landmarks[1, 0] - landmarks[0, 0])
    return np.ascontiguousarray(pixels[:, : max(8, round(float(x)))])


def degradations(faces: FaceSet, folder: Path, pairs: int) -> list[dict[str, float | str | None]]:
    """What each degradation does to the first picture of genuine pairs, under the fast preset."""
    a, b = genuine_pairs(faces.people, 2)
    chosen = np.random.default_rng(2).permutation(len(a))[:pairs]
    a, b = a[chosen], b[chosen]
    threshold = threshold_at(faces.people, faces.fast, FMR)
    rec = mien.Recognizer("fast", min_face=12)
    pixels = [decode(str(folder / faces.paths[i])).pixels for i in a]
    eyes = [float(np.linalg.norm(faces.landmarks[i, 1] - faces.landmarks[i, 0])) for i in a]
    rows = []
    for kind, amounts in GRID.items():
        for amount in amounts:
            changed = [
                cut_off(p, faces.landmarks[i], amount) if kind == "cut" else degraded(p, e, kind, amount)
                for p, e, i in zip(pixels, eyes, a, strict=True)
            ]
            found, wrong, lost, values = 0, 0, 0.0, []
            for picture, analysis, one, other in zip(changed, rec.analyze(changed), a, b, strict=True):
                if len(analysis.faces):
                    main = analysis.main()
                    found += 1
                    score = float(analysis.embeddings[main] @ faces.fast[other])
                    wrong += score < threshold
                    lost += float(faces.fast[one] @ faces.fast[other]) - score
                    values.append(measure_quality(picture, analysis.faces.take([main]))[0])
            row: dict[str, float | str | None] = {"kind": kind, "amount": amount, "found": found / len(a)}
            row["fnmr"], row["lost"] = wrong / max(1, found), lost / max(1, found)
            for name in ("eye_distance", "sharpness", "brightness", "contrast", "clipped", "visible", "score"):
                row[name] = float(np.median([getattr(v, name) for v in values])) if values else None
            rows.append(row)
            print("  " + "  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="where embeddings are kept between runs")
    parser.add_argument("--pairs", type=int, default=400, help="genuine pairs that are degraded; 0 for none")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "quality.json")
    args = parser.parse_args()
    lines = (args.data / "lists" / "peopleDevTest.txt").read_text(encoding="utf-8").splitlines()[1:]
    test_people = {line.split("\t")[0] for line in lines}
    lfw = face_set("lfw", args.data / "lfw", args.cache)
    celebs = face_set("celebs", args.data / "celebs", args.cache, per_person=CELEBS)
    m_lfw, m_celebs = measures(lfw, args.data / "lfw"), measures(celebs, args.data / "celebs")

    def part(faces: FaceSet, m: dict[str, np.ndarray], mask: np.ndarray) -> tuple:
        return faces.people[mask], faces.take(mask), {k: v[mask] for k, v in m.items()}

    test = np.isin(lfw.people, list(test_people))
    choose = {"lfw": part(lfw, m_lfw, ~test), "celebs": part(celebs, m_celebs, np.ones(len(celebs.people), bool))}
    result: dict[str, object] = {"prices": fit(choose, stable=False), "prices_stable": fit(choose, stable=True)}
    print("prices", result["prices"], "\nwith stability", result["prices_stable"])
    for name, (_, _, m) in choose.items():
        plain = {k: v for k, v in m.items() if k != "stability"}
        for what, columns in (("", plain), (" with stability", m)):
            print(f"expected loss{what}, {name}:", np.round(np.percentile(expected_loss(columns), [5, 50, 95, 99]), 4))
    result["limits"] = {
        name: {k: [round(float(x), 4) for x in np.percentile(v, [0.1, 1, 50, 99, 99.9])] for k, v in m.items()}
        for name, (_, _, m) in choose.items()
    }
    small = face_set("celebs64", args.data / "celebs64", args.cache, per_person=12)
    print("refused by the default limits of the gate:")
    result["refused"] = {
        "lfw": refused(lfw, args.data / "lfw"),
        "celebs": refused(celebs, args.data / "celebs"),
        "celebs64": refused(small, args.data / "celebs64"),
    }
    result["angles"] = by_angle(celebs, m_celebs)
    for title, (people, faces, m) in {"peopleDevTest": part(lfw, m_lfw, test)}.items():
        for preset in PRESETS:
            erc = error_versus_reject(people, getattr(faces, preset), m)
            result[f"{title}/{preset}"] = erc
            print(f"\n{title}, {preset}: {erc['pairs']} pairs of {erc['pictures']} pictures, FNMR {erc['fnmr']:.4f}")
            print(f"{'measure':22} area (95 % interval)     FNMR with 5, 10, 20 % rejected")
            for name, row in sorted(erc["by"].items(), key=lambda item: item[1]["area"]):
                after = "  ".join(f"{row['fnmr'][at]:.4f}" for at in ("0.05", "0.10", "0.20"))
                print(f"{name:22} {row['area']:.3f} ({row['low']:.3f}, {row['high']:.3f})   {after}")
    if args.pairs:
        print("\ndegradations")
        result["degradations"] = degradations(choose["lfw"][1], args.data / "lfw", args.pairs)
    args.out.write_text(json.dumps(result, indent=1, default=float) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
