"""The engine: order, failures, bounds, and the same answers whatever the number of workers."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from mien.engine import PIXELS_AT_ONCE, Engine
from mien.errors import ImageError, InputError
from mien.types import Analysis, Faces, Floats, ModelIdentity, Pixels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class MarkDetector:
    """As many faces as the first pixel says; remembers the largest batch it saw, in pixels."""

    name = "mark"

    def __init__(self) -> None:
        self.most_pixels = 0
        self.threads: set[int] = set()

    def detect(self, images: Sequence[Pixels]) -> list[Faces]:
        self.threads.add(threading.get_ident())
        self.most_pixels = max(self.most_pixels, sum(i.shape[0] * i.shape[1] for i in images))
        return [self._faces(int(i[0, 0, 0])) for i in images]

    @staticmethod
    def _faces(n: int) -> Faces:
        sides = np.arange(n, 0, -1, dtype=np.float32)[:, None]
        return Faces(np.hstack([sides * 0, sides * 0, sides, sides]), np.ones(n), np.ones((n, 5, 2)))


class MarkEmbedder:
    """Encodes picture and face number in the vector."""

    identity = ModelIdentity("mark", "fast", "0" * 64, 2)

    def chips(self, image: Pixels, faces: Faces) -> Pixels:
        chips = np.zeros((len(faces), 1, 1, 1, 3), np.uint8)
        chips[:, 0, 0, 0, 0] = image[0, 0, 1]
        chips[:, 0, 0, 0, 1] = faces.boxes[:, 2]
        return chips

    def embed(self, chips: Pixels) -> Floats:
        v = chips[:, 0, 0, 0, :2].astype(np.float32) + 1
        return v / np.linalg.norm(v, axis=1, keepdims=True)


def picture(faces: int, tag: int, side: int = 4) -> Pixels:
    image = np.zeros((side, side, 3), np.uint8)
    image[0, 0] = faces, tag, 0
    return image


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_keep_the_order_and_do_not_depend_on_the_number_of_workers(workers: int) -> None:
    sources = [picture(n % 4, n) for n in range(100)]
    results = list(Engine(MarkDetector(), MarkEmbedder(), workers=workers).run(sources))
    assert [len(r.faces) for r in results] == [n % 4 for n in range(100)]
    for n, r in enumerate(results):
        assert r.embeddings.shape == (n % 4, 2)
        expected = np.array([[n + 1.0, side + 1.0] for side in range(n % 4, 0, -1)]).reshape(-1, 2)
        np.testing.assert_allclose(r.embeddings, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-6)


def test_a_bad_picture_is_reported_in_its_place_and_stops_nothing(tmp_path) -> None:
    sources = [picture(1, 1), tmp_path / "missing.jpg", picture(2, 2), b"", picture(3, 3)]
    results = list(Engine(MarkDetector(), MarkEmbedder()).run(sources))
    assert [len(r.faces) for r in results] == [1, 0, 2, 0, 3]
    assert isinstance(results[1].error, ImageError)
    assert "missing.jpg" in str(results[1].error)
    assert results[1].source.endswith("missing.jpg")
    assert results[3].error is not None
    assert [r.error for r in results[::2]] == [None] * 3


def test_no_pictures_give_no_results() -> None:
    assert list(Engine(MarkDetector(), MarkEmbedder()).run([])) == []


def test_detection_alone_gives_empty_embeddings() -> None:
    (only,) = Engine(MarkDetector(), None).run([picture(3, 0)])
    assert len(only.faces) == 3
    assert only.embeddings.shape == (3, 0)


def test_large_pictures_are_worked_off_in_small_batches() -> None:
    detector = MarkDetector()
    side = 2000
    list(Engine(detector, None, workers=1).run(picture(0, 0, side) for _ in range(16)))
    assert detector.most_pixels < PIXELS_AT_ONCE + side * side


def test_sources_are_read_no_further_than_the_window_when_the_consumer_is_slow() -> None:
    taken = 0

    def sources() -> Iterator[Pixels]:
        nonlocal taken
        for n in range(10_000):
            taken = n + 1
            yield picture(0, 0)

    run = Engine(MarkDetector(), None, workers=2).run(sources())
    next(run)
    time.sleep(0.2)
    assert taken <= 16 * 2 * 2
    run.close()  # leaving early must not hang or leak workers


def test_the_consumer_may_leave_early_and_workers_end() -> None:
    before = threading.active_count()
    for _ in Engine(MarkDetector(), None, workers=3).run(picture(0, 0) for _ in range(500)):
        break
    for _ in range(100):
        if threading.active_count() <= before:
            break
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_a_known_number_of_pictures_is_shared_evenly() -> None:
    detector = CountingDetector()
    list(Engine(detector, None, workers=2).run([picture(0, 0)] * 40))
    assert max(detector.batches) <= 40 // 8
    detector = CountingDetector()
    list(Engine(detector, None, workers=2).run([picture(0, 0)] * 4000))
    assert max(detector.batches) == 32


class CountingDetector(MarkDetector):
    """Remembers how many pictures each call was given."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def detect(self, images: Sequence[Pixels]) -> list[Faces]:
        self.batches.append(len(images))
        return super().detect(images)


def test_a_broken_model_is_an_error_not_a_silent_gap() -> None:
    class Broken(MarkDetector):
        def detect(self, images: Sequence[Pixels]) -> list[Faces]:
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        list(Engine(Broken(), None, workers=2).run([picture(0, 0)] * 40))


class PickyDetector(MarkDetector):
    """Fails on every batch that holds the picture with tag 5."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def detect(self, images: Sequence[Pixels]) -> list[Faces]:
        if any(image[0, 0, 1] == 5 for image in images):
            raise self.error
        return super().detect(images)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (InputError("its landmarks coincide"), "its landmarks coincide"),
        (MemoryError(), "too large for this machine's memory"),
        (cv2.error("Insufficient memory"), "Insufficient memory"),
    ],
)
def test_a_picture_that_cannot_be_worked_on_is_reported_in_its_place(error: Exception, says: str) -> None:
    engine = Engine(PickyDetector(error), MarkEmbedder(), workers=2)
    found = list(engine.run([picture(1, tag) for tag in range(12)]))
    assert [i for i, one in enumerate(found) if one.error is not None] == [5]
    assert isinstance(found[5].error, ImageError)
    assert says in found[5].error.reason
    assert [len(one.faces) for one in found] == [1] * 5 + [0] + [1] * 6


def test_images_are_kept_only_when_asked() -> None:
    engine = Engine(MarkDetector(), None)
    assert next(engine.run([picture(0, 0)])).image is None
    kept = next(engine.run([picture(0, 7)], keep_images=True)).image
    assert kept is not None
    assert kept.pixels[0, 0, 1] == 7


def test_at_most_max_faces_are_kept_largest_first() -> None:
    (only,) = Engine(MarkDetector(), None, max_faces=2).run([picture(5, 0)])
    assert only.faces.boxes[:, 2].tolist() == [5, 4]


def test_one_engine_serves_several_threads() -> None:
    engine = Engine(MarkDetector(), MarkEmbedder(), workers=2)
    answers: list[list[int]] = []

    def ask(tag: int) -> None:
        answers.append([len(r.faces) for r in engine.run(picture((n + tag) % 3, n) for n in range(60))])

    threads = [threading.Thread(target=ask, args=(t,)) for t in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(answers) == sorted([(n + tag) % 3 for n in range(60)] for tag in range(4))


def test_workers_must_be_positive() -> None:
    with pytest.raises(ValueError, match="workers"):
        Engine(MarkDetector(), None, workers=0)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_job_gets_each_source_with_its_picture_and_its_result_is_given_in_order(workers: int) -> None:
    sources = [picture(n % 3, n) if n != 7 else b"no picture" for n in range(60)]
    mine = threading.get_ident()
    threads = set()

    def job(source: object, analysis: Analysis) -> tuple[bool, int, bool]:
        threads.add(threading.get_ident())
        shown = analysis.image is not None and bool(np.array_equal(analysis.image.pixels, source))
        return shown, len(analysis.faces), analysis.error is None

    results = list(Engine(MarkDetector(), None, workers=workers).map(sources, job))
    assert results == [(n != 7, 0 if n == 7 else n % 3, n != 7) for n in range(60)]
    assert (mine in threads) == (workers == 1)


def test_what_a_job_raises_ends_the_run() -> None:
    def job(_source: object, _analysis: Analysis) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(Engine(MarkDetector(), None, workers=2).map([picture(0, n) for n in range(40)], job))


@pytest.mark.parametrize("much", [-1, 1])
def test_a_job_of_batches_that_gives_too_few_or_too_many_ends_the_run(much: int) -> None:
    """Or every later result would be taken for that of another picture."""

    def job(given: Sequence[object], _analyses: Sequence[Analysis]) -> list[object]:
        return [*given, *given][: len(given) + much]

    with pytest.raises(ValueError, match=f"returned {8 + much} results for 8 pictures"):
        list(Engine(MarkDetector(), None, workers=2).map_batches([picture(0, n) for n in range(40)], job, chunk=8))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_job_of_batches_gets_chunks_and_its_results_are_given_in_order(workers: int) -> None:
    sources = [picture(n % 3, n) if n != 7 else b"no picture" for n in range(50)]
    sizes = []

    def job(given: Sequence[object], analyses: Sequence[Analysis]) -> Iterator[tuple[object, int]]:
        sizes.append((len(given), len(analyses)))
        return ((source, len(analysis.faces)) for source, analysis in zip(given, analyses, strict=True))

    results = list(Engine(MarkDetector(), None, workers=workers).map_batches(sources, job, chunk=8))
    assert all(got[0] is source for got, source in zip(results, sources, strict=True))
    assert [faces for _, faces in results] == [0 if n == 7 else n % 3 for n in range(50)]
    assert sorted(sizes) == [(2, 2), *[(8, 8)] * 6]
