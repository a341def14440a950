"""Losses by name against the losses themselves, and what changes while training goes on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError  # noqa: E402
from mien.train import losses as L  # noqa: E402
from mien.train.config import LossConfig  # noqa: E402
from mien.train.losses_by_name import LOSSES, loss_parts  # noqa: E402
from mien.train.objective import Objective, fixed_scale  # noqa: E402

DIM, PEOPLE = 8, 5
MODULES = {
    "arcface": lambda: L.ArcFace(DIM, PEOPLE), "cosface": lambda: L.CosFace(DIM, PEOPLE, 64.0, 0.35),
    "combined": lambda: L.CombinedFace(DIM, PEOPLE), "sub-center": lambda: L.SubCenterArcFace(DIM, PEOPLE),
    "curricularface": lambda: L.CurricularFace(DIM, PEOPLE), "magface": lambda: L.MagFace(DIM, PEOPLE),
    "adaface": lambda: L.AdaFace(DIM, PEOPLE), "arcface-triplet": lambda: L.ArcFaceTriplet(DIM, PEOPLE),
    "softmax": lambda: L.Softmax(DIM, PEOPLE), "center": lambda: L.CenterSoftmax(DIM, PEOPLE),
    "l-softmax": lambda: L.LSoftmax(DIM, PEOPLE), "sphereface": lambda: L.SphereFace(DIM, PEOPLE),
    "triplet": L.Triplet, "contrastive": L.Contrastive,
}  # fmt: skip


def rows(count: int = 12, seed: int = 0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, DIM, generator=draw) * 3, torch.randint(0, PEOPLE, (count,), generator=draw)


@pytest.mark.parametrize("name", MODULES)
def test_a_loss_by_name_is_the_module_of_that_name(name: str) -> None:
    objective, module = Objective(LossConfig(name=name), DIM, PEOPLE, seed=3), MODULES[name]()
    with torch.no_grad():
        if objective.head is not None:
            module.centres.copy_(objective.head.centres.reshape(module.centres.shape))
        elif objective.dense is not None:
            module.load_state_dict(objective.dense.state_dict())
    for seed in range(3):  # some remember
        x, y = rows(seed=seed)
        objective.at(0, 1.0)
        found, terms = objective(x, y)
        torch.testing.assert_close(found.detach(), module(x, y).detach(), rtol=1e-4, atol=1e-5)
        assert terms


def test_every_name_has_parts_and_unknown_ones_are_told_the_nearest() -> None:
    assert set(LOSSES) - set(MODULES) == {"normface", "harmonic-triplet"}
    with pytest.raises(InputError, match="did you mean arcface"):
        loss_parts("arkface", {})
    with pytest.raises(InputError, match="arcface takes no 'margni'; did you mean margin"):
        loss_parts("arcface", {"margni": 1})
    with pytest.raises(InputError, match="m2"):
        loss_parts("arcface", {"margin": 9.0})
    with pytest.raises(InputError, match=r"loss\.options\.norm_range: expected a list, got 3"):
        loss_parts("magface", {"norm_range": 3})
    with pytest.raises(InputError, match=r"loss.sample_rate: is for margin losses; triplet has no class"):
        Objective(LossConfig(name="triplet", sample_rate=0.5), DIM, PEOPLE)
    with pytest.raises(
        InputError, match=r"loss.products: is for margin losses; triplet has no .*; take loss.products=fp32"
    ):
        Objective(LossConfig(name="triplet", products="bf16"), DIM, PEOPLE)
    assert Objective(LossConfig(name="arcface", products="bf16"), DIM, PEOPLE).head.products == "bf16"


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("arcface", {"scale": "text"}, r"loss\.options\.scale: expected a number, got 'text'"),
        ("arcface", {"scale": [1]}, r"loss\.options\.scale: expected a number"),
        ("cosface", {"scale": 1e300}, r"loss\.options\.scale: expected up to 1,000,000"),
        ("magface", {"margin_range": [0.2, -1e300]}, r"loss\.options\.margin_range: expected up to"),
        ("cosface", {"scale": -1}, r"loss\.options: cosface: scale: "),
        ("center", {"weight": "much"}, r"loss\.options\.weight: expected a number"),
        ("center", {"rate": -1}, r"loss\.options: center: rate: "),
        ("softmax", {"bias": 2}, r"loss\.options\.bias: expected true or false"),
        ("l-softmax", {"m": 2.5}, r"loss\.options\.m: expected a whole number"),
        ("triplet", {"mining": "hardest"}, r"loss\.options\.mining: expected one of "),
        ("contrastive", {"margin": True}, r"loss\.options\.margin: expected a number"),
        ("arcface-triplet", {"weight": -1}, r"loss\.options: arcface-triplet: weight: expected 0 or more"),
        ("sub-center", {"sub_centres": 0}, r"loss\.options: sub-center: sub_centres: "),
    ],
)
def test_values_that_a_loss_cannot_take_are_named(name: str, options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Objective(LossConfig(name=name, options=options), DIM, PEOPLE)


def test_what_a_loss_would_pass_over_is_refused() -> None:
    grown = ("cosface", "arcface", "combined", "sub-center", "curricularface", "magface", "adaface", "arcface-triplet")
    for name in LOSSES:
        for setting, taken in (
            ("margin_start", name in grown),
            ("margin_warm_up", name in grown),
            ("scale_warm_up", name in (*grown, "normface")),
        ):
            config = LossConfig(name=name, **{setting: 0.25})
            if taken:
                Objective(config, DIM, PEOPLE)
                continue
            with pytest.raises(InputError, match=rf"^loss\.{setting}: is for .*; {name} has none; take .*=0\.0$"):
                Objective(config, DIM, PEOPLE)
    with pytest.raises(InputError, match=r"loss\.first_scale: is for loss\.scale_warm_up; take loss\.first_scale=none"):
        Objective(LossConfig(first_scale=4.0), DIM, PEOPLE)


@pytest.mark.parametrize(
    ("name", "margin"),
    [
        ("arcface", lambda m: (m.m1, m.m2, m.m3)),
        ("combined", lambda m: (m.m1 - 1, m.m2, m.m3)),
        ("curricularface", lambda m: (m.m2,)),
        ("adaface", lambda m: (m.margin,)),
        ("magface", lambda m: m.margin_range),
    ],
)
def test_margins_rise_to_their_full_value(name: str, margin) -> None:
    objective = Objective(LossConfig(name=name, margin_warm_up=0.5), DIM, PEOPLE)
    full = margin(objective.parts.margin)
    objective.at(0, 0.25)
    half = margin(objective.parts.margin)
    start = 1.0 if name == "arcface" else 0.0  # m1 is a factor
    assert half == pytest.approx([start + (f - start) / 2 if i == 0 else f / 2 for i, f in enumerate(full)])
    objective.at(9, 1.0)
    assert margin(objective.parts.margin) == pytest.approx(full)


def test_the_first_scale_gives_even_odds_at_45_degrees() -> None:
    for classes in (4, 146, 100_000):
        likely = math.exp(fixed_scale(classes) * math.cos(math.pi / 4))
        assert likely / (likely + (classes - 1)) == pytest.approx(0.5)
    assert fixed_scale(1) == fixed_scale(2) == 1.0
    many = Objective(LossConfig(name="cosface", options={"scale": 32.0}, scale_warm_up=0.5), DIM, 3000)
    many.at(0, 0.0)
    assert many.head is not None
    assert many.head.scale == pytest.approx(fixed_scale(3000))


def test_the_scale_rises_first_and_the_margin_then() -> None:
    config = LossConfig(name="cosface", options={"scale": 32.0, "margin": 0.3}, margin_start=0.2, margin_warm_up=0.4)
    objective = Objective(replace(config, scale_warm_up=0.5, first_scale=4.0), DIM, PEOPLE)
    for progress, scale, margin in ((0.0, 4.0, 0.0), (0.2, 15.2, 0.0), (0.4, 26.4, 0.15), (0.9, 32.0, 0.3)):
        objective.at(7, progress)
        assert objective.head.scale == pytest.approx(scale)
        assert objective.parts.margin.m3 == pytest.approx(margin)
    x, y = rows()
    objective.at(0, 0.2)
    plain = Objective(LossConfig(name="normface", options={"scale": 15.2}), DIM, PEOPLE)
    assert objective(x, y)[0].item() == pytest.approx(plain(x, y)[0].item(), rel=1e-5)


@pytest.mark.parametrize("name", ["sphereface", "l-softmax"])
def test_lambda_is_annealed_by_the_step(name: str) -> None:
    objective = Objective(LossConfig(name=name, options={"least": 2.0}), DIM, PEOPLE)
    for step in (0, 10, 100_000):
        objective.at(step, 1.0)
        owner = objective.parts.margin if name == "sphereface" else objective.dense
        assert owner.blend == L.annealed_lambda(step, least=2.0)


def test_keeping_near_the_old_network_is_one_minus_the_cosine() -> None:
    x, y = rows()
    old = torch.randn(12, DIM, generator=torch.Generator().manual_seed(1))
    plain, _ = Objective(LossConfig(), DIM, PEOPLE)(x, y)
    kept, terms = Objective(LossConfig(keep=2.5), DIM, PEOPLE)(x, y, old)
    cosines = [float(a @ b / (a.norm() * b.norm())) for a, b in zip(x.double(), old.double(), strict=True)]
    want = sum(1 - c for c in cosines) / 12
    assert float(terms["keep"]) == pytest.approx(want, rel=1e-5)
    assert kept.item() == pytest.approx(plain.item() + 2.5 * want, rel=1e-5)


def test_first_centres_do_not_depend_on_how_many_people_or_processes_there_are() -> None:
    few, many = Objective(LossConfig(), DIM, 5, seed=4), Objective(LossConfig(), DIM, 5000, seed=4)
    assert torch.equal(few.head.centres, many.head.centres[:5])
    spread = many.head.centres.detach()
    assert float(spread.std()) == pytest.approx(DIM**-0.5, rel=0.02)
    assert not torch.equal(spread[:904], spread[4096:])
