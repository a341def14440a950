import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import InputError, NotFoundError
from mien.evaluate.protocols import FolderProtocol
from mien.evaluate.protocols.folder import leave_one_out
from mien.evaluate.protocols.pictures import PictureFolder
from mien.images import decode


@pytest.fixture
def family(put):
    names = [f"人物{i}/{j}.jpg" for i in range(6) for j in range(i + 1)]
    return put(*names, "<script>alert(1)</script>/a.jpg", "solo.png")


def test_all_pairs_against_a_plain_count(family):
    (family / "empty").mkdir()
    found = FolderProtocol(family).all_pairs()
    assert found.name == "set"
    assert len(found.people) == 8
    assert "<script>alert(1)</script>"[:7] in str(found.people)
    n = len(found.pictures)
    pairs = [(i, j) for i in range(n) for j in range(i)]
    genuine = sum(found.subject[i] == found.subject[j] for i, j in pairs)
    assert (found.genuine, found.impostor) == (genuine, len(pairs) - genuine)
    assert [(e.what, e.why) for e in found.exclusions] == [("empty", "the person has no picture")]
    for picture, person in zip(found.pictures, found.subject, strict=True):
        assert picture.name.startswith(found.people[person])
        decode(picture.source)


def check_split(found, share, people):
    subject = found.templates.subject
    gallery, known, unknown = (set(x.tolist()) for x in (found.gallery, found.known, found.unknown))
    assert found.scheme == "leave-one-out"
    assert gallery | unknown == set(range(len(found.pictures)))
    assert not gallery & unknown
    enrolled = {subject[i] for i in gallery}
    strangers = {subject[i] for i in unknown}
    assert not enrolled & strangers
    assert len(strangers) == round(people * share)
    assert len(enrolled) == found.gallery_size == people - len(strangers)
    # A known probe is exactly an enrolled picture whose person stays enrolled without it.
    assert known == {i for i in gallery if sum(subject[j] == subject[i] for j in gallery) > 1}


def test_identification(family):
    protocol = FolderProtocol(family)
    splits = set()
    for seed in range(20):
        found = protocol.identification(seed=seed)
        check_split(found, 0.5, 8)
        assert f"seed {seed}" in found.rules
        again = protocol.identification(seed=seed)
        assert np.array_equal(found.unknown, again.unknown)
        splits.add(tuple(found.unknown.tolist()))
    assert len(splits) > 5


def test_strangers_are_drawn_whatever_number_of_pictures_they_have(family):
    """Over many seeds each person is a stranger about half of the time."""
    times = np.zeros(8)
    for seed in range(400):
        found = FolderProtocol(family).identification(seed=seed) if seed < 1 else None
        drawn = np.random.default_rng(seed).permutation(8)[:4]
        if found is not None:
            assert set(found.templates.subject[found.unknown].tolist()) == set(drawn.tolist())
        times[drawn] += 1
    assert (np.abs(times - 200) < 5 * np.sqrt(400 * 0.25)).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=12), st.floats(0.1, 0.9), st.integers(0, 2**31))
def test_any_folder_splits_by_the_same_rules(tmp_path_factory, counts, share, seed):
    files = PictureFolder(tmp_path_factory.getbasetemp())
    people = [(f"p{i}", [f"p{i}/{j}.jpg" for j in range(n)]) for i, n in enumerate(counts)]
    try:
        found = leave_one_out("x", files, people, seed=seed, strangers=share)
    except InputError:
        return
    check_split(found, share, sum(n > 0 for n in counts))
    excluded = {e.what for e in found.exclusions}
    assert {name for name, pictures in people if not pictures} <= excluded


def test_most_pictures_of_a_person(family):
    found = FolderProtocol(family, most=2, seed=3).all_pairs()
    assert np.bincount(found.subject).max() == 2
    assert sum("more than 2" in e.why for e in found.exclusions) == 4
    other = FolderProtocol(family, most=2, seed=4).all_pairs()
    assert [p.name for p in found.pictures] != [p.name for p in other.pictures]
    with pytest.raises(InputError, match="most=0"):
        FolderProtocol(family, most=0)


def test_folders_with_too_little_in_them(put, tmp_path):
    with pytest.raises(NotFoundError, match="gone"):
        FolderProtocol(tmp_path / "gone").all_pairs()
    one = put("a/1.jpg", "a/2.jpg", root="one")
    with pytest.raises(InputError, match="second person"):
        FolderProtocol(one).all_pairs()
    with pytest.raises(InputError, match="enough people"):
        FolderProtocol(one).identification()
    single = put("a/1.jpg", "b/1.jpg", root="single")
    with pytest.raises(InputError, match="two pictures"):
        FolderProtocol(single).all_pairs()
    with pytest.raises(InputError, match="two pictures"):
        FolderProtocol(single).identification()
    with pytest.raises(InputError, match="between 0 and 1"):
        FolderProtocol(single).identification(strangers=1.0)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="no person"):
        FolderProtocol(tmp_path / "nothing").all_pairs()


def test_the_users_own_links_are_followed(put):
    outside = put("1.jpg", "2.jpg", root="outside")
    folder = put("a/1.jpg", "a/2.jpg")
    (folder / "b").symlink_to(outside)
    assert len(FolderProtocol(folder).all_pairs().pictures) == 4
