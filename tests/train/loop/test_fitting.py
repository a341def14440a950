"""Which pictures a closed form is fitted to."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.train import fitting  # noqa: E402
from mien.train.data import Source, open_training_set  # noqa: E402
from mien.train.display import Display  # noqa: E402
from mien.train.parts import made_network  # noqa: E402
from mien.train.processes import Processes  # noqa: E402


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
