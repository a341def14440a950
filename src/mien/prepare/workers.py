"""One function over very many files: several processes, bounded memory, results in order, stopped and gone on."""

from __future__ import annotations

import itertools
import multiprocessing
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Final, TypeVar

from mien.errors import MienError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

__all__ = ["over"]

T = TypeVar("T")
R = TypeVar("R")

CHUNK: Final = 64  # items a worker takes at a time: talking to it costs about as much as a small picture
_AHEAD: Final = 4  # chunks a worker that wait or are at work


def over(
    items: Iterable[T], job: Callable[[Sequence[T]], list[R]], *, workers: int, chunk: int = CHUNK
) -> Iterator[list[R]]:
    """Run `job` over chunks of items, and give its results chunk by chunk, in order.

    Args:
        items: consumed lazily; at most a few chunks a worker are held at a time.
        job: a function of a module, or a `functools.partial` of one, for it travels to other processes; it must not
            raise for a single bad item.
        workers: processes; 1 works in this one.
        chunk: items a call.

    Raises:
        MienError: a worker died; what was given is done, the rest is not.
    """
    source = iter(items)
    chunks = iter(lambda: list(itertools.islice(source, chunk)), [])
    if workers <= 1:
        for part in chunks:
            yield job(part)
        return
    # Forking a process that has threads (OpenCV, onnxruntime) may hang it; workers are started anew.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_alone) as pool:
        window: deque[Future[list[R]]] = deque()
        try:
            for part in chunks:
                window.append(pool.submit(job, part))
                if len(window) >= _AHEAD * workers:
                    yield window.popleft().result()
            while window:
                yield window.popleft().result()
        except BrokenProcessPool as error:
            raise MienError(
                "a worker process was killed, perhaps for want of memory; run the same command again to go on, with "
                "fewer workers if it happens again"
            ) from error
        finally:
            for future in window:
                future.cancel()


def _alone() -> None:
    """Each worker uses one core: more threads would only get into each other's way."""
    import cv2

    cv2.setNumThreads(1)
