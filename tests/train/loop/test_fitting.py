"""Which pictures a closed form is fitted to, and what ends a network, to what it has learned."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError  # noqa: E402
from mien.train import fitting, trainer  # noqa: E402
from mien.train.backbones import load_network, normalise, save_network  # noqa: E402
from mien.train.backbones.filter_views import FilterViews  # noqa: E402
from mien.train.checkpoint import checkpoints, read_checkpoint, write_checkpoint  # noqa: E402
from mien.train.data import Source, open_training_set  # noqa: E402
from mien.train.discriminant import evened_within  # noqa: E402
from mien.train.display import Display  # noqa: E402
from mien.train.measuring import Accuracy  # noqa: E402
from mien.train.objective import Objective  # noqa: E402
from mien.train.parts import made_network  # noqa: E402
from mien.train.processes import Processes  # noqa: E402
from mien.train.step import Stepper  # noqa: E402
from mien.train.trainer import train  # noqa: E402


class Fitted:
    """Stands for a network that is to be fitted; remembers what it was shown."""

    name, fitted = "fitted", False

    def fit(self, shown, pictures, tell):
        self.labels = []
        for found, labels in shown:
            assert found.dtype == torch.uint8
            self.labels += labels.tolist()
            tell(len(self.labels))
            if len(self.labels) >= pictures:
                return

    def parameters(self):
        return []


@pytest.fixture
def fit(people, tiny):
    def fitted(**data):
        config = tiny(data=data)
        spec = made_network(config.network, 0).spec
        pictures = open_training_set([Source(path=str(people), aligned=True)], spec=spec)
        network = Fitted()
        stepper = SimpleNamespace(network=network, restart_average=lambda: None)
        fitting.fit_network(stepper, config, pictures, Processes(0, 1, torch.device("cpu")), Display())
        return network.labels

    return fitted


def test_a_small_set_is_shown_some_times_over(fit):
    labels = fit()
    assert {person: labels.count(person) for person in set(labels)} == dict.fromkeys(range(6), 4 * 8)


def test_few_people_with_many_virtual_ones_fill_no_large_batch(fit):
    labels = fit(batch=40, virtual_people=24, virtual_share=0.6)  # ten people at four pictures; there are six
    assert len(labels) >= 4 * 48
    assert max(labels) >= 6  # virtual ones


@pytest.mark.parametrize("batch", [4, 12, 13])
def test_of_more_people_than_it_takes_each_is_seen_with_several_pictures(fit, monkeypatch, batch):
    monkeypatch.setattr(fitting, "_MOST", 16)  # of 6 people with 8 pictures each
    labels = fit(batch=batch)[:16]
    assert all(labels.count(person) >= 4 for person in set(labels))


ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture
def beside_filters(filters, people, tiny):
    """A config, its pictures, and its network with fitted views."""
    config = tiny(network=filters)
    network = made_network(config.network, 0).eval()
    data = open_training_set([Source(path=str(people), aligned=True)], spec=network.spec)
    stepper = SimpleNamespace(network=network, restart_average=lambda: None)
    fitting.fit_network(stepper, config, data, ALONE, Display())
    return config, data, network


def test_the_last_layer_is_fitted_to_what_the_network_gives_now(filters, beside_filters, monkeypatch) -> None:
    config, data, network = beside_filters
    config = replace(config, measure=replace(config.measure, batch=5))
    last = fitting.LastLayer(config, data, ALONE, Display())
    shown = fitting._shown(config, data, ALONE, 192)
    batches = [next(shown) for _ in range(16)]  # 6 people, 8 pictures, 4 times over, 12 at a time
    labels = torch.cat([people for _, people in batches])

    def wanted():
        plain = build_like(filters, network)
        with torch.no_grad():
            rows = torch.cat([plain.test_features(normalise(pictures, network.spec)) for pictures, _ in batches])
        return evened_within(rows, labels, shrink=5.0)

    for _ in range(2):
        last(network, "fp32")
        mean, axes = wanted()
        torch.testing.assert_close(network.last.axes, axes, atol=5e-3, rtol=0)
        torch.testing.assert_close(network.last.mean, mean, atol=5e-3, rtol=0)
        first = network.last.axes.clone()
        with torch.no_grad():
            for weight in network.trunk.parameters():  # it learns on
                weight.mul_(1.0 + 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
        monkeypatch.setattr(fitting, "_shown", None)  # the pictures are kept
        assert {len(pixels) for pixels, _ in last._settled} == {5, 2}  # of 12, as many at a time as in measuring
    last(network, "fp32")
    assert not torch.allclose(network.last.axes, first, atol=1e-3)


def build_like(filters: dict, network: FilterViews) -> FilterViews:
    """The same network without its last layer."""
    plain = FilterViews(trunk="iresnet-small", size=48, dim=16, within=None, **filters["options"])
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("last.")})
    return plain.eval()


class Watched:
    """Stands in for a set of pairs: remembers the embeddings of some pictures."""

    def __init__(self) -> None:
        self.pixels = np.random.default_rng(2).integers(0, 255, (6, 48, 48, 3)).astype(np.uint8)
        self.rows: list[np.ndarray] = []
        self.name, self.scores, self.pairs = "watched", None, None

    def __len__(self) -> int:
        return len(self.pixels)

    def picture(self, i: int) -> np.ndarray:
        return self.pixels[i]

    def __call__(self, embed) -> Accuracy:
        self.rows.append(embed(self))
        return Accuracy("watched", len(self.rows) / 10, 0.01, 0.5, 0.01, 100, 0)

    def of(self, network) -> np.ndarray:
        x = normalise(torch.from_numpy(self.pixels), network.spec)
        with torch.no_grad():
            both = network.test_features(x) + network.test_features(x.flip(3))
        return torch.nn.functional.normalize(both, dim=1).numpy()


def test_what_is_measured_is_what_is_kept_and_before_the_first_step_what_was_given(
    filters, tiny, tmp_path, monkeypatch
) -> None:
    watched = Watched()
    monkeypatch.setattr(trainer, "made_measures", lambda *_: [watched])
    first = train(tiny(network=filters, optimizer={"lr": 0.05, "ema": 0.9}), tmp_path / "first")
    best, last = load_network(first.folder / "best"), load_network(first.folder / "last")
    assert best.last_layer.fitted
    np.testing.assert_allclose(watched.of(best), watched.rows[-1], atol=1e-5)
    np.testing.assert_allclose(watched.of(last), watched.rows[-1], atol=1e-5)
    monkeypatch.setattr(trainer, "made_measures", lambda *_: [again])
    again = Watched()
    network = {**filters, "weights": str(first.folder / "best")}
    second = train(tiny(network=network, measure={"first": True}), tmp_path / "second")
    np.testing.assert_allclose(watched.of(best), again.rows[0], atol=1e-5)
    np.testing.assert_allclose(watched.of(load_network(second.folder / "best")), again.rows[-1], atol=1e-5)
    assert not np.allclose(again.rows[0], again.rows[-1], atol=1e-3)


def test_a_run_from_before_there_was_a_last_layer_goes_on(filters, tiny, stop_after, tmp_path, losses) -> None:
    config = tiny(network=filters, optimizer={"ema": 0.9})
    whole = train(config, tmp_path / "whole")
    stop_after(3)
    train(config, tmp_path / "run")
    stop_after(None)
    (path,) = checkpoints(tmp_path / "run" / "checkpoints")
    state = read_checkpoint(path)
    for part in (state["network"], state["average"]["weights"]):
        del part["last.mean"], part["last.axes"]
    path.unlink()
    write_checkpoint(path.parent, 3, state, keep=1)
    result = train(config, tmp_path / "run")
    assert losses(result.folder) == losses(whole.folder)
    first, second = (load_network(folder / "last").state_dict() for folder in (whole.folder, result.folder))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("given", [{}, {"within": 4.0}])
def test_a_run_goes_on_with_what_was_meant_when_it_began(filters, tiny, stop_after, tmp_path, given) -> None:
    config = tiny(network={**filters, "options": {**filters["options"], **given}})
    stop_after(3)
    train(config, tmp_path / "run")
    stop_after(None)
    (path,) = checkpoints(tmp_path / "run" / "checkpoints")
    state = read_checkpoint(path)
    wanted = {"looks": (0.94, 1.0, 1.06), "within": 5.0, "view_weight": 0.3, **given}
    assert state.pop("lasting") == wanted
    path.unlink()
    write_checkpoint(path.parent, 3, state, keep=1)  # as one was written before it said so
    last = load_network(train(config, tmp_path / "run").folder / "last")
    assert last.lasting == {"looks": (1.0,), "within": 8.0, "view_weight": 0.3, **given}
    assert last.options == {**filters["options"], **last.lasting, "looks": [1.0]}


def test_a_last_layer_that_cannot_be_fitted_says_how_to_do_without(beside_filters, monkeypatch) -> None:
    config, data, network = beside_filters
    one = [(torch.zeros(12, 48, 48, 3, dtype=torch.uint8), torch.zeros(12, dtype=torch.int64))] * 16
    monkeypatch.setattr(fitting, "_shown", lambda *_: (pair for pair in one))
    with pytest.raises(InputError, match=r"expected two people or more.*within=null"):
        fitting.LastLayer(config, data, ALONE, Display())(network, "fp32")


def test_views_fitted_anew_are_not_mixed_with_those_of_the_starting_weights(filters, beside_filters, tmp_path) -> None:
    config, data, network = beside_filters
    save_network(network, tmp_path / "net")
    options = {**filters["options"], "views": [[0.9, 0.0], [0.7, 0.0], [0.5, 0.1]]}
    start = replace(config.network, weights=str(tmp_path / "net"), options=options)
    config = replace(config, network=start, optimizer=replace(config.optimizer, start_share=0.5))
    network = made_network(start, 0)
    stepper = Stepper(network, Objective(config.loss, network.dim, 6, seed=0), config, ALONE, learner=network.learner)
    fitting.fit_network(stepper, config, data, ALONE, Display())
    fitted = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        for weight in network.trunk.parameters():
            weight.add_(1.0)
    with stepper.measured_network() as measured:
        for name, value in measured.named_parameters():
            mixed = name.startswith("trunk.") and value.requires_grad
            torch.testing.assert_close(value, fitted[name] + 0.5 if mixed else fitted[name])
