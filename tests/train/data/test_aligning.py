"""Photos to aligned pictures, and folders that `mien crop` made."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError
from mien.images import aligned_crops, decode, list_images, save
from mien.prepare.cropping import CropOptions, crop
from mien.recognizer import Recognizer
from mien.train.backbones import InputSpec
from mien.train.backbones.spec import arcface_template
from mien.train.data import Batches, Shuffle, Source, open_training_set
from mien.types import Image

SPEC = InputSpec.plain(112)


def write(pixels, path):
    save(Image(pixels), path)


@pytest.fixture
def portraits(tmp_path, hopper, astronaut):
    """Two people's photos, one of them small, and one picture without a face."""
    folder = tmp_path / "photos"
    for name, path in (("Grace", hopper), ("Eileen", astronaut)):
        (folder / name).mkdir(parents=True)
        shutil.copy(path, folder / name)
    pixels = decode(hopper).pixels
    write(cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), folder / "Grace" / "small.png")
    write(np.full((80, 80, 3), 90, np.uint8), folder / "Grace" / "zero.png")
    return folder


def test_the_main_face_is_cut_by_the_networks_template(portraits, tmp_path):
    data = open_training_set([Source(path=str(portraits))], spec=SPEC, cache=tmp_path / "c")
    assert data.people == ("Eileen", "Grace")
    assert data.labels.tolist() == [0, 1, 1]
    assert [(left.name.split("/")[-1], left.reason) for left in data.left_out] == [("zero.png", "no face found")]
    recognizer = Recognizer()
    for i, path in enumerate(list_images(portraits)[:3]):
        image = decode(path).pixels
        found = recognizer.detect(path)
        face = found.take([found.main((image.shape[1], image.shape[0]))])
        expected = aligned_crops(image, face, np.array(SPEC.template), (112, 112))[0]
        assert np.abs(data.picture(i).astype(int) - expected).mean() < 1
    again = open_training_set(
        [Source(path=str(portraits))], spec=SPEC, cache=tmp_path / "c", progress=lambda *_: pytest.fail("made again")
    )
    assert np.array_equal(again.picture(2), data.picture(2))


def test_packed_photos_are_aligned_too(portraits, tmp_path):
    from mien.prepare.packing import pack

    pack(portraits, tmp_path / "set.tar")
    folder = open_training_set([Source(path=str(portraits))], spec=SPEC, cache=tmp_path / "c")
    data = open_training_set([Source(path=str(tmp_path / "set.tar"))], spec=SPEC, cache=tmp_path / "c")
    assert data.labels.tolist() == folder.labels.tolist()
    assert all(np.array_equal(data.picture(i), folder.picture(i)) for i in range(3))
    assert data.left_out[0].name.endswith("set.tar, picture 3")


def cropped(photos, target, **options):
    list(crop(photos, target, Recognizer(), CropOptions(**options)))
    return target


def test_a_cropped_folder_that_fits_counts_as_aligned(portraits, tmp_path):
    target = cropped(portraits, tmp_path / "crops")
    data = open_training_set([Source(path=str(target))], spec=SPEC)
    assert len(data) == 3
    photos = open_training_set([Source(path=str(portraits))], spec=SPEC, cache=tmp_path / "c")
    # JPEG lies between.
    assert all(np.abs(data.picture(i).astype(int) - photos.picture(i)).mean() < 4 for i in range(3))
    assert len(open_training_set([Source(path=str(target))], spec=InputSpec.plain(64))) == 3


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"margin": 0.2}, "lie elsewhere"),
        ({"template": "dlib150"}, "lie elsewhere"),
        ({"size": (112, 96)}, "not square"),
        ({"align": False}, "not aligned"),
    ],
)
def test_a_cropped_folder_that_does_not_fit_is_refused_as_aligned(portraits, tmp_path, options, why):
    target = cropped(portraits, tmp_path / "crops", **options)
    with pytest.raises(InputError, match=why):
        open_training_set([Source(path=str(target), aligned=True)], spec=SPEC)


def test_what_a_margin_does_is_reckoned_with(portraits, tmp_path):
    target = cropped(portraits, tmp_path / "crops", margin=0.25, size=(150, 150))
    points = (np.array(arcface_template(112)) + 0.5 - 56) / 1.5 + 56 - 0.5
    spec = InputSpec(size=112, template=tuple(map(tuple, points.tolist())))
    assert len(open_training_set([Source(path=str(target), aligned=True)], spec=spec)) == 3


def test_the_border_is_black_or_the_pictures_mirror_image_in_stores_of_their_own(portraits, tmp_path):
    wide = InputSpec(size=112, template=tuple(((x - 56) / 6 + 56, (y - 56) / 6 + 56) for x, y in SPEC.template))
    sources, cache = [Source(path=str(portraits))], tmp_path / "cache"
    black = open_training_set(sources, spec=wide, cache=cache)
    mirrored = open_training_set(sources, spec=wide, cache=cache, border="reflect")
    assert len(list(cache.glob("aligned-*"))) == 2
    for i in range(len(black)):
        without, filled = black.picture(i), mirrored.picture(i)
        beyond = without.max(2) == 0
        assert beyond.mean() > 0.2
        assert filled[beyond].max(1).astype(bool).mean() > 0.9
        inside = ~cv2.dilate(beyond.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        assert np.array_equal(without[inside], filled[inside])


def test_strange_manifests_are_no_reason_to_fail(people):
    manifest = people / "manifest.jsonl"
    heads = ([], {"verb": "crop"}, {"verb": "crop", "settings": 3}, {"verb": "clean", "settings": {}})
    try:
        for content in ("", "no json", *map(json.dumps, heads)):
            manifest.write_text(content + "\n")
            assert len(open_training_set([Source(path=str(people), aligned=True)], spec=SPEC)) == 33
        for settings in ({"align": True, "template": ["x"]}, {"align": True, "template": "arcface112", "size": "big"}):
            manifest.write_text(json.dumps({"verb": "crop", "settings": settings}) + "\n")
            with pytest.raises(InputError, match=r"manifest|template"):
                open_training_set([Source(path=str(people), aligned=True)], spec=SPEC)
    finally:
        manifest.unlink()


def test_real_faces(mien_data, tmp_path):
    """Eyes are where the template has them, by a second look of the detector at the aligned pictures."""
    lines = []
    for person in sorted((mien_data / "celebs64").iterdir())[:8]:
        lines += [f"{path}\t{person.name}" for path in sorted(person.iterdir())[:5]]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    data = open_training_set([Source(path=str(tmp_path / "list.txt"))], spec=SPEC, cache=tmp_path / "c")
    assert len(data) >= 37
    assert len(data.people) == 8
    recognizer, off = Recognizer(), []
    for i in range(len(data)):
        found = recognizer.detect(data.picture(i))
        if len(found):
            off.append(np.abs(found.landmarks[found.main((112, 112))] - np.array(SPEC.template)).mean())
    assert len(off) >= 0.9 * len(data)
    assert np.median(off) < 3
    batch = next(iter(Batches(data, Shuffle(data), batch=16).epoch(0)))
    assert batch.pictures.shape == (16, 112, 112, 3)
