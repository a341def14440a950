import csv
import io
import json
import random

import numpy as np
import pytest


@pytest.fixture
def known(paint, tmp_path):
    """One person in a flat picture, one in a folder."""
    paint(tmp_path / "known/Ada.png", (1, 0))
    paint(tmp_path / "known/张伟/1.png", (2, 0))
    return tmp_path / "known"


@pytest.fixture
def unknown(paint, tmp_path):
    paint(tmp_path / "unknown/a.png", (1, 0), (9, 0))
    paint(tmp_path / "unknown/b.png", None)
    paint(tmp_path / "unknown/c.png", (2, 0))
    return tmp_path / "unknown"


def everything(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


@pytest.mark.usefixtures("squares")
def test_the_lines_of_the_other_tool(run, known, unknown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = everything(tmp_path)
    answer = run("recognize", "known", "unknown", "--fpir", "0.01")
    assert answer.out.splitlines() == [
        "unknown/a.png,Ada",
        "unknown/a.png,unknown_person",
        "unknown/b.png,no_persons_found",
        "unknown/c.png,张伟",
    ]
    assert (answer.code, answer.err) == (0, "")
    assert everything(tmp_path) == before, "it wrote into the user's folders"


@pytest.mark.usefixtures("squares")
def test_distances_are_the_fourth_thing_and_none_where_there_is_none(run, known, unknown, paint, tmp_path):
    paint(unknown / "a.png", (1, 1), (9, 0))
    lines = run("recognize", known, unknown, "--show-distance", "--fpir", "0.01").out.splitlines()
    cells = [line.split(",") for line in lines]
    assert [cell[1] for cell in cells] == ["Ada", "unknown_person", "no_persons_found", "张伟"]
    # The chord of 0.3 radians on the unit sphere.
    assert float(cells[0][2]) == pytest.approx(2 * np.sin(0.15), abs=1e-3)
    assert [cell[2] for cell in cells[1:3]] == ["None", "None"]


@pytest.mark.usefixtures("squares")
def test_one_file_and_machine_readable_forms(run, known, unknown):
    document = json.loads(run("recognize", known, unknown / "a.png", "--json", "--fpir", "0.01").out)
    assert (document["compat"], document["errors"]) == (False, [])
    (photo,) = document["photos"]
    assert photo["source"] == str(unknown / "a.png")
    ada, stranger = photo["faces"]
    assert ([one["name"] for one in ada["names"]], stranger["names"]) == (["Ada"], [])
    assert ada["box"] == [2, 2, 22, 22]
    rows = list(csv.DictReader(io.StringIO(run("recognize", known, unknown, "--csv", "--fpir", "0.01").out)))
    assert [row["name"] for row in rows] == ["Ada", "unknown_person", "no_persons_found", "张伟"]


@pytest.mark.usefixtures("squares")
def test_remarks_on_known_pictures_go_to_stderr(run, known, unknown, paint, broken):
    paint(known / "Blank.png", None)
    paint(known / "Both.png", (3, 0), (4, 0))
    broken(known / "Broken.png")
    answer = run("recognize", known, unknown, "--fpir", "0.01")
    assert answer.code == 2
    assert f"WARNING: No faces found in {known / 'Blank.png'}. Ignoring file." in answer.err
    assert f"More than one face found in {known / 'Both.png'}." in answer.err
    assert f"skipped: {known / 'Broken.png'}" in answer.err
    assert "WARNING" not in answer.out
    assert answer.out.splitlines()[0].endswith("a.png,Ada")


@pytest.mark.usefixtures("squares")
def test_exit_codes(run, known, unknown, paint, tmp_path):
    assert run("recognize", known, paint(tmp_path / "s.png", (9, 0))).code == 1
    assert run("recognize", known, tmp_path / "nowhere").code == 2
    assert run("recognize", tmp_path / "nowhere", unknown).code == 2


@pytest.mark.usefixtures("squares")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tolerance", "0.5"], "--compat"),
        (["--compat", "--fpir", "0.01"], "--compat"),
        (["--compat", "--tolerance", "0"], "--tolerance"),
        (["--fpir", "2"], "--fpir"),
    ],
)
def test_options_that_make_no_sense(run, known, unknown, options, says):
    answer = run("recognize", known, unknown, *options)
    assert answer.code == 2
    assert says in answer.err


@pytest.mark.usefixtures("squares")
def test_compat_prints_every_known_picture_within_the_tolerance(run, known, unknown, paint, monkeypatch):
    """On the fake model: distances are plain Euclidean ones of what the embedder gives, here twice unit vectors."""
    from mien import recognizer as room
    from mien.cli import dlib_distance

    class Doubled(type(room.DlibResNet())):
        def embed(self, chips):
            return 2 * super().embed(chips)

    monkeypatch.setattr(dlib_distance, "dlib_recognizer", lambda _min_face: room.Recognizer(embedder=Doubled()))
    paint(known / "Ada again.png", (1, 1))
    far = 4 * np.sin(0.15)  # 0.598: twice the chord of 0.3 radians
    lines = run("recognize", known, unknown / "a.png", "--compat", "--show-distance").out.splitlines()
    assert [line.rpartition(",")[0].rpartition("/")[2] for line in lines] == [
        "a.png,Ada",
        "a.png,Ada again",
        "a.png,unknown_person",
    ]
    assert [float(line.rpartition(",")[2]) for line in lines[:2]] == pytest.approx([0, far], abs=1e-3)
    narrow = run("recognize", known, unknown / "a.png", "--compat", "--tolerance", "0.5").out.splitlines()
    assert [line.rpartition(",")[2] for line in narrow] == ["Ada", "unknown_person"]


# On real faces

EXPECTED = {
    "alex_lacamoire1.jpg": {"alex_lacamoire"},
    "johnsnow_test1.jpg": {"kit_harington"},
    "kit_with_rose.jpg": {"kit_harington", "rose_leslie"},
    "obama1.jpg": {"obama"},
    "obama_and_biden.jpg": {"obama", "biden"},
}


def names_by_file(out):
    found = {}
    for line in out.splitlines():
        file, name = line.split(",")[:2]
        found.setdefault(file.rpartition("/")[2], []).append(name)
    return found


@pytest.fixture(scope="module")
def examples(mien_data):
    return mien_data / "photos/face_recognition/examples/knn_examples"


@pytest.fixture(scope="module")
def strangers(mien_data, tmp_path_factory):
    """A folder of links to one picture each of 200 people who are not among the known ones."""
    folder = tmp_path_factory.mktemp("strangers")
    acquaintances = {"Joseph_Biden"}  # the known "biden"
    names = sorted({path.name for path in (mien_data / "lfw").iterdir() if path.is_dir()} - acquaintances)
    for name in random.Random(1).sample(names, 200):
        picture = min((mien_data / "lfw" / name).glob("*.jpg"))
        (folder / picture.name).symlink_to(picture)
    return folder


@pytest.mark.data
def test_the_other_tools_own_example_is_right(run, examples):
    answer = run("recognize", examples / "train", examples / "test")
    assert answer.code == 0
    found = names_by_file(answer.out)
    assert set(found) == set(EXPECTED)
    for file, names in EXPECTED.items():
        named = [name for name in found[file] if name != "unknown_person"]
        assert sorted(named) == sorted(names), file


@pytest.mark.data
def test_no_stranger_is_named(run, examples, strangers):
    answer = run("recognize", examples / "train", strangers)
    assert answer.code == 1
    names = [name for found in names_by_file(answer.out).values() for name in found]
    assert len(names) >= 200
    assert set(names) <= {"unknown_person", "no_persons_found"}


@pytest.mark.data
def test_compat_decides_as_dlib_does(run, examples):
    answer = run("recognize", examples / "train", examples / "test", "--compat", "--show-distance")
    assert answer.code == 0
    found = names_by_file(answer.out)
    for file, names in EXPECTED.items():
        assert names <= set(found[file]), file


@pytest.mark.data
def test_compat_distances_are_those_of_dlib(examples):
    """dlib itself, with its own detector, on the same pictures; distances agree to the second decimal."""
    dlib = pytest.importorskip("dlib", reason="needs dlib-bin")
    from mien.cli.dlib_distance import dlib_recognizer
    from mien.images import decode
    from mien.models.packaged import packaged_file

    detector = dlib.get_frontal_face_detector()
    points = dlib.shape_predictor(str(packaged_file("dlib-landmarks-5")))
    net = dlib.face_recognition_model_v1(str(packaged_file("dlib-resnet")))
    files = [*sorted((examples / "train").rglob("*.jp*g")), examples / "test/obama1.jpg"]
    ours, theirs = [], []
    for file, found in zip(files, dlib_recognizer().analyze(files), strict=True):
        pixels = decode(file).pixels
        (rectangle,) = detector(pixels, 0)
        theirs.append(np.array(net.compute_face_descriptor(pixels, points(pixels, rectangle), 1)))
        ours.append(found.embeddings[found.main()])
    pairs = np.triu_indices(len(files), 1)
    a, b = (np.linalg.norm(v[:, None] - v, axis=2)[pairs] for v in (np.array(ours), np.array(theirs)))
    assert np.abs(a - b).mean() < 0.02
    assert np.abs(a - b).max() < 0.1
    assert ((a <= 0.6) == (b <= 0.6)).all()
