"""The photo way, composed: decode, detect, align, embed. Concrete parts may be passed in; good defaults are given."""

from __future__ import annotations

import itertools
import operator
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mien.detect.mtcnn import MTCNN
from mien.detect.trees import RegressionTrees
from mien.embed.aligned import AlignedEmbedder
from mien.embed.dlib_resnet import DlibResNet
from mien.embed.views import PRESETS as VIEWS
from mien.embed.views import need_trees
from mien.engine import Engine
from mien.errors import CardError, InputError, NoFaceError
from mien.images import decode
from mien.match.calibration_beside import offer_calibrations
from mien.models import catalogue
from mien.models.session import available_cores
from mien.types import Preset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mien.interfaces import Detector, Embedder
    from mien.models.card import ModelCard
    from mien.types import Analysis, Faces, Floats, ModelIdentity

__all__ = ["DEFAULT_PRESET", "PRESETS", "Recognizer", "open_embedder"]

PRESETS: tuple[Preset, ...] = ("fast", "accurate")
DEFAULT_PRESET: Preset = "accurate"

R = TypeVar("R")


class Recognizer:
    """Finds and embeds faces in pictures.

    Pictures are anything `mien.images.decode` reads: paths, bytes, open files, RGB arrays, PIL images.

    Thread-safe: one recognizer may serve any number of threads. Models are loaded on first use.

    Args:
        preset: "fast" (one look at each face) or "accurate" (several looks, averaged); part of the model's identity.
        min_face: side of the smallest face to look for: pixels (int), or a fraction of the shorter side of the picture
            (float below 1). None for the detector's default.
        confidence: the least detection score of a face. None for the detector's default.
        upright: where nothing is found, try the three other quarter turns.
        workers: threads for many pictures; all available cores by default.
        max_pixels: refuse pictures with more pixels than this; None for the decoder's default.
        detector: replaces the default MTCNN: a detector that may be called from several threads at once, or a function
            that makes one whose runs use so many threads each.
        embedder: replaces the default dlib ResNet-29, likewise; then `preset` is the embedder's own affair.
    """

    def __init__(
        self,
        preset: Preset = DEFAULT_PRESET,
        *,
        min_face: float | None = None,
        confidence: float | None = None,
        upright: bool = False,
        workers: int | None = None,
        max_pixels: int | None = None,
        detector: Detector | Callable[[int], Detector] | None = None,
        embedder: Embedder | Callable[[int], Embedder] | None = None,
    ) -> None:
        if preset not in PRESETS:
            raise InputError(f'preset: expected "fast" or "accurate", got {preset!r}')
        if workers is not None and workers < 1:
            raise InputError(f"workers: expected at least 1, got {workers}")
        self._preset: Preset = preset
        given = {"min_face": min_face, "confidence": confidence}
        self._detector_options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if detector is not None and self._detector_options:
            raise InputError(f"{', '.join(self._detector_options)}: belongs to the default detector; set it on yours")
        self._make_detector = _maker(detector, "detect", self._default_detector)
        self._make_embedder = _maker(embedder, "embed", self._default_embedder)
        self._workers = workers or available_cores()
        self._engine_options: dict[str, Any] = {"upright": upright, "max_pixels": max_pixels}
        self._detectors: dict[int, Detector] = {}  # by the threads of one model run
        self._embedders: dict[int, Embedder] = {}
        self._lock = threading.RLock()

    @property
    def identity(self) -> ModelIdentity:
        """What makes two embeddings comparable."""
        with self._lock:
            ready = next(iter(self._embedders.values()), None) or self._embedder(self._workers)
            return ready.identity

    @property
    def detector_name(self) -> str:
        """The model that finds the faces."""
        with self._lock:
            ready = next(iter(self._detectors.values()), None) or self._detector(self._workers)
            return ready.name

    def detect(self, image: Any) -> Faces:  # noqa: ANN401 - see `mien.images.decode`
        """The faces of one picture, largest first. Raises ImageError when it cannot be read."""
        return _only(self.analyze([image], embed=False)).faces

    def embed(self, image: Any) -> Floats:  # noqa: ANN401
        """The main face's embedding: float32 (D,), unit norm; the dot product of two is their score.

        The main face is large and near the middle (see `Faces.main`). Raises ImageError when the picture cannot be
        read, NoFaceError when it holds no face.
        """
        found = self.analyze_one(image)
        if not len(found.faces):
            raise NoFaceError(f"{found.source}: no face found; expected at least one")
        vector: Floats = found.embeddings[found.main()]
        return vector

    def embed_faces(self, image: Any, faces: Faces) -> Floats:  # noqa: ANN401
        """Embed faces whose landmarks are known already: float32 (N, D), unit norm, in their order.

        Nothing is detected. Meant to be called from several threads at once. Raises ImageError when the picture cannot
        be read.
        """
        embedder = self._embedder(1)
        options = {"max_pixels": self._engine_options["max_pixels"]} if self._engine_options["max_pixels"] else {}
        return embedder.embed(embedder.chips(decode(image, **options).pixels, faces))

    def analyze_one(self, image: Any) -> Analysis:  # noqa: ANN401
        """Everything about one picture. Raises ImageError when it cannot be read."""
        return _only(self.analyze([image]))

    def analyze(self, images: Iterable[Any], *, keep_images: bool = False, embed: bool = True) -> Iterator[Analysis]:
        """Analyse any number of pictures on all cores, lazily and in order.

        A picture that cannot be read yields an `Analysis` with `error` set; the rest goes on.

        Args:
            images: pictures; consumed as results are taken.
            keep_images: attach the decoded picture to its analysis.
            embed: False to detect only.
        """
        engine, sources, expected = self._ready(images, embed)
        if engine is not None:
            yield from engine.run(sources, keep_images=keep_images, expected=expected)

    def map(
        self,
        images: Iterable[Any],
        job: Callable[[Any, Analysis], R],
        *,
        embed: bool = True,
        chunk: int | None = None,
    ) -> Iterator[R]:
        """Analyse any number of pictures and work on each where it is: in the worker, while it is still decoded.

        What cuts, draws or measures in many pictures belongs into such a job: it runs on all cores, and only few
        decoded pictures exist at a time.

        Args:
            images: pictures; consumed as results are taken.
            job: called with each picture as it was given and its analysis (with `image` set, unless it has an `error`),
                from several threads at once.
            embed: False to detect only.
            chunk: see `Engine.map`.

        Yields:
            What the job returned, in the order of the pictures.
        """
        engine, sources, expected = self._ready(images, embed)
        if engine is not None:
            yield from engine.map(sources, job, expected=expected, chunk=chunk)

    def map_batches(
        self,
        images: Iterable[Any],
        job: Callable[[Sequence[Any], Sequence[Analysis]], Iterable[R]],
        *,
        embed: bool = True,
        chunk: int | None = None,
    ) -> Iterator[R]:
        """As `map`, for a job that takes the pictures of a batch together; see `Engine.map_batches`."""
        engine, sources, expected = self._ready(images, embed)
        if engine is not None:
            yield from engine.map_batches(sources, job, expected=expected, chunk=chunk)

    def _ready(self, images: Iterable[Any], embed: bool) -> tuple[Engine | None, Iterator[Any], int]:
        """The engine for so many pictures, and the pictures again; no engine for none."""
        expected = operator.length_hint(images)
        stream = iter(images)
        first = list(itertools.islice(stream, 2))
        if not first:
            return None, stream, 0
        # One picture: its models use all cores. Many: one core a model, all cores over pictures.
        threads, workers = (self._workers, 1) if len(first) == 1 else (1, self._workers)
        embedder = self._embedder(threads) if embed else None
        engine = Engine(self._detector(threads), embedder, workers=workers, **self._engine_options)
        return engine, itertools.chain(first, stream), expected

    def _detector(self, threads: int) -> Detector:
        with self._lock:
            if threads not in self._detectors:
                self._detectors[threads] = self._make_detector(threads)
            return self._detectors[threads]

    def _embedder(self, threads: int) -> Embedder:
        with self._lock:
            if threads not in self._embedders:
                self._embedders[threads] = self._make_embedder(threads)
            return self._embedders[threads]

    def _default_detector(self, threads: int) -> Detector:
        return MTCNN(threads=threads, **self._detector_options)

    def _default_embedder(self, threads: int) -> Embedder:
        return open_embedder(None, self._preset, threads=threads, callers=self._workers if threads == 1 else 1)


def open_embedder(
    card: ModelCard | str | None,
    preset: Preset = DEFAULT_PRESET,
    *,
    threads: int | None = None,
    callers: int = 1,
) -> Embedder:
    """An embedder by its card: the code of its family, with all that it needs.

    A calibration that lies beside the card (``NAME.calibration.toml``) is found from then on by
    `mien.match.calibration_for`.

    Args:
        card: a card, its name, path or folder (see `mien.models.catalogue.get`); None for the default embedder.
        preset: "fast" or "accurate".
        threads: threads of one run; None for all cores.
        callers: how many threads will call it at the same time.

    Raises:
        NotFoundError, CardError: there is no such card, or it is of no embedder.
        ModelFileError: the model's file is missing or damaged.
        InputError: the card has no such preset.
    """
    found = catalogue.get(card) if isinstance(card, str) else card
    if found is not None and found.task != "embedder":
        raise CardError(f"{found.name}: expected an embedder, got a card of a {found.task}")
    if found is not None and found.family == "aligned":
        made: Embedder = AlignedEmbedder(found, preset=preset, threads=threads)
    else:
        landmarker = RegressionTrees() if preset in VIEWS and need_trees(VIEWS[preset]) else None
        made = DlibResNet(preset, landmarker=landmarker, threads=threads, callers=callers, card=found)
    if found is not None and found.origin.endswith(".toml"):
        offer_calibrations(Path(found.origin).parent)
    return made


def _maker(given: Any, method: str, default: Callable[[int], Any]) -> Callable[[int], Any]:  # noqa: ANN401
    """A function from threads to a part: the given part, the given function, or the default one."""
    if given is None:
        return default
    if hasattr(type(given), method):
        return lambda _threads: given
    made: Callable[[int], Any] = given
    return made


def _only(analyses: Iterator[Analysis]) -> Analysis:
    """The one analysis of a one-picture run; raises its error."""
    analysis = next(analyses)
    if analysis.error is not None:
        raise analysis.error
    return analysis
