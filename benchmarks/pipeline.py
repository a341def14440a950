"""Photos per second, the whole way: mien against `face_recognition` (same embedder weights) on the same pictures.

    python benchmarks/pipeline.py $MIEN_DATA/lfw --photos 300 --rounds 3 [--peer-python VENV/bin/python]

Each round runs every contender once, in turn, each in a fresh process, so that drift of the machine hits all alike.
Loading the models is timed apart. The peer runs as its users run it (one process), and on all cores (its `--cpus -1`).
Without --peer-python a virtual environment for the peer is made beside the results (needs pip's index).
Writes benchmarks/results/pipeline.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent

PEER = """
import json, multiprocessing, resource, sys, time
start = time.perf_counter()
import face_recognition
paths, processes = json.load(sys.stdin), int(sys.argv[1])
def faces(path):
    image = face_recognition.load_image_file(path)
    return len(face_recognition.face_encodings(image))
if __name__ == "__main__":
    faces(paths[0])
    if processes > 1:
        pool = multiprocessing.get_context("fork").Pool(processes)
        run = lambda: pool.map(faces, paths, chunksize=4)
    else:
        run = lambda: [faces(p) for p in paths]
    ready = time.perf_counter()
    found = run()
    seconds = time.perf_counter() - ready
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if processes > 1:
        pool.close(); pool.join()
        peak += processes * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    shown = dict(seconds=seconds, load=ready - start, faces=sum(found), empty=found.count(0), peak_mib=peak / 1024)
    print(json.dumps(shown))
"""

MIEN = """
import json, resource, sys, time
start = time.perf_counter()
import mien
paths, options = json.load(sys.stdin), json.loads(sys.argv[1])
if engine := options.pop("engine", None):
    from mien.detect.trees import RegressionTrees
    from mien.embed.dlib_resnet import DlibResNet
    from mien.models.session import available_cores
    options["embedder"] = lambda threads: DlibResNet(
        options["preset"], landmarker=RegressionTrees(), threads=threads, callers=available_cores(), engine=engine
    )
rec = mien.Recognizer(**options)
list(rec.analyze(paths[:4]))
ready = time.perf_counter()
found = [len(a.faces) for a in rec.analyze(paths)]
seconds = time.perf_counter() - ready
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
shown = dict(seconds=seconds, load=ready - start, faces=sum(found), empty=found.count(0), peak_mib=peak / 1024)
print(json.dumps(shown))
"""

SHARES = """
import json, sys, time
from mien.images import decode
from mien.recognizer import Recognizer
paths, options = json.load(sys.stdin), json.loads(sys.argv[1])
rec = Recognizer(workers=1, **options)
detector, embedder = rec._detector(1), rec._embedder(1)
spent = dict.fromkeys(["decode", "detect", "align", "embed"], 0.0)
def timed(stage, call):
    start = time.perf_counter(); result = call(); spent[stage] += time.perf_counter() - start; return result
for warm in (True, False):
    spent = dict.fromkeys(spent, 0.0)
    for i in range(0, 32 if warm else len(paths), 16):
        images = timed("decode", lambda: [decode(p).pixels for p in paths[i : i + 16]])
        found = timed("detect", lambda: detector.detect(images))
        chips = timed("align", lambda: [embedder.chips(p, f) for p, f in zip(images, found) if len(f)])
        import numpy as np
        timed("embed", lambda: embedder.embed(np.concatenate(chips)))
print(json.dumps({stage: 1e3 * s / len(paths) for stage, s in spent.items()}))
"""


def run(python: str, code: str, argument: str, paths: list[str]) -> dict[str, float]:
    """Run one contender in a fresh process and return what it printed."""
    command = [python, "-c", code, argument]
    done = subprocess.run(command, input=json.dumps(paths), text=True, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{python} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def peer_python(folder: Path) -> str:
    """Make the peer's own virtual environment: it needs an old setuptools and pip's dlib wheel."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "-q"]
        subprocess.run([*pip, "setuptools<81", "dlib-bin", "Pillow", "click", "numpy", "wheel"], check=True)
        subprocess.run(
            [*pip, "--no-deps", "--no-build-isolation", "face_recognition", "face-recognition-models==0.3.0"],
            check=True,
        )
    return str(python)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="pictures; LFW's own folder for the published figures")
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer-python", help="python of an environment that holds face_recognition")
    options = parser.parse_args()

    pictures = sorted(map(str, options.folder.rglob("*.jpg")))
    if len(pictures) < options.photos:
        sys.exit(f"{options.folder}: expected at least {options.photos} .jpg pictures, found {len(pictures)}")
    paths = random.Random(options.seed).sample(pictures, options.photos)
    peer = options.peer_python or peer_python(HERE / ".peer-venv")
    cores = len(os.sched_getaffinity(0))
    contenders = {
        "face_recognition": (peer, PEER, "1"),
        f"face_recognition, {cores} processes": (peer, PEER, str(cores)),
        "mien fast": (sys.executable, MIEN, json.dumps({"preset": "fast"})),
        "mien accurate": (sys.executable, MIEN, json.dumps({"preset": "accurate"})),
        "mien fast, onnxruntime": (sys.executable, MIEN, json.dumps({"preset": "fast", "engine": "onnxruntime"})),
        "mien accurate, onnxruntime": (
            sys.executable,
            MIEN,
            json.dumps({"preset": "accurate", "engine": "onnxruntime"}),
        ),
    }
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for number in range(options.rounds):
        for name, (python, code, argument) in contenders.items():
            rounds[name].append(run(python, code, argument, paths))
            speed = len(paths) / rounds[name][-1]["seconds"]
            print(f"round {number + 1}: {name}: {speed:.1f} photos/s", file=sys.stderr)

    table = {}
    base = statistics.median(r["seconds"] for r in rounds["face_recognition"])
    print(f"\n{len(paths)} photos, {cores} cores, {platform.machine()}, median of {options.rounds} rounds")
    print(f"{'':34}{'photos/s':>9}{'ratio':>8}{'faces':>7}{'no face':>9}{'load s':>8}{'peak MiB':>10}")
    for name, results in rounds.items():
        seconds = statistics.median(r["seconds"] for r in results)
        row = {
            "photos_per_second": len(paths) / seconds,
            "ratio": base / seconds,
            "ratios": [p["seconds"] / r["seconds"] for p, r in zip(rounds["face_recognition"], results, strict=True)],
            "faces": results[0]["faces"],
            "photos_without_face": results[0]["empty"],
            "load_seconds": statistics.median(r["load"] for r in results),
            "peak_mib": max(r["peak_mib"] for r in results),
        }
        table[name] = row
        print(
            f"{name:34}{row['photos_per_second']:9.1f}{row['ratio']:7.1f}x{row['faces']:7.0f}"
            f"{row['photos_without_face']:9.0f}{row['load_seconds']:8.2f}{row['peak_mib']:10.0f}"
        )
    shares = {p: run(sys.executable, SHARES, json.dumps({"preset": p}), paths) for p in ("fast", "accurate")}
    for preset, spent in shares.items():
        total = sum(spent.values())
        parts = ", ".join(f"{stage} {ms:.2f} ms ({ms / total:.0%})" for stage, ms in spent.items())
        print(f"mien {preset}, one core: {total:.2f} ms a photo: {parts}")
    machine = {"cores": cores, "platform": platform.platform()}
    result = {"photos": len(paths), "machine": machine, "results": table, "one_core_ms": shares}
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "pipeline.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
