"""Photos to analyses at full machine speed.

    sources -> chunks -> [worker: decode -> detect -> align -> embed, in batches] x cores -> analyses, in order

Every worker takes a chunk of pictures the whole way instead of owning one stage. Stages of unequal cost would leave
cores idle; whole chunks keep all of them busy, and while one worker waits for the interpreter lock the others are
inside native code that has released it. At most `2 * workers` chunks are alive at once, so memory is bounded and a slow
consumer holds the producer back.
"""

from __future__ import annotations

import itertools
import operator
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import cv2
import numpy as np

from mien.detect.upright import detect_upright
from mien.errors import ImageError, InputError, MienError
from mien.images import decode
from mien.models.session import available_cores
from mien.types import Analysis, Faces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mien.interfaces import Detector, Embedder
    from mien.types import Floats, Image

__all__ = ["TOO_LARGE", "Engine"]

R = TypeVar("R")
_Job: TypeAlias = "Callable[[Sequence[Any], Sequence[Analysis]], Iterable[R]]"

CHUNK = 16  # pictures a worker takes at a time when nobody knows how many there are
LONGEST_CHUNK = 32  # larger batches gain nothing
CHUNKS_A_WORKER = 8  # of a known number of pictures: so many turns share the tail evenly
PIXELS_AT_ONCE = 24_000_000  # decoded pixels a worker holds at a time (72 MB), whatever the chunk
CHIPS_AT_ONCE = 32  # faces of one batch of the embedder; larger batches gain nothing and cost cache
TOO_LARGE = "too large for this machine's memory"  # what is said of a picture


class Engine:
    """Runs a detector and an embedder over any number of pictures.

    Thread-safe: `run` may be called from several threads; each call has its own workers. The models it is given must be
    safe to call from several threads.

    Args:
        detector: finds faces.
        embedder: embeds them; None to detect only.
        workers: threads; all available cores by default.
        upright: where nothing is found, try the three other quarter turns.
        max_faces: at most this many faces a picture are kept, largest first; None for all.
        max_pixels: decoder's limit; None for the default.
    """

    def __init__(
        self,
        detector: Detector,
        embedder: Embedder | None,
        *,
        workers: int | None = None,
        upright: bool = False,
        max_faces: int | None = None,
        max_pixels: int | None = None,
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers: expected at least 1, got {workers}")
        self.detector = detector
        self.embedder = embedder
        self.workers = workers or available_cores()
        self.upright = upright
        self.max_faces = max_faces
        self._decode_options: dict[str, Any] = {} if max_pixels is None else {"max_pixels": max_pixels}

    def run(self, sources: Iterable[Any], *, keep_images: bool = False, expected: int = 0) -> Iterator[Analysis]:
        """Analyse pictures, in order, one `Analysis` each.

        A picture that cannot be read, or not be worked on, yields an `Analysis` with `error` set; the rest goes on.

        Args:
            sources: anything `images.decode` reads; consumed lazily.
            keep_images: attach the decoded picture to its analysis (for cutting and drawing).
            expected: about how many pictures there are; 0 to ask `sources` itself.

        Raises:
            ModelError: a model does not work; the run ends.
        """
        return self._run(sources, expected, _analyses if keep_images else _without_images)

    def map(
        self, sources: Iterable[Any], job: Callable[[Any, Analysis], R], *, expected: int = 0, chunk: int | None = None
    ) -> Iterator[R]:
        """Give every source and its analysis, with the decoded picture, to `job`, and yield what it returns, in order.

        The job runs in the worker that made the analysis, so its work is spread over all cores and a picture is let go
        of as soon as its job is done. It must be safe to call from several threads. What it raises ends the run.

        Args:
            sources: as for `run`.
            job: called with the source as it was given and its analysis, once each.
            expected: as for `run`.
            chunk: pictures a worker takes at a time; None for what suits the workers. Some runtimes round the last bits
                differently in batches of other sizes: where two runs are to agree in every bit, give both the same.
        """
        return self._run(sources, expected, lambda *both: list(map(job, *both)), chunk)

    def map_batches(
        self,
        sources: Iterable[Any],
        job: Callable[[Sequence[Any], Sequence[Analysis]], Iterable[R]],
        *,
        expected: int = 0,
        chunk: int | None = None,
    ) -> Iterator[R]:
        """As `map`, for a job that takes the pictures of a batch together, and returns something for each, in order.

        Worth it for quick jobs of several stages: a stage that runs over a whole batch finds its code and tables in the
        processor's caches, from which the models drive everything else.

        Raises:
            ValueError: the job returned fewer or more than it was given pictures; the run ends.
        """
        return self._run(sources, expected, job, chunk)

    def _run(
        self,
        sources: Iterable[Any],
        expected: int,
        job: _Job[R],
        chunk: int | None = None,
    ) -> Iterator[R]:
        expected = expected or operator.length_hint(sources)
        share = expected // (CHUNKS_A_WORKER * self.workers)
        chunks = _chunks(iter(sources), chunk or (min(max(share, 1), LONGEST_CHUNK) if expected else CHUNK))
        if self.workers == 1:
            for part in chunks:
                yield from self._work(part, job)
            return
        # Thread pools start lazily; the window of futures is the bounded queue.
        with ThreadPoolExecutor(self.workers, thread_name_prefix="mien") as pool:
            window: deque[Future[list[R]]] = deque()
            try:
                for part in chunks:
                    window.append(pool.submit(self._work, part, job))
                    if len(window) >= 2 * self.workers:
                        yield from window.popleft().result()
                while window:
                    yield from window.popleft().result()
            finally:
                for future in window:  # the consumer left early, or a chunk failed
                    future.cancel()

    def _work(self, sources: Sequence[Any], job: _Job[R]) -> list[R]:
        done: list[R] = []
        held: list[Image | Analysis] = []  # decoded pictures, and failures in their place
        pixels = 0
        for number, source in enumerate(sources, 1):
            picture = self._decode(source)
            held.append(picture)
            if not isinstance(picture, Analysis):
                pixels += picture.pixels.shape[0] * picture.pixels.shape[1]
            if pixels >= PIXELS_AT_ONCE or number == len(sources):
                done += self._finish(sources[len(done) : number], held, job)
                held, pixels = [], 0
        return done

    def _finish(self, sources: Sequence[Any], held: Sequence[Image | Analysis], job: _Job[R]) -> list[R]:
        made = list(job(sources, self._analyse(held)))
        if len(made) != len(sources):  # all that comes after would be taken for another picture's
            raise ValueError(f"the job returned {len(made)} results for {len(sources)} pictures; expected one each")
        return made

    def _decode(self, source: Any) -> Image | Analysis:  # noqa: ANN401 - whatever the decoder reads
        try:
            return decode(source, **self._decode_options)
        except MienError as error:
            return Analysis.failed(getattr(error, "source", str(source)), error)
        except MemoryError:
            name = str(source) if isinstance(source, str | os.PathLike) else f"<{type(source).__name__}>"
            return Analysis.failed(name, ImageError(name, TOO_LARGE))

    def _analyse(self, held: Sequence[Image | Analysis]) -> list[Analysis]:
        try:
            return self._together(held)
        except (InputError, MemoryError, cv2.error) as error:  # of one picture, in all likelihood: the rest goes on
            if len(held) > 1:
                return [done for picture in held for done in self._analyse([picture])]
            name = held[0].source
            return [
                Analysis.failed(name, ImageError(name, TOO_LARGE if isinstance(error, MemoryError) else str(error)))
            ]

    def _together(self, held: Sequence[Image | Analysis]) -> list[Analysis]:
        images = [picture for picture in held if not isinstance(picture, Analysis)]
        found, turns = self._detect(images)
        embeddings = self._embed(images, found)
        good = iter(zip(images, found, turns, embeddings, strict=True))
        results: list[Analysis] = []
        for picture in held:
            if isinstance(picture, Analysis):
                results.append(picture)
                continue
            image, faces, turn, vectors = next(good)
            results.append(Analysis(image.source, image.size, faces, vectors, turn, image=image))
        return results

    def _detect(self, images: Sequence[Image]) -> tuple[list[Faces], list[int]]:
        if not images:
            return [], []
        pixels = [image.pixels for image in images]
        if self.upright:
            both = detect_upright(self.detector, pixels)
            found, turns = [faces for faces, _ in both], [turn for _, turn in both]
        else:
            found, turns = self.detector.detect(pixels), [0] * len(images)
        if self.max_faces is not None:
            found = [faces.take(list(range(min(self.max_faces, len(faces))))) for faces in found]
        return found, turns

    def _embed(self, images: Sequence[Image], found: Sequence[Faces]) -> list[Floats]:
        embedder = self.embedder
        if embedder is None:
            return [np.zeros((len(faces), 0), np.float32) for faces in found]
        chips = [embedder.chips(image.pixels, faces) for image, faces in zip(images, found, strict=True) if len(faces)]
        if not chips:
            return [np.zeros((0, embedder.identity.dimension), np.float32) for _ in found]
        together = np.concatenate(chips)
        vectors = np.concatenate(
            [embedder.embed(together[i : i + CHIPS_AT_ONCE]) for i in range(0, len(together), CHIPS_AT_ONCE)]
        )
        return np.split(vectors, np.cumsum([len(faces) for faces in found])[:-1])


def _chunks(sources: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while chunk := list(itertools.islice(sources, size)):
        yield chunk


def _analyses(_sources: object, analyses: Sequence[Analysis]) -> Sequence[Analysis]:
    return analyses


def _without_images(_sources: object, analyses: Sequence[Analysis]) -> list[Analysis]:
    return [analysis if analysis.image is None else replace(analysis, image=None) for analysis in analyses]
