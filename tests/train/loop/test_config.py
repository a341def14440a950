"""Configs: round trips, settings by path, and mistakes that are named."""

from __future__ import annotations

import json

import pytest

from mien.errors import InputError, NotFoundError
from mien.train.config import ScheduleConfig, TrainConfig
from mien.train.recipes import RECIPES, recipe
from mien.train.settings import difference, read_settings


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json_and_says_when_to_take_it(name: str) -> None:
    config = recipe(name)
    again = TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.digest() == config.digest()
    assert RECIPES[name].__doc__
    assert config.recipe == name


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipes_settings_go_together(name: str) -> None:
    from mien.train.checks import check_settings
    from mien.train.config import NetworkConfig
    from mien.train.parts import made_network

    config = recipe(name)
    tiny = {"widths": (8,) * 4, "blocks": (1,) * 4}
    network = made_network(NetworkConfig(name="iresnet-small", size=32, dim=8, options=tiny), 0)
    for one in filter(None, (config, config.stage_before())):
        before = {key: value.clone() for key, value in network.state_dict().items()}
        learns = [p.requires_grad for p in network.parameters()]
        check_settings(one, network)
        assert network.training
        assert [p.requires_grad for p in network.parameters()] == learns
        assert all(value.equal(before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("setting", "read", "value"),
    [
        ("optimizer.lr=0.02", lambda c: c.optimizer.lr, 0.02),
        ("optimizer.lr=1", lambda c: c.optimizer.lr, 1.0),
        ("data.batch=64", lambda c: c.data.batch, 64),
        ("loss.name=cosface", lambda c: c.loss.name, "cosface"),
        ("loss.options.margin=0.2", lambda c: c.loss.options["margin"], 0.2),
        ("loss.options={margin = 0.1}", lambda c: c.loss.options, {"margin": 0.1}),
        ("schedule.sizes=[[0, 80], [0.6, 112]]", lambda c: c.schedule.sizes, ((0.0, 80), (0.6, 112))),
        ("network.frozen=['stem']", lambda c: c.network.frozen, ("stem",)),
        ("optimizer.clip=none", lambda c: c.optimizer.clip, None),
        ("optimizer.ema=0.99", lambda c: c.optimizer.ema, 0.99),
        ("network.weights=a=b.pt", lambda c: c.network.weights, "a=b.pt"),
        ("data.sources.0.aligned=true", lambda c: c.data.sources[0].aligned, True),
        ("before.optimizer.lr=0.5", lambda c: c.before.optimizer.lr, 0.5),
        ("data.sampler.name=pk", lambda c: c.data.sampler.name, "pk"),
        ("data.evening=clahe", lambda c: c.data.evening, ("clahe",)),
        ("data.evening=none", lambda c: c.data.evening, ("none",)),
        ("data.evening=['self-quotient', 'gamma']", lambda c: c.data.evening, ("self-quotient", "gamma")),
        ("data.same_names=true", lambda c: c.data.same_names, True),
        ("data.sampler={name = 'pk', least = 3}", lambda c: c.data.sampler.least, 3),
    ],
)
def test_settings_by_path(tiny, setting, read, value) -> None:
    found = read(tiny().with_settings([setting]))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("optimizer.lrr=1", "did you mean lr"),
        ("optimiser.lr=1", "did you mean optimizer"),
        ("optimizer.lr=fast", "optimizer.lr: expected a number, got 'fast'"),
        ("optimizer.lr=nan", "optimizer.lr"),
        ("data.batch=1.5", "data.batch: expected a whole number"),
        ("data.batch=true", "data.batch: expected a whole number"),
        ("optimizer.name=sdg", "did you mean sgd"),
        ("optimizer.lr.x=1", "is a value and holds no 'x'"),
        ("data.sources.5.path=x", "expected a position below 1"),
        ("optimizer.lr", "expected NAME=VALUE"),
        ("optimizer.lr=-1", "expected 0 or more"),
        ("optimizer={name = 'muon', lr = 1.5}", "optimizer.lr: expected 1 (an angle) or less with muon"),
        ("schedule.sizes=[[0.5, 80]]", "rising shares of the training, from 0"),
        ("schedule.epochs=0", "expected 1 or more"),
        ("optimizer=5", "expected a table"),
        ("network.frozen=stem", "expected a list"),
        (
            "data.evening=clahee",
            "data.evening: expected one of none, gamma, clahe, self-quotient; got 'clahee'; did you",
        ),
        ("data.evening=['gamma', 'flat']", "data.evening.1: expected one of none, gamma, clahe, self-quotient"),
        ("data.evening=['gamma', 'gamma']", "data.evening: expected each once, and none by itself"),
        ("data.evening=['none', 'gamma']", "data.evening: expected each once, and none by itself"),
        ("data.evening=1", "data.evening: expected a list"),
        ("data.sampler.least=0", "data.sampler.least: expected 1 or more"),
        ("data.sampler.least=2", "data.sampler.least: is for the sampler pk"),
        ("loss.options.x=inf", "expected a finite number"),
        ("optimizer.betas=[2, 0.9]", "optimizer.betas: expected two numbers of 0 to below 1"),
        ("optimizer.betas=[0.9, 1]", "optimizer.betas: expected two numbers"),
        ("optimizer.betas=[-0.1, 0.9]", "optimizer.betas: expected two numbers"),
        ("optimizer.betas=[0.9]", "optimizer.betas: expected 2 values"),
        ("optimizer.head_weight_decay=-1", "optimizer.head_weight_decay: expected 0 or more"),
        ("optimizer.head_weight_decay=inf", "optimizer.head_weight_decay: expected 0 or more"),
        ("optimizer.head_lr=1e300", "optimizer.head_lr: expected 0 or more, up to 1e6"),
        ("optimizer.lr=1e300", "optimizer.lr: expected 0 or more, up to 1e30"),
        ("optimizer.lr=1" + "0" * 400, "optimizer.lr: expected a whole number of up to 2**53"),
        ("schedule.epochs=1" + "0" * 400, "schedule.epochs: expected a whole number of up to 2**53"),
        ("schedule.epochs=1e300", "schedule.epochs: expected a whole number"),
        ("schedule.warm_up=inf", "schedule.warm_up: expected 0 or more epochs"),
        ("schedule.power=inf", "schedule.power: expected above 0"),
        ("schedule.gamma=-1", "schedule.gamma: expected 0 to 1"),
        ("schedule.gamma=inf", "schedule.gamma: expected 0 to 1"),
        ("schedule.sizes=[[0, 100000]]", "schedule.sizes: expected sides of 16 to 1024"),
        ("loop.seed=4294967296", "loop.seed: expected 0 to 2**32 - 1"),
        ("loop.threads=4294967296", "loop.threads: expected 1 to 1024"),
        ("data.sampler.people=1", "data.sampler.people: expected 2 or more, or 0"),
        ("data.sampler.each=0", "data.sampler.each: expected 1 or more"),
        ("loss.keep=1e300", "loss.keep: expected 0 or more, up to 1e6"),
    ],
)
def test_mistakes_are_named(tiny, setting: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        tiny().with_settings([setting])
    assert says in str(caught.value)


def test_the_run_before_takes_this_ones_data(tiny) -> None:
    config = tiny(before={"loss": {"name": "softmax"}})
    first = config.stage_before()
    assert first.data.sources == config.data.sources
    assert first.loss.name == "softmax"
    assert tiny().stage_before() is None


def test_configs_are_read_from_toml_and_json(tmp_path) -> None:
    (tmp_path / "a.toml").write_text("[optimizer]\nlr = 0.25\n[[data.sources]]\npath = 'x'\n")
    config = TrainConfig.from_dict(read_settings(tmp_path / "a.toml"))
    assert (config.optimizer.lr, config.data.sources[0].path) == (0.25, "x")
    (tmp_path / "a.json").write_text(json.dumps(config.to_dict()))
    assert TrainConfig.from_dict(read_settings(tmp_path / "a.json")) == config
    for content, says in (("[broken", "expected settings as TOML"), ("[" * 100000, "expected"), ("", "")):
        (tmp_path / "b.toml").write_text(content)
        if says:
            with pytest.raises(InputError, match=says):
                read_settings(tmp_path / "b.toml")
    with pytest.raises(NotFoundError):
        read_settings(tmp_path / "none.toml")
    with pytest.raises(InputError, match=r"data.sources.0: expected path to be given"):
        TrainConfig.from_dict({"data": {"sources": [{}]}})


def test_sets_to_measure_have_names_of_their_own() -> None:
    one = {"pairs": "a.txt", "images": "a"}
    TrainConfig.from_dict({"measure": {"sets": [one, {**one, "name": "other"}]}})
    with pytest.raises(InputError, match=r"measure.sets: expected names that differ; got \['pairs', 'pairs'\]"):
        TrainConfig.from_dict({"measure": {"sets": [one, one]}})


def test_what_differs_is_told() -> None:
    old, new = TrainConfig().to_dict(), TrainConfig(schedule=ScheduleConfig(epochs=3)).to_dict()
    assert difference(old, new) == ["schedule.epochs: 20 -> 3"]


def test_an_unknown_recipe_is_told_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="did you mean arcface"):
        recipe("arcfase")
