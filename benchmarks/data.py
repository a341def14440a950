"""Data preparation: cropping beside the engine alone, packing beside copying, very many small files, and Ray.

    python benchmarks/data.py $MIEN_DATA/lfw --photos 600 --rounds 5         # crop and pack
    python benchmarks/data.py $MIEN_DATA/lfw --only files --files 100000     # memory, cores, kill -9 and going on
    python benchmarks/data.py $MIEN_DATA/lfw --only ray --photos 1000        # photos/s with 1 and 2 workers

Contenders of a round run in turn, each in a fresh process, so that drift of the machine hits all alike; the order
changes from round to round. Loading the models is not timed. Packing reads what was read before (the page cache), so
disks count on the writing side only. What bounds packing stands beside it: the same bytes read and written alone, and
for re-encoding the codec alone, on one core. `cpu` figures are of the whole process and move little on a busy machine.
Disks move much: ext4 is slow near files that were deleted minutes ago, so what a new folder with a file in it takes is
told (`new_file_us`); above 100 or so, wait, or give another `--work`. `files` makes small JPEG files that differ in
their last bytes: a tenth of them show a face. What a killed run had told of must be in the manifest, and in the end
every file once.
Writes its sections of benchmarks/results/data.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENGINE, CROP = "engine: decoding and detection", "crop"

CHILD = """
import json, os, resource, shutil, sys, time
import numpy as np
from pathlib import Path
what, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])

def engine(paths, recognizer):
    return sum(len(found.faces) > 0 for found in recognizer.analyze(paths, embed=False))

def crop(paths, recognizer):
    from mien.prepare.cropping import crop
    return sum(len(answer.crops) for answer in crop(source, target, recognizer, photos=paths))

def told(paths, recognizer):
    from mien.prepare.cropping import crop
    count = 0
    for answer in crop(source, target, recognizer, photos=paths):
        count += 1
        if not answer.before and (what == "told"):
            print(answer.source.name, flush=True)
    return count

def pil(paths, recognizer):
    # What the scripts do that people write for this: one picture after the other.
    from PIL import Image
    for path in paths:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("RGB").resize((112, 112), Image.BILINEAR).save(place, quality=95)
    return len(paths)

def copy(paths, recognizer):
    shutil.copytree(source, target)
    return len(paths)

def pack(paths, recognizer):
    from mien.prepare.packing import pack
    return pack(source, target).samples

def bytes_alone(paths, recognizer):
    # What any packing must do at least: read every file, write one, and wait for the disk.
    with open(target, "wb") as file:
        for path in paths:
            with open(path, "rb") as picture:
                file.write(picture.read())
        file.flush()
        os.fsync(file.fileno())
    return len(paths)

def reencode(paths, recognizer):
    from mien.prepare.packing import pack
    from mien.prepare.reencoding import Reencoding
    return pack(source, target, change=Reencoding(side=112, quality=95)).samples

def codec_alone(paths, recognizer):
    # What re-encoding must do at least, on one core: the decoder, the scaling and the encoder, no writing.
    import cv2
    cv2.setNumThreads(1)
    for path in paths:
        picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        factor = 112 / min(picture.shape[:2])
        size = tuple(round(side * factor) for side in picture.shape[1::-1])
        cv2.imencode(".jpg", cv2.resize(picture, size, interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, 95])
    return len(paths)

from mien.images import list_images
listed = time.perf_counter()
paths = list_images(source)
listed = time.perf_counter() - listed
recognizer = None
if what in ("engine", "crop", "told", "silent"):
    from mien.recognizer import Recognizer
    from mien.prepare.cropping import crop as _warm
    recognizer = Recognizer("fast", workers=int(os.environ.get("WORKERS", "0")) or None)
    list(recognizer.analyze(paths[:4], embed=False))
if what in ("pack", "reencode"):
    import mien.prepare.packing, mien.prepare.reencoding
    if target.suffix == ".parquet":
        import pyarrow.parquet
if what == "codec_alone":
    import cv2
if what == "pil":
    from PIL import Image, JpegImagePlugin
work = {
    "engine": engine, "crop": crop, "told": told, "silent": told, "pil": pil, "copy": copy, "pack": pack,
    "bytes_alone": bytes_alone, "reencode": reencode, "codec_alone": codec_alone,
}[what]
own = time.thread_time()
before = time.process_time()
start = time.perf_counter()
count = work(paths, recognizer)
wall = time.perf_counter() - start
cpu = time.process_time() - before
own = time.thread_time() - own
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(dict(wall=wall, cpu=cpu, main=own, count=count, photos=len(paths), listed=listed, peak_mib=peak)))
"""


def child(what: str, source: Path, target: Path) -> dict:
    command = [sys.executable, "-c", CHILD, what, str(source), str(target)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def some_photos(folder: Path, count: int, target: Path) -> Path:
    """A folder of people with `count` photos of `folder`, copied."""
    photos = sorted(folder.rglob("*.jpg"))
    chosen = random.Random(0).sample(photos, min(count, len(photos)))
    for photo in chosen:
        place = target / photo.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo, place)
    return target


def new_file_us(work: Path) -> int:
    """What the file system takes for a new folder with a small file in it."""
    began = time.perf_counter()
    for i in range(200):
        place = work / "probe" / str(i)
        place.mkdir(parents=True)
        (place / "file").write_bytes(bytes(6000))
    return round((time.perf_counter() - began) / 200 * 1e6)


def middle(values: list[float]) -> float:
    return round(statistics.median(values), 3)


def measure_crop(folder: Path, photos: int, rounds: int, work: Path) -> dict:
    source = some_photos(folder, photos, work / "crop-in")
    runs: dict[str, list[dict]] = {"engine": [], "crop": []}
    for number in range(rounds):
        for what in (list(runs), list(runs)[::-1])[number % 2]:
            # Nothing is deleted between rounds: ext4 passes deleted inodes by for minutes, one by one, and each new
            # file or folder nearby costs up to ten times as much meanwhile.
            runs[what].append(child(what, source, work / f"crop-out-{number}"))
    rates = {what: [run["photos"] / run["wall"] for run in all_] for what, all_ in runs.items()}
    shares = [c / e for e, c in zip(rates["engine"], rates["crop"], strict=True)]
    costs = [e["cpu"] / c["cpu"] for e, c in zip(runs["engine"], runs["crop"], strict=True)]
    return {
        "photos": runs["crop"][0]["photos"],
        "rounds": rounds,
        "crops": runs["crop"][0]["count"],
        "photos_per_second": {ENGINE: middle(rates["engine"]), CROP: middle(rates["crop"])},
        "cpu_ms_a_photo": {
            name: middle([1000 * run["cpu"] / run["photos"] for run in runs[what]])
            for name, what in ((ENGINE, "engine"), (CROP, "crop"))
        },
        "crop_to_engine": {"median": middle(shares), "each": [round(s, 3) for s in shares]},
        "crop_to_engine_by_cpu_time": {"median": middle(costs), "each": [round(c, 3) for c in costs]},
        "peak_mib": {what: round(max(run["peak_mib"] for run in all_)) for what, all_ in runs.items()},
    }


def measure_pack(folder: Path, photos: int, rounds: int, work: Path) -> dict:
    source = some_photos(folder, photos, work / "pack-in")
    size = sum(p.stat().st_size for p in source.rglob("*.jpg")) / 1e6
    names = ["set.rec", "set.tfrecord", "set.tar", "set.parquet"]
    contenders = {name: ("pack", name) for name in names} | {
        "bytes alone": ("bytes_alone", "bytes"),
        "file copy": ("copy", "copied"),
        "re-encoded set.rec": ("reencode", "smaller.rec"),
        "codec alone, one core": ("codec_alone", "nothing"),
        "PIL loop": ("pil", "pil"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    pictures = sum(1 for _ in source.rglob("*.jpg"))
    for number in range(rounds):
        made = work / f"made-{number}"  # kept until the end, see `measure_crop`
        made.mkdir()
        order = list(contenders)[number % len(contenders) :] + list(contenders)[: number % len(contenders)]
        for name in order:
            what, place = contenders[name]
            run = child(what, source, made / place)
            seconds[name].append(run["wall"])
            cpu[name].append(run["cpu"])
    speed = {name: middle([size / s for s in all_]) for name, all_ in seconds.items()}

    def to(other: str) -> dict[str, float]:
        """Median over rounds of how many times faster."""
        return {
            name: middle([o / s for s, o in zip(seconds[name], seconds[other], strict=True)]) for name in contenders
        }

    return {
        "pictures": pictures,
        "megabytes": round(size, 1),
        "rounds": rounds,
        "megabytes_per_second": speed,
        "cpu_us_a_picture": {name: round(1e6 * statistics.median(all_) / pictures) for name, all_ in cpu.items()},
        "to_the_PIL_loop": to("PIL loop"),
        "to_the_bytes_alone": {name: share for name, share in to("bytes alone").items() if name in names},
        "to_the_codec_alone": {"re-encoded set.rec": to("codec alone, one core")["re-encoded set.rec"]},
        "cpu_to_wall": {name: middle([c / s for c, s in zip(cpu[name], seconds[name], strict=True)]) for name in speed},
    }


def measure_files(folder: Path, files: int, kills: int, work: Path) -> dict:
    source, target = work / "files-in", work / "files-out"
    made = make_files(folder, files, source)
    told: set[str] = set()
    twice, missing, dice, seconds = 0, 0, random.Random(0), []
    for _ in range(kills):
        new = run_and_kill(source, target, dice.randint(files // 20, files // 8))
        twice += len(told & set(new))
        told |= set(new)
        missing += len(told - set(listed(target)))
        began = time.perf_counter()
        listed(target)
        seconds.append(time.perf_counter() - began)
    before = len(listed(target))
    run = child("silent", source, target)
    final = listed(target)
    again = child("silent", source, target)
    crops = {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file() and "manifest" not in p.name}
    return {
        "files": files,
        "made_in_seconds": round(made, 1),
        "kills": kills,
        "done_before_the_last_run": before,
        "told_twice": twice,
        "told_but_not_on_record": missing,
        "lines": len(final),
        "files_without_a_line": files - len(set(final)),
        "files_with_two_lines": len(final) - len(set(final)),
        "crops": len(crops),
        "hidden_files_left": sum(name.endswith(".part") for name in crops),
        "last_run": {
            "files": files - before,
            "files_per_second": round((files - before) / run["wall"], 1),
            "cpu_to_wall": round(run["cpu"] / run["wall"], 3),
            "cpu_ms_a_file": round(1000 * run["cpu"] / (files - before), 3),
            # Listing what stands, naming, the manifest: what no worker does.
            "share_of_the_main_thread": round(run["main"] / run["cpu"], 3),
            "peak_mib": round(run["peak_mib"]),
        },
        "run_with_nothing_to_do": {
            "seconds": round(again["wall"] + again["listed"], 2),
            "peak_mib": round(again["peak_mib"]),
        },
        "cores": len(os.sched_getaffinity(0)),
        "workers": int(os.environ.get("WORKERS", "0")) or len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 1),
    }


def make_files(folder: Path, files: int, source: Path) -> float:
    from io import BytesIO

    from PIL import Image

    began = time.perf_counter()
    contents = []
    with Image.open(min(folder.rglob("*.jpg"))) as opened:
        face = opened.convert("RGB").crop((60, 60, 190, 190)).resize((96, 96))
    for picture in (
        face,
        *[Image.effect_mandelbrot((96, 96), (-2 + i / 9, -1.5, 1, 1.5), 40).convert("RGB") for i in range(9)],
    ):
        file = BytesIO()
        picture.save(file, "JPEG", quality=85)
        contents.append(file.getvalue())
    for i in range(files):
        if i % 1000 == 0:
            place = source / f"folder-{i // 1000:04}-面"
            place.mkdir(parents=True)
        (place / f"{i:07}.jpg").write_bytes(contents[i % 10] + i.to_bytes(4, "big"))
    return time.perf_counter() - began


def run_and_kill(source: Path, target: Path, after: int) -> list[str]:
    told: list[str] = []
    command = [sys.executable, "-c", CHILD, "told", str(source), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        for line in process.stdout:
            told.append(line.strip())
            if len(told) == after:
                process.send_signal(signal.SIGKILL)
    return told


def listed(target: Path) -> list[str]:
    from mien.prepare.manifest import read_manifest

    return [entry["source"].rpartition("/")[2] for entry in read_manifest(target)]


def measure_ray(folder: Path, photos: int, rounds: int, work: Path) -> dict:
    from functools import partial

    import ray

    from mien.prepare.cropping_cut import Cutter, Photo
    from mien.prepare.cropping_options import CropOptions
    from mien.prepare.ray_pipeline import Cluster, start_local
    from mien.recognizer import Recognizer

    source = some_photos(folder, photos, work / "ray-in")
    paths = sorted(source.rglob("*.jpg"))
    given = [Photo(path, path.name, path.name, {}) for path in paths]
    cutter = Cutter(options=CropOptions())
    rates: dict[int, list[float]] = {1: [], 2: []}
    whole: dict[int, list[float]] = {1: [], 2: []}
    start_local(num_cpus=2)
    for number in range(rounds):
        for workers in ((1, 2), (2, 1))[number % 2]:
            cluster = Cluster(
                address="local", workers=workers, shard=32, recognizer=partial(Recognizer, "fast", workers=1)
            )
            began = time.perf_counter()
            times = [time.perf_counter() for _ in cluster.map(given, cutter, embed=False, chunk=16)]
            # From the end of the first shards on: before it, models are loaded and lookup tables built.
            first = 32 * workers
            rates[workers].append((len(times) - first) / (times[-1] - times[first - 1]))
            whole[workers].append(len(times) / (times[-1] - began))
    ray.shutdown()
    return {
        "photos": len(paths),
        "rounds": rounds,
        "ray": ray.__version__,
        "photos_per_second": {str(w): middle(r) for w, r in rates.items()},
        "two_to_one": middle([two / one for one, two in zip(rates[1], rates[2], strict=True)]),
        "with_the_start_of_the_workers": {str(w): middle(r) for w, r in whole.items()},
        "load_before": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of people, such as LFW")
    parser.add_argument("--photos", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--workers", type=int, help="threads of crop and engine; all cores")
    parser.add_argument("--only", default="crop,pack", help="of crop, pack, files, ray")
    parser.add_argument("--work", type=Path, help="where to make temporary files")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "data.json")
    options = parser.parse_args()
    if options.workers:
        os.environ["WORKERS"] = str(options.workers)  # of the children
    result = json.loads(options.out.read_text()) if options.out.exists() else {}
    measures = {
        "crop": lambda work: measure_crop(options.folder, options.photos, options.rounds, work),
        "pack": lambda work: measure_pack(options.folder, options.photos, options.rounds, work),
        "files": lambda work: measure_files(options.folder, options.files, options.kills, work),
        "ray": lambda work: measure_ray(options.folder, options.photos, options.rounds, work),
    }
    for name in options.only.split(","):
        load = round(os.getloadavg()[0], 1)
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            cost = new_file_us(Path(folder))
            result[name] = {**measures[name](Path(folder)), "load_before": load, "new_file_us": cost}
        print(name, json.dumps(result[name], indent=1), flush=True)
    cores = len(os.sched_getaffinity(0))
    result["machine"] = {"cores": cores, "python": platform.python_version(), "system": platform.system()}
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
