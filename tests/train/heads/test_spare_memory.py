"""The memory of a gradient is taken again when it is free, and never while anybody can see it."""

from __future__ import annotations

import copy
import pickle

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.train import losses as L  # noqa: E402
from mien.train.heads import MarginHead, spare_memory  # noqa: E402

C, D = 50, 8


@pytest.fixture(autouse=True)
def _small_counts(monkeypatch):
    monkeypatch.setattr(spare_memory, "_LEAST", C * D)


def step(head: MarginHead, seed: int = 0) -> torch.Tensor:
    """The centres' gradient of a batch."""
    draw = torch.Generator().manual_seed(seed)
    x, y = torch.randn(9, D, generator=draw, dtype=head.centres.dtype), torch.randint(0, C, (9,), generator=draw)
    head(x, y).backward()
    return head.centres.grad


def made(**settings) -> MarginHead:
    return MarginHead(D, C, L.CombinedMargin(m2=0.5), 16.0, **settings)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gradient_that_is_gone_leaves_its_memory_to_the_next(dtype) -> None:
    head = made().to(dtype)
    places, fresh = set(), made().to(dtype)
    for seed in range(3):
        places.add(step(head, seed).data_ptr())
        want = step(fresh, seed)
        torch.testing.assert_close(head.centres.grad, want, rtol=0, atol=0)
        head.centres.grad = None
        fresh.centres.grad, fresh._spare = None, spare_memory.SpareMemory()
    assert len(places) == 1


@pytest.mark.parametrize(
    "seen_by",
    [lambda whole: whole, lambda whole: whole.view(-1)[3:], lambda whole: whole.numpy(), torch.Tensor.detach],
    ids=["itself", "a view", "an array", "detached"],
)
def test_a_gradient_that_is_still_seen_stays_as_it_is(seen_by) -> None:
    head = made()
    seen = seen_by(step(head))
    kept = torch.as_tensor(seen).clone()
    head.centres.grad = None
    assert not torch.equal(step(head, 1).reshape(-1)[-kept.numel() :], kept.reshape(-1))
    assert torch.equal(torch.as_tensor(seen), kept)


def test_gradients_of_several_batches_add_up() -> None:
    head, apart = made(), []
    for seed in (0, 1, 2):
        alone = made()
        apart.append(step(alone, seed).clone())
        step(head, seed)
    torch.testing.assert_close(head.centres.grad, sum(apart), rtol=1e-5, atol=1e-6)


def test_only_one_block_is_kept() -> None:
    """A second gradient is made where the first still lies, and is gone once it is added."""
    head = made()
    step(head, 0)
    block = head._spare._block
    step(head, 1)
    assert head._spare._block is block


def test_sparse_gradients_too() -> None:
    head = made(sample_rate=0.5)
    first = step(head)
    place, kept = first._values().data_ptr(), first.to_dense()
    second = torch.autograd.grad(head(torch.ones(3, D), torch.arange(3)), head.centres)[0]
    assert second._values().data_ptr() != place
    assert torch.equal(head.centres.grad.to_dense(), kept)


def test_backward_twice_through_one_loss() -> None:
    head = made()
    x = torch.randn(5, D)
    loss = head(x, torch.arange(5))
    (first,) = torch.autograd.grad(loss, head.centres, retain_graph=True)
    kept = first.clone()
    (second,) = torch.autograd.grad(2 * loss, head.centres)
    torch.testing.assert_close(first, kept, rtol=0, atol=0)
    torch.testing.assert_close(second, 2 * kept)


def test_a_copy_of_a_head_has_memory_of_its_own() -> None:
    head = made()
    kept = step(head).clone()
    for other in (copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
        other.centres.grad = None
        step(other, 3)
        assert torch.equal(head.centres.grad, kept)
    assert len(pickle.dumps(head)) < 4 * C * D * 3 + 4000


def test_small_gradients_are_left_to_the_allocator(monkeypatch) -> None:
    monkeypatch.setattr(spare_memory, "_LEAST", C * D * 4 + 1)
    head = made()
    step(head)
    assert head._spare._block is None
