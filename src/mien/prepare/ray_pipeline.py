"""The same work on a Ray cluster: photos in shards, a recognizer a worker, dead workers' shards done again."""

from __future__ import annotations

import itertools
import logging
import pickle
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from mien.engine import LONGEST_CHUNK
from mien.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mien.recognizer import Recognizer

__all__ = ["Cluster", "chunk_for", "cluster_of", "start_local"]

_log = logging.getLogger(__name__)

_STARTS: Final = 3  # attempts at a local cluster
_SHARD: Final = 64  # photos a task: some tenths of a second of work, so that a dead worker costs little
_CHUNKS: Final = 24  # of a short run: enough to share the work evenly
_SHARDS_AT_ONCE: Final = 1024  # described to the cluster at a time, so that millions of photos are never in its memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where a folder is worked on instead of this machine. Every worker must see the photos under the same paths.

    Attributes:
        address: of the cluster; "auto" for the one that this machine belongs to, "local" for one of this machine alone.
        workers: processes, one core each; None for all cores of the cluster.
        recognizer: makes the recognizer of a worker; travels there.
        shard: photos of one task.

    Raises:
        MissingExtraError: Ray is not installed.
    """

    address: str
    recognizer: Callable[[], Recognizer]
    workers: int | None = None
    shard: int = _SHARD

    def __post_init__(self) -> None:
        _ray()

    def map(self, photos: Iterable[Any], job: Callable[..., Any], *, embed: bool, chunk: int) -> Iterator[Any]:
        """What `job` makes of every photo and its analysis, in order; see `Recognizer.map`.

        Shards are whole numbers of chunks, so that the same pictures meet in a batch as on one machine.
        """
        ray = _ray()
        source = iter(photos)
        size = max(1, self.shard // chunk) * chunk
        shards = iter(lambda: list(itertools.islice(source, size)), [])
        own = _connect(self.address)
        try:
            context = ray.data.DataContext.get_current()
            context.execution_options.preserve_order = True
            context.enable_progress_bars = False
            workers = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            while wave := [{"shard": pickle.dumps(shard)} for shard in itertools.islice(shards, _SHARDS_AT_ONCE)]:
                made = ray.data.from_items(wave, override_num_blocks=len(wave)).map(
                    _Worker,
                    fn_constructor_args=(self.recognizer, job, embed, chunk),
                    compute=ray.data.ActorPoolStrategy(size=min(workers, len(wave))),
                    num_cpus=1,
                )
                for row in made.iter_rows():
                    # Ray itself is pickle from end to end: who may write here may run anything there.
                    yield from pickle.loads(row["done"])  # noqa: S301
        finally:
            if own:
                ray.shutdown()


class _Worker:
    """An actor: models are loaded once, a shard at a time is worked on."""

    def __init__(self, recognizer: Callable[[], Recognizer], job: Callable[..., Any], embed: bool, chunk: int) -> None:
        self._recognizer, self._job = recognizer(), job
        self._options: dict[str, Any] = {"embed": embed, "chunk": chunk}

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        shard = pickle.loads(row["shard"])  # noqa: S301
        return {"done": pickle.dumps(list(self._recognizer.map(shard, self._job, **self._options)))}


def chunk_for(photos: int) -> int:
    """Photos of one batch, by the length of the run alone: the same on one machine, whatever its cores, and on many."""
    return min(max(photos // _CHUNKS, 1), LONGEST_CHUNK)


def cluster_of(
    address: str | None,
    workers: int | None,
    make: Callable[..., Recognizer],
    *given: object,
    **options: object,
) -> Cluster | None:
    """The cluster that the options of a command describe; None without an address.

    Args:
        address: see `Cluster`.
        workers: likewise.
        make: makes a worker's recognizer of the other arguments; must take `workers`, the threads of one, besides.
        given: its arguments.
        options: likewise.

    Raises:
        InputError: workers of no cluster.
    """
    if address is None:
        if workers is not None:
            raise InputError("--ray-workers: means nothing without --ray; the cores of this machine are all used")
        return None
    return Cluster(address=address, workers=workers, recognizer=partial(make, *given, **options, workers=1))


def _ray() -> Any:  # noqa: ANN401 - a module
    """Ray with its data library; slow to import, so only when it is used."""
    try:
        import_module("ray.data")
        return import_module("ray")
    except ImportError as error:
        raise MissingExtraError("work on a Ray cluster", "ray") from error


def start_local(**options: Any) -> None:  # noqa: ANN401 - Ray's own options
    """Start a cluster of this machine alone.

    Ray gives its node 30 seconds to start, and a busy machine may need longer: it is tried again before it has failed.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: it did not start in any of the attempts.
    """
    ray = _ray()
    if ray.is_initialized():
        raise InputError("--ray local: this process has joined a Ray cluster already")
    for left in reversed(range(_STARTS)):
        try:
            ray.init(address="local", include_dashboard=False, logging_level="error", log_to_driver=False, **options)
        except (TypeError, ValueError):  # options that make no sense will not do the next time either
            raise
        except Exception as error:  # Ray raises a bare Exception when its node is late
            _end_late_node(error)
            ray.shutdown()
            if left:
                _log.warning("Ray's node did not start (%s); trying again", error)
                continue
            raise InputError(
                f"--ray local: Ray did not start on this machine ({error}); try again, or without --ray"
            ) from error
        return


def _end_late_node(error: BaseException) -> None:
    """End the processes of a node that was late: Ray forgets it, and they would go on beside the next one's."""
    trace = error.__traceback__
    while trace is not None:
        node = trace.tb_frame.f_locals.get("self")
        if node is not None and hasattr(node, "kill_all_processes"):
            node.kill_all_processes(check_alive=False, allow_graceful=False)
            return
        trace = trace.tb_next


def _connect(address: str) -> bool:
    """Join the cluster; whether it was this call that did."""
    ray = _ray()
    if ray.is_initialized():
        return False
    if address == "local":
        start_local()
        return True
    try:
        ray.init(address=address, logging_level="warning", log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"--ray {address}: no Ray cluster answers there ({error})") from error
    return True
