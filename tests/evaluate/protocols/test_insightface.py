import pickle

import numpy as np
import pytest

from mien.data.insightface_bin import write_bin
from mien.errors import InputError
from mien.evaluate.protocols import InsightFaceProtocol
from mien.images import ARCFACE_112, decode


def test_pairs_and_folds(tmp_path, jpeg):
    pictures = [jpeg(i) for i in range(46)]
    same = [i % 2 == 0 for i in range(23)]
    found = InsightFaceProtocol(write_bin(tmp_path / "agedb_30.bin", pictures, same)).read()
    assert found.name == "agedb_30"
    assert found.same.tolist() == same
    assert [bytes(found.pictures[i].source) for i in found.pairs.ravel()] == pictures
    assert found.pictures[5].name == "agedb_30.bin[5]"
    np.testing.assert_allclose(found.pictures[0].landmarks, ARCFACE_112)
    assert decode(found.pictures[7].source).size == (24, 24)
    sklearn = pytest.importorskip("sklearn.model_selection")
    for fold, (_, test) in enumerate(sklearn.KFold(10, shuffle=False).split(np.arange(23))):
        assert np.flatnonzero(found.folds == fold).tolist() == test.tolist()
    assert found.subject is None


def test_pictures_that_recur_are_one_and_odd_pairs_are_stated(tmp_path, jpeg):
    a, b, c = (jpeg(i) for i in (1, 2, 3))
    pictures = [a, b, a, c, b, a, c, c, b, c, c, b]
    same = [True, False, True, True, True, False]
    found = InsightFaceProtocol(write_bin(tmp_path / "x.bin", pictures, same), folds=2).read()
    assert [p.name for p in found.pictures] == ["x.bin[0]", "x.bin[1]", "x.bin[3]"]
    assert found.pairs.tolist() == [[0, 1], [0, 2]]
    assert found.same.tolist() == [True, False]
    assert sorted(e.why for e in found.exclusions) == [
        "the pair compares a picture with itself",
        "the pair is given both as of one person and as of two",
        "the pair repeats an earlier one",
        "the pair repeats an earlier one",
    ]


def test_not_aligned_and_hostile(tmp_path, jpeg):
    path = write_bin(tmp_path / "x.bin", [jpeg(i) for i in range(4)], [True, False])
    assert InsightFaceProtocol(path, aligned=False).read().pictures[0].landmarks is None
    path.write_bytes(pickle.dumps(print))
    with pytest.raises(InputError, match=r"x\.bin.*print"):
        InsightFaceProtocol(path).read()
