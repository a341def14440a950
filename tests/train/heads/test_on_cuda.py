"""The head on a CUDA device: the processor's losses and gradients, without B x C logits."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")
if not torch.cuda.is_available():
    pytest.skip("needs a CUDA device", allow_module_level=True)

import torch.distributed as dist  # noqa: E402

from mien.train import losses as L  # noqa: E402
from mien.train.heads import MarginHead, RowSGD, margin_head  # noqa: E402

B, C, D = 33, 700, 24
MARGINS = {
    "none": L.Margin,
    "cosface": lambda: L.CombinedMargin(m3=0.35),
    "arcface": lambda: L.CombinedMargin(m2=0.5),
    "straight-through": lambda: L.CombinedMargin(m2=0.5, gradient="straight-through"),
    "adaface": L.AdaptiveMargin,
    "magface": L.MagnitudeMargin,
    "curricularface": lambda: L.CurricularMargin(hardness=0.3),
    "sphereface": lambda: L.IntegerMargin(4, 2.0),
}


def step(device: str, name: str, dtype: torch.dtype, low: torch.dtype | None = None, **settings):
    """Loss, embeddings' gradient and centres' gradient, all on the processor."""
    draw = torch.Generator().manual_seed(1)
    x = (torch.randn(B, D, generator=draw, dtype=torch.float64) * 5).to(dtype).to(device).requires_grad_()
    y = torch.randint(0, C, (B,), generator=draw).to(device)
    y[1] = y[0]
    head = MarginHead(D, C, MARGINS[name](), 1.0 if name == "sphereface" else 32.0, seed=4, **settings)
    head = head.to(device=device, dtype=dtype)
    with torch.autocast(device, low, enabled=low is not None):
        loss = head(x, y)
    loss.backward()
    return [part.cpu() for part in (loss.detach(), x.grad, head.centres.grad.to_dense())]


@pytest.fixture(autouse=True)
def _one_sampling(monkeypatch):
    """Each kind of device draws other classes; here both take the processor's."""
    drawn = margin_head.sample_classes

    def on_processor(named, *rest):
        return drawn(named.cpu(), *rest).to(named.device)

    monkeypatch.setattr(margin_head, "sample_classes", on_processor)


@pytest.mark.parametrize("settings", [{}, {"chunk": 64}, {"sub_centres": 3}, {"sample_rate": 0.3}], ids=str)
@pytest.mark.parametrize("name", MARGINS)
def test_the_processors_loss_and_gradients(name: str, settings: dict) -> None:
    wanted = step("cpu", name, torch.float64, **settings)
    for got, want in zip(step("cuda", name, torch.float64, **settings), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)
    for low in (None, torch.bfloat16, torch.float16):  # the head calculates in float32 under either
        for got, want in zip(step("cuda", name, torch.float32, low, **settings), wanted, strict=True):
            torch.testing.assert_close(got, want.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["cosface", "arcface", "curricularface"])
def test_products_in_bf16_equal_float64_to_their_rounding(name: str) -> None:
    exact, got = step("cpu", name, torch.float64), step("cuda", name, torch.float32, products="bf16")
    assert abs(float(got[0]) - float(exact[0])) < 32 / 256
    for one, want in zip(got[1:], exact[1:], strict=True):
        assert 0 < float((one - want).norm() / want.norm()) < 0.03


def test_sampled_centres_move_as_on_the_processor() -> None:
    ends = []
    for device in ("cpu", "cuda"):
        head = MarginHead(D, C, L.CombinedMargin(m3=0.2), 16.0, sample_rate=0.2, seed=2).to(device)
        optimizer = RowSGD(head.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
        draw = torch.Generator().manual_seed(6)
        for _ in range(4):
            x, y = torch.randn(B, D, generator=draw), torch.randint(0, C, (B,), generator=draw)
            optimizer.zero_grad()
            head(x.to(device), y.to(device)).backward()
            optimizer.step()
        ends.append(head.centres.detach().cpu())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("classes", "dim"), [(100_000, 128), (1_000_000, 512)])
def test_no_table_of_logits_is_held(classes: int, dim: int) -> None:
    """Beyond centres and their gradient 160 MiB, whatever the number of classes (a table of logits: 98 and 977)."""
    if torch.cuda.mem_get_info()[0] < 3 * 4 * classes * dim:
        pytest.skip(f"needs {3 * 4 * classes * dim / 2**30:.0f} GiB of free memory on the CUDA device")
    batch = 256
    head = MarginHead(dim, classes, L.CombinedMargin(m2=0.5)).to("cuda")
    x, y = torch.randn(batch, dim, device="cuda", requires_grad=True), torch.arange(batch, device="cuda")
    head(x, y).backward()  # libraries allocate once
    head.centres.grad = x.grad = None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    head(x, y).backward()
    beyond = torch.cuda.max_memory_allocated() - before - head.centres.grad.numel() * 4
    assert beyond < 160 << 20


@pytest.fixture
def nccl(tmp_path):
    """A group of this process alone, over NCCL."""
    if not dist.is_nccl_available():
        pytest.skip("this torch has no NCCL")
    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield dist.group.WORLD
    dist.destroy_process_group()


@pytest.mark.parametrize("settings", [{}, {"sub_centres": 3}, {"sample_rate": 0.3}], ids=str)
def test_a_group_over_nccl_changes_nothing(nccl, settings: dict) -> None:
    alone = step("cuda", "arcface", torch.float32, **settings)
    for got, want in zip(step("cuda", "arcface", torch.float32, group=nccl, **settings), alone, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
