"""What a plan says against counts by hand, and against what a run then takes."""

from __future__ import annotations

import dataclasses
import json

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError, NotFoundError  # noqa: E402
from mien.train.checks import check_weights_of_second  # noqa: E402
from mien.train.parts import made_network  # noqa: E402
from mien.train.plan import planned, rows_of  # noqa: E402
from mien.train.trainer import train  # noqa: E402


def test_counts_are_those_of_the_network_and_the_classes(tiny) -> None:
    config = tiny(optimizer={"accumulate": 2})
    plan = planned(config)
    weights = sum(p.numel() for p in made_network(config.network, 0).parameters() if p.requires_grad)
    assert (plan.people, plan.pictures, plan.batch, plan.at_once) == (6, 48, 12, 6)
    assert plan.trained == weights
    assert plan.gradients == 4 * weights
    assert plan.optimizer == 4 * weights  # momentum
    assert plan.head == 6 * 16 * 4 * 3  # centres, gradient, momentum
    assert plan.network >= 4 * weights
    assert plan.step_seconds > 0
    assert plan.epoch_seconds == pytest.approx(4 * plan.step_seconds)
    assert plan.seconds == pytest.approx(2 * plan.epoch_seconds)
    assert plan.fits in (True, None)
    assert plan.bytes == sum((plan.network, plan.gradients, plan.optimizer, plan.head, plan.activations, plan.program))
    json.dumps(plan.to_dict())
    assert any(name == "activations" for name, _ in rows_of(plan))
    twice = {"sources": [{**dataclasses.asdict(config.data.sources[0])}] * 2}
    for joined, people in ((False, 12), (True, 6)):
        found = planned(tiny(data={**twice, "same_names": joined}))
        assert (found.people, found.pictures) == (people, 96)


def test_what_is_fitted_before_the_first_step_is_counted_beside_what_steps_need(tiny) -> None:
    options = {"trunk_size": 32, "view_dim": 8, "trunk_options": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]}}
    plan = planned(tiny(network={"name": "filters:iresnet-quick", "size": 64, "options": options}))
    features = 3 * 2 * 8 * 3 * 10 * 10  # views, waves, turns, octaves, cells
    assert plan.fitting == 2 * 4 * 48 * features + 3 * 4 * (features // 3) * (6 + features // 3)
    assert plan.bytes == plan.network + plan.head + plan.program + plan.fitting
    assert any(name.startswith("fitting") for name, _ in rows_of(plan))
    assert plan.last_layer == 4 * 48 * (64 * 64 * 3 + 2 * 3 * 8)
    assert any("last layer" in name for name, _ in rows_of(plan))
    assert planned(tiny()).fitting == planned(tiny()).last_layer == 0
    options["within"] = None
    assert planned(tiny(network={"name": "filters:iresnet-quick", "size": 64, "options": options})).last_layer == 0


def test_choices_change_the_plan_as_they_should(tiny) -> None:
    plain = planned(tiny())
    two = planned(tiny(), processes=2)
    assert (two.at_once, two.head) == (6, plain.head // 2)
    assert two.activations == pytest.approx(plain.activations / 2, rel=0.01)
    adam = planned(tiny(optimizer={"name": "adamw", "ema": 0.9}))
    assert adam.optimizer == 2 * plain.optimizer
    assert adam.network == 2 * plain.network
    muon = planned(tiny(optimizer={"name": "muon", "lr": 0.03, "momentum": 0.0}))
    assert (muon.optimizer, plain.optimizer) == (muon.gradients, plain.gradients)
    assert (muon.head, plain.head) == (6 * 16 * 4 * 2, 6 * 16 * 4 * 3)  # centres, gradient; and SGD's momentum
    less = planned(tiny().with_settings(["network.recompute=true"]))
    assert less.activations < 0.8 * plain.activations
    with pytest.raises(InputError, match="multiple of 5 processes"):
        planned(tiny(), processes=5)


def test_groups_that_nobody_has_pictures_enough_for_are_refused_as_the_run_does(tiny, tmp_path) -> None:
    pk = {"name": "pk", "each": 2}
    assert planned(tiny(data={"sampler": {**pk, "least": 8}})).batch == 12
    for sampler, told in (
        ({**pk, "least": 9}, "data.sampler.least: a group takes 2 people or more, and 0 have .*each 9 or more"),
        ({**pk, "people": 7}, "data.sampler.people: a group takes 7 people or more, and 6 have"),
    ):
        for start in (planned, lambda config: train(config, tmp_path / "run", resume=False)):
            with pytest.raises(InputError, match=told):
                start(tiny(data={"sampler": sampler}))


def test_activations_of_a_plain_net_are_the_tensors_that_backward_needs(tiny, monkeypatch) -> None:
    from mien.train import plan as module
    from mien.train.backbones import Backbone, InputSpec

    class Plain(Backbone):
        def __init__(self) -> None:
            super().__init__(InputSpec.plain(32), 16)
            self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
            self.fc = torch.nn.Linear(4 * 32 * 32, 16)

        def stages(self):
            return [("conv", self.conv), ("fc", self.fc)]

        def forward(self, x):
            return self.fc(torch.relu(self.conv(x)).flatten(1))

    monkeypatch.setattr(module, "made_network", lambda *_: Plain())
    plan = planned(tiny())
    by_hand = 4 * (3 * 32 * 32 + 4 * 32 * 32)  # the input of the convolution, and relu's result, which fc keeps, too
    assert by_hand <= plan.activations / 12 <= by_hand * 1.6  # and a copy by another memory layout


def test_an_old_network_that_the_first_run_is_to_make(tiny, plain, tmp_path) -> None:
    """The run takes it, so the plan does; a folder that nobody will make stays refused."""
    loss = {"name": "harmonic-triplet", "options": {}, "old": str(tmp_path / "run" / "before" / "best")}
    pk = {"sampler": {"name": "pk", "people": 3, "each": 4}}
    found = planned(tiny(before=plain(), loss=loss, data=pk))
    same = planned(tiny(before=plain(), loss={**loss, "old": None}, data=pk))
    assert found.network == same.network
    with pytest.raises(NotFoundError):
        planned(tiny(before=plain(), loss={**loss, "old": str(tmp_path / "other")}, data=pk))
    with pytest.raises(NotFoundError):
        planned(tiny(loss=loss, data=pk))


def test_two_runs_are_both_told_and_must_both_fit(tiny, plain, monkeypatch) -> None:
    first = plain(schedule={"epochs": 5})
    plan = planned(tiny(before=first))
    assert plan.before is not None
    assert plan.before.seconds == pytest.approx(5 * plan.before.epoch_seconds)
    assert (plan.before.people, plan.before.pictures, plan.before.before) == (6, 48, None)  # the second one's data
    assert plan.seconds == pytest.approx(2 * plan.epoch_seconds)
    told = dict(rows_of(dataclasses.replace(plan, seconds=60.0, before=dataclasses.replace(plan.before, seconds=30.0))))
    assert (told["the whole schedule"], told["both runs"]) == ("1.0 min", "1.5 min")
    assert json.loads(json.dumps(plan.to_dict()))["before"]["bytes"] == plan.before.bytes
    monkeypatch.setattr("mien.train.plan.available_memory", lambda _: plan.before.bytes + 2**28)
    large = plain(optimizer={"name": "adamw"}, network={"name": "iresnet50", "size": 112, "options": {}})
    too_much = planned(tiny(before=large))
    assert too_much.bytes < too_much.available < too_much.before.bytes
    assert too_much.fits is False


def test_weights_beside_a_first_run_are_refused(tiny, plain, tmp_path) -> None:
    """They would be passed over: it starts from what the first run learns."""
    config = tiny(before=plain(), network={**plain()["network"], "weights": str(tmp_path / "other")})
    for begin in (planned, lambda config: train(config, tmp_path / "run")):
        with pytest.raises(InputError, match=r"before\.network\.weights"):
            begin(config)
    same = {"network": {**plain()["network"], "weights": str(tmp_path / "other")}}  # as the tables make them
    check_weights_of_second(tiny(before=plain(**same), **same))
    with pytest.raises(InputError, match=r"before\.before"):
        tiny(before=plain(before=plain()))


def test_centres_that_are_no_parameters_count(tiny) -> None:
    plain, center = (planned(tiny(loss={"name": name, "options": {}})) for name in ("softmax", "center"))
    assert center.head - plain.head == 2 * 4 * 6 * 16  # and what they were before each step


def test_times_are_told_in_the_unit_that_suits_them(tiny) -> None:
    plan = dataclasses.replace(planned(tiny()), epoch_seconds=2.25, seconds=61.0)
    assert dict(rows_of(plan))["an epoch"] == "2.2 s"
    assert dict(rows_of(plan))["the whole schedule"] == "1.0 min"
    assert dict(rows_of(dataclasses.replace(plan, seconds=9000.0)))["the whole schedule"] == "2.5 h"
