"""The verbs on real faces with the true models."""

import json

import pytest
from PIL import Image

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def examples(mien_data):
    return mien_data / "photos" / "face_recognition" / "examples" / "knn_examples"


def test_detect_finds_each_face(run, examples):
    answer = run("detect", examples / "test", "--json")
    faces = {photo["source"].rsplit("/", 1)[-1]: len(photo["faces"]) for photo in json.loads(answer.out)["photos"]}
    assert answer.code == 0
    assert faces["alex_lacamoire1.jpg"] == faces["obama1.jpg"] == 1
    assert faces["kit_with_rose.jpg"] == 2
    assert faces["obama_and_biden.jpg"] >= 2


def test_crop_makes_a_folder_a_person(run, examples, tmp_path):
    assert run("crop", examples / "train", tmp_path / "out").code == 0
    assert {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()} == {
        p.name for p in (examples / "train").iterdir()
    }
    with Image.open(tmp_path / "out" / "obama" / "obama.jpg") as crop:
        assert crop.size == (112, 112)
    # An aligned crop is a portrait again: its own face is found, and its eyes are level.
    answer = run("detect", tmp_path / "out" / "obama" / "obama.jpg", "--json")
    (face,) = json.loads(answer.out)["photos"][0]["faces"]
    (_, left), (_, right) = face["landmarks"][:2]
    assert abs(left - right) < 4


def test_find_finds_every_photo_of_a_person_and_of_no_other(run, examples, tmp_path):
    me = examples / "train" / "obama" / "obama.jpg"
    answer = run("find", me, examples, "--sheet", tmp_path / "sheet.jpg", "--json")
    assert answer.code == 0
    document = json.loads(answer.out)
    found = {match["source"].rsplit("/", 1)[-1] for match in document["matches"]}
    assert found == {"obama.jpg", "obama2.jpg", "obama1.jpg", "obama_and_biden.jpg"}
    assert [m["is_query"] for m in document["matches"]] == [True, False, False, False]
    assert (tmp_path / "sheet.jpg").stat().st_size > 1000


def test_compare_parts_people(run, examples):
    answer = run("compare", examples / "train", "--json")
    assert answer.code == 0
    document = json.loads(answer.out)
    assert len(document["people"]) == 5
    assert document["false_match"]["count"] == document["false_non_match"]["count"] == 0
    assert document["same"]["mean"] > document["threshold"] > document["different"]["mean"]
    assert document["provisional"] is False
