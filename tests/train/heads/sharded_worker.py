"""One process of test_sharded.py: `sharded_worker.py RANK WORLD FOLDER` runs all cases and saves what came out."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from mien.train import losses as L
from mien.train.heads import MarginHead

CASES = {
    "arcface": (lambda: L.CombinedMargin(m2=0.5), {}),
    "cosface uneven shards": (lambda: L.CombinedMargin(m3=0.35), {"classes": 11}),
    "fewer classes than processes": (lambda: L.CombinedMargin(m2=0.5), {"classes": 2}),
    "one class": (lambda: L.CombinedMargin(m2=0.5), {"classes": 1}),
    "adaface": (L.AdaptiveMargin, {}),
    "magface": (L.MagnitudeMargin, {}),
    "curricularface": (lambda: L.CurricularMargin(hardness=0.3), {}),
    "sphereface": (lambda: L.IntegerMargin(3, 1.0), {"scale": 1.0}),
    "sub-centres": (lambda: L.CombinedMargin(m2=0.5), {"sub_centres": 3}),
    "exact gradients": (lambda: L.CombinedMargin(m2=0.5), {"averaged": False}),
    "sampled": (lambda: L.CombinedMargin(m2=0.5), {"classes": 40, "sample_rate": 0.4}),
    "sampled, few": (lambda: L.CombinedMargin(m2=0.5), {"classes": 2, "sample_rate": 0.1}),
    "bf16 products": (lambda: L.CombinedMargin(m2=0.3), {"classes": 11, "scale": 8.0, "products": "bf16"}),
    "bf16 products, sampled sub-centres": (
        lambda: L.CombinedMargin(m3=0.2),
        {"classes": 30, "scale": 8.0, "sample_rate": 0.3, "sub_centres": 2, "products": "bf16"},
    ),
    "sampled sub-centres": (lambda: L.CombinedMargin(m3=0.2), {"classes": 30, "sample_rate": 0.3, "sub_centres": 2}),
}


def run(rank: int, name: str, dtype: torch.dtype) -> dict:
    make, settings = CASES[name]
    settings = {"classes": 10, "scale": 32.0, "averaged": True, "chunk": 2, **settings}
    draw = torch.Generator().manual_seed(100 * rank + len(name))
    count = 3 + 2 * rank
    x = (torch.randn(count, 6, generator=draw, dtype=torch.float64) * 8).to(dtype).requires_grad_()
    y = torch.randint(0, settings["classes"], (count,), generator=draw)
    torch.set_default_dtype(dtype)
    head = MarginHead(6, margin=make(), group=dist.group.WORLD, seed=5, **settings)
    before = {k: v.clone() for k, v in head.margin.state_dict().items()}
    loss = head(x, y)
    loss.backward()
    grad = head.centres.grad
    whole = head.gathered()
    head.scatter(whole * 2)
    doubled = head.gathered()
    met = head.initialise(iter([(x.detach(), y)] * (rank + 1)))
    return {
        "x": x.detach(), "y": y, "loss": loss.detach(), "x_grad": x.grad, "centres": whole, "doubled": doubled,
        "grad": grad.to_dense(), "sparse": grad.is_sparse, "margin": before, "settings": settings,
        "span": (head.first, head.last), "means": head.gathered(), "met": met,
    }  # fmt: skip


def main() -> None:
    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world, timeout=timedelta(seconds=120)
    )
    types = {"float64": torch.float64, "float32": torch.float32}
    out = {(name, kind): run(rank, name, dtype) for name in CASES for kind, dtype in types.items()}
    torch.save(out, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
