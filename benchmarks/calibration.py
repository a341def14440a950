"""Make the calibrations that mien ships, and show that their thresholds keep what they promise.

    python benchmarks/calibration.py $MIEN_DATA                    # writes src/mien/match/calibrations/*.toml
    python benchmarks/calibration.py $MIEN_DATA --splits 20        # only the held-out test, three master seeds

Made on LFW's peopleDevTest (View 1) and on `celebs`: a rate's threshold is that of the set that needs the higher one.
Checked, apart, on both of them, on held-out halves of both, and on `orl` and `celebs64`, which have no say. The main
face of each picture counts; pictures without a face are left out and reported. Run it again whenever the default
model's identity changes (views, templates, weights), or `calibration_for` will rightly refuse. Embeddings come from the
cache of `mien evaluate` (MIEN_CACHE). Writes benchmarks/results/calibration.json.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

import mien
from mien.evaluate.calibration_check import check_fmr, check_fpir, halves_of
from mien.evaluate.calibration_fit import faces_of, fingerprint, fit_calibration
from mien.evaluate.calibration_splits import split_trials
from mien.evaluate.calibration_worst import worst_of
from mien.evaluate.embedding_cache import EmbeddingCache
from mien.evaluate.embeddings import embed_pictures
from mien.evaluate.protocols import FolderProtocol, LfwPeople
from mien.match import Check
from mien.match.calibration_file import write
from mien.match.maxima import largest_gallery
from mien.models import catalogue

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "src" / "mien" / "match" / "calibrations"
RESULTS = HERE / "results" / "calibration.json"
MADE_ON = ("lfw", "celebs")
SAYS_NOTHING = ("orl", "celebs64")
WORDS = {
    "lfw": "LFW View 1, peopleDevTest",
    "celebs": "celebs (web photos of 70 actors, shorter side up to 144 pixels, with label noise)",
    "orl": "ORL (40 people, grey, one laboratory)",
    "celebs64": "celebs64 (76 Indian actors, crops of 64 x 64 pixels)",
}
FMRS = (1e-2, 1e-3, 1e-4, 1e-5)
FPIRS = (1e-1, 1e-2, 1e-3)
SIZES = (10, 50, 500)
DRAWS = 400


def load(data: Path, name: str, rec: mien.Recognizer):
    """Faces of a set, the fingerprint of its pictures, and how many pictures show no face."""
    protocol = (
        LfwPeople(data / "lists" / "peopleDevTest.txt", data / "lfw") if name == "lfw" else FolderProtocol(data / name)
    )
    pictures = protocol.all_pairs()
    card = catalogue.get(catalogue.DEFAULT_DETECTOR)  # the same settings as `mien evaluate` keeps its cache by
    settings = repr((card.name, [(file.name, file.sha256) for file in card.files], ""))
    cache = EmbeddingCache.of(rec.identity, settings)
    found = embed_pictures(pictures.pictures, rec, cache=cache)
    cache.close()
    at = np.flatnonzero(found.found)
    faces = faces_of(found.vectors[at], pictures.subject[at])
    return faces, fingerprint(pictures.pictures[int(i)] for i in at), len(found.found) - len(at)


def checked(calibration, faces, words: str) -> Check:
    largest = largest_gallery(np.bincount(faces.subject))
    rates = check_fmr(calibration, faces, FMRS)
    for size in (size for size in SIZES if size <= largest):
        rates += [check_fpir(calibration, faces, fpir, size) for fpir in FPIRS]
    return Check(words, faces.people, len(faces.vectors), tuple(rates))


def make(data: Path, preset: str) -> dict:
    rec = mien.Recognizer(preset)
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    sets, fits, missing, prints = {}, {}, {}, {}
    for name in (*MADE_ON, *SAYS_NOTHING):
        sets[name], prints[name], missing[name] = load(data, name, rec)
        fits[name] = fit_calibration(
            sets[name], rec.identity, made_on=WORDS[name], date=today, data=prints[name], draws=DRAWS
        )
    made_on = "LFW peopleDevTest (View 1) and celebs, the higher threshold of the two"
    calibration = worst_of([(fits[name], sets[name]) for name in MADE_ON], made_on=made_on, date=today)
    checks = [checked(calibration, sets[name], f"{WORDS[name]}; of the data it was made on") for name in MADE_ON]
    checks += [checked(calibration, sets[name], f"{WORDS[name]}; had no say") for name in SAYS_NOTHING]
    halves = {name: halves_of(sets[name], 0) for name in MADE_ON}
    first = []
    for name in MADE_ON:
        half = halves[name][0]
        first.append((fit_calibration(half, rec.identity, made_on=name, date=today, draws=DRAWS, halves=0), half))
    half = worst_of(first, made_on="halves", date=today)
    for name in MADE_ON:
        words = f"held-out half of the people of {WORDS[name]}; thresholds made in the same way on the other halves"
        checks.append(checked(half, halves[name][1], words))
    calibration = replace(calibration, checks=tuple(checks))
    FOLDER.mkdir(exist_ok=True)
    write(calibration, FOLDER / f"{rec.identity.name}-{preset}.toml", replace_old=True)
    show(calibration, fits, missing)
    alone = {name: [checked_row(fits[name], sets[other], other) for other in sets] for name in MADE_ON}
    return {
        "model": str(rec.identity),
        "alone": alone,
        "without_face": missing,
        "fingerprints": prints,
        "thresholds": {
            "fmr": {f"{rate:g}": calibration.threshold(fmr=rate) for rate in FMRS},
            "fpir": {
                f"{rate:g}": {n: calibration.threshold_for(fpir=rate, gallery_size=n) for n in (10, 100, 1000, 10000)}
                for rate in FPIRS
            },
        },
        "checks": [asdict(check) for check in checks],
    }


def checked_row(calibration, faces, name: str) -> dict:
    """What the thresholds of one set alone give on another, for the choice between ways to combine them."""
    found = check_fmr(calibration, faces, FMRS[:3])
    return {"on": name, "rates": [asdict(rate) for rate in found]}


def show(calibration, fits, missing) -> None:
    print(f"\n{calibration.model}/{calibration.preset}, pictures without a face: {missing}")
    for point in calibration.table:
        sets = ", ".join(f"{name} {fits[name].threshold(fmr=point.fmr):.4f}" for name in fits)
        print(f"  FMR {point.fmr:<7g} threshold {point.threshold:.4f}  TAR {point.tar:.4f}  ({sets})")
    for size in (1, 10, 100, 1000, 10000):
        row = []
        for fpir in FPIRS:
            mark = "" if calibration.supports_fpir(fpir=fpir, gallery_size=size) else " (extrapolated)"
            row.append(f"FPIR {fpir:g}: {calibration.threshold_for(fpir=fpir, gallery_size=size):.4f}{mark}")
        print(f"  gallery of {size}: {', '.join(row)}")
    for check in calibration.checks:
        print(f"  on {check.data}: {check.subjects} people, {check.pictures} pictures")
        for r in check.rates:
            kind = f"FMR {r.asked:g}" if r.gallery_size is None else f"FPIR {r.asked:g} of {r.gallery_size}"
            tar = "" if r.tar is None else f", TAR {r.tar:.4f}"
            print(f"    {kind}: {r.measured:.2g} ({r.low:.2g} to {r.high:.2g}){tar}")


def held_out(data: Path, preset: str, splits: int, sizes: tuple[int, ...]) -> list[dict]:
    """LFW's people in random halves: the threshold at FPIR 1 % of one, measured on the other at equal gallery size."""
    rec = mien.Recognizer(preset)
    faces, *_ = load(data, "lfw", rec)
    rows = []
    for size in sizes:
        for seed in (0, 1, 2):
            start = time.monotonic()
            found = list(split_trials(faces, rec.identity, fpir=0.01, gallery_size=size, splits=splits, seed=seed))
            row = {
                "preset": preset,
                "gallery_size": size,
                "seed": seed,
                "splits": splits,
                "not_exceeded": sum(s.not_exceeded for s in found),
                "covered": sum(s.covered for s in found),
                "covered_by_both": sum(s.covered_by_both for s in found),
                "one_enrolment_covered": sum(s.trial.interval()[0] <= s.asked <= s.trial.interval()[1] for s in found),
                "mean_fpir": float(np.mean([s.measured for s in found])),
                "sd_fpir": float(np.std([s.measured for s in found], ddof=1)) if splits > 1 else 0.0,
                "seconds": round(time.monotonic() - start, 1),
            }
            print(row, flush=True)
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that MIEN_DATA names")
    parser.add_argument("--splits", type=int, default=0, help="do the held-out test with so many splits, and no more")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 200, 300], help="gallery sizes of that test")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for preset in ("fast", "accurate"):
        if options.splits:
            found = held_out(options.data, preset, options.splits, tuple(options.sizes))
            results.setdefault("splits", {})[preset] = found
        else:
            results.setdefault("shipped", {})[preset] = make(options.data, preset)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
