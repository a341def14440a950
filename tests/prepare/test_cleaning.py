"""`clean` on made-up embeddings whose answers are known."""

import numpy as np
import pytest

from mien.errors import InputError
from mien.match import Calibration, OperatingPoint, ScoreSpread
from mien.prepare.cleaning import CleanRules, Verdict, find_wrong
from mien.prepare.cleaning_folder import clean
from mien.prepare.cleaning_sheet import write_clean_sheet
from mien.prepare.embedding import PeopleFolder

# People at right angles, looks of one person at cosine 0.8 to each other on average.
RULES = CleanRules(link=0.4, same=0.5, stranger_mean=0.0, stranger_sd=0.15)


def point(fmr, threshold, tar):
    return OperatingPoint(fmr, threshold, tar, supported=True)


CALIBRATION = Calibration(
    model="dlib-resnet29", preset="fast", sha256="ab" * 32, provisional=False, made_on="numbers", date="2026-01-31",
    genuine=ScoreSpread(100, 0.8, 0.05), impostor=ScoreSpread(10_000, 0.0, 0.15),
    table=(point(1e-1, 0.2, 1.0), point(2e-2, 0.4, 1.0), point(1e-3, 0.5, 0.99), point(1e-5, 0.6, 0.9)),
)  # fmt: skip


def faces(rng, person, count, dimension=64):
    middle = np.zeros(dimension)
    middle[person] = 1
    noise = rng.normal(size=(count, dimension)) * (0.5 / np.sqrt(dimension))
    rows = middle + noise
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def a_set(rng, folders, each=12):
    """Folders of (person, count) parts."""
    vectors, folder, truth = [], [], []
    for number, parts in enumerate(folders):
        for person, count in parts or [(number, each)]:
            vectors.append(faces(rng, person, count))
            folder += [number] * count
            truth += [person] * count
    return np.concatenate(vectors), np.array(folder), np.array(truth)


@pytest.mark.parametrize("seed", range(5))
def test_strangers_and_pictures_of_other_folders_are_wrong(seed):
    rng = np.random.default_rng(seed)
    vectors, folder, truth = a_set(rng, [[(n, 12), (40 + n, 1), ((n + 1) % 12, 1)] for n in range(12)])
    found = find_wrong(vectors, folder, RULES)
    assert np.array_equal(found.verdict >= Verdict.WRONG, truth != folder)
    inside = (truth != folder) & (truth < 12)
    assert np.array_equal(found.nearest[inside], truth[inside])
    assert (found.second, found.same) == ((), ())


@pytest.mark.parametrize("seed", range(5))
def test_a_folder_of_two_people_and_a_person_of_two_folders(seed):
    rng = np.random.default_rng(seed)
    folders = [None] * 8
    folders[3] = [(3, 12), (20, 5)]
    folders[6] = [(1, 12)]
    vectors, folder, truth = a_set(rng, folders)
    found = find_wrong(vectors, folder, RULES)
    assert found.second == (3,)
    assert np.array_equal(found.verdict == Verdict.SECOND, truth == 20)
    assert set(found.group[truth == 20].tolist()) == {1}
    assert [(p.a, p.b) for p in found.same] == [(1, 6)]
    # Each of a person's two folders fits the other's as well: nothing is moved for that.
    assert not (found.verdict[(folder == 1) | (folder == 6)] >= Verdict.WRONG).any()


def test_one_folder_leans_on_the_calibration():
    rng = np.random.default_rng(1)
    vectors, folder, truth = a_set(rng, [[(0, 10), (5, 1)]])
    found = find_wrong(vectors, folder, RULES)
    assert np.array_equal(found.verdict >= Verdict.WRONG, truth == 5)


def test_folders_of_one_picture_and_pictures_without_a_face():
    rng = np.random.default_rng(2)
    vectors, folder, _ = a_set(rng, [[(0, 6)], [(1, 1)], [(2, 6)]])
    vectors[0] = 0
    found = find_wrong(vectors, folder, RULES)
    assert (found.verdict[0], found.verdict[folder == 1].tolist()) == (Verdict.REVIEW, [Verdict.KEEP])
    assert np.isnan(found.score[[0, 6]]).all()


def test_no_faces_at_all():
    found = find_wrong(np.zeros((3, 8), np.float32), np.array([0, 0, 1]), RULES)
    assert found.verdict.tolist() == [Verdict.REVIEW] * 3


def folder_of(tmp_path, vectors, person, names):
    found = vectors.any(axis=1)
    return PeopleFolder(
        tmp_path, tuple(names), tuple(f"P{n}" for n in range(int(person.max()) + 1)), person, vectors, found,
        np.full((len(names), 5, 2), np.nan, np.float32), {}, frozenset(),
    )  # fmt: skip


def test_evidence_decides_what_is_doubtful(tmp_path):
    rng = np.random.default_rng(3)
    vectors, folder, _ = a_set(rng, [None] * 6)
    # A picture half way to a stranger.
    between = 0.35 * vectors[folder == 0].mean(axis=0) + faces(rng, 50, 1)[0]
    vectors[0] = between / np.linalg.norm(between)
    names = [f"P{f}/{i}.jpg" for i, f in enumerate(folder)]
    people = folder_of(tmp_path, vectors, folder, names)
    scores = [
        clean(people, CALIBRATION, evidence=given).found.score[0] for given in ({names[0]: 1.0}, None, {names[0]: 0.0})
    ]
    assert np.allclose(np.diff(scores), 1.0, atol=1e-5)
    with pytest.raises(InputError, match="names no picture"):
        clean(people, CALIBRATION, evidence={"else.jpg": 0.5})


def test_rows_and_page_escape_names(tmp_path):
    rng = np.random.default_rng(4)
    vectors, folder, _ = a_set(rng, [[(0, 8), (30, 1)], None, None, None])
    names = [f"<b>{f}/=图 {i}&.jpg" for i, f in enumerate(folder)]
    report = clean(folder_of(tmp_path, vectors, folder, names), CALIBRATION)
    assert [(r.picture, r.verdict) for r in report.rows() if r.verdict != "review"] == [(names[8], "wrong")]
    assert len(list(report.rows(everything=True))) == len(names)
    page = write_clean_sheet(report, tmp_path / "s" / "page.html", list_file="<l>.csv").read_text("utf-8")
    assert "&lt;b&gt;0/=图 8&amp;.jpg" in page
    assert "&lt;l&gt;.csv" in page
    assert not {"<b>", "<script", "<l>"} & set(page.split())
    assert "<b>" not in page
    assert "default-src 'none'" in page.replace("&#x27;", "'")
