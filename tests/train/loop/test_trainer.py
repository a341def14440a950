"""Whole runs: stopped and gone on, guarded against NaN, measured, refused; everything in one process."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError, TrainingError  # noqa: E402
from mien.train import broken, step, trainer  # noqa: E402
from mien.train.backbones import load_network, network_facts, save_network  # noqa: E402
from mien.train.checkpoint import checkpoints  # noqa: E402
from mien.train.display import Display  # noqa: E402
from mien.train.measuring import Accuracy  # noqa: E402
from mien.train.parts import made_network, start_told  # noqa: E402
from mien.train.processes import Processes  # noqa: E402
from mien.train.run_folder import read_config  # noqa: E402
from mien.train.step import Stepper, network_input  # noqa: E402
from mien.train.trainer import train  # noqa: E402


class Told(Display):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list = []
        self.found: list = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def step(self, seen) -> None:
        self.steps.append(seen)

    def measured(self, found, *, best) -> None:
        self.found.append((found.name, best))


def test_a_run_leaves_networks_records_and_a_result(tiny, losses, tmp_path) -> None:
    told = Told()
    result = train(tiny(loop={"tensorboard": True}), tmp_path / "run", display=told)
    assert (result.stopped, result.step, result.epoch, result.people, result.pictures) == ("finished", 8, 2, 6, 48)
    found = losses(tmp_path / "run")
    assert result.loss == found[-1] < found[0]
    assert read_config(tmp_path / "run") == tiny(loop={"tensorboard": True})
    network = load_network(tmp_path / "run" / "last")
    assert network.dim == 16
    facts = network_facts(tmp_path / "run" / "best")["facts"]
    assert facts["people"] == 6
    assert facts["config"]["loss"]["name"] == "arcface"
    assert [seen.step for seen in told.steps] == list(range(1, 9))
    assert all(seen.speed > 0 and seen.memory > 1 << 20 for seen in told.steps)
    assert list((tmp_path / "run" / "events").iterdir())
    json.dumps(result.to_dict())


def test_what_is_measured_is_looked_through_for_people_who_are_trained_on(tiny, people, monkeypatch, tmp_path) -> None:
    seen = []
    monkeypatch.setattr(trainer, "made_measures", lambda *given: seen.append(given) or [])
    train(tiny(schedule={"epochs": 1}), tmp_path / "run")
    assert sorted(seen[0][3]) == sorted(one.name for one in people.iterdir())


def test_a_run_of_few_steps_for_new_weights_is_told_so(tiny) -> None:
    class Data:
        people, left_out, notes, labels = ("a", "b"), (), (), np.repeat([0, 1], 24)

        def __len__(self) -> int:
            return 48

    def told(steps, **sections) -> str:
        config = tiny(**sections)
        network = made_network(tiny().network, 0)
        one = Processes(0, 1, torch.device("cpu"))
        return start_told(config, network, Data(), steps=steps, precision="fp32", processes=one)

    first, second = told(60).split("\n")
    assert "; 60 steps of 12; " in first
    assert second.startswith("60 steps in all: fewer than some hundred teach new weights little; more epochs")
    assert "\n1 step in all" in told(1)
    for enough in (
        told(300),
        told(60, schedule={"minutes": 5.0}),
        told(60, network={"name": "iresnet-small", "weights": "runs/mine/last"}),
        told(60, before={"loss": {"name": "softmax"}}),
    ):
        assert "\n" not in enough


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_a_run_that_was_stopped_has_the_losses_of_one_that_was_not(tiny, losses, stop_after, tmp_path, stop) -> None:
    config = tiny(
        loss={"name": "curricularface", "options": {"scale": 16.0}},
        optimizer={"name": "adamw", "lr": 0.003, "ema": 0.9},
        network={"name": "iresnet-small", "options": {"widths": [8] * 4, "blocks": [1] * 4, "dropout": 0.3}},
    )
    train(config, tmp_path / "whole")
    stop_after(stop)
    first = train(config, tmp_path / "parts")
    assert (first.stopped, first.step, first.signal) == ("interrupted", stop, 2)
    torch.manual_seed(99)  # whatever happened in between
    stop_after(None)
    assert train(config, tmp_path / "parts").stopped == "finished"
    np.testing.assert_allclose(losses(tmp_path / "parts"), losses(tmp_path / "whole"), rtol=1e-6, atol=1e-6)
    ends = [load_network(tmp_path / run / "last").state_dict() for run in ("whole", "parts")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    told = Told()
    again = train(config, tmp_path / "parts", display=told)  # a finished run is told again, not made again
    assert "done already, after step 8 (epoch 2); --no-resume starts anew" in told.said
    assert (again.stopped, again.step, again.loss) == ("finished", 8, None)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_run_stopped_in_its_last_step_is_still_measured(
    tiny, people, stop_after, monkeypatch, tmp_path, epochs
) -> None:
    measured = []
    monkeypatch.setattr(trainer._Trainer, "_measure", lambda self: measured.append(self.at.epoch))
    monkeypatch.setattr(trainer, "made_measures", lambda *_: [None])
    config = tiny(schedule={"epochs": epochs}, measure={"epochs": 11})
    stop_after(4 * epochs)
    assert train(config, tmp_path / "run").stopped == "interrupted"
    assert not measured
    stop_after(None)
    result = train(config, tmp_path / "run")
    assert (result.stopped, result.step, result.epoch) == ("finished", 4 * epochs, epochs)
    assert measured == [epochs]


@pytest.mark.parametrize("stop", [1, 5])
def test_muon_beside_sampled_centres_goes_on_as_if_it_had_not_been_stopped(tiny, losses, stop_after, tmp_path, stop):
    config = tiny(
        loss={"sample_rate": 0.5},
        optimizer={"name": "muon", "lr": 0.03, "head_lr": 3.0, "ema": 0.9, "accumulate": 2},
        loop={"channels_last": True},
    )
    train(config, tmp_path / "whole")
    stop_after(stop)
    assert train(config, tmp_path / "parts").step == stop
    stop_after(None)
    train(config, tmp_path / "parts")
    found = losses(tmp_path / "whole")
    assert found[-1] < found[0]
    assert losses(tmp_path / "parts") == found
    ends = [load_network(tmp_path / run / "last").state_dict() for run in ("whole", "parts")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_damaged_checkpoint_is_passed_over_and_said(tiny, losses, stop_after, tmp_path) -> None:
    config = tiny(loop={"checkpoint_steps": 1, "keep": 3})
    train(config, tmp_path / "whole")
    stop_after(5)
    train(config, tmp_path / "run")
    newest, second, third = checkpoints(tmp_path / "run" / "checkpoints")
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1  # one bit
    newest.write_bytes(content)
    second.write_bytes(second.read_bytes()[:-100])
    stop_after(None)
    told = Told()
    train(config, tmp_path / "run", display=told)
    assert sum("damaged" in line and "the one before is taken" in line for line in told.said) == 2
    assert any(third.name in line for line in told.said)
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(tmp_path / "whole"), rtol=1e-6, atol=1e-6)


def test_nan_is_stopped_before_any_weight_takes_it(tiny, losses, people, monkeypatch, tmp_path) -> None:
    config = tiny(loop={"checkpoint_steps": 1})
    whole, gradients = train(config, tmp_path / "whole"), Stepper.gradients
    count = [0]

    def poisoned(self, batch, side=None):
        count[0] += 1
        found = gradients(self, batch, side)
        if count[0] == 6:
            next(self.network.parameters()).grad.fill_(math.nan)
            found = type(found)(
                found.loss, found.terms, torch.tensor(math.nan, dtype=torch.float64), found.head_square, found.bad_rows
            )
        return found

    monkeypatch.setattr(Stepper, "gradients", poisoned)
    with pytest.raises(TrainingError) as caught:
        train(config, tmp_path / "run")
    for part in ("epoch 2, step 6", "the gradient", "pictures of this process's batch:", "optimizer.lr", " and 4 more"):
        assert part in str(caught.value)
    named = str(caught.value).split("process's batch: ")[1].split(" and 4 more")[0].split(", ")
    assert len(named) == 8
    assert all((people / Path(one).parent.name / Path(one).name).is_file() for one in named)
    assert checkpoints(tmp_path / "run" / "checkpoints")[0].name.startswith("step-00000005-")
    result = train(config, tmp_path / "run")  # whatever caused it is gone: on as if nothing had been
    assert result.loss == pytest.approx(whole.loss, rel=1e-6)
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(tmp_path / "whole"), rtol=1e-6, atol=1e-6)


def test_a_rate_far_too_high_ends_with_what_to_do(tiny, tmp_path) -> None:
    config = tiny(
        optimizer={"lr": 1e30, "clip": None, "weight_decay": 0.0},
        schedule={"epochs": 4, "warm_up": 0.0, "name": "constant"},
        loss={"name": "softmax", "options": {}},
    )
    with pytest.raises(TrainingError, match=r"NaN or infinity in .*(lower|clip).*start again"):
        train(config, tmp_path / "run")


def test_nan_before_any_checkpoint_loses_nothing(tiny, losses, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(broken, "FEW", 3)
    network = {"options": {"norm": "batch", "dropout": 0.3}}
    config = tiny(loss={"name": "adaface", "options": {}}, network=network)
    whole = train(config, tmp_path / "whole")
    count = [0]

    def poisoned(*args, **options):
        count[0] += 1
        shown = network_input(*args, **options)
        return shown * math.nan if count[0] == 4 else shown  # running statistics take it in

    monkeypatch.setattr(step, "network_input", poisoned)
    with pytest.raises(TrainingError, match=r"step 4: NaN.* in another folder\. .*last: .*network\.weights"):
        train(config, tmp_path / "run")
    kept = load_network(tmp_path / "run" / "last")
    assert all(value.isfinite().all() for value in kept.state_dict().values())
    assert not (tmp_path / "run" / "best").exists()
    lower = tiny(
        loss={"name": "adaface", "options": {}}, network={**network, "weights": str(tmp_path / "run" / "last")}
    )
    with pytest.raises(InputError, match="another config"):
        train(lower, tmp_path / "run")
    with pytest.raises(InputError, match=r"network\.weights: .* take another folder"):
        train(lower, tmp_path / "run", resume=False)
    assert checkpoints(tmp_path / "run" / "checkpoints")[0].name.startswith("step-00000003-")
    result = train(config, tmp_path / "run")  # whatever caused it is gone
    np.testing.assert_allclose(losses(result.folder), losses(whole.folder), rtol=1e-6)
    first, second = (load_network(folder / "last").state_dict() for folder in (whole.folder, result.folder))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value)


def test_nan_in_the_first_steps_keeps_nothing_and_binds_nobody(tiny, tmp_path) -> None:
    config = tiny(optimizer={"lr": 1e30, "clip": None})
    with pytest.raises(TrainingError, match=r"start again$"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "last").exists()
    assert train(tiny(), tmp_path / "run").stopped == "finished"


@pytest.mark.parametrize("steps", [0, 5])
def test_a_signal_that_also_hits_the_compiler_is_a_wish_to_stop(tiny, losses, monkeypatch, tmp_path, steps) -> None:
    whole, gradients, count = train(tiny(), tmp_path / "whole"), Stepper.gradients, [0]

    def interrupted(self, batch, side=None):
        count[0] += 1
        if count[0] <= steps:
            return gradients(self, batch, side)
        monkeypatch.setattr(Stepper, "gradients", gradients)
        found = self.gradients(batch, side)  # the network has seen the pictures
        assert found.loss.isfinite()
        os.kill(os.getpid(), signal.SIGINT)
        raise InputError("loop.compile: the network could not be compiled on this machine")

    monkeypatch.setattr(Stepper, "gradients", interrupted)
    result = train(tiny(), tmp_path / "run")
    assert (result.stopped, result.signal, result.step) == ("interrupted", signal.SIGINT, steps)
    assert train(tiny(), tmp_path / "run").stopped == "finished"
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(whole.folder), rtol=1e-6)


def test_fp16_overflows_shrink_the_scale_and_the_run_goes_on(tiny, losses, tmp_path) -> None:
    result = train(tiny(loop={"precision": "fp16"}), tmp_path / "run")
    assert result.stopped == "finished"
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any(line["norm"] is None for line in lines)  # 65,536 times the gradient is too much for half precision
    assert any(line["norm"] is not None for line in lines)


def test_another_config_is_refused_with_what_differs(tiny, tmp_path) -> None:
    train(tiny(), tmp_path / "run")
    with pytest.raises(InputError) as caught:
        train(tiny(optimizer={"lr": 0.01}), tmp_path / "run")
    assert "optimizer.lr: 0.05 -> 0.01" in str(caught.value)
    assert train(tiny(loop={"keep": 1}), tmp_path / "run").loss is None  # how the machine runs it may differ
    assert train(tiny(optimizer={"lr": 0.01}), tmp_path / "run", resume=False).step == 8


def test_a_start_that_failed_binds_nobody(tiny, people, tmp_path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        train(tiny(data={"sources": [{"path": str(tmp_path / "nowhere")}]}), tmp_path / "run")
    assert (tmp_path / "run" / "config.json").exists()
    assert train(tiny(), tmp_path / "run").step == 8
    assert read_config(tmp_path / "run").data.sources[0].path == str(people)


def test_a_list_of_pairs_that_cannot_be_read_stops_before_the_pictures_are_looked_at(tiny, monkeypatch, tmp_path):
    monkeypatch.setattr(trainer, "opened_data", lambda *_: pytest.fail("looked at the pictures"))
    (tmp_path / "mine.txt").write_text("1\nada\t1\t2\nada\t1\tbo\t1\n")
    (tmp_path / "images").mkdir()
    sets = [{"pairs": str(tmp_path / "mine.txt"), "images": str(tmp_path / "images")}]
    with pytest.raises(InputError, match=r"mine.txt: 3 listed files are not there: ada/"):
        train(tiny(measure={"sets": sets}), tmp_path / "run")


def test_one_person_alone_is_refused(tiny, people, tmp_path) -> None:
    shutil.copytree(people / "person0", tmp_path / "people" / "person0")
    config = tiny(data={"sources": [{"path": str(tmp_path / "people"), "aligned": True}], "batch": 4})
    with pytest.raises(InputError, match="expected two people or more"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("sampler", "batch", "told"),
    [
        ({"name": "shuffle"}, 16, "an epoch has 48 pictures, fewer than a batch of 128: it takes 16"),
        ({"name": "balanced"}, 16, "it takes 16"),
        ({"name": "mixed"}, 16, "it takes 16"),
        ({"name": "pk", "each": 4}, 24, "6 people are fewer than the 32 of a batch: it takes 6 x 4"),
    ],
)
def test_a_small_folder_trains_with_the_batch_that_it_fills(tiny, losses, tmp_path, sampler, batch, told) -> None:
    config, display = tiny(data={"batch": 128, "sampler": sampler}, schedule={"epochs": 1}), Told()
    result = train(config, tmp_path / "run", display=display)
    assert result.step == len(losses(tmp_path / "run")) == 48 // batch
    assert [line for line in display.said if line.startswith("data.batch: ") and told in line]
    assert read_config(tmp_path / "run") == config  # so that the same command goes on
    assert train(config, tmp_path / "run").stopped == "finished"


def test_a_new_start_removes_what_the_run_wrote_and_nothing_else(tiny, tmp_path) -> None:
    run = tmp_path / "run"
    train(tiny(), run)
    mine = [run / "best" / "notes.txt", run / "events" / "birthday.jpg", run / "before" / "photo.jpg"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (run / "last" / "network.json").unlink()
    train(tiny(schedule={"epochs": 1}), run, resume=False)
    assert [path.read_text() for path in mine] == ["mine"] * 3
    assert [path.name[:14] for path in checkpoints(run / "checkpoints")] == ["step-00000004-"]
    other = tmp_path / "project"
    other.mkdir()
    (other / "config.json").write_text('{"name": "not a run"}')
    for resume in (True, False):
        with pytest.raises(InputError, match="project"):
            train(tiny(), other, resume=resume)
    assert (other / "config.json").read_text() == '{"name": "not a run"}'


def test_other_data_is_refused(tiny, people, stop_after, tmp_path) -> None:
    shutil.copytree(people, tmp_path / "people")
    config = tiny(data={"sources": [{"path": str(tmp_path / "people"), "aligned": True}]})
    stop_after(3)
    train(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "people" / "person0")
    stop_after(None)
    with pytest.raises(TrainingError, match="its data has changed"):
        train(config, tmp_path / "run")


def test_two_runs_do_not_share_a_folder(tiny, monkeypatch, tmp_path) -> None:
    def second(*_given, **_named):
        monkeypatch.undo()
        train(tiny(), tmp_path / "run")

    monkeypatch.setattr(trainer, "_Trainer", second)
    with pytest.raises(TrainingError, match="another run is writing here"):
        train(tiny(), tmp_path / "run")


class Scripted:
    """Stands in for a set of pairs: accuracies one after another."""

    def __init__(self, values, name="scripted") -> None:
        self._values, self._name = iter(values), name

    def __call__(self, embed) -> Accuracy:
        assert callable(embed)
        return Accuracy(self._name, next(self._values), 0.01, 0.5, 0.01, 100, 0)


def test_the_best_is_kept_and_training_stops_when_nothing_gets_better(tiny, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(trainer, "made_measures", lambda *_: [Scripted([0.5, 0.7, 0.6, 0.65, 0.9])])
    config = tiny(schedule={"epochs": 5}, measure={"patience": 2, "first": True})
    result = train(config, tmp_path / "run")
    assert result.stopped == "early stop"
    assert result.epoch == 3
    assert result.best["accuracy"] == 0.7
    assert result.best["epoch"] == 1
    assert network_facts(tmp_path / "run" / "best")["facts"]["epoch"] == 1
    assert network_facts(tmp_path / "run" / "last")["facts"]["epoch"] == 3
    assert train(config, tmp_path / "run").stopped == "early stop"


def test_of_several_sets_the_first_chooses_and_stops_and_all_are_told(tiny, monkeypatch, tmp_path) -> None:
    sets = [Scripted([0.7, 0.6, 0.5], "own"), Scripted([0.1, 0.8, 0.9], "others")]
    monkeypatch.setattr(trainer, "made_measures", lambda *_: sets)
    tagged = []
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", lambda *given: tagged.append(given[1]))
    config = tiny(schedule={"epochs": 5}, measure={"patience": 2}, loop={"tensorboard": True})
    told = Told()
    result = train(config, tmp_path / "run", display=told)
    assert (result.stopped, result.epoch) == ("early stop", 3)
    assert (result.best["name"], result.best["accuracy"], result.best["epoch"]) == ("own", 0.7, 1)
    assert [(one["name"], one["accuracy"]) for one in result.best["further"]] == [("others", 0.1)]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    measured = [(line["name"], line["accuracy"], line["best"]) for line in lines if line["kind"] == "measure"]
    own, others = [("own", 0.7, True), ("own", 0.6, False), ("own", 0.5, False)], [0.1, 0.8, 0.9]
    assert measured[::2] == own
    assert measured[1::2] == [("others", value, False) for value in others]
    assert told.found == [(name, best) for name, _, best in measured]
    assert tagged.count("measure/own/accuracy") == tagged.count("measure/others/accuracy") == 3
    assert "step/loss" in tagged


def test_a_budget_of_minutes_ends_the_run_at_a_rate_of_almost_nothing(tiny, monkeypatch, tmp_path) -> None:
    clock = [0.0]

    def tick() -> float:
        clock[0] += 0.5
        return clock[0]

    monkeypatch.setattr(trainer.time, "monotonic", tick)
    result = train(tiny(schedule={"epochs": 50, "minutes": 1.0}), tmp_path / "run")
    assert result.stopped == "finished"
    assert 4 < result.step < 200
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["lr"] < 0.1 * max(line["lr"] for line in lines)


def test_softmax_first_then_triplets_from_its_weights(tiny, stop_after, tmp_path) -> None:
    first = tiny(loss={"name": "softmax", "options": {}}, schedule={"epochs": 1}).to_dict()
    first["data"]["sources"] = []
    config = tiny(
        loss={"name": "triplet", "options": {}},
        data={"sampler": {"name": "pk", "people": 3, "each": 4}},
        schedule={"epochs": 1},
        optimizer={"lr": 0.0},
        before=first,
    )
    stop_after(2)
    assert train(config, tmp_path / "run").stopped == "interrupted"  # within the first
    stop_after(None)
    result = train(config, tmp_path / "run")
    assert result.stopped == "finished"
    before, after = (load_network(tmp_path / p).state_dict() for p in ("run/before/best", "run/last"))
    assert all(torch.equal(before[name], after[name]) for name in before if "num_batches" not in name)  # rate 0
    assert train(config, tmp_path / "run", resume=False).loss is not None  # both anew


def test_centres_at_class_means_lower_the_first_loss(tiny, losses, tmp_path) -> None:
    told = Told()
    train(tiny(), tmp_path / "random")
    train(tiny(loss={"centres": "class-means"}), tmp_path / "means", display=told)
    assert "class centres start at the means of 6 people" in told.said
    assert losses(tmp_path / "means")[0] < losses(tmp_path / "random")[0]


NORMED = {"options": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]}}
GREY = {"options": {**NORMED["options"], "colour": "grey"}}
HALF = [{"path": "a", "proportion": 1.0}, {"path": "b"}]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"loss": {"name": "arcfase"}}, "arcface"),
        ({"loss": {"options": {"margni": 1.0}}}, "margin"),
        ({"network": {"frozen": ["layer9"]}}, "layer9"),
        ({"network": {"frozen": "all"}}, "network.frozen: expected a stage to be left"),
        ({"optimizer": {"start_share": 0.5}}, "optimizer.start_share: expected starting weights"),
        ({"optimizer": {"accumulate": 13}}, "optimizer.accumulate: expected at most 12"),
        ({"data": {"batch": 1}, "network": NORMED}, "data.batch: batch norm learns from two pictures"),
        ({"optimizer": {"accumulate": 12}, "network": NORMED}, "data.batch: batch norm .* in 12 parts"),
        ({"data": {"sampler": {"name": "mixed"}, "sources": HALF}}, "data.sources: expected a proportion for each"),
        (
            {"data": {"sampler": {"name": "pk", "each": 1}}, "loss": {"name": "triplet", "options": {}}},
            "data.sampler.each: triplet learns from .* 2 or more",
        ),
        ({"loss": {"old": "OLD"}}, "loss.old: is for loss.keep, .*; take loss.old=none"),
        ({"loss": {"keep": 1.0, "old": "OLD"}, "network": GREY}, "loss.old: .* of grey pictures, .* got colour"),
        ({"optimizer": {"name": "adamw"}, "loss": {"sample_rate": 0.5}}, "loss.sample_rate: .* optimizer.name=sgd"),
        ({"schedule": {"sizes": [[0, 64]]}}, "schedule.sizes: .* of 64 pixels"),
        ({"loss": {"keep": 1.0, "old": "nowhere"}}, "nowhere"),
        ({"loss": {"keep": 1.0}}, "loss.keep: holds the network to an old model, and there is none: set loss.old"),
        (
            {"loss": {"keep": 1.0, "old": "OLD"}, "data": {"evening": ["gamma"]}},
            "data.evening: the old network .* none",
        ),
        (
            {"loss": {"keep": 1.0}, "network": {"weights": "OLD"}, "data": {"evening": ["gamma"]}},
            "data.evening: the old network .* evened by none, and .* evened by gamma",
        ),
        ({"data": {"augment": {"blurs": 2}}}, "data.augment: .*blurs: expected a probability"),
        ({"data": {"augment": {"blur": 1}}}, "data.augment.blur: there is no such setting; did you mean blurs"),
        (
            {"loss": {"name": "harmonic-triplet", "options": {}}},
            "loss.name: harmonic-triplet learns beside an old model",
        ),
        ({"loss": {"name": "normface", "options": {}, "margin_warm_up": 0.5}}, "loss.margin_warm_up: is for losses"),
    ],
)
def test_wrong_choices_are_told_before_the_pictures_are_looked_at(tiny, tmp_path, monkeypatch, change, told) -> None:
    monkeypatch.setattr(trainer, "opened_data", lambda *_: pytest.fail("looked at the pictures first"))
    if change.get("network") == {"frozen": "all"}:
        network = trainer.made_network(tiny().network, 0)
        change = {"network": {"frozen": [name for name, _ in network.stages()]}}
    if "OLD" in repr(change):
        save_network(trainer.made_network(tiny().network, 0), tmp_path / "old")
        change = json.loads(json.dumps(change).replace("OLD", (tmp_path / "old").as_posix()))
    with pytest.raises(InputError, match=told):
        train(tiny(**change), tmp_path / "run")


def test_wrong_choices_of_a_second_run_are_told_before_the_first(tiny, plain, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(trainer, "opened_data", lambda *_: pytest.fail("looked at the pictures first"))
    with pytest.raises(InputError, match="margni"):
        train(tiny(before=plain(), loss={"options": {"margni": 1.0}}), tmp_path / "run")
    first, loss = plain(loss={"name": "arcfase"}), {"name": "harmonic-triplet", "options": {}}
    config = tiny(before=first, loss=loss, optimizer={"start_share": 0.5})  # a first run makes weights, for these two
    with pytest.raises(InputError, match="did you mean arcface"):
        train(config, tmp_path / "run")


def test_a_second_run_learns_beside_the_network_of_the_first_and_in_its_light(tiny, plain, tmp_path) -> None:
    first = plain(schedule={"epochs": 1}, data={"evening": ["gamma"]})
    loss = {"name": "harmonic-triplet", "options": {"mining": "batch-all"}, "old": f"{tmp_path}/run/before/best"}
    with pytest.raises(InputError, match=r"data.evening: .* evened by gamma, and .* evened by clahe"):
        train(tiny(before=first, loss=loss, data={"evening": ["clahe"]}), tmp_path / "run")
    assert not (tmp_path / "run").exists()  # told before the first run
    save_network(trainer.made_network(tiny().network, 0, ["gamma"]), tmp_path / "other")
    for old in (loss["old"], str(tmp_path / "other")):
        config = tiny(before=first, loss={**loss, "old": old}, schedule={"epochs": 1})
        assert train(config, tmp_path / "run", resume=False).stopped == "finished"
        assert load_network(tmp_path / "run" / "last").spec.evening == ("gamma",)


def test_harmonic_triplets_learn_beside_the_old_model_that_they_are_given(tiny, tmp_path) -> None:
    first = train(tiny(schedule={"epochs": 1}), tmp_path / "first")
    loss = {"name": "harmonic-triplet", "options": {"mining": "batch-all"}, "old": str(first.folder / "last")}
    assert train(tiny(loss=loss, schedule={"epochs": 1}), tmp_path / "new").stopped == "finished"


def test_measuring_first_without_pairs_is_no_measuring(tiny, tmp_path) -> None:
    assert train(tiny(measure={"first": True}), tmp_path / "run").stopped == "finished"


@pytest.mark.parametrize(
    "sections",
    [
        {"loss": {"centres": "class-means"}},
        {"loss": {"keep": 1.0}},
        {"schedule": {"epochs": 1, "sizes": [[0, 24], [0.5, 32]]}},
        {"optimizer": {"accumulate": 2, "ema": 0.9}},
    ],
    ids=["class means", "keep", "sizes", "parts and ema"],
)
def test_filters_beside_a_network_train_in_every_way(filters, tiny, losses, tmp_path, sections) -> None:
    if "loss" in sections and "keep" in sections["loss"]:
        save_network(trainer.made_network(tiny(network=filters).network, 0), tmp_path / "old")
        sections = {"loss": {**sections["loss"], "old": str(tmp_path / "old")}}
    config = tiny(network=filters, **sections)
    result = train(config, tmp_path / "run")
    assert len(losses(tmp_path / "run")) == result.step
    network = load_network(result.folder / "last")
    assert network.fitted
    assert network.last_layer.fitted
    start = trainer.made_network(config.network, 0)
    moved = [not torch.equal(a, b) for a, b in zip(network.trunk.parameters(), start.trunk.parameters(), strict=True)]
    assert any(moved)


def test_an_old_network_must_see_the_same_part_of_the_face(filters, tiny, tmp_path) -> None:
    first = train(tiny(network=filters), tmp_path / "first")
    old = str(first.folder / "last")
    train(tiny(network=filters, loss={"keep": 1.0, "old": old}, schedule={"epochs": 1}), tmp_path / "same")
    closer = tiny(network={**filters, "name": "filters:iresnet-quick"}, loss={"keep": 1.0, "old": old})
    with pytest.raises(InputError, match="same part of the face"):
        train(closer, tmp_path / "other")


@pytest.mark.parametrize("again", [0.5, 0.0])  # the same command, and that of a recipe that was mended since
def test_settings_that_did_nothing_are_left_out_when_an_old_run_goes_on(
    tiny, losses, stop_after, tmp_path, monkeypatch, again
) -> None:
    loss = {"name": "normface", "options": {"scale": 16.0}}
    train(tiny(loss=loss), tmp_path / "whole")
    stop_after(3)
    with monkeypatch.context() as then:  # as mien once was
        then.setattr("mien.train.objective.Objective._check_idle", lambda _self: None)
        train(tiny(loss={**loss, "margin_warm_up": 0.5}), tmp_path / "run")
    stop_after(None)
    told = Told()
    config = tiny(loss={**loss, "margin_warm_up": again})
    assert train(config, tmp_path / "run", display=told).stopped == "finished"
    assert any("loss.margin_warm_up: did nothing for normface; left out" in line for line in told.said) == (again > 0)
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(tmp_path / "whole"), rtol=1e-6)
    with pytest.raises(InputError, match=r"loss.margin_warm_up: is for losses"):  # a new run is not helped
        train(tiny(loss={**loss, "margin_warm_up": 0.5}), tmp_path / "new")


def test_settings_that_did_something_still_bind(tiny, stop_after, tmp_path) -> None:
    stop_after(3)
    train(tiny(loss={"margin_warm_up": 0.5}), tmp_path / "run")
    stop_after(None)
    with pytest.raises(InputError, match=r"loss.margin_warm_up: 0.5 -> 0.0"):
        train(tiny(), tmp_path / "run")


def test_settings_that_did_nothing_are_left_out_in_the_second_of_two_runs_too(
    tiny, plain, stop_after, tmp_path, monkeypatch
) -> None:
    loss = {"name": "normface", "options": {"scale": 16.0}, "margin_warm_up": 0.5}
    config = tiny(before=plain(loss=loss), loss=loss)
    real = trainer._run

    def stopped_in_the_second(config, folder, *given, **more):
        stop_after(None if folder.name == "before" else 3)
        return real(config, folder, *given, **more)

    with monkeypatch.context() as then:  # as mien once was
        then.setattr("mien.train.objective.Objective._check_idle", lambda _self: None)
        then.setattr(trainer, "_run", stopped_in_the_second)
        assert train(config, tmp_path / "run").stopped == "interrupted"
    stop_after(None)
    assert train(config, tmp_path / "run").stopped == "finished"


@pytest.mark.parametrize("dropped", [False, True])
def test_further_processes_keep_their_own_paths(tiny, tmp_path, monkeypatch, dropped) -> None:
    """The first process tells them what it left out, and not its whole config: another machine has other folders."""
    taken = []

    class Second(Processes):
        def wait(self) -> None: ...

        def shared(self, value):
            return dropped if isinstance(value, bool) else tiny(data={"cache": "elsewhere"})

    def made(config, *_given):
        taken.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "_Trainer", made)
    own = tiny(loss={"name": "normface", "options": {}, "margin_warm_up": 0.5})
    with pytest.raises(KeyboardInterrupt):
        trainer._run(own, tmp_path / "run", Second(1, 2, torch.device("cpu")), resume=True, display=Told())
    (config,) = taken
    assert config.data == own.data
    assert config.loss.margin_warm_up == (0.0 if dropped else 0.5)


@pytest.fixture
def spoilt(people, tmp_path) -> Path:
    """The people, with two pictures that are none."""
    folder = shutil.copytree(people, tmp_path / "spoilt")
    for name in ("person1/3.png", "person4/0.png"):
        (folder / name).write_bytes(b"no picture")
    return folder


def test_pictures_that_cannot_be_read_are_told_once(tiny, spoilt, tmp_path) -> None:
    told = Told()
    train(tiny(data={"sources": [{"path": str(spoilt), "aligned": True}]}), tmp_path / "run", display=told)
    (line,) = [line for line in told.said if "could not be read" in line]
    assert line.startswith("warning: 2 pictures could not be read, and others were shown in their place: ")
    assert all(f"{spoilt}/{name}: " in line for name in ("person1/3.png", "person4/0.png"))


def test_pictures_that_are_left_out_are_named_at_the_start(tiny, spoilt, tmp_path) -> None:
    told = Told()
    data = {"sources": [{"path": str(spoilt), "aligned": True}], "decode_once": True, "cache": str(tmp_path / "cache")}
    result = train(tiny(data=data), tmp_path / "run", display=told)
    assert result.pictures == 46
    (lines,) = [text.splitlines() for text in told.said if "2 pictures left out (no face, or unreadable)" in text]
    (line,) = [line for line in lines if line.startswith("left out: ")]
    assert line.startswith(f"left out: {spoilt}/person1/3.png (")
    assert f"; {spoilt}/person4/0.png (" in line
    assert not any("could not be read" in line for line in told.said)


def test_a_flat_folder_is_doubted(tiny, people, tmp_path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for i, path in enumerate(sorted(people.glob("*/*.png"))[:24]):
        shutil.copy(path, flat / f"{i}.png")
    told = Told()
    train(tiny(data={"sources": [{"path": str(flat), "aligned": True}]}), tmp_path / "run", display=told)
    assert sum("warning: 24 of 24 people have one picture: is this a folder with a folder per person" in text
               for text in told.said) == 1  # fmt: skip
