"""How well a model still knows people in bad pictures: LFW View 1, the second picture of each pair made worse.

    python benchmarks/hard_sets.py $MIEN_DATA/lfw --lists $MIEN_DATA/lists                       # the default model
    python benchmarks/hard_sets.py $MIEN_DATA/lfw --lists $MIEN_DATA/lists --model default --model runs/fine

Sets: clean; grey; low resolution (the face is 20 pixels wide); mesh (a watermark as over copies of ID photos); blur
(of focus and of movement); profile (the face turned away by 40 to 55 degrees, as if it were a cylinder). What is drawn
by chance comes from the picture's name, so the sets are the same everywhere. Faces are found once, in the untouched
picture: the sets measure the embedding and not the detector.

Printed for each set: accuracy on pairsDevTest at the threshold that is best on pairsDevTrain; and TAR at FAR 1e-3 over
all couples of an untouched and a worse picture in View 1. For each model after the first also what it gains over the
first, with a 95 % interval: of the accuracy by drawing pairs anew, of TAR by drawing people anew (thresholds kept).
Writes benchmarks/results/hard_sets.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from accuracy import best_threshold, read_pairs, tar_at

import mien
from mien.images.augment import blur, draw_mesh, grey, lower_resolution, random_mesh, turn_away
from mien.images.decode import decode
from mien.models import catalogue
from mien.recognizer import open_embedder
from mien.types import Faces

HERE = Path(__file__).resolve().parent
FACE_WIDTH = 20  # pixels, in the set of low resolution
CHUNK = 64
DRAWS = 2000  # of the intervals
Worse = tuple[np.ndarray, Faces]
"""A picture, and where its face is now."""


def face_width(faces: Faces) -> float:
    return float(faces.boxes[0, 2] - faces.boxes[0, 0])


def low(picture: np.ndarray, faces: Faces, rng: np.random.Generator) -> Worse:
    side = round(min(picture.shape[:2]) * FACE_WIDTH / face_width(faces))
    return (lower_resolution(picture, max(side, 1)) if side < min(picture.shape[:2]) else picture), faces


def meshed(picture: np.ndarray, faces: Faces, rng: np.random.Generator) -> Worse:
    return draw_mesh(picture, random_mesh(rng)), faces


def blurred(picture: np.ndarray, faces: Faces, rng: np.random.Generator) -> Worse:
    width = face_width(faces)
    return blur(picture, 0.02 * width, motion=0.06 * width, angle=rng.uniform(0, np.pi)), faces


def profile(picture: np.ndarray, faces: Faces, rng: np.random.Generator) -> Worse:
    yaw = np.deg2rad(rng.uniform(40, 55)) * rng.choice([-1, 1])
    out, points = turn_away(picture, faces.landmarks[0], yaw)
    return out, Faces(faces.boxes, faces.scores, points[None])


SETS: dict[str, Callable[[np.ndarray, Faces, np.random.Generator], Worse]] = {
    "clean": lambda picture, faces, rng: (picture, faces),
    "grey": lambda picture, faces, rng: (grey(picture), faces),
    "low resolution": low,
    "mesh": meshed,
    "blur": blurred,
    "profile": profile,
}


def main_faces(paths: list[str]) -> dict[str, Faces]:
    """The main face of each picture, from the default detector."""
    found = {}
    for analysis in mien.Recognizer().analyze(paths, embed=False):
        if len(analysis.faces):
            k = analysis.main()
            faces = analysis.faces
            found[analysis.source] = Faces(faces.boxes[[k]], faces.scores[[k]], faces.landmarks[[k]])
    return found


def worse(name: str, path: str, faces: Faces) -> Worse:
    """The picture of the set, and where its face is."""
    rng = np.random.default_rng(zlib.crc32(f"{name}/{Path(path).name}".encode()))
    return SETS[name](decode(path).pixels, faces, rng)


def embed(embedder, name: str, found: dict[str, Faces]) -> dict[str, np.ndarray]:
    """The embedding of each picture of the set."""
    vectors: dict[str, np.ndarray] = {}
    rest: Iterator[str] = iter(found)
    while chunk := list(islice(rest, CHUNK)):
        chips = np.concatenate([embedder.chips(*worse(name, path, found[path])) for path in chunk])
        vectors |= dict(zip(chunk, embedder.embed(chips), strict=True))
    return vectors


def scores(pairs: list[tuple[str, str]], clean: dict[str, np.ndarray], bad: dict[str, np.ndarray]) -> np.ndarray:
    return np.array([float(clean[a] @ bad[b]) if a in clean and b in bad else -1.0 for a, b in pairs])


@dataclass(frozen=True)
class Measured:
    """Right or wrong for each test pair, and accepted or not for each genuine couple, with its person."""

    right: np.ndarray
    accepted: np.ndarray
    person: np.ndarray

    def figures(self) -> dict[str, float]:
        """Accuracy, and TAR at FAR 1e-3."""
        return {"accuracy": float(self.right.mean()), "tar_at_1e-3": float(self.accepted.mean())}

    def gains(self, first: Measured) -> dict[str, list[float]]:
        """[gain, low, high] over the first model, the same pairs and people drawn for both."""
        rng = np.random.default_rng(0)
        pairs = self.right.astype(float) - first.right
        draws = rng.integers(0, len(pairs), (DRAWS, len(pairs)))
        accuracies = pairs[draws].mean(1)
        won = np.bincount(self.person, self.accepted.astype(float) - first.accepted)
        couples = np.bincount(self.person)
        people = np.flatnonzero(couples)
        drawn = people[rng.integers(0, len(people), (DRAWS, len(people)))]
        tars = won[drawn].sum(1) / couples[drawn].sum(1)
        return {
            "accuracy_gain": [float(pairs.mean()), *np.quantile(accuracies, [0.025, 0.975]).tolist()],
            "tar_gain": [float(won.sum() / couples.sum()), *np.quantile(tars, [0.025, 0.975]).tolist()],
        }


def measured(lists, clean, bad) -> Measured:
    """The test list at the train list's threshold; all couples of an untouched and a worse picture at FAR 1e-3."""
    (train, train_same), (test, test_same) = lists
    threshold = best_threshold(scores(train, clean, bad), train_same)
    right = (scores(test, clean, bad) >= threshold) == test_same
    paths = sorted(clean)
    person = np.unique([Path(path).parent.name for path in paths], return_inverse=True)[1]
    table = np.stack([clean[path] for path in paths]) @ np.stack([bad[path] for path in paths]).T
    other = ~np.eye(len(paths), dtype=bool)
    same = person[:, None] == person[None, :]
    _, limit = tar_at(table[same & other], table[~same], 1e-3)
    genuine = same & other
    return Measured(right, table[genuine] >= limit, person[np.nonzero(genuine)[0]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="LFW's folder: Name/Name_0001.jpg")
    parser.add_argument("--lists", type=Path, required=True, help="folder of View 1's lists")
    parser.add_argument("--model", action="append", help="a model's name, card or run folder; default: the default one")
    parser.add_argument("--preset", choices=["fast", "accurate"], default="fast")
    options = parser.parse_args()

    lists = [read_pairs(options.lists / f"pairsDev{part}.txt", options.folder)[:2] for part in ("Train", "Test")]
    found = main_faces(sorted({path for pairs, _ in lists for pair in pairs for path in pair}))
    report: dict[str, object] = {"machine": platform.platform(), "preset": options.preset, "pictures": len(found)}
    first: dict[str, Measured] = {}
    for model in options.model or ["default"]:
        label = Path(model).name  # no places of this machine
        card = None if model == "default" else catalogue.get(model)
        embedder = open_embedder(card, options.preset)
        rows: dict[str, dict[str, object]] = {}
        clean = embed(embedder, "clean", found)
        for name in SETS:
            judged = measured(lists, clean, clean if name == "clean" else embed(embedder, name, found))
            rows[name] = dict(judged.figures())
            line = "  ".join(f"{key} {value:.4f}" for key, value in judged.figures().items())
            if name in first:
                gains = judged.gains(first[name])
                rows[name] |= gains
                line += "  " + "  ".join(
                    f"{key} {g:+.4f} [{low:+.4f}, {high:+.4f}]" for key, (g, low, high) in gains.items()
                )
            else:
                first[name] = judged
            print(f"{label:20s} {name:15s} {line}", flush=True)
        report[label] = rows
    (HERE / "results" / "hard_sets.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
