"""How well `mien data clean`, `dedupe` and `overlap` find what was put into real folders on purpose.

    python benchmarks/data_clean.py $MIEN_DATA

1. clean: pictures of `celebs` that were looked through by eye (data_clean_subset.txt: 18 people of whom 40 random
   pictures each were drawn; 5 where no person could tell are left out). 10 % wrong pictures are added, half of other
   people of the set and half of people outside it (the other 52); 5 % of the people are merged into another's folder,
   and as many folders are divided in two. Limits of the method were chosen on those 52 people only. Without what was
   injected, the same run says how much of a clean set is flagged.
2. overlap: A is 35 people of `celebs` with half of their pictures. B has 20 of these people with other pictures, half
   of them under names that are spelt otherwise and half under quite other ones, and 15 other people. 200 altered copies
   of A's pictures are compared with A as a set of its own: re-encoded, scaled, mirrored, cropped (up to 8 % of each
   side) or grey, or all of it. The limits for copies were chosen with other seeds, of the same people. Copies found
   among pictures of one person that nobody put there are listed, and count as neither right nor wrong: celebs holds
   many photos twice.
3. Halves of celebs without a shared person, and LFW against celebs: whatever is found is a false alarm.

Rates: precision, the share of what is flagged that was injected; recall, the share of what was injected that is
flagged; false alarm rate, the share of what could have been flagged wrongly that was. Intervals are Wilson's, 95 %.
Writes benchmarks/results/data_clean.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

import mien
from mien.cli.data_folders import model_for
from mien.evaluate.metrics.intervals import wilson
from mien.images import decode, save
from mien.prepare.cleaning import CleanRules, Verdict, find_wrong
from mien.prepare.embedding import PeopleFolder, embed_people
from mien.prepare.overlapping import overlap
from mien.types import Image

HERE = Path(__file__).resolve().parent
SEEDS = 20
KINDS = ("jpeg", "small", "mirror", "crop", "grey", "all")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    recognizer, calibration, found_by = model_for("fast", None, None, None, None, None, cached=True)
    start = time.monotonic()
    celebs = embed_people(data / "celebs", recognizer, found_by=found_by)
    print(f"embedded celebs in {time.monotonic() - start:.0f} s (cached pictures included)")
    results = {"mien": mien.__version__, "model": str(recognizer.identity)}
    results["clean"] = measure_clean(celebs, calibration)
    results["overlap"] = measure_overlap(celebs, calibration, recognizer)
    results["disjoint"] = measure_disjoint(celebs, calibration)
    lfw = embed_people(data / "lfw", recognizer, found_by=found_by)
    found = overlap(lfw, celebs, calibration)
    results["lfw and celebs"] = {
        "people": [p.record(lfw.people, celebs.people) for p in found.shared()],
        "pictures": [[lfw.names[c.a], celebs.names[c.b], c.how] for c in found.pictures],
    }
    print("lfw and celebs:", results["lfw and celebs"])
    target = HERE / "results" / "data_clean.json"
    target.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")


def rate(hits: int, of: int) -> dict:
    low, high = wilson(hits, of) if of else (0.0, 1.0)
    return {
        "rate": round(hits / of, 4) if of else None,
        "n": of,
        "hits": hits,
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


def subset(
    folder: PeopleFolder,
    rows: np.ndarray,
    names: list[str] | None = None,
    person: np.ndarray | None = None,
    people=None,
) -> PeopleFolder:
    person = folder.person[rows] if person is None else person
    order = np.argsort(person, kind="stable")
    rows, person = rows[order], person[order]
    used, person = np.unique(person, return_inverse=True)
    people = folder.people if people is None else people
    known = {int(r): i for i, r in enumerate(rows)}
    return PeopleFolder(
        folder.root, tuple(folder.names[r] for r in rows), tuple(people[p] for p in used), person, folder.vectors[rows],
        folder.found[rows], folder.landmarks[rows], {known[i]: why for i, why in folder.reasons.items() if i in known},
    )  # fmt: skip


def measure_clean(celebs: PeopleFolder, calibration) -> dict:
    """Injected wrong pictures, merged and divided people; the clean subset as it is."""
    listed = (HERE / "data_clean_subset.txt").read_text("utf-8").splitlines()
    place = {name: i for i, name in enumerate(celebs.names)}
    clean_rows = np.array([place[name] for name in listed if not name.startswith("#")])
    rules = CleanRules.of(calibration)
    people = np.unique(celebs.person[clean_rows])
    untouched = find_wrong(celebs.vectors[clean_rows], np.searchsorted(people, celebs.person[clean_rows]), rules)
    flagged = [celebs.names[r] for r, v in zip(clean_rows, untouched.verdict, strict=True) if v >= Verdict.WRONG]
    review = [celebs.names[r] for r, v in zip(clean_rows, untouched.verdict, strict=True) if v == Verdict.REVIEW]
    out = {
        "people": len(people),
        "pictures": len(clean_rows),
        "faces": int(celebs.found[clean_rows].sum()),
        "untouched": {"flagged": flagged, "for review": review},
    }
    tally = {
        key: np.zeros(2, int)
        for key in ("precision", "recall", "inside", "outside", "merged pictures", "merged precision")
    }
    folders = {key: np.zeros(2, int) for key in ("merged found", "merged false", "divided found", "divided false")}
    per_seed = []
    for seed in range(SEEDS):
        truth, folder, rows, kind, merged, divided = inject(celebs, clean_rows, people, seed)
        found = find_wrong(celebs.vectors[rows], folder, rules)
        wrong = found.verdict >= Verdict.WRONG
        # Of two people in one folder either may be the one to leave: those who are kept decide whose it is.
        kept = found.verdict <= Verdict.REVIEW
        owner = np.array([np.bincount(truth[(folder == f) & kept]).argmax() for f in range(folder.max() + 1)])
        bad, faces = truth != owner[folder], celebs.found[rows]
        bad &= faces
        single = ~np.isin(folder, merged)
        for key, of, hit in (
            ("precision", wrong & single, bad),
            ("recall", bad & single, wrong),
            ("inside", bad & (kind == 1) & single, wrong),
            ("outside", bad & (kind == 2) & single, wrong),
            ("merged pictures", bad & ~single, wrong),
            ("merged precision", wrong & ~single, bad),
        ):
            tally[key] += (int((of & hit).sum()), int(of.sum()))
        per_seed.append(
            [
                round(float((wrong & bad).sum() / max(wrong.sum(), 1)), 4),
                round(float((wrong & bad).sum() / bad.sum()), 4),
            ]
        )
        folders["merged found"] += (len(set(merged) & set(found.second)), len(merged))
        folders["merged false"] += (len(set(found.second) - set(merged)), int(folder.max()) + 1 - len(merged))
        pairs = {(p.a, p.b) for p in found.same}
        folders["divided found"] += (len(pairs & divided), len(divided))
        k = int(folder.max()) + 1
        folders["divided false"] += (len(pairs - divided), k * (k - 1) // 2 - len(divided))
    out |= {"seeds": SEEDS, "precision and recall of each seed, all injected": per_seed}
    out |= {key: rate(*map(int, value)) for key, value in (tally | folders).items()}
    for key in (*tally, *folders):
        print(f"clean, {key}: {out[key]}")
    print(
        "worst seed:",
        min(p for p, _ in per_seed),
        min(r for _, r in per_seed),
        "untouched:",
        len(flagged),
        "flagged,",
        len(review),
        "for review",
    )
    return out


def inject(celebs, clean_rows, people, seed):
    """Wrong pictures (kind 1 of people of the set, 2 of others), one merged and one divided person in 18."""
    rng = np.random.default_rng(seed)
    rows, truth = clean_rows, celebs.person[clean_rows]
    folder = np.searchsorted(people, truth)
    kind = np.zeros(len(rows), int)
    count = round(0.1 * len(rows) / 0.9)
    taken = np.isin(np.arange(len(celebs)), clean_rows)
    inside = np.flatnonzero(np.isin(celebs.person, people) & ~taken & celebs.found)
    outside = np.flatnonzero(~np.isin(celebs.person, people) & celebs.found)
    for number, pool in ((1, inside), (2, outside)):
        new = rng.choice(pool, count // 2, replace=False)
        at = np.array([rng.choice(np.flatnonzero(people != celebs.person[r])) for r in new])
        rows, folder = np.concatenate([rows, new]), np.concatenate([folder, at])
        kind = np.concatenate([kind, np.full(len(new), number)])
    truth = celebs.person[rows]
    many = max(1, round(0.05 * len(people)))
    drawn = rng.permutation(len(people))
    merged_away, merged, divide = drawn[:many], drawn[many : 2 * many], drawn[2 * many : 3 * many]
    for a, b in zip(merged_away, merged, strict=True):
        folder = np.where(folder == a, b, folder)
    divided = set()
    for number, a in enumerate(divide):
        mine = np.flatnonzero(folder == a)
        folder[rng.permutation(mine)[: len(mine) // 2]] = len(people) + number
        divided.add((a, len(people) + number))
    used, folder = np.unique(folder, return_inverse=True)
    new = {int(u): i for i, u in enumerate(used)}
    return truth, folder, rows, kind, [new[int(m)] for m in merged], {(new[int(a)], new[int(b)]) for a, b in divided}


def alter(pixels, kind, rng):
    height, width = pixels.shape[:2]
    if kind in ("crop", "all"):
        c = rng.uniform(0.02, 0.08, 4)
        pixels = pixels[int(c[0] * height) : height - int(c[1] * height), int(c[2] * width) : width - int(c[3] * width)]
    if kind in ("small", "all"):
        pixels = cv2.resize(pixels, None, fx=(s := rng.uniform(0.6, 0.9)), fy=s, interpolation=cv2.INTER_AREA)
    if kind == "mirror" or (kind == "all" and rng.random() < 0.5):
        pixels = pixels[:, ::-1]
    if kind == "grey" or (kind == "all" and rng.random() < 0.5):
        pixels = cv2.cvtColor(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(pixels)


def respelt(name: str, rng) -> str:
    """A name in another customary spelling."""
    words = name.replace("_", " ").split()
    accents = str.maketrans({"a": "á", "e": "é", "o": "ö", "i": "í", "n": "ñ"})
    return [
        lambda: f"{words[-1].upper()}, {' '.join(words[:-1])}",
        lambda: "-".join(words).lower(),
        lambda: " ".join(words).translate(accents),
        lambda: "_".join(reversed(words)).title(),
    ][int(rng.integers(4))]()


def measure_overlap(celebs: PeopleFolder, calibration, recognizer) -> dict:
    total = {
        key: np.zeros(2, int)
        for key in ("people, respelt", "people, renamed", "people, false", "pictures", "pictures, false", *KINDS)
    }
    listed = []
    for seed in range(3):
        rng = np.random.default_rng(300 + seed)
        drawn = rng.permutation(len(celebs.people))
        in_a, only_b = drawn[:35], drawn[35:50]
        both = in_a[:20]
        half = rng.random(len(celebs)) < 0.5
        a = subset(celebs, np.flatnonzero(np.isin(celebs.person, in_a) & half))
        rows_b = np.flatnonzero((np.isin(celebs.person, both) & ~half) | np.isin(celebs.person, only_b))
        called = {
            int(p): respelt(celebs.people[p], rng) if i % 2 == 0 else f"Person {1000 + i}" for i, p in enumerate(both)
        }
        names_b = [called.get(i, name) for i, name in enumerate(celebs.people)]
        b = subset(celebs, rows_b, people=names_b)
        sources = rng.choice(len(a), 200, replace=False)
        kinds = rng.integers(0, len(KINDS), 200)
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "copies").mkdir()
            for n, (i, k) in enumerate(zip(sources, kinds, strict=True)):
                quality = int(rng.integers(40, 90)) if KINDS[k] in ("jpeg", "all") else 90
                save(
                    Image(alter(decode(a.path(i)).pixels, KINDS[k], rng)),
                    root / "copies" / f"{n:03}.jpg",
                    quality=quality,
                )
            copied = embed_people(root, recognizer)
            found = overlap(a, b, calibration)
            found_copies = overlap(a, copied, calibration)
        truth = {(celebs.people[p], called[int(p)]) for p in both}
        back = {called[int(p)]: celebs.people[p] for p in both}
        said = {(a.people[p.a], b.people[p.b]) for p in found.shared()}
        for i, p in enumerate(both):
            key = "people, respelt" if i % 2 == 0 else "people, renamed"
            total[key] += ((celebs.people[p], called[int(p)]) in said, 1)
        total["people, false"] += (len(said - truth), len(a.people) * len(b.people) - len(truth))
        hit = {(a.names[c.a], int(copied.names[c.b].split("/")[-1][:3])) for c in found_copies.pictures}
        for n, (i, k) in enumerate(zip(sources, kinds, strict=True)):
            ok = (a.names[i], n) in hit
            total["pictures"] += (ok, 1)
            total[KINDS[k]] += (ok, 1)
        # A picture of another person is no copy. One of the same person may be: celebs holds many photos twice.
        wrong = {c.b for c in found.pictures if a.people[a.person[c.a]] != back.get(b.people[b.person[c.b]])}
        source = {n: a.names[i] for n, i in enumerate(sources)}
        wrong_source = {n for name, n in hit if person_of(name) != person_of(source[n])}
        total["pictures, false"] += (len(wrong) + len(wrong_source), len(b) + 200)
        listed += [[a.names[c.a], b.names[c.b], c.how] for c in found.pictures]
        listed += [[name, f"copy of {source[n]}"] for name, n in sorted(hit) if name != source[n]]
    out = {key: rate(*map(int, value)) for key, value in total.items()}
    out["natural copies, of one person"] = listed
    for key in total:
        print(f"overlap, {key}: {out[key]}")
    return out


def person_of(name: str) -> str:
    return name.partition("/")[0]


def measure_disjoint(celebs, calibration) -> dict:
    """Halves of the people: whatever is found is a false alarm."""
    people, pictures = np.zeros(2, int), np.zeros(2, int)
    listed = []
    for seed in range(5):
        drawn = np.random.default_rng(200 + seed).permutation(len(celebs.people))
        a, b = (subset(celebs, np.flatnonzero(np.isin(celebs.person, part))) for part in (drawn[:35], drawn[35:]))
        found = overlap(a, b, calibration, pictures=seed == 0)
        people += (len(found.shared()), 35 * 35)
        listed += [p.record(a.people, b.people) for p in found.shared()]
        if seed == 0:
            pictures += (len({c.b for c in found.pictures}), len(b))
            listed += [[a.names[c.a], b.names[c.b], c.how] for c in found.pictures]
    out = {"people, false": rate(*map(int, people)), "pictures, false": rate(*map(int, pictures)), "listed": listed}
    print("disjoint halves:", out)
    return out


if __name__ == "__main__":
    main()
