"""docs/losses.md names only what exists, and every loss there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.train import heads, losses  # noqa: E402

PAGE = (Path(__file__).parents[2] / "docs" / "losses.md").read_text(encoding="utf-8")


def test_every_loss_module_is_in_the_table_and_every_name_exists() -> None:
    named = set(
        re.findall(r"\b([A-Z][a-z]*[A-Z]\w+|Softmax|Triplet|Contrastive)\b", " ".join(re.findall(r"`([^`\n]+)`", PAGE)))
    )
    known = {*losses.__all__, *heads.__all__}
    assert named - {"DistributedDataParallel", "WORLD"} <= known
    modules = {name for name in losses.__all__ if isinstance(getattr(losses, name), type)}
    assert modules - {"MarginSoftmax", "Triplets", "Margin"} <= named


def test_the_examples_of_the_page_run() -> None:
    draw = torch.Generator().manual_seed(0)
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        names = {
            "embeddings": torch.randn(4, 512, generator=draw, requires_grad=True),
            "labels": torch.tensor([0, 1, 2, 2]),
            **{name: getattr(heads, name) for name in heads.__all__},
            **{name: getattr(losses, name) for name in losses.__all__},
        }
        exec(block.replace("1_000_000", "1_000"), names)  # the project's own page, at a size for tests
