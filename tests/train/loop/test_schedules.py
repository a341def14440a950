"""Rates, margins and sizes against their formulas."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.train.config import ScheduleConfig  # noqa: E402
from mien.train.loss_scaling import LossScale  # noqa: E402
from mien.train.schedules import margin_share, rate_factor, side_at  # noqa: E402


@pytest.mark.parametrize("step", range(0, 100, 7))
def test_cosine_is_the_one_of_pytorch(step: int) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100, eta_min=0.1)
    for _ in range(step):
        optimizer.step()
        theirs.step()
    ours = rate_factor(ScheduleConfig(name="cosine", least=0.1), step / 100, 1.0)
    assert ours == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)


def test_poly_step_and_constant() -> None:
    assert rate_factor(ScheduleConfig(name="poly", power=2.0), 0.25, 1.0) == pytest.approx(0.5625)
    steps = ScheduleConfig(name="step", milestones=(0.5, 0.75), gamma=0.1)
    assert [rate_factor(steps, p, 1.0) for p in (0.0, 0.49, 0.5, 0.8)] == pytest.approx([1, 1, 0.1, 0.01])
    assert rate_factor(ScheduleConfig(name="constant"), 0.99, 1.0) == 1.0


@pytest.mark.parametrize("name", ["cosine", "poly", "step", "constant"])
def test_every_schedule_warms_up_and_stays_within_bounds(name: str) -> None:
    schedule = ScheduleConfig(name=name)
    full = rate_factor(schedule, 0.01, 1.0)
    assert rate_factor(schedule, 0.01, 0.25) == pytest.approx(full / 4)
    assert all(0 <= rate_factor(schedule, p / 50, 1.0) <= 1 for p in range(-5, 60))


def test_margins_rise_and_sizes_grow() -> None:
    assert [margin_share(p, 0.5) for p in (0.0, 0.25, 0.5, 0.9)] == [0.0, 0.5, 1.0, 1.0]
    assert margin_share(0.0, 0.0) == 1.0
    sizes = ((0.0, 80), (0.6, 96), (0.85, 112))
    assert [side_at(sizes, p, 112) for p in (0.0, 0.59, 0.6, 0.84, 0.85, 1.0)] == [80, 80, 96, 96, 112, 112]
    assert side_at((), 0.5, 112) == 112


def test_the_loss_scale_halves_at_overflows_and_grows_after_many_good_steps() -> None:
    scale = LossScale(1024.0, dynamic=True)
    assert not scale.goes_on(math.inf)
    assert scale.scale == 512.0
    assert all(scale.goes_on(1.0) for _ in range(2000))
    assert scale.scale == 1024.0
    again = LossScale(dynamic=True)
    again.load_state_dict(scale.state_dict())
    assert (again.scale, again.good) == (1024.0, 0)
    for _ in range(30):
        scale.goes_on(math.nan)
    assert scale.exhausted
    fixed = LossScale(dynamic=False)
    assert fixed.goes_on(math.nan)
    assert fixed.scale == 1.0
