"""The head in one process: equal to the dense loss for every margin, chunk and edge; small; sparse when sampled."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError  # noqa: E402
from mien.train import losses as L  # noqa: E402
from mien.train.heads import MarginHead, RowSGD, sample_classes, shard_bounds  # noqa: E402

B, C, D = 9, 37, 6
MARGINS = {
    "none": L.Margin,
    "cosface": lambda: L.CombinedMargin(m3=0.35),
    "arcface": lambda: L.CombinedMargin(m2=0.5),
    "straight-through": lambda: L.CombinedMargin(m2=0.5, gradient="straight-through"),
    "combined": lambda: L.CombinedMargin(1.2, 0.3, 0.1, past_pi="continuous"),
    "adaface": L.AdaptiveMargin,
    "magface": L.MagnitudeMargin,
    "curricularface": lambda: L.CurricularMargin(hardness=0.3),
    "sphereface": lambda: L.IntegerMargin(4, 2.0),
}


def both(name: str, chunk: int, subs: int = 1, dtype=torch.float64, scale: float = 64.0, seed: int = 0, **more):
    """(loss, embeddings' gradient, centres' gradient) of the head and of the dense form."""
    draw = torch.Generator().manual_seed(seed)
    x = (torch.randn(B, D, generator=draw, dtype=torch.float64) * 9).to(dtype)
    y = torch.randint(0, C, (B,), generator=draw)
    y[1] = y[0]
    scale = 1.0 if name == "sphereface" else scale
    head = MarginHead(D, C, MARGINS[name](), scale, sub_centres=subs, chunk=chunk, **more).to(dtype)
    dense = MARGINS[name]().to(dtype)
    dense.load_state_dict(head.margin.state_dict())
    one = x.clone().requires_grad_()
    loss = head(one, y)
    loss.backward()
    two = x.clone().requires_grad_()
    centres = head.centres.detach().clone()
    centres = (centres.squeeze(1) if subs == 1 else centres).requires_grad_()
    want = L.margin_softmax(two, centres, y, dense, scale)
    want.backward()
    assert {k: float(v) for k, v in head.margin.state_dict().items()} == pytest.approx(
        {k: float(v) for k, v in dense.state_dict().items()}
    )
    got = (loss.detach(), one.grad, head.centres.grad.view_as(centres))
    return got, (want.detach(), two.grad, centres.grad)


@pytest.mark.parametrize("subs", [1, 3])
@pytest.mark.parametrize("chunk", [1, 5, 37, 1000])
@pytest.mark.parametrize("name", MARGINS)
def test_chunked_equals_dense(name: str, chunk: int, subs: int) -> None:
    for got, want in zip(*both(name, chunk, subs), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)
    for got, want in zip(*both(name, chunk, subs, torch.float32), strict=True):
        torch.testing.assert_close(got, want, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("subs", [1, 3])
@pytest.mark.parametrize("chunk", [5, 1000])
@pytest.mark.parametrize("name", MARGINS)
def test_products_in_bf16_equal_dense_to_their_rounding(name: str, chunk: int, subs: int) -> None:
    """A logit is off by 2^-8 of itself at the most, so that the loss is by 2^-8 s; gradients by a few per cent."""
    scale = 1.0 if name == "sphereface" else 16.0
    exact = both(name, chunk, subs, scale=scale)[1]
    got, _ = both(name, chunk, subs, torch.float32, scale=scale, products="bf16")
    assert all(part.dtype == torch.float32 for part in got)
    largest = 27 if name == "sphereface" else scale  # the longest embedding's norm, or s
    assert abs(float(got[0]) - float(exact[0])) < largest / 256
    for one, want in zip(got[1:], exact[1:], strict=True):
        assert float((one - want).norm() / want.norm()) < 0.03
    plain, _ = both(name, chunk, subs, torch.float32, scale=scale)
    assert not torch.equal(plain[2], got[2]), "bf16 was not used"


def test_products_in_bf16_with_sampled_classes_and_narrow_centres() -> None:
    """Against the same sampled classes in float32, and with centres that are bf16 themselves."""
    draw = torch.Generator().manual_seed(5)
    x, y = torch.randn(B, D, generator=draw), torch.randint(0, C, (B,), generator=draw)
    found = {}
    for products in ("fp32", "bf16"):
        for rate, dtype in ((0.5, torch.float32), (1.0, torch.bfloat16)):
            settings = {"sample_rate": rate, "chunk": 4, "products": products}
            head = MarginHead(D, C, L.CombinedMargin(m3=0.2), 8.0, **settings).to(dtype)
            head(x, y).backward()
            grad = head.centres.grad
            assert grad.is_sparse == (rate < 1)
            assert grad.dtype == dtype
            found[products, rate] = grad.to_dense().float()
    for rate in (0.5, 1.0):
        off = (found["bf16", rate] - found["fp32", rate]).norm() / found["fp32", rate].norm()
        assert 0 < float(off) < 0.03


@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_scales_that_overflow_any_fixed_reference_stay_exact(chunk: int) -> None:
    for scale in (1e-3, 500.0, 2e4):  # exp(1500) is beyond float64
        for got, want in zip(*both("cosface", chunk, scale=scale, seed=3), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-10)
        got, want = both("cosface", chunk, dtype=torch.float32, scale=scale, seed=3)
        torch.testing.assert_close(got[0], want[0], rtol=1e-4, atol=0)
        assert all(torch.isfinite(part).all() for part in got)


@pytest.mark.parametrize("name", MARGINS)
def test_edges_are_finite(name: str) -> None:
    head = MarginHead(D, 6, MARGINS[name](), 1.0 if name == "sphereface" else 64.0, chunk=2)
    with torch.no_grad():
        head.centres[:, 0] = torch.eye(6, D)
        head.centres[4, 0] = -head.centres[0, 0]
        head.centres[5, 0] = 0
    huge = 1e4 if name == "sphereface" else 1e30
    eye = torch.eye(6, D)
    x = torch.stack([eye[0], -eye[0], eye[1] * huge, torch.zeros(D), eye[2] * 1e-30, eye[3]]).requires_grad_()
    loss = head(x, torch.tensor([0, 0, 1, 2, 2, 5]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(head.centres.grad).all()


def test_one_class_alone_has_loss_zero_and_zero_gradients() -> None:
    head = MarginHead(D, 1, L.CombinedMargin(m2=0.5))
    x = torch.randn(B, D, requires_grad=True)
    loss = head(x, torch.zeros(B, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert (x.grad == 0).all()
    assert (head.centres.grad == 0).all()


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing_inside_forward_and_backward(low) -> None:
    head = MarginHead(D, C, L.CombinedMargin(m2=0.5), chunk=5)
    x, y = torch.randn(B, D).to(low), torch.arange(B)
    grads = []
    for enabled in (False, True):
        head.centres.grad, leaf = None, x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=low, enabled=enabled):
            loss = head(leaf, y)
            loss.backward()
        assert loss.dtype == torch.float32
        grads.append((loss.detach(), leaf.grad, head.centres.grad))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_centres_of_a_narrower_type_get_gradients_of_that_type() -> None:
    head = MarginHead(D, C, L.CombinedMargin(m2=0.5), chunk=5).bfloat16()
    x, y = torch.randn(B, D, requires_grad=True), torch.arange(B)
    head(x, y).backward()
    assert head.centres.grad.dtype == torch.bfloat16
    wide = head.centres.detach().float().squeeze(1).requires_grad_()
    L.arcface(x.detach(), wide, y).backward()
    torch.testing.assert_close(head.centres.grad.float().squeeze(1), wide.grad, rtol=1e-2, atol=1e-3)


class _Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """Remembers the largest tensor that any operation gave."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, torch.Tensor) and not value.is_sparse:
                self.largest = max(self.largest, value.numel())
        return out


def test_no_tensor_of_b_times_c_is_ever_made() -> None:
    batch, classes, dim = 64, 5000, 4
    head = MarginHead(dim, classes, L.CombinedMargin(m2=0.5), chunk=256)
    x, y = torch.randn(batch, dim, requires_grad=True), torch.randint(0, classes, (batch,))
    with _Largest() as seen:
        head(x, y).backward()
    assert seen.largest <= classes * dim  # the centres and their gradient
    assert seen.largest < 0.2 * batch * classes


def test_products_in_bf16_hold_no_more_than_float32_ones() -> None:
    """The allocator's own account of one step, in chunks as the head chooses them; centres' gradients included."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    most = {}
    for products in ("fp32", "bf16"):
        head = MarginHead(256, 6000, L.CombinedMargin(m2=0.5), products=products)
        x, y = torch.randn(256, 256, requires_grad=True), torch.arange(256)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            head(x, y).backward()
        held = most[products] = 0
        for event in seen.profiler.kineto_results.events():
            if event.name() == "[memory]" and event.device_type() == DeviceType.CPU:
                held += event.nbytes()
                most[products] = max(most[products], held)
    assert 6000 * 256 * 4 < most["bf16"] <= most["fp32"]


def test_sampling_is_seeded_holds_all_named_classes_and_is_even() -> None:
    named = torch.tensor([3, 3, 90, 41])
    seen = torch.zeros(100)
    for step in range(400):
        index = sample_classes(named, 100, 0.2, (0, 0, step))
        assert index.tolist() == sorted(set(index.tolist()))
        assert len(index) == 20
        assert {3, 90, 41} <= set(index.tolist())
        seen[index] += 1
    others = seen[[c for c in range(100) if c not in (3, 90, 41)]]
    expected = 400 * 17 / 97
    assert (others - expected).abs().max() < 6 * math.sqrt(expected)
    assert torch.equal(sample_classes(named, 100, 0.2, (7, 1, 5)), sample_classes(named, 100, 0.2, (7, 1, 5)))
    for other in ((8, 1, 5), (7, 2, 5), (7, 1, 6)):
        assert not torch.equal(sample_classes(named, 100, 0.2, (7, 1, 5)), sample_classes(named, 100, 0.2, other))
    assert len(sample_classes(torch.arange(50), 100, 0.01, (0, 0, 0))) == 50


@pytest.mark.parametrize("subs", [1, 3])
def test_a_draw_of_every_class_is_the_whole_loss(subs: int) -> None:
    """Through the way of sampled classes: a rate whose draw, rounded up, leaves none out."""
    draw = torch.Generator().manual_seed(2)
    x, y = torch.randn(B, D, generator=draw, dtype=torch.float64), torch.randint(0, C, (B,), generator=draw)
    found = []
    for rate in (1.0, 1.0 - 0.5 / C):
        torch.manual_seed(1)
        head = MarginHead(D, C, L.CombinedMargin(m2=0.5), 8.0, sub_centres=subs, sample_rate=rate, chunk=4).double()
        rows = x.clone().requires_grad_()
        loss = head(rows, y)
        loss.backward()
        grad = head.centres.grad
        assert grad.is_sparse == (rate < 1)
        found.append((loss.detach(), rows.grad, grad.to_dense()))
    for one, want in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(one, want, rtol=1e-10, atol=1e-12)


def test_a_sampled_step_is_sparse_moves_on_and_stops_in_eval_mode() -> None:
    head = MarginHead(D, C, L.CombinedMargin(m2=0.5), sample_rate=0.4, chunk=4)
    x, y = torch.randn(B, D), torch.arange(B)
    head(x, y).backward()
    first = head.centres.grad._indices()[0]
    head.centres.grad = None
    head(x, y).backward()
    assert not torch.equal(first, head.centres.grad._indices()[0])
    assert int(head.state_dict()["step"]) == 2
    head.eval()
    want = L.arcface(x, head.centres.detach().squeeze(1), y)
    torch.testing.assert_close(head(x, y).detach(), want)
    assert int(head.step) == 2


@pytest.mark.parametrize(("momentum", "decay", "nesterov"), [(0, 0, False), (0.9, 5e-4, False), (0.9, 0.1, True)])
def test_row_sgd_touches_sampled_rows_only(momentum, decay, nesterov) -> None:
    head = MarginHead(D, C, L.CombinedMargin(m2=0.5), sample_rate=0.3)
    rule = RowSGD(head.parameters(), lr=0.1, momentum=momentum, weight_decay=decay, nesterov=nesterov)
    weight, kept = head.centres.detach().clone(), torch.zeros(C, 1, D)
    for _ in range(5):
        rule.zero_grad()
        head(torch.randn(B, D), torch.randint(0, C, (B,))).backward()
        grad = head.centres.grad.coalesce()
        rows = grad.indices()[0].tolist()
        before = head.centres.detach().clone()
        rule.step()
        for at, row in enumerate(rows):
            g = grad.values()[at] + decay * weight[row]
            kept[row] = momentum * kept[row] + g
            weight[row] -= 0.1 * (g + momentum * kept[row] if nesterov else kept[row] if momentum else g)
        untouched = [row for row in range(C) if row not in rows]
        assert torch.equal(head.centres.detach()[untouched], before[untouched])
    torch.testing.assert_close(head.centres.detach(), weight)
    if momentum:
        torch.testing.assert_close(rule.state[head.centres]["momentum_buffer"], kept)


@pytest.mark.parametrize(("momentum", "decay", "nesterov"), [(0, 0.1, False), (0.9, 5e-4, False), (0.9, 0.1, True)])
def test_row_sgd_with_dense_gradients_is_sgd(momentum, decay, nesterov) -> None:
    one = torch.randn(5, 3, requires_grad=True)
    two = one.detach().clone().requires_grad_()
    settings = {"momentum": momentum, "weight_decay": decay, "nesterov": nesterov}
    rules = RowSGD([one], lr=0.1, **settings), torch.optim.SGD([two], lr=0.1, **settings)
    for _ in range(4):
        for leaf, rule in zip((one, two), rules, strict=True):
            rule.zero_grad()
            leaf.pow(3).sum().backward()
            rule.step()
    torch.testing.assert_close(one, two)


def test_accumulated_sparse_gradients_add_up() -> None:
    head = MarginHead(D, C, L.CombinedMargin(m2=0.5), sample_rate=0.5)
    x, y = torch.randn(B, D), torch.arange(B)
    head(x, y).backward()
    one = head.centres.grad.to_dense().clone()
    head(x, y).backward()
    head.centres.grad = (total := head.centres.grad.coalesce())
    head.step.fill_(1)
    head.centres.grad = None
    head(x, y).backward()
    torch.testing.assert_close(total.to_dense(), one + head.centres.grad.to_dense())


def test_training_with_the_head_learns() -> None:
    draw = torch.Generator().manual_seed(0)
    means = torch.randn(20, 8, generator=draw)
    head = MarginHead(8, 20, L.CombinedMargin(m2=0.3), 16.0, sample_rate=0.5)
    rule = RowSGD(head.parameters(), lr=0.5, momentum=0.9)
    losses = []
    for _ in range(60):
        y = torch.randint(0, 20, (64,), generator=draw)
        rule.zero_grad()
        loss = head(means[y] + 0.1 * torch.randn(64, 8, generator=draw), y)
        loss.backward()
        rule.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: MarginHead(D, 0, L.Margin()), "classes"),
        (lambda: MarginHead(D, C, L.Margin(), sample_rate=0.0), "sample_rate"),
        (lambda: MarginHead(D, C, L.Margin(), chunk=0), "chunk"),
        (lambda: MarginHead(D, C, L.Margin(), products="fp16"), "products"),
        (lambda: MarginHead(D, C, L.Margin())(torch.zeros(2, D), torch.tensor([0, C])), "labels"),
        (lambda: MarginHead(D, C, L.Margin())(torch.zeros(2, D + 1), torch.tensor([0, 1])), "embeddings"),
        (lambda: MarginHead(D, C, L.IntegerMargin())(torch.zeros(2, D), torch.tensor([0, 1])), "scale"),
        (lambda: MarginHead(D, C, L.Margin()).scatter(torch.zeros(C, D)), "centres"),
        (lambda: RowSGD([torch.zeros(1, requires_grad=True)], lr=-1), "lr"),
        (lambda: shard_bounds(4, 2, 2), "rank"),
    ],
)
def test_what_makes_no_sense_is_refused(call, word: str) -> None:
    with pytest.raises(InputError, match=word):
        call()
