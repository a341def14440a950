"""Evidence of sub-centres: wrong pictures that are planted are found, and the cleaning room reads the file."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError
from mien.prepare.verdicts import read_evidence
from mien.train.sub_centre_evidence import sub_centre_evidence, write_evidence


def planted(people=7, each=12, k=3, dim=32, seed=0):
    """Each person's pictures lie by one of its centres, the last two by another, which is a stranger's place."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(people, k, dim))
    main = rng.integers(0, k, people)
    labels = np.repeat(np.arange(people), each)
    at = np.repeat(main, each)
    wrong = np.tile(np.arange(each) >= each - 2, people)
    at = np.where(wrong, (at + 1) % k, at)
    rows = 7 * (centres[labels, at] + 0.3 * rng.normal(size=(len(labels), dim)))
    return rows.astype(np.float32), labels, centres.astype(np.float32), main, at, wrong


def test_planted_pictures_are_found():
    rows, labels, centres, main, at, wrong = planted()
    found = sub_centre_evidence(rows, labels, centres)
    np.testing.assert_array_equal(found.dominant, main)
    np.testing.assert_array_equal(found.nearest, at)
    np.testing.assert_array_equal(found.on_dominant, ~wrong)
    for i in (0, 5, 11, 40):  # by hand
        a, b = rows[i].astype(float), centres[labels[i], main[labels[i]]].astype(float)
        c = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        assert found.cosine[i] == pytest.approx(c, abs=1e-5)
        assert found.score[i] == pytest.approx(min(max((math.degrees(math.acos(c)) - 60) / 30, 0), 1), abs=1e-3)
    assert found.score[wrong].min() > 0.5 > found.score[~wrong].max()


def test_the_cleaning_room_reads_the_file(tmp_path):
    rows, labels, centres, *_ = planted()
    found = sub_centre_evidence(rows, labels, centres)
    names = [f"person {label}/{i}, 面.jpg" for i, label in enumerate(labels)]
    write_evidence(tmp_path / "evidence.csv", names, found)
    read = read_evidence(tmp_path / "evidence.csv")
    assert list(read) == names
    np.testing.assert_allclose(list(read.values()), found.score, atol=1e-4)
    for name in ("../a.jpg", "/etc/a.jpg", "a.txt", "a\0.jpg"):
        with pytest.raises(InputError, match="below the folder"):
            write_evidence(tmp_path / "bad.csv", [name, *names[1:]], found)
    assert not (tmp_path / "bad.csv").exists()


@pytest.mark.parametrize("broken", ["one centre", "labels", "nan", "zero", "shape", "limit"])
def test_what_makes_no_sense_is_refused(broken):
    rows, labels, centres, *_ = planted()
    limit = 75.0
    match broken:
        case "one centre":
            centres = centres[:, :1]
        case "labels":
            labels = labels + 1
        case "nan":
            rows[3] = np.nan
        case "zero":
            centres[2, 1] = 0
        case "shape":
            rows = rows[:, :-1]
        case "limit":
            limit = 0.0
    with pytest.raises(InputError, match="evidence"):
        sub_centre_evidence(rows, labels, centres, limit=limit)
