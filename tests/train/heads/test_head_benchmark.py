"""The head's benchmark compares like with like: its rows have one loss, and it says so where they have not."""

from __future__ import annotations

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[3] / "benchmarks" / "train_head.py"
    spec = spec_from_file_location(path.stem, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_have_the_same_centres_and_loss(benchmark) -> None:
    torch.manual_seed(1)
    x, y = torch.randn(8, 16), torch.randint(0, 50, (8,))
    losses, centres = {}, {}
    for row in benchmark.ROWS:
        if row.startswith("pytorch") and find_spec("pytorch_metric_learning") is None:
            continue
        loss, weight = benchmark.make(row, 50, 16)
        losses[row] = float(loss(x, y).detach())
        centres[row] = weight.detach().T if row.startswith("pytorch") else weight.detach().view(50, 16)
    first = centres[benchmark.ROWS[0]]
    assert all(torch.equal(one, first) for one in centres.values())
    assert len(losses) >= 6
    benchmark.check_same(losses)
    with pytest.raises(RuntimeError, match="differ"):
        benchmark.check_same({**losses, benchmark.ROWS[2]: losses[benchmark.ROWS[2]] * 1.0001})
    with pytest.raises(RuntimeError, match="differ"):
        benchmark.check_same({**losses, benchmark.STOCK[1]: losses[benchmark.STOCK[1]] + 0.01})
    benchmark.check_same({**losses, benchmark.ROWS[2]: None, benchmark.ROWS[1]: 0.0})  # not fit; sampled: another loss
