"""What a new start may clear of a run's folder, and what it must leave."""

from __future__ import annotations

import math
import os

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError, TrainingError  # noqa: E402
from mien.train import broken, step, trainer  # noqa: E402
from mien.train.backbones import save_network  # noqa: E402
from mien.train.processes import Processes  # noqa: E402
from mien.train.run_folder import RunFolder  # noqa: E402
from mien.train.step import network_input  # noqa: E402
from mien.train.trainer import train  # noqa: E402


@pytest.fixture
def network(tiny):
    """network(folder): writes one that `tiny` runs can start from."""
    return lambda folder: save_network(trainer.made_network(tiny().network, 0), folder)


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(trainer, "opened_data", lambda *_: pytest.fail("began to train"))


def begun(folder, config) -> None:
    """As a run leaves it that came to a network."""
    folder.mkdir(exist_ok=True)
    RunFolder(folder).begin(config, resume=True)


def test_a_finished_first_run_is_not_cleared_for_a_run_without_one(tiny, plain, network, tmp_path) -> None:
    """The second one may have come to nothing yet."""
    two = tiny(before=plain())
    begun(tmp_path, two)
    network(tmp_path / "before" / "best")
    with pytest.raises(InputError, match=r"holds a run of another config.*no-resume"):
        RunFolder(tmp_path).begin(tiny(), resume=True)
    RunFolder(tmp_path).begin(tiny(before=plain(), optimizer={"lr": 0.01}), resume=True)  # goes on with the first
    assert (tmp_path / "before" / "best" / "network.json").exists()
    RunFolder(tmp_path).begin(tiny(), resume=False)
    assert not (tmp_path / "before" / "best").exists()


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("needs", ["first", "second", "first's old"])
def test_nothing_is_cleared_that_one_of_two_runs_starts_from(tiny, plain, network, tmp_path, needs) -> None:
    begun(tmp_path, tiny())
    network(tmp_path / "last")
    begun(tmp_path / "before", tiny())
    network(tmp_path / "before" / "best")
    old = {"name": "harmonic-triplet", "options": {}, "old": str(tmp_path / "last")}
    first, second = {}, {}
    if needs == "first":
        first = {"network": {"weights": str(tmp_path / "last")}}
    elif needs == "second":
        second = {"loss": old}
    else:
        first = {"loss": {**old, "old": str(tmp_path / "before" / "best")}}
    with pytest.raises(InputError, match=r"(network\.weights|loss\.old): .* lies in this run's folder"):
        train(tiny(before=plain(**first), **second), tmp_path, resume=False)
    assert (tmp_path / "last" / "network.json").exists()
    assert (tmp_path / "before" / "best" / "network.json").exists()


def test_what_lies_beside_the_runs_own_files_may_be_started_from(tiny, network, tmp_path) -> None:
    """A start that failed binds nobody, wherever the weights lie."""
    network(tmp_path / "pre" / "best")
    weights = {"weights": str(tmp_path / "pre" / "best")}
    with pytest.raises(InputError, match="nowhere"):
        train(tiny(network=weights, data={"sources": [{"path": str(tmp_path / "nowhere")}]}), tmp_path)
    assert train(tiny(network=weights, schedule={"epochs": 1}), tmp_path).stopped == "finished"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_weights_behind_a_link_are_not_removed(tiny, network, tmp_path) -> None:
    run, model = tmp_path / "run", tmp_path / "model"
    network(model)
    begun(run, tiny())
    (run / "best").symlink_to(model, target_is_directory=True)
    for way in (run / "best", model):
        with pytest.raises(InputError, match="take another folder"):
            RunFolder(run).begin(tiny(network={"weights": str(way)}), resume=False)
    assert (model / "network.json").exists()


def test_nan_in_the_first_steps_of_a_run_that_has_something_to_show(tiny, network, tmp_path, monkeypatch) -> None:
    """It is bound already: another rate needs another folder, and the steps since are kept."""
    first, count = True, [0]

    def poisoned(*args, **options):
        count[0] += 1
        shown = network_input(*args, **options)
        return shown * math.nan if count[0] == 4 and first else shown

    monkeypatch.setattr(step, "network_input", poisoned)
    assert broken.FEW > 4
    config = tiny(loop={"checkpoint_steps": 2})
    with pytest.raises(TrainingError, match=r"step 4: NaN.* in another folder\. .*last: .*network\.weights"):
        train(config, tmp_path / "run")
    assert sorted(path.name[:13] for path in (tmp_path / "run" / "checkpoints").iterdir()) == [
        "step-00000002",
        "step-00000003",
    ]
    first = False
    assert train(config, tmp_path / "run").step == 8
    first, count[0] = True, 3  # at once, beside a network that measured best before the first step
    begun(tmp_path / "fine", tiny())
    network(tmp_path / "fine" / "best")
    with pytest.raises(TrainingError, match=r"step 1: NaN.* in another folder$"):
        train(tiny(), tmp_path / "fine")
    assert not (tmp_path / "fine" / "checkpoints").exists()


def test_a_network_without_its_last_step_is_told_as_that(tmp_path) -> None:
    class Settled:
        processes, finish, taken = Processes(0, 1, torch.device("cpu")), "fits a layer", 0

        def take_back(self) -> None:
            self.taken += 1

    def keep() -> None:
        kept.append(stepper.finish)
        if stepper.finish is not None:
            raise InputError("too few pictures")

    kept, stepper = [], Settled()
    guard = broken.kept_if_broken(stepper, broken.FEW, save=lambda: None, keep=keep, run=RunFolder(tmp_path))
    with pytest.raises(
        TrainingError, match=r"NaN in another folder\. .*without its last step only \(too few pictures\)"
    ):
        with guard:
            raise TrainingError("NaN")
    assert (kept, stepper.taken) == (["fits a layer", None], 1)
