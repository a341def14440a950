"""The head over 1, 2 and 3 processes (gloo) equals the dense loss over all rows and all (or the sampled) classes."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.train.heads import sample_classes, shard_bounds  # noqa: E402
from mien.train.losses import margin_softmax  # noqa: E402
from mien.train.losses.angles import unit_rows  # noqa: E402

WORKER = Path(__file__).with_name("sharded_worker.py")
CASES = runpy.run_path(str(WORKER))["CASES"]


@pytest.fixture(scope="module", params=[1, 2, 3])
def outcome(request, tmp_path_factory):
    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    world, folder = request.param, tmp_path_factory.mktemp("ranks")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, "-Werror::FutureWarning", str(WORKER), str(rank), str(world), str(folder)],
                         env=env, stderr=subprocess.PIPE, text=True)
        for rank in range(world)
    ]  # fmt: skip
    try:
        errors = [process.communicate(timeout=200)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert all(process.returncode == 0 for process in running), "\n".join(errors)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]


@pytest.mark.parametrize("kind", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_every_process_gets_the_dense_loss_and_its_share_of_the_gradients(outcome, name: str, kind: str) -> None:
    ranks = [out[name, kind] for out in outcome]
    world, settings = len(ranks), ranks[0]["settings"]
    classes, subs = settings["classes"], settings.get("sub_centres", 1)
    assert [r["span"] for r in ranks] == [shard_bounds(classes, world, k) for k in range(world)]
    x = torch.cat([r["x"] for r in ranks]).double().requires_grad_()
    y = torch.cat([r["y"] for r in ranks])
    centres = ranks[0]["centres"].double()
    assert centres.shape == (classes, subs, 6)
    kept = torch.arange(classes)
    if settings.get("sample_rate", 1.0) < 1.0:
        parts = []
        for rank, (low, high) in enumerate(r["span"] for r in ranks):
            named = y[(y >= low) & (y < high)] - low
            if high > low:
                parts.append(low + sample_classes(named, high - low, settings["sample_rate"], (5, rank, 0)))
        kept = torch.cat(parts)
        assert set(y.tolist()) <= set(kept.tolist())
    columns = (centres if subs > 1 else centres.squeeze(1)).requires_grad_()
    margin = CASES[name][0]().double()
    margin.load_state_dict({k: v.double() for k, v in ranks[0]["margin"].items()})
    loss = margin_softmax(x, columns[kept], torch.searchsorted(kept, y), margin, settings["scale"])
    loss.backward()
    exact = {"rtol": 1e-9, "atol": 1e-11} if kind == "float64" else {"rtol": 1e-5, "atol": 1e-5}
    if settings.get("products") == "bf16":  # to its rounding; and the same on all
        assert all(torch.equal(rank["loss"], ranks[0]["loss"]) for rank in ranks)
        exact = {"rtol": 0.0, "atol": settings["scale"] / 256}
    for rank in ranks:
        torch.testing.assert_close(rank["loss"].double(), loss.detach(), **exact)
    x_grads = torch.cat([r["x_grad"] for r in ranks]).double() / (world if settings["averaged"] else 1)
    grads = torch.cat([r["grad"] for r in ranks]).double().view_as(columns)
    for got, want in ((x_grads, x.grad), (grads, columns.grad)):
        if settings.get("products") == "bf16":
            assert 0 < float((got - want).norm() / want.norm()) < 0.03
        else:
            torch.testing.assert_close(got, want, **exact)
    for rank in ranks:  # an empty shard has nothing to sample
        assert rank["sparse"] == (settings.get("sample_rate", 1.0) < 1.0 and rank["span"][1] > rank["span"][0])


@pytest.mark.parametrize("name", ["arcface", "fewer classes than processes", "sub-centres"])
def test_whole_tables_go_out_and_come_back_and_start_at_class_means(outcome, name: str) -> None:
    ranks = [out[name, "float32"] for out in outcome]
    classes = ranks[0]["settings"]["classes"]
    total = torch.zeros(classes, 6)
    for number, rank in enumerate(ranks):
        torch.testing.assert_close(rank["doubled"], ranks[0]["centres"] * 2)
        for _ in range(number + 1):
            total.index_add_(0, rank["y"], unit_rows(rank["x"]))
    met = torch.cat([r["y"] for r in ranks]).unique()
    means = unit_rows(total)[met]
    for rank in ranks:
        assert rank["met"] == len(met)
        got = unit_rows(rank["means"][met].mean(1))
        if rank["means"].shape[1] == 1:
            torch.testing.assert_close(got, means)
        else:
            assert ((got * means).sum(1) > 0.9).all()
        unmet = [c for c in range(classes) if c not in met.tolist()]
        torch.testing.assert_close(rank["means"][unmet], rank["doubled"][unmet])
