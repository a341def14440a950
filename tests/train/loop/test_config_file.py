"""Settings files: a recipe's name and what is to be otherwise, or a run's whole config, which stays as it is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mien.errors import InputError, NotFoundError
from mien.train.config import TrainConfig
from mien.train.config_file import read_started_config
from mien.train.recipes import recipe


@pytest.fixture
def read(tmp_path):
    """read(text, name): the config of a file that holds this."""

    def of(text, name="mine.toml"):
        path = tmp_path / name
        path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
        return read_started_config(path)

    return of


def test_a_file_starts_from_the_recipe_that_it_names_as_set_does(read) -> None:
    found = read(
        """
        recipe = "small-cpu"
        [data]
        batch = 64
        sampler = { name = "balanced" }
        [[data.sources]]
        path = "people"
        [loss.options]
        margin = 0.3
        [optimizer]
        clip = "none"
        ema = "none"
        [data.augment]
        mask = 0.2
        """
    )
    told = ["data.batch=64", "data.sampler.name=balanced", "data.sources=[{path = 'people'}]", "data.augment.mask=0.2"]
    told += ["loss.options.margin=0.3", "optimizer.clip=none", "optimizer.ema=none"]
    assert found == recipe("small-cpu").with_settings(told)
    assert (found.network.name, found.loss.options["scale"]) == ("filters:iresnet-quick-silu", 32.0)
    assert (found.optimizer.clip, found.optimizer.ema) == (None, None)
    assert read({"recipe": "arcface"}, "mine.json") == recipe("arcface")
    assert read({"recipe": "small-cpu", "optimizer": {"ema": None}}, "mine.json").optimizer.ema is None


def test_a_whole_config_stays_as_it_is_whatever_its_recipe_says(read) -> None:
    config = replace(TrainConfig(), recipe="small-cpu").with_settings(["optimizer.lr=0.3", "loss.options.margin=0.2"])
    assert read(config.to_dict(), "config.json") == config
    of_two = recipe("softmax-then-triplet").with_settings(["before.schedule.epochs=3"])
    assert read(of_two.to_dict(), "config.json") == of_two
    old = config.to_dict()
    del old["data"]["virtual_people"], old["loss"]["margin_start"]  # as of a time before there were these
    assert read(old, "config.json") == config


@pytest.mark.parametrize("name", ["", *(f'recipe = "{one}"' for one in ("custom", "losses", "backbones", "distil"))])
def test_without_a_recipe_or_with_a_name_that_runs_record_it_is_the_defaults(read, name) -> None:
    found = read(f"{name}\n[optimizer]\nlr = 0.02\n")
    assert replace(found, recipe="custom") == TrainConfig().with_settings(["optimizer.lr=0.02"])
    assert f'"{found.recipe}"' in (name or '"custom"')


def test_the_run_before_is_the_recipes_or_starts_from_its_own(read) -> None:
    two = recipe("softmax-then-triplet")
    found = read('recipe = "softmax-then-triplet"\n[before.schedule]\nepochs = 3\n')
    assert found == two.with_settings(["before.schedule.epochs=3"])
    found = read('recipe = "softmax-then-triplet"\n[before]\nrecipe = "small-cpu"\n[before.schedule]\nepochs = 3\n')
    assert found == replace(two, before=recipe("small-cpu").with_settings(["schedule.epochs=3"]))
    found = read('recipe = "triplet"\n[before]\nrecipe = "softmax"\n')
    assert found == replace(recipe("triplet"), before=recipe("softmax"))
    assert read('recipe = "softmax-then-triplet"\nbefore = "none"\n').before is None


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ('recipe = "smal-cpu"', NotFoundError, "there is no 'smal-cpu'; did you mean small-cpu"),
        ('[before]\nrecipe = "sotfmax"', NotFoundError, "did you mean softmax"),
        ("recipe = 3", InputError, "recipe: expected text, got 3"),
        ('recipe = "small-cpu"\n[optimizer]\nlrr = 1', InputError, "optimizer.lrr: there is no such setting; did you"),
        ('recipe = "small-cpu"\noptimizer = 1', InputError, "optimizer: expected a table"),
        ('recipe = "small-cpu"\n[data.augment]\nflip = "x"', InputError, "data.augment.flip: expected a number"),
        ('recipe = "small-cpu"\n[data.batch]\nx = 1', InputError, "data.batch: expected a whole number"),
        ("before = {" + "before = {" * 200 + "}" * 201, InputError, ""),
    ],
)
def test_mistakes_are_told_with_the_files_name(read, text, error, says) -> None:
    with pytest.raises(error) as caught:
        read(text)
    assert "mine.toml: " in str(caught.value)
    assert says in str(caught.value)
