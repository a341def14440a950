"""Make the calibrations that mien ships: what the default model's scores mean, from all pairs of LFW's peopleDevTest.

    python benchmarks/calibration.py $MIEN_DATA             # writes src/mien/match/calibrations/*.toml

Run it again whenever the default model's identity changes (views, templates, weights), or `calibration_for` will
rightly refuse. The main face of each picture counts; pictures without a face are left out and reported.
"""

from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path

import numpy as np
from accuracy import HERE, read_people

import mien
from mien.match import calibrate

FOLDER = HERE.parent / "src" / "mien" / "match" / "calibrations"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that MIEN_DATA names")
    options = parser.parse_args()
    people = read_people(options.data / "lists" / "peopleDevTest.txt", options.data / "lfw")
    names = {path: name for name, path in people}
    FOLDER.mkdir(exist_ok=True)
    for preset in ("fast", "accurate"):
        rec = mien.Recognizer(preset)
        found = [(names[a.source], a.embeddings[a.main()]) for a in rec.analyze(names) if len(a.faces)]
        person = np.unique([name for name, _ in found], return_inverse=True)[1]
        vectors = np.stack([vector for _, vector in found]).astype(np.float64)
        first, second = np.triu_indices(len(found), 1)
        score = (vectors @ vectors.T)[first, second]
        same = person[first] == person[second]
        calibration = calibrate(
            rec.identity,
            genuine=score[same],
            impostor=score[~same],
            made_on=f"LFW View 1, all pairs of peopleDevTest: {len(found)} deep-funneled pictures, main faces",
            date=dt.datetime.now(tz=dt.UTC).date().isoformat(),
        )
        target = FOLDER / f"{rec.identity.name}-{preset}.toml"
        target.write_text(calibration.to_toml(), encoding="utf-8")
        print(f"{rec.identity}: {len(names) - len(found)} of {len(names)} pictures without a face; wrote {target.name}")
        for point in calibration.table:
            trust = "" if point.supported else "  (too few pairs)"
            print(f"  FMR {point.fmr:<8g} threshold {point.threshold:.4f}  TAR {point.tar:.4f}{trust}")


if __name__ == "__main__":
    main()
