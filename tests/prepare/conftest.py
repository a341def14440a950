"""What the tests of data preparation share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def room_for() -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """`with room_for(n)`: no file may grow beyond n bytes, which fails in the middle of a write as a full disk does."""

    @contextlib.contextmanager
    def limited(size: int) -> Iterator[None]:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
