"""Fixtures of the tests of training."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """The nets here are too small for more; and oneDNN of PyTorch 2.14 writes past its memory on two threads.

    (Backward of a 1 x 1 convolution of stride 2 with 8 channels and an odd number of pictures, AVX-512. Nets in use
    have 16 channels or more.)
    """
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
