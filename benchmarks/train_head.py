"""Time and peak memory of one classification step (forward and backward): mien's head beside its peers, in one run.

    pip install "pytorch-metric-learning==2.9.0"
    python benchmarks/train_head.py                # about six minutes, up to 13 GiB
    python benchmarks/train_head.py --small        # the smaller problem only
    python benchmarks/train_head.py --device cuda  # on a GPU, up to 20 GiB of its memory; a minute

Float32, two threads, B = 256; every row in processes of its own, in turns, all with the same pictures and centres: rows
that compute the same loss must print the same one, to float32's rounding, or the benchmark ends with an error.
The best time of all rounds counts, on the clock and in processor seconds (which a busy machine distorts less). Peak
memory is the highest resident size during a step, less what was resident before it (centres included) and less the
centres' gradient, in units of B x C x 4 bytes.
Peers compute ArcFace (s 64, m 0.5): `pytorch-metric-learning`; the margin code most repositories carry (one-hot
masks); a lean dense form written for this table (only the target's logit is touched). Stock PyTorch has no margin:
`F.linear_cross_entropy` as it is, and with its chunked option. A row that passes `--limit` GiB or
150 seconds is stopped and said not to fit. Writes benchmarks/results/train_head.json.

On a GPU the same, with its allocator's peak and the median of the steps, and two rows more: bf16 products, and the lean
form compiled. Writes benchmarks/results/train_head_cuda.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

BATCH, SCALE, MARGIN = 256, 64.0, 0.5
PATIENCE = 150.0
"""Seconds a process may take."""
PROBLEMS = {"C=100k D=128": (100_000, 128), "C=1M D=512": (1_000_000, 512)}
ROWS = (
    "mien MarginHead ArcFace",
    "mien MarginHead ArcFace, rate 0.1",
    "lean dense ArcFace",
    "one-hot ArcFace",
    "pytorch-metric-learning ArcFace",
    "F.linear_cross_entropy",
    "F.linear_cross_entropy, chunked",
)
CUDA_ROWS = ("mien MarginHead ArcFace, bf16 products", "lean dense ArcFace, compiled")
SAME_LOSS = ROWS[2:5]
STOCK = ROWS[5:]
ROUNDING = 2e-5
"""Largest share by which the losses of rows that compute the same one may differ: float32 sums in another order."""
RESULTS = Path(__file__).parent / "results" / "train_head.json"


def draw(centres):
    """The same centres for every row: N(0, 1/D), (C, D) or (C, 1, D), in place."""
    import torch

    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        return centres.normal_(generator=generator).div_(math.sqrt(centres.shape[-1]))


def make(row: str, classes: int, dim: int) -> tuple[Callable, object]:
    """The loss of (embeddings, labels) and its parameter of centres."""
    import torch
    import torch.nn.functional as F  # noqa: N812
    from torch import nn

    if row.startswith("mien"):
        from mien.train.heads import MarginHead
        from mien.train.losses import CombinedMargin

        rate = 0.1 if row.endswith("0.1") else 1.0
        products = "bf16" if "bf16" in row else "fp32"
        head = MarginHead(dim, classes, CombinedMargin(m2=MARGIN), SCALE, sample_rate=rate, products=products)
        draw(head.centres)
        return head, head.centres
    if row.startswith("pytorch"):
        from pytorch_metric_learning.losses import ArcFaceLoss

        loss = ArcFaceLoss(classes, dim, margin=math.degrees(MARGIN), scale=SCALE)
        with torch.no_grad():
            loss.W.copy_(draw(torch.empty(classes, dim)).T)
        return loss, loss.W
    weight = nn.Parameter(draw(torch.empty(classes, dim)))
    cos_m, sin_m = math.cos(MARGIN), math.sin(MARGIN)

    def margined(cosine):
        added = cosine * cos_m - torch.sqrt((1.0 - cosine * cosine).clamp(1e-12, 1)) * sin_m
        return torch.where(cosine > -cos_m, added, cosine - MARGIN * sin_m)

    def lean(x, y):
        logits = F.linear(F.normalize(x), F.normalize(weight)) * SCALE
        at = y.unsqueeze(1)
        return F.cross_entropy(logits.scatter(1, at, SCALE * margined(logits.gather(1, at) / SCALE)), y)

    def one_hot(x, y):
        cosine = F.linear(F.normalize(x), F.normalize(weight))
        mask = torch.zeros_like(cosine).scatter_(1, y.unsqueeze(1), 1.0)
        return F.cross_entropy(SCALE * (mask * margined(cosine) + (1.0 - mask) * cosine), y)

    def stock(x, y):
        return F.linear_cross_entropy(x, weight, y)

    def chunked(x, y):
        return F.linear_cross_entropy(x, weight, y, options=nn.LinearCrossEntropyOptions())

    if row == CUDA_ROWS[1]:
        return torch.compile(lean), weight
    return {ROWS[2]: lean, ROWS[3]: one_hot, ROWS[5]: stock, ROWS[6]: chunked}[row], weight


def resident(field: str) -> int:
    """Bytes of a field of this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def measure(row: str, classes: int, dim: int, rounds: int) -> dict[str, float]:
    """Peak bytes of a step beyond centres and their gradient, seconds a step, and the loss."""
    import torch

    torch.set_num_threads(2)
    torch.manual_seed(1)
    x, y = torch.randn(BATCH, dim), torch.randint(0, classes, (BATCH,))

    def step(loss, weight, labels=y) -> float:
        leaf = x.clone().requires_grad_()
        weight.grad = None
        value = loss(leaf, labels)
        value.backward()
        return float(value.detach())

    step(*make(row, 512, dim), y % 512)  # libraries allocate once
    loss, weight = make(row, classes, dim)
    weight.requires_grad_()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    value = step(loss, weight)
    grad = weight.grad
    kept = grad._values().numel() if grad.is_sparse else grad.numel()
    peak = resident("VmHWM") - before - 4 * kept
    del grad
    seconds, busy = [], []
    for _ in range(rounds):
        start, used = time.perf_counter(), time.process_time()
        step(loss, weight)
        seconds.append(time.perf_counter() - start)
        busy.append(time.process_time() - used)
        if sum(seconds) > 8.0:
            break
    return {"peak": peak, "seconds": min(seconds), "processor_seconds": min(busy), "loss": value}


def measure_on_cuda(row: str, classes: int, dim: int, rounds: int) -> dict[str, float]:
    """As [measure][], on a GPU: its allocator's peak, the median time between events, the loss."""
    import statistics

    import torch

    torch.manual_seed(1)
    x, y = torch.randn(BATCH, dim).cuda(), torch.randint(0, classes, (BATCH,)).cuda()
    loss, weight = make(row, classes, dim)
    if isinstance(loss, torch.nn.Module):
        loss.cuda()
    weight.data = weight.data.cuda()
    weight.requires_grad_()

    def step() -> torch.Tensor:
        leaf = x.clone().requires_grad_()
        weight.grad = None
        value = loss(leaf, y)
        value.backward()
        return value.detach()

    value = float(step())  # libraries allocate and compile once
    step()
    weight.grad = None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    grad = weight.grad
    kept = grad._values().numel() if grad.is_sparse else grad.numel()
    peak = torch.cuda.max_memory_allocated() - before - 4 * kept
    del grad
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        step()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    seconds = statistics.median(times)
    return {"peak": peak, "seconds": seconds, "processor_seconds": seconds, "loss": value}


def report_on_cuda(rounds: int) -> None:
    """The table on a GPU, every row in this process; rows that this PyTorch does not have are left out."""
    import gc

    import torch

    problems: dict[str, dict] = {}
    for problem, (classes, dim) in PROBLEMS.items():
        table: dict[str, dict] = {}
        for row in (ROWS[0], CUDA_ROWS[0], *ROWS[1:], CUDA_ROWS[1]):
            try:
                table[row] = measure_on_cuda(row, classes, dim, rounds)
            except (AttributeError, ImportError, RuntimeError) as error:  # a compiler that is missing, memory
                print(f"{row}: left out ({type(error).__name__}: {error})")
                continue
            finally:
                gc.collect()
                torch.cuda.empty_cache()
            table[row]["peak_units"] = table[row].pop("peak") / (BATCH * classes * 4)
        print(f"\n{problem}\n{'':40}  ms/step  peak/BC4    loss")
        for row, values in table.items():
            print(f"{row:40} {1000 * values['seconds']:8.3f} {values['peak_units']:9.3f} {values['loss']:7.2f}")
        check_same({row: table[row]["loss"] for row in ROWS if row in table})
        peers = [table[row]["seconds"] for row in (*SAME_LOSS, CUDA_ROWS[1]) if row in table]
        ratio = table[ROWS[0]]["seconds"] / min(peers)
        print(f"mien over the fastest with the same loss: {ratio:.2f}")
        problems[problem] = {"rows": table, "seconds_over_fastest_same_loss": ratio}
    head = {"machine": torch.cuda.get_device_name(), "torch": torch.__version__, "batch": BATCH, "dtype": "float32"}
    path = RESULTS.with_name("train_head_cuda.json")
    path.write_text(json.dumps({**head, "problems": problems}, indent=1) + "\n")


def watched(row: str, problem: str, rounds: int, limit: float) -> dict[str, float] | None:
    """[measure][] in a process of its own; None where it grew past the limit (GiB), or took too long."""
    command = [sys.executable, __file__, "--row", row, "--problem", problem, "--rounds", str(rounds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        status, began = Path(f"/proc/{process.pid}/statm"), time.perf_counter()
        while process.poll() is None:
            time.sleep(0.05)
            pages = int((status.read_text().split() or ["0", "0"])[1]) if status.exists() else 0
            if pages * 4096 > limit * 2**30 or time.perf_counter() - began > PATIENCE:
                process.kill()
                return None
        out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{row}: {err[-2000:]}")
    return json.loads(out.splitlines()[-1])


def check_same(losses: dict[str, float | None]) -> None:
    """Compare the losses of rows that compute the same one; rows that did not fit (None) are passed over.

    Raises:
        RuntimeError: they differ by more than rounding; says which.
    """
    for rows in ((ROWS[0], *SAME_LOSS), STOCK):
        found = {row: value for row in rows if (value := losses.get(row)) is not None}
        if found and max(found.values()) - min(found.values()) > ROUNDING * abs(min(found.values())):
            raise RuntimeError(f"rows that compute the same loss differ: {found}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="the smaller problem only; writes nothing")
    parser.add_argument("--limit", type=float, default=13.0, help="GiB a row may take")
    parser.add_argument("--turns", type=int, default=2, help="processes a row, in turns")
    parser.add_argument("--rounds", type=int, help="steps timed in each process")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--problem", help=argparse.SUPPRESS)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    if options.device == "cuda":
        report_on_cuda(options.rounds or 30)
        return
    if options.row:
        print(json.dumps(measure(options.row, *PROBLEMS[options.problem], options.rounds)))
        return
    report: dict[str, dict] = {}
    began = os.getloadavg()[0]
    for problem, (classes, _) in PROBLEMS.items():
        small = classes <= 100_000
        if options.small and not small:
            continue
        found: dict[str, list] = {row: [] for row in ROWS}
        for turn in range(options.turns if small else max(1, options.turns - 1)):
            for row in ROWS:
                if turn == 0 or None not in found[row]:
                    found[row].append(watched(row, problem, options.rounds or (10 if small else 2), options.limit))
        unit = BATCH * classes * 4
        table = {}
        for row, runs in found.items():
            if None in runs:
                table[row] = None
                continue
            table[row] = {
                "seconds": min(run["seconds"] for run in runs),
                "processor_seconds": min(run["processor_seconds"] for run in runs),
                "peak_units": max(run["peak"] for run in runs) / unit,
                "loss": runs[0]["loss"],
            }
        print(f"\n{problem}\n{'':36}   s/step  cpu s/step  peak/BC4    loss")
        for row, values in table.items():
            numbers = (
                "  did not fit" if values is None else " {:8.3f} {:11.3f} {:9.3f} {:7.2f}".format(*values.values())
            )
            print(f"{row:36}{numbers}")
        check_same({row: None if values is None else values["loss"] for row, values in table.items()})
        ratios = {}
        for key in ("seconds", "processor_seconds"):
            for name, rows in (("same_loss", SAME_LOSS), ("stock", STOCK)):
                others = [table[row][key] for row in rows if table[row]]
                ratios[f"{key}_over_fastest_{name}"] = table[ROWS[0]][key] / min(others) if others else None
        print(json.dumps(ratios, indent=1))
        report[problem] = {"rows": table, **ratios}
    if not options.small:
        import torch

        head = {
            "machine": platform.platform(),
            "torch": torch.__version__,
            "threads": 2,
            "batch": BATCH,
            "dtype": "float32",
            "load_before": began,
        }
        RESULTS.write_text(json.dumps({**head, "problems": report}, indent=1) + "\n")


if __name__ == "__main__":
    main()
