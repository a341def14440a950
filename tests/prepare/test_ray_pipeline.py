"""The same work on a local Ray cluster gives the same bytes, also when a worker is killed."""

import functools
import gc
import importlib.util
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from mien.errors import InputError
from mien.prepare.cropping import CropOptions, crop
from mien.prepare.embed_folder import embed_folder
from mien.prepare.manifest import read_manifest
from mien.prepare.ray_pipeline import Cluster, start_local
from mien.recognizer import Recognizer

if importlib.util.find_spec("ray") is None:
    pytest.skip("Ray is not installed (the extra `ray`)", allow_module_level=True)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ray's own imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves log files open at its end
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class DyingOnce(Recognizer):
    """A worker that is killed while it works on its third shard, unless one was before."""

    def __init__(self, marker: str) -> None:
        super().__init__("fast", workers=1)
        self.marker, self.shards = Path(marker), 0

    def map(self, images, job, **options):
        self.shards += 1
        if self.shards == 3:
            try:
                self.marker.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().map(images, job, **options)


@pytest.fixture(scope="module")
def cluster():
    """One local cluster for all tests here: starting one takes seconds."""
    import cloudpickle
    import ray

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    start_local(num_cpus=2)
    yield functools.partial(Cluster, address="local", workers=2, shard=4)
    ray.shutdown()
    gc.collect()  # what Ray leaves open is told here, where it is expected, and not in a later test


def test_a_cluster_that_is_late_is_started_again(monkeypatch):
    import ray

    starts = []

    def late(**options):
        starts.append(options)
        if len(starts) < 3:
            Node()

    class Node:
        def __init__(self):
            raise Exception("The current node timed out during startup.")

        def kill_all_processes(self, **_):
            ended.append(len(starts))

    ended: list[int] = []
    monkeypatch.setattr(ray, "init", late)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    start_local(num_cpus=2)
    assert ended == [1, 2]  # what a late node had started does not go on
    assert [o["num_cpus"] for o in starts] == [2, 2, 2]
    starts[:] = []
    monkeypatch.setattr(ray, "init", lambda **_: (starts.append(1), 1 / 0))
    with pytest.raises(InputError, match="did not start"):
        start_local()
    assert len(starts) == 3
    starts[:] = []
    monkeypatch.setattr(ray, "init", lambda **_: (starts.append(1), int("no number")))
    with pytest.raises(ValueError, match="no number"):
        start_local()
    assert len(starts) == 1  # what no second attempt would mend is not tried again


@pytest.fixture(scope="module")
def photos(hopper, astronaut, tmp_path_factory):
    """Forty photos of two people, none of them twice the same, one broken and one empty."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("ray") / "photos"
    for name, path in (("Grace", hopper), ("艾琳", astronaut)):
        (folder / name).mkdir(parents=True)
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((220, 220))
        for i in range(20):
            picture.rotate(i - 10).save(folder / name / f"{i}.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no")
    Image.new("RGB", (40, 40)).save(folder / "wall.png")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and not p.name.endswith((".lock", ".jsonl"))
    }


def lines(folder: Path) -> list[dict]:
    return sorted(read_manifest(folder), key=lambda entry: entry["source"])


@pytest.mark.parametrize(
    "options", [{"options": CropOptions(choose="all")}, {"match_folder": True}], ids=["all", "folder"]
)
def test_crops_are_the_same_bytes_and_the_manifest_the_same_lines(cluster, photos, tmp_path, options):
    recognizer = Recognizer("fast", workers=2)
    alone = list(crop(photos, tmp_path / "alone", recognizer, **options))
    made = cluster(recognizer=functools.partial(Recognizer, "fast", workers=1))
    together = list(crop(photos, tmp_path / "ray", recognizer, cluster=made, **options))
    assert [(a.source, a.decision, a.faces) for a in together] == [(a.source, a.decision, a.faces) for a in alone]
    assert len(tree(tmp_path / "alone")) >= 40
    assert tree(tmp_path / "ray") == tree(tmp_path / "alone")
    assert lines(tmp_path / "ray") == lines(tmp_path / "alone")


def test_a_killed_worker_s_shard_is_done_again(cluster, photos, tmp_path):
    marker = tmp_path / "killed"
    made = cluster(recognizer=functools.partial(DyingOnce, str(marker)))
    recognizer = Recognizer("fast", workers=2)
    list(crop(photos, tmp_path / "ray", recognizer, cluster=made))
    assert marker.exists()  # one was killed
    list(crop(photos, tmp_path / "alone", recognizer))
    assert tree(tmp_path / "ray") == tree(tmp_path / "alone")
    sources = [entry["source"] for entry in read_manifest(tmp_path / "ray")]
    assert len(sources) == len(set(sources)) == 42


def test_embeddings_are_the_same(cluster, photos, tmp_path):
    recognizer = Recognizer("fast", workers=2)
    made = cluster(recognizer=functools.partial(Recognizer, "fast", workers=1))
    list(embed_folder(photos, tmp_path / "alone.npz", recognizer))
    list(embed_folder(photos, tmp_path / "ray.npz", recognizer, cluster=made))
    with np.load(tmp_path / "alone.npz") as alone, np.load(tmp_path / "ray.npz") as together:
        assert alone["names"].tolist() == together["names"].tolist()
        assert len(alone["names"]) == 40
        np.testing.assert_allclose(alone["embeddings"], together["embeddings"], atol=1e-6)
        np.testing.assert_array_equal(alone["boxes"], together["boxes"])
