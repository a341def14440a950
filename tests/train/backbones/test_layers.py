"""PReLU's backward pass against PyTorch's own and against differences."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.train.backbones.layers import PReLU  # noqa: E402

SHAPES = [((5, 4, 6, 7), 4), ((5, 4, 6, 7), 1), ((9, 3), 3), ((2, 3, 8), 3)]


def layers(slopes: int, kind):
    ours, plain = PReLU(slopes, dtype=kind), torch.nn.PReLU(slopes, dtype=kind)
    with torch.no_grad():
        ours.weight.copy_(torch.linspace(-0.5, 1.5, slopes))
        plain.weight.copy_(ours.weight)
    return ours, plain


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize(("shape", "slopes"), SHAPES)
def test_it_gives_what_pytorchs_gives(shape, slopes: int, kind, tolerance: float, layout) -> None:
    ours, plain = layers(slopes, kind)
    draw = torch.Generator().manual_seed(1)
    x, grad = (torch.randn(shape, generator=draw).to(kind) for _ in range(2))
    x.view(-1)[::5] = 0.0  # the corner itself
    if x.ndim == 4:
        x, grad = (t.to(memory_format=layout) for t in (x, grad))
    found = []
    for layer in (ours, plain):
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        y.backward(grad)
        found.append((y.detach(), leaf.grad, layer.weight.grad))
    (y, along, slope), (want_y, want_along, want_slope) = found
    assert torch.equal(y, want_y)
    torch.testing.assert_close(along, want_along, rtol=tolerance, atol=0)
    torch.testing.assert_close(slope, want_slope, rtol=tolerance, atol=tolerance)
    assert slope.dtype == kind
    assert bool(slope.any())


@pytest.mark.parametrize(("shape", "slopes"), SHAPES)
def test_derivatives_first_and_second_against_differences(shape, slopes: int) -> None:
    layer, _ = layers(slopes, torch.float64)
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(shape, generator=draw, dtype=torch.float64)
    x = (x + 0.1 * x.sign()).requires_grad_()  # away from the corner
    given = (x, layer.weight.detach().clone().requires_grad_())

    def run(x, weight):
        return torch.func.functional_call(layer, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(run, given)
    assert torch.autograd.gradgradcheck(run, given)


def test_under_autocast_and_where_only_one_gradient_is_wanted() -> None:
    ours, plain = layers(4, torch.float32)
    x = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(3))
    for layer in (ours, plain):
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(x.bfloat16())
        y.float().sum().backward()
    assert ours.weight.grad.dtype == torch.float32
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad, rtol=0.02, atol=0.02)
    ours.weight.requires_grad_(False)
    leaf = x.clone().requires_grad_()
    ours(leaf).sum().backward()
    assert torch.equal(leaf.grad, torch.where(x > 0, 1.0, ours.weight.view(1, -1, 1, 1)))


def test_exporters_see_the_plain_layer() -> None:
    layer, _ = layers(3, torch.float32)
    graph = torch.export.export(layer, (torch.randn(2, 3, 4, 4),)).graph
    assert any("prelu" in str(node.target) for node in graph.nodes)
