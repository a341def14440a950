"""128-byte templates: what they are, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest

from mien.errors import InputError
from mien.gallery.search import from_template, to_template


@pytest.mark.parametrize("d", [1, 2, 127, 128, 512])
def test_round_trip(d):
    rng = np.random.default_rng(d)
    for _ in range(20):
        x = rng.standard_normal(d)
        x = (x / np.linalg.norm(x)).astype(np.float32)
        template = to_template(x)
        assert len(template) == d
        back = from_template(template)
        assert back.dtype == np.float32
        assert np.linalg.norm(back) == pytest.approx(1, abs=1e-6)
        assert back @ x >= 1 - 1e-4
        assert to_template(back) == template
        # by hand, number by number
        largest = max(abs(float(v)) for v in x)
        assert list(np.frombuffer(template, np.int8)) == [round(float(v) * 127 / largest) for v in x]


@pytest.mark.parametrize("bad", [np.zeros(4), np.ones(4), np.full(4, np.nan), np.eye(2), np.zeros(0)])
def test_refused_embeddings(bad):
    with pytest.raises(InputError, match="unit norm"):
        to_template(bad.astype(np.float32))


@pytest.mark.parametrize("bad", [b"", b"\0" * 128, b"\x80" + b"\x7f" * 127, b"\x01" * 128])
def test_refused_templates(bad):
    with pytest.raises(InputError, match="template"):
        from_template(bad)
