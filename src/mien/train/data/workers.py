"""Processes that fetch batches ahead, through PyTorch's loader."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from mien.errors import MienError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from multiprocessing.process import BaseProcess

    from mien.train.data.fetching import Fetcher, Work

__all__ = ["Loader"]

_AHEAD: Final = 3  # batches a worker has ready


@dataclass(frozen=True, slots=True)
class _Fault:
    """An error on its way from a worker; PyTorch itself would lose its type."""

    error: MienError


class _Fetching(Dataset[Any]):
    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def __getitem__(self, work: Work) -> Any:  # noqa: ANN401
        try:
            found = self._fetcher.fetch(work)
        except MienError as error:
            return _Fault(error)
        return (
            torch.from_numpy(found.pictures),
            torch.from_numpy(found.indices),
            found.skipped,
            torch.from_numpy(found.virtual),
        )


class _Plan:
    """What is to be fetched next; the loader reads it at the beginning of an epoch."""

    def __init__(self) -> None:
        self.works: Iterable[Work] = ()

    def __iter__(self) -> Iterator[Work]:
        return iter(self.works)


class Loader:
    """Fetches works in order, ahead of time by `workers` processes, or in this one when there are none.

    The processes stay from epoch to epoch. Where the system can, they are forked; elsewhere they are started anew, and
    a script that trains then needs the usual ``if __name__ == "__main__":``. Belongs to one thread.
    """

    def __init__(self, fetcher: Fetcher, workers: int) -> None:
        self._plan = _Plan()
        self._loader: DataLoader[Any] | None = None
        self._running: Iterator[Any] | None = None
        self._workers: list[BaseProcess] = []
        # They pass over SIGTERM, which is all that multiprocessing sends them when the program ends, and then it waits;
        # what is registered after its import is called before that.
        self._end = partial(_kill, self._workers, os.getpid())
        atexit.register(self._end)
        more: dict[str, Any] = {}
        if workers:
            context = "fork" if sys.platform == "linux" else "spawn"
            more = {"persistent_workers": True, "prefetch_factor": _AHEAD, "multiprocessing_context": context}
        self._loader = DataLoader(
            _Fetching(fetcher),
            batch_size=None,
            sampler=self._plan,
            num_workers=workers,
            worker_init_fn=_begin,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # its own: the program's random numbers are not to depend on the workers
            **more,
        )

    def begin(self, works: Iterable[Work]) -> None:
        """Begin to fetch; what was under way is dropped."""
        if self._loader is None:
            raise ValueError("the batches are closed")
        self._plan.works = works
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # OpenCV's threads do not live through a fork, and it would wait for them
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12's, of forks beside threads
                self._running = iter(self._loader)
        finally:
            cv2.setNumThreads(threads)
        self._workers[:] = getattr(self._running, "_workers", ())

    def next(self) -> tuple[torch.Tensor, torch.Tensor, list[str], torch.Tensor] | None:
        """Pictures, indices, what was skipped, and virtual people; None at the end.

        Raises:
            InputError: a picture cannot be read.
            MienError: a worker died.
        """
        if self._running is None:
            raise ValueError("the batches are closed")
        try:
            found = next(self._running, None)
        except (RuntimeError, ConnectionError, EOFError) as error:
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            self.close()
            raise MienError(f"a DataLoader worker, which loads pictures, died; out of memory? ({error})") from error
        if isinstance(found, _Fault):
            self._running = None
            raise found.error
        return None if found is None else (found[0], found[1], found[2], found[3])

    def close(self) -> None:
        """End the processes."""
        self._loader, running = None, self._running
        try:
            # What its destructor does; here, for a traceback may hold on to it.
            getattr(running, "_shutdown_workers", _nothing)()
        except RuntimeError as error:  # PyTorch's handler of SIGCHLD raises wherever the program is
            if "DataLoader worker" not in str(error):
                raise
        finally:
            self._end()
            atexit.unregister(self._end)
            self._running = None

    def __del__(self) -> None:
        self.close()


def _nothing() -> None:
    pass


def _kill(workers: list[BaseProcess], parent: int) -> None:
    """End those that are still there: they are stuck, or PyTorch has not got as far as to tell them."""
    for worker in workers if os.getpid() == parent else ():  # a fork of the parent has this list, too
        for _ in range(2):  # PyTorch's handler of SIGCHLD raises, once, while it does not know that they are to end
            with contextlib.suppress(ValueError, RuntimeError):  # ValueError: closed already
                worker.kill()
                worker.join()


def _begin(_worker: int) -> None:
    cv2.setNumThreads(1)
    # Ctrl-C, and what a service manager sends to all processes, are the main one's affair, which ends this one.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
