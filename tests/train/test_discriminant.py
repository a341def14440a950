"""Linear discriminants against a general eigenvalue solver, and at the edges."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError  # noqa: E402
from mien.train.discriminant import discriminants, evened_within  # noqa: E402


def people(count: int, each: int, size: int, seed: int = 0, spread: float = 2.0):
    """Rows about `count` centres that differ most in the first numbers, and whose they are."""
    draw = np.random.default_rng(seed)
    decay = 0.9 ** np.arange(size)
    mixing = draw.normal(size=(size, size)) / size**0.5
    centres = spread * draw.normal(size=(count, size)) * decay
    rows = np.repeat(centres, each, 0) + draw.normal(size=(count * each, size)) @ mixing
    return torch.tensor(rows, dtype=torch.float32), torch.arange(count).repeat_interleave(each) * 7 - 3


def scatters(rows, labels):
    """Within and between people, in float64, person by person."""
    rows, labels = rows.double().numpy(), labels.numpy()
    within, between = np.zeros((rows.shape[1],) * 2), np.zeros((rows.shape[1],) * 2)
    for person in np.unique(labels):
        mine = rows[labels == person]
        middle = mine.mean(0)
        within += (mine - middle).T @ (mine - middle)
        between += len(mine) * np.outer(middle - rows.mean(0), middle - rows.mean(0))
    return within / (len(rows) - len(np.unique(labels))), between


@pytest.mark.parametrize(("count", "size", "wanted"), [(12, 20, 6), (9, 30, 8), (150, 90, 20), (200, 400, 10)])
def test_as_a_general_eigenvalue_solver_has_it(count: int, size: int, wanted: int) -> None:
    rows, labels = people(count, 6, size)
    within, between = scatters(rows, labels)
    within += 0.1 * np.trace(within) / size * np.eye(size)
    values, vectors = scipy.linalg.eigh(between, within)
    mean, axes = discriminants(rows, labels, wanted)
    np.testing.assert_allclose(mean.numpy(), rows.double().mean(0).numpy(), atol=1e-5)
    found = axes.double().numpy()
    # White within people, and as much between them as the best axes have: one by one, up to their sign.
    np.testing.assert_allclose(found.T @ within @ found, np.eye(wanted), atol=2e-3)
    ratio = np.diag(found.T @ between @ found)
    np.testing.assert_allclose(ratio, values[::-1][:wanted], rtol=5e-3)
    best = vectors[:, ::-1][:, :wanted]
    overlap = np.linalg.svd(scipy.linalg.orth(found).T @ scipy.linalg.orth(best), compute_uv=False)
    assert overlap.min() > 0.999


def test_half_precision_is_worked_on_in_single() -> None:
    rows, labels = people(12, 6, 20)
    rows = rows.half()
    (mean, axes), (mean16, axes16) = discriminants(rows.float(), labels, 6), discriminants(rows, labels, 6)
    assert mean16.dtype == axes16.dtype == torch.float32
    assert torch.equal(mean, mean16)
    assert torch.equal(axes, axes16)


def test_the_same_twice() -> None:
    rows, labels = people(150, 4, 60)
    first, second = (discriminants(rows, labels, 10)[1] for _ in range(2))
    assert torch.equal(first, second)


def test_there_are_no_more_axes_than_people_less_one() -> None:
    rows, labels = people(4, 5, 10)
    _, axes = discriminants(rows, labels, 8)
    assert axes.shape == (10, 8)
    assert axes[:, :3].norm(dim=0).min() > 0
    assert not axes[:, 3:].any()


@pytest.mark.parametrize("harm", ["one person", "nobody twice", "empty", "nan", "huge", "no scatter"])
def test_what_cannot_be_fitted_is_told(harm: str) -> None:
    rows, labels = people(5, 4, 6)
    if harm == "one person":
        labels[:] = 1
    elif harm == "nobody twice":
        rows, labels = rows[:5], torch.arange(5)
    elif harm == "empty":
        rows, labels = rows[:0], labels[:0]
    elif harm == "nan":
        rows[3, 2] = float("nan")
    elif harm == "huge":
        rows[3, 2] = 3e38
    else:
        rows[:] = labels[:, None].float()
    with pytest.raises(InputError, match="expected"):
        discriminants(rows, labels, 3)
    with pytest.raises(InputError, match="expected"):
        evened_within(rows, labels, shrink=1.0)


@pytest.mark.parametrize(("shrink", "half"), [(1e-5, False), (12.0, False), (12.0, True)])
def test_scatter_within_people_is_evened(shrink: float, half: bool) -> None:
    rows, labels = people(30, 8, 20)
    within, _ = scatters(rows, labels)
    level = np.trace(within) / 20
    mean, axes = evened_within(rows.half() if half else rows, labels, shrink=shrink)
    np.testing.assert_allclose(mean.numpy(), rows.double().mean(0).numpy(), atol=1e-3)
    found = axes.double().numpy()
    wanted = np.linalg.inv(within + shrink * level * np.eye(20)) * level * (1 + shrink)
    np.testing.assert_allclose(found @ found.T, wanted, rtol=0, atol=2e-3 * np.abs(wanted).max())
    after = found.T @ within @ found
    even = np.linalg.eigvalsh(after)
    before = np.linalg.eigvalsh(within)
    assert even.max() / even.min() < before.max() / before.min()
    assert np.linalg.norm(found, 2) <= ((1 + shrink) / shrink) ** 0.5 + 1e-6
    if shrink < 1:
        np.testing.assert_allclose(after / level, np.eye(20), atol=0.1)  # as good as white


def test_much_shrinking_changes_nothing() -> None:
    rows, labels = people(12, 6, 20)
    mean, axes = evened_within(rows, labels, shrink=1e6)
    x = rows - mean
    torch.testing.assert_close(x @ axes @ axes.T @ x.T, x @ x.T, rtol=1e-3, atol=1e-3)
