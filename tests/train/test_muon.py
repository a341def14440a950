"""Muon: against singular values moved one by one, against SGD, and at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError  # noqa: E402
from mien.train.muon import Muon, orthogonal  # noqa: E402


@pytest.mark.parametrize(("rows", "columns"), [(8, 20), (20, 8), (12, 12), (1, 30), (30, 1)])
def test_each_singular_value_goes_its_own_way(rows: int, columns: int) -> None:
    table = np.random.default_rng(rows).normal(size=(rows, columns))
    left, values, right = np.linalg.svd(table, full_matrices=False)
    values = values / np.linalg.norm(table)
    for _ in range(4):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    found = orthogonal(torch.tensor(table)).numpy()
    np.testing.assert_allclose(found, left * values @ right, atol=1e-10)
    assert found.shape == (rows, columns)


def test_it_is_about_orthonormal_also_in_half_precision() -> None:
    table = torch.randn(64, 576, generator=torch.Generator().manual_seed(0))
    for precision in (torch.float32, torch.bfloat16):
        values = torch.linalg.svdvals(orthogonal(table.to(precision)).float())
        assert 0.6 < values.min() <= values.max() < 1.3
    assert not orthogonal(torch.zeros(4, 9)).any()
    steep = torch.diag(torch.tensor([1.0, 0.1, 0.04]))
    assert 0.6 < torch.linalg.svdvals(orthogonal(steep)).min()


def tables(seed: int = 0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=draw) for size in ((6, 4, 3, 3), (5, 7), (6,))]


def moved(gradients, *, lr: float = 0.03, steps: int = 3, layout=torch.contiguous_format):
    weights = [torch.nn.Parameter(w.to(memory_format=layout) if w.ndim == 4 else w) for w in tables()]
    optimizer = Muon([{"params": weights}], lr, momentum=0.9)
    for step in range(steps):
        for weight, gradient in zip(weights, gradients(step), strict=True):
            weight.grad = gradient
        optimizer.step()
    return [w.detach() for w in weights]


def test_a_step_turns_a_table_and_leaves_its_norm() -> None:
    for lr in (0.01, 0.1):
        before, after = tables(), moved(lambda _: tables(1), lr=lr, steps=1)
        for old, new in zip(before[:2], after[:2], strict=True):
            assert new.norm().item() == pytest.approx(old.norm().item(), rel=1e-5)
            cosine = torch.nn.functional.cosine_similarity(old.flatten(), new.flatten(), dim=0).item()
            assert math.acos(cosine) == pytest.approx(lr, rel=0.15)
            way = orthogonal(tables(1)[0 if old.ndim == 4 else 1].flatten(1)).view_as(old)
            inside = old - lr * old.norm() * way / way.norm()
            torch.testing.assert_close(new, inside * old.norm() / inside.norm())


def test_the_size_of_gradients_does_not_matter_to_tables_and_their_layout_does_not() -> None:
    plain = moved(lambda step: tables(step + 1))
    for times in (1e3, 1e-10):
        scaled = moved(lambda step, times=times: [times * g for g in tables(step + 1)])
        for one, other in zip(plain[:2], scaled[:2], strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    last = moved(lambda step: tables(step + 1), layout=torch.channels_last)
    for one, other in zip(plain, last, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def test_momentum_is_a_running_mean_that_looks_ahead() -> None:
    weight = torch.nn.Parameter(tables()[1])
    optimizer, mean, plain = Muon([weight], 0.05), torch.zeros(5, 7), tables()[1].clone()
    for step in range(4):
        weight.grad = gradient = tables(step + 1)[1]
        optimizer.step()
        mean = 0.95 * mean + 0.05 * gradient
        way = orthogonal(0.95 * mean + 0.05 * gradient)
        norm = plain.norm()
        plain = plain - 0.05 * norm * way / way.norm()
        plain = plain * norm / plain.norm()
    torch.testing.assert_close(weight.detach(), plain)


@pytest.mark.parametrize("nesterov", [True, False])
def test_vectors_and_groups_that_are_not_turned_move_as_by_sgd(nesterov: bool) -> None:
    held = [torch.nn.Parameter(w) for w in tables()]
    plain = [torch.nn.Parameter(w) for w in tables()]
    rules = [
        Muon([{"params": held[:2], "turned": False}, {"params": held[2:]}], 0.03, momentum=0.9, nesterov=nesterov),
        torch.optim.SGD(plain, 0.03, momentum=0.9, nesterov=nesterov),
    ]
    for step in range(3):
        for weights, rule in zip((held, plain), rules, strict=True):
            for weight, gradient in zip(weights, tables(step + 1), strict=True):
                weight.grad = gradient
            rule.step()
    torch.testing.assert_close(held, plain)


def test_no_gradient_and_nothing_in_it() -> None:
    still = moved(lambda _: [torch.zeros_like(t) for t in tables()])
    for old, new in zip(tables(), still, strict=True):
        torch.testing.assert_close(new, old)
    none = moved(lambda _: [None] * 3)
    for old, new in zip(tables(), none, strict=True):
        assert torch.equal(new, old)
    empty = torch.nn.Parameter(torch.zeros(3, 4))
    empty.grad = torch.ones(3, 4)
    Muon([empty]).step()
    assert not empty.any()  # of no norm, and so it stays
    small = torch.nn.Parameter(1e-9 * tables()[1])
    small.grad = tables(1)[1]
    Muon([small]).step()
    assert small.norm().item() == pytest.approx(1e-9 * tables()[1].norm().item(), rel=1e-5)
    for least in (1e-19, 1e-22, 1e-30, 1e-45):  # whose squares are no numbers of float32
        assert orthogonal(torch.full((64, 576), least)).isfinite().all()


@pytest.mark.parametrize("bad", [{"lr": -1.0}, {"lr": math.nan}, {"lr": 1e25}, {"momentum": 1.5}])
def test_settings_that_make_no_sense(bad) -> None:
    with pytest.raises(InputError, match="expected"):
        Muon([torch.nn.Parameter(torch.zeros(2, 2))], **bad)
