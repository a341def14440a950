"""What a change of the model brings, and what re-embedding from crops loses against originals, on real faces.

    python benchmarks/migration.py --lfw LFW --people lists/peopleDevTest.txt

People with three pictures or more are drawn; two pictures of each are enrolled with the preset fast, the others are
asked for, with one picture of each of 400 strangers. The gallery is then changed to accurate: from kept crops, from
originals under other names, and half and half; and rolled back. It is measured against a new enrolment with accurate.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from mien import Recognizer
from mien.gallery import Gallery
from mien.gallery.migration import both_models, confirm, forget_old, rollback, stage
from mien.gallery.records import FaceRecord
from mien.types import ModelIdentity


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lfw", type=Path, required=True)
    options.add_argument("--people", type=Path, required=True)
    options.add_argument("--known", type=int, default=100)
    options.add_argument("--strangers", type=int, default=400)
    options.add_argument("--seed", type=int, default=7)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as made:
        rates(given, Path(made))
        costs(Path(made))


def rates(given, folder):
    random.seed(given.seed)
    listed = [line.split("\t") for line in given.people.read_text().splitlines()[1:]]
    known = random.sample([name for name, count in listed if int(count) >= 3], given.known)
    strangers = random.sample([name for name, _ in listed if name not in known], given.strangers)
    pictures = {name: sorted((given.lfw / name).glob("*.jpg")) for name in known + strangers}
    models = {preset: Recognizer(preset) for preset in ("fast", "accurate")}
    for preset, model in models.items():
        with Gallery.open(folder / f"{preset}.db", recognizer=model) as gallery:
            people = [(name, pictures[name][:2]) for name in known]
            list(gallery.enrol_people(people, policy="off", keep_crops=True))
    asked = [(name, path) for name in known for path in pictures[name][2:7]]
    asked += [(None, pictures[name][0]) for name in strangers]
    probes = {}
    for preset, model in models.items():
        found = zip(asked, model.analyze([path for _, path in asked]), strict=True)
        probes[preset] = [(name, a.embeddings[a.main()]) for (name, _), a in found if len(a.faces)]
    tell(folder / "fast.db", probes["fast"], "fast, before")
    tell(folder / "accurate.db", probes["accurate"], "accurate, enrolled anew")
    with Gallery.open(folder / "accurate.db") as gallery:
        anew = gallery.home.template_faces([subject.id for subject in gallery.subjects()])[0]
    for label, share in (("crops", 0), ("originals", 1), ("half and half", 2)):
        originals = folder / f"originals for {label}"
        originals.mkdir()
        for i, name in enumerate(known):
            for j, path in enumerate(pictures[name][:2]):
                if share and i % share == 0:
                    shutil.copy(path, originals / f"{i}-{j}.jpg")
        shutil.copy(folder / "fast.db", folder / f"{label}.db")
        with Gallery.open(folder / f"{label}.db") as gallery:
            began = time.perf_counter()
            report = stage(gallery.home, models["accurate"], originals=[originals])
            took = time.perf_counter() - began
            cosines = (both_models(gallery.home).staged * anew).sum(axis=1)
            confirm(gallery.home)
        print(f"{label}: {report.from_originals} from originals, {report.from_crops} from crops, "
              f"{len(report.missing)} missing, {took:.1f} s; cosine to a new enrolment: "
              f"median {np.median(cosines):.5f}, worst {cosines.min():.5f}")  # fmt: skip
        tell(folder / f"{label}.db", probes["accurate"], f"accurate, from {label}")
        with Gallery.open(folder / f"{label}.db") as gallery:
            rollback(gallery.home)
        tell(folder / f"{label}.db", probes["fast"], "fast, after the rollback")


def tell(path, probes, label):
    with Gallery.open(path, readonly=True) as gallery:
        matches = gallery.identify_embeddings(np.stack([row for _, row in probes]))
    pairs = [(name, match) for (name, _), match in zip(probes, matches, strict=True)]
    theirs = [(name, match) for name, match in pairs if name is not None]
    others = [match for name, match in pairs if name is None]
    named = np.mean([match.name == name for name, match in theirs])
    at = np.sort([match.score for match in others])[::-1][int(0.01 * len(others))]
    found = np.mean([match.nearest_name == name and match.score > at for name, match in theirs])
    false = sum(match.known for match in others)
    print(f"  {label}: {named:.1%} of {len(theirs)} named, {false} of {len(others)} strangers named, "
          f"DIR at FPIR 1 % {found:.1%}, threshold {matches[0].threshold:.4f}")  # fmt: skip


def costs(folder, faces=100_000):
    """Exchanging the embeddings of a large gallery."""
    old, new = (ModelIdentity(name, "fast", name * 64, 128) for name in "ab")
    rows = np.random.default_rng(0).standard_normal((faces, 128)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with Gallery.open(folder / "large.db", identity=old) as gallery:
        home = gallery.home
        home.add([(f"p{i}", [FaceRecord(row, "p") for row in rows[i : i + 5]]) for i in range(0, faces, 5)], old)
        home.begin_staging(new)
        home.stage(list(enumerate(rows[::-1], 1)), new)
        for verb in (lambda: confirm(home, no_threshold=True), lambda: rollback(home)):
            began = time.perf_counter()
            verb()
            print(f"{faces:,} faces exchanged: {time.perf_counter() - began:.1f} s")
        confirm(home, no_threshold=True)
        began = time.perf_counter()
        forget_old(home)
        print(f"{faces:,} faces of the old model forgotten: {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
