"""Training: mien beside the plain loop of common repositories, loading alone, and the share of the matmul rate.

    python benchmarks/train.py $MIEN_DATA/celebs                            # everything, about a quarter of an hour
    python benchmarks/train.py $MIEN_DATA/celebs --only step --nets iresnet-small --steps 12 --rounds 3

Faces are aligned once (`--cache`, mien's own by default). mien's rows are `mien.train.train` as `mien train` runs it
(without its checkpoints): the aligned store, every augmentation, worker processes, bf16 where the processor has it.
The plain loop has the same crops as JPEG files, torchvision's ImageFolder, flip, ToTensor and Normalize, as many
workers, float32, NCHW, torch.optim.SGD, an ArcFace layer that holds B x C, and the same network with PyTorch's PReLU.
Contenders of a round run in turn, each in a fresh process, the order turned round every time; the first steps are not
counted. `cpu_ms` is the training process's own processor time a picture (median), which a busy machine distorts less.
Loading alone is counted from the moment on when nothing fetched ahead is left. FLOPs are PyTorch's count of forward and
backward. Writes its sections of benchmarks/results/train.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NETS = {"iresnet-small": ("small-cpu", 128), "iresnet18": ("small-cpu", 32), "dlib-resnet29": ("fine-tune-dlib", 64)}
MARK = 125.0
"""Pictures a second of a sketch that fine-tuned dlib's network: two cores, bf16, network and loss alone."""
FULL = {
    "flip": 0.5, "move": 0.5, "turn": 0.3, "light": 0.5, "greys": 0.1, "blurs": 0.2, "small": 0.2, "jpeg": 0.2,
    "noise": 0.2, "cover": 0.2, "mesh": 0.1,
}  # fmt: skip
WARM = 3  # steps that do not count
GROUPS = {
    "convolution": ("convolution", "mkldnn", "reorder"),
    "norm": ("batch_norm", "group_norm"),
    "activation": ("prelu", "relu", "threshold", "Slopes", "addcmul", "aten::sub"),
    "optimizer": ("Optimizer", "_foreach", "vector_norm"),
    "matrix products (last layer, loss)": ("::mm", "::addmm", "linear", "bmm"),
    "copies and casts": ("copy_", "_to_copy", "::to", "contiguous", "clone"),
}


class Enough(Exception):  # noqa: N818
    """Ends a run after the steps that are timed."""


def config_of(ask: dict[str, Any]) -> Any:
    from mien.train.config import SourceConfig
    from mien.train.recipes import recipe

    name, batch = NETS[ask["net"]]
    config = recipe(name)
    network = config.network if name == "fine-tune-dlib" else replace(config.network, name=ask["net"], options={})
    sources = (SourceConfig(path=ask["folder"], aligned=ask["aligned"]),)
    # Nobody virtual: the plain loop has none, and to make them takes time.
    data = replace(config.data, sources=sources, batch=batch, augment=FULL, cache=ask["cache"], workers=ask["workers"],
                   virtual_people=0, border="constant")  # fmt: skip
    loss = config.loss if ask["what"] == "mien recipe" else replace(config.loss, keep=0.0, centres="random")
    loop = replace(config.loop, threads=ask["threads"], log_steps=1, checkpoint_minutes=1e6, tensorboard=False)
    schedule = replace(config.schedule, epochs=1000)
    return replace(config, network=network, data=data, loss=loss, loop=loop, schedule=schedule)


def rates(times: list[tuple[float, float]], batch: int) -> dict[str, float]:
    """From (clock, processor seconds) after each step: the first ones are not counted."""
    wall = [b[0] - a[0] for a, b in zip(times[WARM - 1 :], times[WARM:], strict=False)]
    busy = [b[1] - a[1] for a, b in zip(times[WARM - 1 :], times[WARM:], strict=False)]
    return {
        "images_per_second": batch * len(wall) / sum(wall),
        "best_step": batch / min(wall),
        "cpu_ms": 1000 * statistics.median(busy) / batch,
    }


def mien_step(ask: dict[str, Any]) -> dict[str, float]:
    from mien.train.display import Display
    from mien.train.trainer import train

    config, times = config_of(ask), []

    class Clock(Display):
        def step(self, seen: object) -> None:
            times.append((time.perf_counter(), time.process_time()))
            if len(times) == WARM + ask["steps"]:
                raise Enough

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Enough):
        train(config, folder, display=Clock())
    return rates(times, config.data.batch)


def plain_step(ask: dict[str, Any]) -> dict[str, float]:
    """What most repositories do."""
    import torch
    import torch.nn.functional as F  # noqa: N812
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    from mien.train.backbones import build
    from mien.train.backbones.layers import PReLU

    network, times, batch = build(ask["net"]), [], NETS[ask["net"]][1]
    for module in network.modules():
        if type(module) is PReLU:
            module.__class__ = nn.PReLU
    change = [transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    pictures = datasets.ImageFolder(ask["crops"], transforms.Compose(change))
    loader = DataLoader(pictures, batch, shuffle=True, num_workers=ask["workers"], drop_last=True)
    centres = nn.Parameter(torch.randn(len(pictures.classes), network.dim) * 0.01)
    weights = [*network.parameters(), centres]
    optimizer = torch.optim.SGD([w for w in weights if w.requires_grad], lr=0.01, momentum=0.9, weight_decay=5e-4)
    network.train()
    while True:
        for shown, people in loader:
            cosine = F.linear(F.normalize(network(shown)), F.normalize(centres)).clamp(-1 + 1e-7, 1 - 1e-7)
            hot = F.one_hot(people, cosine.shape[1]).to(cosine.dtype)
            margined = torch.cos(torch.acos(cosine) + 0.3)
            loss = F.cross_entropy(32.0 * (hot * margined + (1 - hot) * cosine), people)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            times.append((time.perf_counter(), time.process_time()))
            if len(times) == WARM + ask["steps"]:
                return rates(times, batch)


def loading(ask: dict[str, Any]) -> dict[str, float]:
    from mien.train.backbones import build
    from mien.train.parts import made_batches, opened_data
    from mien.train.processes import Processes, local_device

    config = config_of(ask)
    data = opened_data(config.data, build(ask["net"]).spec, lambda *_: None)
    ahead, times = 3 * config.data.workers + 2, []
    with made_batches(config, data, Processes(0, 1, local_device("cpu"))) as batches:
        for epoch in range(1000):
            for _ in batches.epoch(epoch):
                times.append((time.perf_counter(), time.process_time()))
                if len(times) == ahead + 2 * ask["steps"] + 1:
                    (start, used), (end, use) = times[ahead], times[-1]
                    count = config.data.batch * (len(times) - 1 - ahead)
                    return {"images_per_second": count / (end - start), "cpu_ms": 1000 * (use - used) / count}
    raise AssertionError


def matmul(ask: dict[str, Any]) -> dict[str, float]:
    """The highest rate of a product of two square matrices, GFLOP/s."""
    import torch

    found: dict[str, float] = {}
    for kind, size in ((kind, size) for kind in ("bfloat16", "float32") for size in (1024, 2048, 4096)):
        a, b = (torch.randn(size, size).to(getattr(torch, kind)) for _ in range(2))
        for _ in range(1 + ask["steps"]):
            start = time.perf_counter()
            torch.mm(a, b)
            found[kind] = max(found.get(kind, 0.0), 2 * size**3 / (time.perf_counter() - start) / 1e9)
    return found


def profile(ask: dict[str, Any]) -> dict[str, Any]:
    """FLOPs a picture, and where a step's time goes."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from mien.train.data import Batch
    from mien.train.memory import reuse_freed_memory
    from mien.train.objective import Objective
    from mien.train.parts import made_network
    from mien.train.processes import Processes
    from mien.train.step import Stepper, network_input

    reuse_freed_memory()
    config = config_of(ask)
    network, batch = made_network(config.network, 0), config.data.batch
    stepper = Stepper(network, Objective(config.loss, network.dim, 100), config, Processes(0, 1, torch.device("cpu")))
    side = network.spec.size
    pictures = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8)
    shown = Batch(pictures, torch.arange(batch) % 100, torch.arange(batch))
    with FlopCounterMode(display=False) as counter:
        network(network_input(pictures[:2], network.spec)).sum().backward()

    def step() -> None:
        found = stepper.gradients(shown)
        stepper.apply(float((found.network_square + found.head_square).sqrt()), 0.01)

    for _ in range(WARM):
        step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        for _ in range(2):
            step()
    spent: dict[str, float] = dict.fromkeys((*GROUPS, "other"), 0.0)
    for event in seen.key_averages():
        group = next((g for g, words in GROUPS.items() if any(w in event.key for w in words)), "other")
        spent[group] += event.self_cpu_time_total
    shares = {group: round(part / sum(spent.values()), 3) for group, part in spent.items()}
    return {"gflop_a_picture": counter.get_total_flops() / 2 / 1e9, "shares": shares, "precision": stepper.precision}


WORK = {
    "mien": mien_step, "mien recipe": mien_step, "plain": plain_step, "load": loading, "matmul": matmul,
    "profile": profile,
}  # fmt: skip


def child(ask: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", json.dumps(ask)]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{ask['what']} {ask['net']}: {run.stderr[-3000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def serve(ask: dict[str, Any]) -> None:
    import resource

    import torch

    torch.set_num_threads(ask["threads"])
    found = WORK[ask["what"]](ask)
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["peak_mib_of_a_worker"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps(found))


def write_crops(ask: dict[str, Any], folder: Path) -> str:
    """The aligned crops as JPEG files, a folder a person, for the plain loop."""
    from PIL import Image

    from mien.train.backbones import build
    from mien.train.parts import opened_data

    data = opened_data(config_of(ask).data, build(ask["net"]).spec, lambda *_: None)
    for i in range(len(data)):
        place = folder / f"{data.labels[i]:06}" / f"{i:07}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.picture(i)).save(place, quality=95)
    return str(folder)


def told(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Median and best over rounds."""
    speed = [run["images_per_second"] for run in runs]
    table = {"images_per_second": round(statistics.median(speed), 1), "best_round": round(max(speed), 1)}
    table |= {"best_step": round(max(run["best_step"] for run in runs), 1)} if "best_step" in runs[0] else {}
    table["cpu_ms"] = round(statistics.median(run["cpu_ms"] for run in runs), 3)
    return table | {key: round(max(run[key] for run in runs)) for key in ("peak_mib", "peak_mib_of_a_worker")}


def compare(contenders: dict[str, dict[str, Any]], rounds: int) -> dict[str, list[dict[str, Any]]]:
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in (list(contenders), list(contenders)[::-1])[number % 2]:
            runs[name].append(child(contenders[name]))
            print(f"round {number + 1}, {name}: {json.dumps(runs[name][-1])}", flush=True)
    return runs


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    base = {key: getattr(options, key) for key in ("folder", "cache", "aligned", "workers", "threads", "steps")}
    nets, only, result = options.nets.split(","), options.only.split(","), {}
    rows: dict[str, dict[str, Any]] = {}
    for net in nets if "step" in only else ():
        ask = {**base, "net": net, "steps": max(3, options.steps // (4 if net == "iresnet18" else 1))}
        rows[f"mien {net}"] = {**ask, "what": "mien"}
        if net.startswith("dlib"):
            rows[f"mien {net}, kept near the old"] = {**ask, "what": "mien recipe"}
            continue
        crops = write_crops({**ask, "what": "mien"}, work / net)
        rows[f"plain {net}"] = {**ask, "what": "plain", "crops": crops}
    for count in (1, 2) if "load" in only else ():
        rows[f"loading, {count} worker{'s' * (count > 1)}"] = {**base, "net": nets[0], "what": "load", "workers": count}
    if "machine" in only:
        rows["matmul"] = {**base, "net": nets[0], "what": "matmul"}
    runs = compare(rows, options.rounds)
    result["rows"] = steps = {name: told(each) for name, each in runs.items() if name != "matmul"}
    for net in nets if "step" in only else ():
        if net.startswith("dlib"):
            result[f"{net}_to_the_mark_of_{MARK:.0f}"] = round(steps[f"mien {net}"]["images_per_second"] / MARK, 3)
            continue
        own, other = runs[f"mien {net}"], runs[f"plain {net}"]
        ratios = [a["images_per_second"] / b["images_per_second"] for a, b in zip(own, other, strict=True)]
        result[f"{net}_to_the_plain_loop"] = {
            "median": round(statistics.median(ratios), 2),
            "best_to_best": round(steps[f"mien {net}"]["best_step"] / steps[f"plain {net}"]["best_step"], 2),
            "by_cpu_time": round(steps[f"plain {net}"]["cpu_ms"] / steps[f"mien {net}"]["cpu_ms"], 2),
        }
    if "load" in only and "step" in only:
        need = steps[f"mien {nets[0]}"]["best_step"]
        result["loading_to_the_step"] = {
            name: round(row["best_round"] / need, 2) for name, row in steps.items() if name.startswith("loading")
        }
    if "machine" in only:
        best = {key: max(run[key] for run in runs["matmul"]) for key in runs["matmul"][0] if "peak" not in key}
        result["matmul_gflops"] = {key: round(value) for key, value in best.items()}
        for net in nets:
            seen = child({**base, "net": net, "what": "profile"})
            part = result[f"profile {net}"] = {"gflop_a_picture": round(seen["gflop_a_picture"], 3), **seen["shares"]}
            if f"mien {net}" in steps:
                kind = "bfloat16" if seen["precision"] == "bf16" else "float32"
                rate = steps[f"mien {net}"]["best_step"] * seen["gflop_a_picture"]
                part["gflops"] = round(rate)
                part["share_of_matmul"] = round(rate / best[kind], 3)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="a folder of people")
    parser.add_argument("--aligned", action="store_true", help="its pictures are aligned crops already")
    parser.add_argument("--only", default="step,load,machine", help="of step, load, machine")
    parser.add_argument("--nets", default=",".join(NETS), help="loading is measured with the first one's pictures")
    parser.add_argument("--steps", type=int, default=20, help="timed in each round; a quarter for iresnet18")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache", help="where aligned pictures are kept")
    parser.add_argument("--work", type=Path, help="where to make temporary files")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "train.json")
    if sys.argv[1:2] == ["--child"]:
        serve(json.loads(sys.argv[2]))
        return
    options = parser.parse_args()
    load = round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        result = measure(options, Path(work))
    before = json.loads(options.out.read_text()) if options.out.exists() else {}
    rows = {**before.get("rows", {}), **result.pop("rows")}
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "torch": version("torch")}
    asked = {key: getattr(options, key) for key in ("threads", "workers", "steps", "rounds")} | {"load_before": load}
    result = {**before, "machine": machine, **asked, "rows": rows, **result}
    print(json.dumps(result, indent=1))
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
