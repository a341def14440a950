"""Angles: the margined target never rises with theta, and jumps only where and as far as the documentation says."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.train.losses import AdaptiveMargin, CombinedMargin, IntegerMargin, MagnitudeMargin  # noqa: E402
from mien.train.losses.angles import add_angle, clamp_cosine, multiply_angle, row_norms, unit_rows  # noqa: E402

THETA = torch.linspace(0, math.pi, 20_001, dtype=torch.float64)
COSINE = torch.cos(THETA).clamp(-1, 1)
MARGINS = {
    **{
        f"combined {m} {past_pi}": CombinedMargin(*m, past_pi=past_pi)
        for m in (
            (1, 0, 0.35),
            (1, 0.5, 0),
            (1, 1.5, 0),
            (1, 0.3, 0.2),
            (1.35, 0, 0),
            (2.5, 0.4, 0.1),
            (0.9, 0.4, 0.15),
        )
        for past_pi in ("published", "continuous")
    },
    **{f"sphere {m} {blend}": IntegerMargin(m, blend) for m in (1, 2, 3, 4) for blend in (0, 5)},
    "magnitude": MagnitudeMargin(),
}


@pytest.mark.parametrize("name", MARGINS)
def test_the_target_falls_with_theta_all_the_way_to_pi(name: str) -> None:
    target = MARGINS[name].target(COSINE, torch.full_like(COSINE, 60.0))
    assert (target.diff() <= 1e-12).all()
    assert target[-1] < target[0] - 1.9
    if "published" not in name and name != "magnitude":
        assert target.diff().abs().max() < 4 * math.pi / 20_000 * 2.6  # no jump: slope bounded by m


@pytest.mark.parametrize("norm", [1e-4, 5.0, 20.0, 60.0, 1e3])
def test_adafaces_target_never_rises_and_has_no_jump(norm: float) -> None:
    target = AdaptiveMargin(norm_std=10.0).target(COSINE, torch.full_like(COSINE, norm))
    assert (target.diff() <= 1e-12).all()
    assert target.diff().abs().max() < 1e-3


def test_the_published_seam_falls_by_what_is_documented() -> None:
    drop = -add_angle(COSINE, 0.5).diff().min()
    assert float(drop) == pytest.approx(0.5 * math.sin(0.5) - (1 - math.cos(0.5)), abs=1e-3)


@pytest.mark.parametrize("near", [1e-2, 1e-4, 1e-6, 1e-8])
def test_the_true_slope_holds_up_to_the_edges(near: float) -> None:
    for theta in (near, math.pi / 3, math.pi - 0.5 - near):
        c = torch.tensor(math.cos(theta), dtype=torch.float64, requires_grad=True)
        add_angle(c, 0.5).backward()
        exact = math.acos(float(c.detach()))
        if exact > 0:
            assert float(c.grad) == pytest.approx(math.sin(exact + 0.5) / math.sin(exact), rel=1e-6, abs=1e-7)
        assert math.isfinite(float(c.grad))


@pytest.mark.parametrize("m", [0.0, 0.35, 0.5, 1.2])
def test_gradcheck_of_the_added_angle_close_to_both_edges_and_the_seam(m: float) -> None:
    seam = -math.cos(m)
    spots = [1 - 1e-4, 0.5, 0.0, -1 + 1e-4, seam + 1e-3, seam - 1e-3]
    spots = [s for s in spots if abs(s) < 1 - 1e-5]
    c = torch.tensor(spots, dtype=torch.float64, requires_grad=True)
    margin = torch.full_like(c, m).requires_grad_()
    torch.autograd.gradcheck(add_angle, (c, margin), eps=1e-8, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_the_multiplied_angle_is_psi(m: int) -> None:
    turns = torch.floor(m * THETA / math.pi).clamp_max(m - 1)
    psi = (-1) ** turns * torch.cos(m * THETA) - 2 * turns
    torch.testing.assert_close(multiply_angle(COSINE, m), psi, rtol=0, atol=1e-12)


def test_unit_rows_at_zero_at_tiny_and_at_huge_lengths() -> None:
    rows = torch.tensor([[0, 0], [3e-30, 4e-30], [3e30, 4e30], [3, 4], [3e-10, 4e-10]]).requires_grad_()
    unit = unit_rows(rows)
    torch.testing.assert_close(unit, torch.tensor([[0, 0], [0, 0], [0.6, 0.8], [0.6, 0.8], [0.6, 0.8]]))
    unit.sum().backward()
    assert torch.isfinite(rows.grad).all()
    assert (rows.grad[:2] == 0).all()
    torch.testing.assert_close(row_norms(rows).detach(), torch.tensor([0, 0, 5e30, 5, 5e-10]))


def test_rounding_past_one_is_cut_but_keeps_its_gradient() -> None:
    c = torch.tensor([1.0000002, -1.0000002, 0.3], requires_grad=True)
    clamped = clamp_cosine(c)
    assert clamped.tolist() == pytest.approx([1.0, -1.0, 0.3])
    clamped.sum().backward()
    assert c.grad.tolist() == [1.0, 1.0, 1.0]
