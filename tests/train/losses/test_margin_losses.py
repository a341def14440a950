"""Each classification loss against a plain loop from its formula, then gradients, edges and autocast."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError  # noqa: E402
from mien.train import losses as L  # noqa: E402

B, C, K, D = 7, 5, 3, 6


def value(tensor) -> float:
    return float(tensor.detach())


def batch(seed: int = 0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(B, D, generator=draw, dtype=torch.float64) * 12
    w = torch.randn(C, D, generator=draw, dtype=torch.float64)
    y = torch.randint(0, C, (B,), generator=draw)
    x[0] = -w[y[0]] + 0.01  # theta + m passes pi
    return x.to(dtype), w.to(dtype), y


def dot(a, b):
    return math.fsum(p * q for p, q in zip(a, b, strict=True))


def length(a):
    return math.sqrt(dot(a, a))


def cos(a, b):
    return max(-1.0, min(1.0, dot(a, b) / (length(a) * length(b))))


def nll(logits, label):
    top = max(logits)
    return top + math.log(math.fsum(math.exp(z - top) for z in logits)) - logits[label]


def loop(x, w, y, logits_of):
    """Mean over rows of the cross entropy of logits_of(row, rows of w, label)."""
    return math.fsum(nll(logits_of(a, w, c), c) for a, c in zip(x, y, strict=True)) / len(x)


def arc(c, m, drop=None):
    theta = math.acos(c)
    return math.cos(theta + m) if theta + m <= math.pi else c - (m * math.sin(m) if drop is None else drop)


def with_target(s, target):
    def logits(a, w, y):
        cosines = [cos(a, b) for b in w]
        return [s * (target(c, length(a)) if j == y else c) for j, c in enumerate(cosines)]

    return logits


def psi(theta, m):
    k = min(int(m * theta / math.pi), m - 1)
    return (-1) ** k * math.cos(m * theta) - 2 * k


def combined(c, m1, m2, m3):
    theta = math.acos(c)
    if m1 * theta + m2 <= math.pi:
        return math.cos(m1 * theta + m2) - m3
    return c - max(1 + math.cos((math.pi - m2) / m1), m2 * math.sin(m2)) - m3


def curricular(s, m, t):
    def logits(a, w, y):
        cosines = [cos(a, b) for b in w]
        target = arc(cosines[y], m)
        return [s * (target if j == y else c * (t + c) if c > target else c) for j, c in enumerate(cosines)]

    return logits


def ada(c, norm, m=0.4, h=0.333, mean=20.0, std=8.0):
    z = max(-1.0, min(1.0, h * (min(max(norm, 1e-3), 100.0) - mean) / (std + 1e-3)))
    angle, theta = -m * z, math.acos(c)
    if theta + angle < 0:
        rotated = 1.0
    elif theta + angle > math.pi:
        rotated = c - (1 - math.cos(angle))
    else:
        rotated = math.cos(theta + angle)
    return rotated - (m + m * z)


def mag(c, norm):
    a = min(max(norm, 10.0), 110.0)
    return arc(c, 0.45 + (0.8 - 0.45) * (a - 10.0) / 100.0)


def mag_penalty(norm):
    a = min(max(norm, 10.0), 110.0)
    return 35.0 * (1 / a + a / 110.0**2)


def integer(m, lam, own_weight_length):
    def logits(a, w, y):
        out = []
        for j, b in enumerate(w):
            size = length(a) * (length(b) if own_weight_length else 1.0)
            c = cos(a, b)
            out.append(size * ((lam * c + psi(math.acos(c), m)) / (1 + lam) if j == y else c))
        return out

    return logits


CASES = {
    "softmax": (L.softmax, lambda a, w, _: [dot(a, b) for b in w]),
    "cosface": (L.cosface, with_target(64, lambda c, _: c - 0.35)),
    "arcface": (L.arcface, with_target(64, lambda c, _: arc(c, 0.5))),
    "arcface continuous": (
        lambda x, w, y: L.arcface(x, w, y, scale=30, margin=0.7, past_pi="continuous"),
        with_target(30, lambda c, _: arc(c, 0.7, 1 - math.cos(0.7))),
    ),
    "straight-through": (
        lambda x, w, y: L.arcface(x, w, y, gradient="straight-through"),
        with_target(64, lambda c, _: arc(c, 0.5)),
    ),
    "combined": (
        L.combined_face,
        with_target(64, lambda c, _: combined(c, 1.0, 0.3, 0.2)),
    ),
    "combined 1.5": (
        lambda x, w, y: L.combined_face(x, w, y, m1=1.5, m2=0.2, m3=0.1, scale=16),
        with_target(16, lambda c, _: combined(c, 1.5, 0.2, 0.1)),
    ),
    "combined 0.9": (
        lambda x, w, y: L.combined_face(x, w, y, m1=0.9, m2=0.4, m3=0.15),
        with_target(64, lambda c, _: combined(c, 0.9, 0.4, 0.15)),
    ),
    "curricularface": (lambda x, w, y: L.curricularface(x, w, y, hardness=0.25), curricular(64, 0.5, 0.25)),
    "adaface": (lambda x, w, y: L.adaface(x, w, y, norm_mean=20.0, norm_std=8.0), with_target(64, ada)),
    "magface": (L.magface, with_target(64, mag)),
    **{
        f"sphereface {m} {lam}": (
            lambda x, w, y, m=m, lam=lam: L.sphereface(x, w, y, m=m, blend=lam),
            integer(m, lam, own_weight_length=False),
        )
        for m, lam in ((1, 0), (2, 0), (3, 5), (4, 0), (4, 7.5))
    },
    **{
        f"l-softmax {m} {lam}": (
            lambda x, w, y, m=m, lam=lam: L.l_softmax(x, w, y, m=m, blend=lam),
            integer(m, lam, own_weight_length=True),
        )
        for m, lam in ((1, 0), (2, 3), (3, 0), (4, 0))
    },
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_loss_equals_a_plain_loop_from_its_formula(name: str, seed: int) -> None:
    x, w, y = batch(seed)
    loss, logits = CASES[name]
    want = loop(x.tolist(), w.tolist(), y.tolist(), logits)
    if name == "magface":
        want += math.fsum(mag_penalty(length(a)) for a in x.tolist()) / B
    assert value(loss(x, w, y)) == pytest.approx(want, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("seed", [0, 1])
def test_sub_center_arcface_equals_a_plain_loop(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    x, _, y = batch(seed)
    w = torch.randn(C, K, D, generator=draw, dtype=torch.float64)

    def logits(a, w, label):
        cosines = [max(cos(a, sub) for sub in subs) for subs in w]
        return [64 * (arc(c, 0.5) if j == label else c) for j, c in enumerate(cosines)]

    want = loop(x.tolist(), w.tolist(), y.tolist(), logits)
    assert value(L.sub_center_arcface(x, w, y)) == pytest.approx(want, rel=1e-10)


def test_center_loss_and_its_centers_equal_plain_loops() -> None:
    x, w, y = batch()
    want = math.fsum(0.5 * math.fsum((p - q) ** 2 for p, q in zip(a, w[c].tolist(), strict=True))
                     for a, c in zip(x.tolist(), y.tolist(), strict=True)) / B  # fmt: skip
    assert value(L.center(x, y, w)) == pytest.approx(want, rel=1e-10)
    moved = w.clone()
    for j in range(C):
        rows = [i for i in range(B) if y[i] == j]
        moved[j] -= 0.5 * sum(w[j] - x[i] for i in rows) / (1 + len(rows)) if rows else 0
    before = w.clone()
    torch.testing.assert_close(L.moved_centers(x, y, w, 0.5), moved, rtol=1e-12, atol=1e-12)
    assert torch.equal(w, before)
    module = L.CenterSoftmax(D, C, weight=0.1).double()
    first = module(x, y).detach()
    plain = L.softmax(x, module.softmax.weight, y) + 0.1 * L.center(x, y, torch.zeros(C, D, dtype=torch.float64))
    assert value(first) == pytest.approx(value(plain.detach()), rel=1e-12)
    torch.testing.assert_close(module.centers, L.moved_centers(x, y, torch.zeros(C, D, dtype=torch.float64), 0.5))


def test_arcface_triplet_is_the_sum_of_both() -> None:
    x, w, y = batch()
    got = L.arcface_triplet(x, w, y, weight=3.0, mining="batch-hard", distance="cosine")
    want = L.arcface(x, w, y) + 3.0 * L.triplet(x, y, mining="batch-hard", distance="cosine")
    assert value(got) == pytest.approx(value(want), rel=1e-12)
    module = L.ArcFaceTriplet(D, C, weight=3.0, mining="batch-hard", distance="cosine").double()
    with torch.no_grad():
        module.centres.copy_(w)
    assert value(module(x, y)) == pytest.approx(value(want), rel=1e-12)


SMOOTH = [n for n in CASES if n not in ("straight-through", "curricularface")]


@pytest.mark.parametrize("name", SMOOTH)
def test_the_true_gradient_passes_gradcheck(name: str) -> None:
    x, w, y = batch(3)
    if name == "adaface":  # its quality carries no gradient, by design: at clamped norms it is constant
        x = x * 40
    loss = CASES[name][0]
    torch.autograd.gradcheck(lambda x, w: loss(x, w, y), (x.requires_grad_(), w.requires_grad_()), atol=1e-6)


@pytest.mark.parametrize("name", ["sub-center", "curricularface", "harmonic"])
def test_the_true_gradient_passes_gradcheck_away_from_switches(name: str) -> None:
    x, w, y = batch(4)
    x, w = x.requires_grad_(), w.requires_grad_()
    if name == "sub-center":
        w = torch.randn(C, K, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        torch.autograd.gradcheck(lambda x, w: L.sub_center_arcface(x, w, y), (x, w))
    elif name == "curricularface":
        torch.autograd.gradcheck(lambda x, w: L.curricularface(x, w, y, hardness=0.3), (x, w))
    else:
        old = torch.randn(B, D, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        torch.autograd.gradcheck(lambda x: L.harmonic_triplet(x, old, y, mining="batch-all"), (x,))


def test_straight_through_has_the_same_loss_and_slope_one() -> None:
    x, w, y = batch(5)
    cosines = (torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(w).T)[torch.arange(B), y]
    for gradient, slope in (("straight-through", torch.ones(B)), ("true", None)):
        c = cosines.clone().requires_grad_()
        value = L.CombinedMargin(m2=0.5, gradient=gradient).target(c, c)
        (got,) = torch.autograd.grad(value.sum(), c)
        theta = torch.acos(cosines)
        inside = theta + 0.5 <= math.pi
        want = slope if slope is not None else torch.where(inside, torch.sin(theta + 0.5) / torch.sin(theta), 1.0)
        torch.testing.assert_close(got, want.double(), rtol=1e-9, atol=1e-9)


FACES = [n for n in CASES if n != "softmax"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_are_finite_at_every_edge(name: str, dtype) -> None:
    w = torch.eye(4, D, dtype=dtype)
    w = torch.cat([w, -w[:1], torch.zeros(1, D, dtype=dtype)])  # a centre opposite to another, and a zero centre
    huge = 1e4 if any(n in name for n in ("softmax", "sphere")) else 1e30
    x = torch.stack([w[0], -w[0], w[1] * huge, torch.zeros(D, dtype=dtype), w[2] * 1e-30, w[5], w[3] + w[0] * 1e-4])
    y = torch.tensor([0, 0, 1, 2, 2, 5, 3])
    x, w = x.requires_grad_(), w.requires_grad_()
    loss = CASES[name][0](x, w, y)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(w.grad).all()


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_autocast_changes_nothing_inside(name: str, low) -> None:
    x, w, y = batch(6, torch.float32)
    x = (x / 8).to(low)
    want = CASES[name][0](x.float(), w, y)
    with torch.autocast("cpu", dtype=low):
        got = CASES[name][0](x.requires_grad_(), w, y)
    assert got.dtype == torch.float32
    assert torch.equal(got, want)
    got.backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", CASES)
def test_wrong_labels_are_refused_and_nothing_given_is_changed(name: str) -> None:
    x, w, y = batch()
    copies = x.clone(), w.clone(), y.clone()
    CASES[name][0](x, w, y)
    assert all(torch.equal(a, b) for a, b in zip(copies, (x, w, y), strict=True))
    for wrong in (C, -1, -100):
        bad = y.clone()
        bad[2] = wrong
        with pytest.raises(InputError, match=rf"expected 0 to {C - 1}, got {wrong} at row 2"):
            CASES[name][0](x, w, bad)
    for bad in (y.int(), y[:-1], y.unsqueeze(1)):
        with pytest.raises(InputError, match="labels"):
            CASES[name][0](x, w, bad)
    with pytest.raises(InputError, match=r"embeddings|centres|weight"):
        CASES[name][0](x[:, :-1], w, y)


MODULES = {
    "Softmax": (lambda: L.Softmax(D, C), "softmax"),
    "CosFace": (lambda: L.CosFace(D, C), "cosface"),
    "ArcFace": (lambda: L.ArcFace(D, C), "arcface"),
    "CombinedFace": (lambda: L.CombinedFace(D, C), "combined"),
    "MagFace": (lambda: L.MagFace(D, C), "magface"),
    "SphereFace": (lambda: L.SphereFace(D, C, m=4, blend=7.5), "sphereface 4 7.5"),
    "LSoftmax": (lambda: L.LSoftmax(D, C, m=2, blend=3), "l-softmax 2 3"),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_its_function_with_centres_kept(name: str) -> None:
    x, w, y = batch()
    make, case = MODULES[name]
    module = make().double()
    (centres,) = module.parameters()
    with torch.no_grad():
        centres.copy_(w)
    assert value(module(x, y)) == pytest.approx(value(CASES[case][0](x, w, y)), rel=1e-12)


def test_running_values_follow_in_training_mode_only_and_are_saved() -> None:
    x, w, y = batch()
    norms = [length(a) for a in x.tolist()]
    mean = math.fsum(norms) / B
    std = math.sqrt(math.fsum((n - mean) ** 2 for n in norms) / (B - 1))
    ada_face = L.AdaFace(D, C).double()
    with torch.no_grad():
        ada_face.centres.copy_(w)
    loss = ada_face(x, y)
    new_mean, new_std = 0.99 * 20 + 0.01 * mean, 0.99 * 100 + 0.01 * std
    assert value(ada_face.margin.norm_mean) == pytest.approx(new_mean, rel=1e-12)
    assert value(ada_face.margin.norm_std) == pytest.approx(new_std, rel=1e-12)
    assert value(loss) == pytest.approx(value(L.adaface(x, w, y, norm_mean=new_mean, norm_std=new_std)), rel=1e-6)
    curricular_face = L.CurricularFace(D, C).double()
    with torch.no_grad():
        curricular_face.centres.copy_(w)
    curricular_face(x, y)
    t = 0.01 * math.fsum(cos(a, w[c].tolist()) for a, c in zip(x.tolist(), y.tolist(), strict=True)) / B
    assert value(curricular_face.margin.t) == pytest.approx(t, rel=1e-9)
    assert "margin.t" in curricular_face.state_dict()
    assert {"margin.norm_mean", "margin.norm_std"} <= set(ada_face.state_dict())
    for module in (ada_face.eval(), curricular_face.eval()):
        before = {k: v.clone() for k, v in module.state_dict().items()}
        module(x * 3, y)
        assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_reductions() -> None:
    x, w, y = batch()
    each = L.arcface(x, w, y, reduction="none")
    assert each.shape == (B,)
    assert value(L.arcface(x, w, y, reduction="sum")) == pytest.approx(value(each.sum()))
    assert value(L.arcface(x, w, y)) == pytest.approx(value(each.mean()))
    assert value(L.arcface(x[:0], w, y[:0])) == 0.0
    with pytest.raises(InputError, match="reduction"):
        L.arcface(x, w, y, reduction="median")


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: L.ArcFace(D, C, margin=2.0), "m2"),
        (lambda: L.ArcFace(D, C, margin=math.nan), "m2"),
        (lambda: L.ArcFace(D, C, gradient="famous"), "gradient"),
        (lambda: L.ArcFace(D, C, past_pi="wrap"), "past_pi"),
        (lambda: L.ArcFace(D, 0), "classes"),
        (lambda: L.SphereFace(D, C, m=5), "m:"),
        (lambda: L.MagFace(D, C, norm_range=(10, 10)), "norm_range"),
        (lambda: L.SubCenterArcFace(D, C, 1), "sub_centres"),
        (lambda: L.CenterSoftmax(D, C, weight=-1), "weight"),
        (lambda: L.annealed_lambda(-1), "step"),
    ],
)
def test_settings_that_make_no_sense_are_refused(call, word: str) -> None:
    with pytest.raises(InputError, match=word):
        call()
