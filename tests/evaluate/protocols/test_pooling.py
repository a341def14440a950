import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.evaluate.protocols import Templates, pool_templates, pooling


def plain(embeddings, templates, found):
    """The same in plain loops, from the definition."""
    rows, has = [], []
    for t in range(len(templates)):
        media = {}
        for at in range(templates.offsets[t], templates.offsets[t + 1]):
            if found[templates.members[at]]:
                media.setdefault(int(templates.media[at]), []).append(embeddings[templates.members[at]].astype(float))
        total = sum((np.mean(faces, axis=0) for faces in media.values()), np.zeros(embeddings.shape[1]))
        length = np.linalg.norm(total)
        has.append(bool(media))
        rows.append(total / length if media else total)
    return np.array(rows), np.array(has)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), min_size=1, max_size=8), st.integers(0, 999))
def test_against_plain_loops(shape, seed):
    rng = np.random.default_rng(seed)
    counts = [sum(media) for media in shape]
    n = sum(counts) + 2
    members = rng.permutation(n)[: sum(counts)]
    media = np.concatenate([np.repeat(np.arange(len(m)), m) for m in shape])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    templates = Templates([str(i) for i in range(len(shape))], members, media, offsets, ["p"], np.zeros(len(shape)))
    embeddings = rng.normal(size=(n, 8)).astype(np.float32)
    found = rng.random(n) < 0.8
    expected, expected_has = plain(embeddings, templates, found)
    embeddings[~found] = np.nan
    for chunk in (1, 40, 1 << 20):
        before, pooling._CHUNK = pooling._CHUNK, chunk
        try:
            rows, has = pool_templates(embeddings, templates, found=found)
        finally:
            pooling._CHUNK = before
        np.testing.assert_array_equal(has, expected_has)
        np.testing.assert_allclose(rows, expected, atol=2e-5)
        assert rows.dtype == np.float32


def test_single_pictures_stay_what_they_are():
    embeddings = np.eye(3, dtype=np.float32)
    rows, has = pool_templates(embeddings, Templates.single(["a", "b", "c"], ["p"], np.zeros(3, np.intp)))
    np.testing.assert_array_equal(rows, embeddings)
    assert has.all()


def test_shapes_that_do_not_fit():
    templates = Templates.single(["a", "b"], ["p"], np.zeros(2, np.intp))
    with pytest.raises(ValueError, match="more pictures"):
        pool_templates(np.ones((1, 4), np.float32), templates)
    with pytest.raises(ValueError, match="expected"):
        pool_templates(np.ones((2, 4), np.float32), templates, found=np.ones(3, np.bool_))


@pytest.mark.parametrize("offsets", [[0, 1], [0, 2, 2], [1, 1, 2], [0, 2, 1], [0, 1, 3]])
def test_offsets_that_are_none(offsets):
    with pytest.raises(ValueError, match="offsets"):
        Templates(["a", "b"], [0, 1], [0, 0], offsets, ["p"], [0, 0])
