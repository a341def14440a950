"""Contrastive and triplet losses and their mining against brute-force loops."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError  # noqa: E402
from mien.train import losses as L  # noqa: E402
from mien.train.losses.triplets import distance_matrix  # noqa: E402


def value(tensor) -> float:
    return float(tensor.detach())


def batch(seed: int, count: int = 12, people: int = 4, dim: int = 5):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(count, dim, generator=draw, dtype=torch.float64)
    return x, torch.randint(0, people, (count,), generator=draw)


def unit(a):
    size = math.sqrt(math.fsum(p * p for p in a))
    return [p / size for p in a]


def apart(a, b, distance):
    if distance == "cosine":
        return 1 - math.fsum(p * q for p, q in zip(unit(a), unit(b), strict=True))
    return math.fsum((p - q) ** 2 for p, q in zip(a, b, strict=True))


def brute(x, y, mining, margin, distance):
    d = [[apart(a, b, distance) for b in x] for a in x]
    n, out = len(x), []
    for a in range(n):
        positives = [p for p in range(n) if y[p] == y[a] and p != a]
        negatives = [q for q in range(n) if y[q] != y[a]]
        if mining == "batch-all":
            out += [(a, p, q) for p in positives for q in negatives]
        elif mining == "batch-hard":
            if positives and negatives:
                out.append((a, max(positives, key=lambda p: d[a][p]), min(negatives, key=lambda q: d[a][q])))
        else:
            for p in positives:
                fit = [q for q in negatives if d[a][p] < d[a][q] < d[a][p] + margin]
                out += [(a, p, min(fit, key=lambda q: d[a][q]))] if fit else []
    return d, out


MINING = ["batch-all", "batch-hard", "semi-hard"]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("distance", ["squared", "cosine"])
@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("seed", [0, 1])
def test_triplets_mined_and_their_loss_equal_loops(mining, distance, normalise, soft, seed) -> None:
    x, y = batch(seed)
    rows = [unit(a) if normalise else a for a in x.tolist()]
    margin = 0.4
    d, want = brute(rows, y.tolist(), mining, margin, distance)
    matrix = torch.tensor(d, dtype=torch.float64)
    rule = {"batch-all": L.batch_all, "batch-hard": L.batch_hard}.get(mining, lambda m, y: L.semi_hard(m, y, margin))
    assert sorted(zip(*(part.tolist() for part in rule(matrix, y)), strict=True)) == sorted(want)
    assert want, "the batch must hold triplets, else the test shows nothing"
    gaps = [d[a][p] - d[a][q] for a, p, q in want]
    each = [math.log1p(math.exp(g)) if soft else max(0.0, g + margin) for g in gaps]
    count = sum(e > 0 for e in each) if mining == "batch-all" else len(each)
    settings = {"margin": margin, "mining": mining, "distance": distance, "soft": soft, "normalise": normalise}
    assert value(L.triplet(x, y, **settings)) == pytest.approx(math.fsum(each) / count, rel=1e-10, abs=1e-10)
    assert value(L.Triplet(**settings)(x, y)) == pytest.approx(math.fsum(each) / count, rel=1e-10, abs=1e-10)
    assert value(L.triplet(x, y, reduction="sum", **settings)) == pytest.approx(math.fsum(each), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("distance", ["squared", "cosine"])
def test_triplet_gradients(mining, distance) -> None:
    x, y = batch(2)
    torch.autograd.gradcheck(
        lambda x: L.triplet(x, y, mining=mining, distance=distance, margin=0.5), x.requires_grad_()
    )


@pytest.mark.parametrize("mining", MINING)
def test_a_batch_without_triplets_gives_zero_and_zero_gradients(mining) -> None:
    x, _ = batch(0, 4)
    x.requires_grad_()
    for y in (torch.tensor([0, 1, 2, 3]), torch.tensor([0, 0, 0, 0])):
        x.grad = None
        loss = L.triplet(x, y, mining=mining)
        loss.backward()
        assert value(loss) == 0
        assert (x.grad == 0).all()
    assert value(L.triplet(x[:0], y[:0], mining=mining)) == 0


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("seed", [0, 1])
def test_harmonic_triplets_mix_two_models_and_teach_only_the_new(mining, seed) -> None:
    new, y = batch(seed, 6, 3)
    old, _ = batch(seed + 10, 6, 3)
    rows = [unit(a) for a in [*new.tolist(), *old.tolist()]]
    d, found = brute(rows, y.tolist() * 2, mining, 0.5, "squared")
    mixed = [t for t in found if min(t) < 6]
    each = [max(0.0, d[a][p] - d[a][q] + 0.5) for a, p, q in mixed]
    count = sum(e > 0 for e in each) if mining == "batch-all" else len(each)
    new, old = new.requires_grad_(), old.requires_grad_()
    loss = L.HarmonicTriplet(0.5, mining=mining)(new, old, y)
    assert value(loss) == pytest.approx(math.fsum(each) / max(count, 1), rel=1e-10, abs=1e-10)
    loss.backward()
    assert old.grad is None
    assert any(len({i < 6 for i in t}) == 2 for t in mixed)


def test_contrastive_equals_a_loop_over_pairs() -> None:
    x, y = batch(0)
    for normalise in (True, False):
        rows = [unit(a) if normalise else a for a in x.tolist()]
        each = []
        for i in range(len(rows)):
            for j in range(i + 1, len(rows)):
                d = math.dist(rows[i], rows[j])
                each.append(0.5 * d * d if y[i] == y[j] else 0.5 * max(0.0, 1.3 - d) ** 2)
        loss = L.Contrastive(1.3, normalise=normalise)(x, y)
        assert value(loss) == pytest.approx(math.fsum(each) / len(each), rel=1e-10)
    torch.autograd.gradcheck(lambda x: L.Contrastive(1.3)(x, y), x.requires_grad_())


def test_contrastive_at_distance_zero_has_finite_gradients() -> None:
    x = torch.ones(4, 3, requires_grad=True)
    L.Contrastive()(x, torch.tensor([0, 0, 1, 1])).backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("distance", ["squared", "cosine"])
def test_edges_and_autocast(distance, soft) -> None:
    x = torch.tensor([[0.0, 0], [1, 0], [1, 0], [-1, 0], [1e20, 1], [1e-30, 0]])
    y = torch.tensor([0, 0, 1, 1, 0, 1])
    for mining in MINING:
        leaf = x.clone().requires_grad_()
        want = L.triplet(leaf, y, mining=mining, distance=distance, soft=soft)
        want.backward()
        assert torch.isfinite(leaf.grad).all()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = L.triplet(x, y, mining=mining, distance=distance, soft=soft)
        assert got.dtype == torch.float32
        assert value(got) == value(want)


def test_the_distance_matrix_is_never_negative() -> None:
    x = torch.randn(20, 8).repeat(2, 1) * 1e3
    for distance in ("squared", "cosine"):
        assert (distance_matrix(x, distance) >= 0).all()


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda x, y: L.triplet(x, y, mining="hardest"), "mining"),
        (lambda x, y: L.triplet(x, y, distance="manhattan"), "distance"),
        (lambda x, y: L.triplet(x, y, margin=-1), "margin"),
        (lambda x, y: L.triplet(x, y[:-1]), "labels"),
        (lambda x, y: L.harmonic_triplet(x, x[:-1], y), "labels"),
        (lambda x, y: L.triplet_of(x, x[:-1], x), "positive"),
        (lambda x, y: L.contrastive(x, x, y), "same bool"),
        (L.batch_all, "square"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(call, word) -> None:
    with pytest.raises(InputError, match=word):
        call(*batch(0))
