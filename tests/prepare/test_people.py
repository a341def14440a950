"""Choosing, splitting and pairing people."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import InputError
from mien.prepare.pairing import draw_pairs
from mien.prepare.people import select, split

NAMES = ["Ada", "Grace", "Katherine", "Li Na", "张伟", "Zoë"]


def made_up(sizes):
    return sorted(
        (name, [Path(f"/in/{name}/{name}_{i:04d}.jpg") for i in range(1, size + 1)])
        for name, size in zip((f"{n} {k}" for k in range(99) for n in NAMES), sizes, strict=False)
    )


def test_those_with_most_pictures():
    people = made_up([3, 9, 1, 9, 5, 4])
    assert [(n, len(p)) for n, p in select(people, count=3)] == [("Grace 0", 9), ("Li Na 0", 9), ("张伟 0", 5)]
    assert [len(p) for _, p in select(people, least=4, most=4)] == [4, 4, 4, 4]
    assert select(people, most=2, seed=1) == select(people, most=2, seed=1) != select(people, most=2, seed=2)
    with pytest.raises(InputError, match="only 2 have at least 6"):
        select(people, count=3, least=6)
    with pytest.raises(InputError, match="at least 1"):
        select(people, least=0)
    with pytest.raises(InputError, match="nobody has at least 100 pictures; 9 are"):
        select(people, least=100)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=12, max_size=60), st.integers(0, 5))
def test_nobody_is_in_two_sets_and_nobody_is_lost(sizes, seed):
    people = made_up(sizes)
    sets = split(people, {"train": 0.5, "val": 0.25, "test": 0.25}, seed=seed)
    names = [name for part in sets.values() for name, _ in part]
    assert sorted(names) == [name for name, _ in people]
    assert abs(len(sets["train"]) - len(people) / 2) <= 1


def test_a_split_by_pictures_divides_everybody():
    people = made_up([8] * 5)
    sets = split(people, {"train": 0.75, "test": 0.25}, by="pictures")
    assert all(len(pictures) == 6 for _, pictures in sets["train"])
    both = {p for _, ps in sets["train"] for p in ps} & {p for _, ps in sets["test"] for p in ps}
    assert not both


@pytest.mark.parametrize("shares", [{}, {"a": 0.0}, {"a": 0.8, "b": 0.3}, {"a": float("nan")}, {"a": 0.99, "b": 0.01}])
def test_shares_that_make_no_sense(shares):
    with pytest.raises(InputError):
        split(made_up([2] * 6), shares)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2, 6), min_size=20, max_size=60), st.integers(0, 9), st.integers(1, 5))
def test_pairs_are_balanced_disjoint_and_never_repeat(sizes, seed, folds):
    people = made_up(sizes)
    found = draw_pairs(people, pairs=3, folds=folds, seed=seed)
    assert len(found.folds) == folds
    where = {}
    every = [pair for fold in found.folds for pair in fold]
    assert (
        len({frozenset([(p.person_a, p.picture_a), (p.person_b or p.person_a, p.picture_b)]) for p in every})
        == 6 * folds
    )
    there = {(name, path.name) for name, paths in people for path in paths}
    for number, fold in enumerate(found.folds):
        assert [pair.same for pair in fold] == [True] * 3 + [False] * 3
        for pair in fold:
            assert pair.person_b != pair.person_a
            for name, picture in ((pair.person_a, pair.picture_a), (pair.person_b or pair.person_a, pair.picture_b)):
                assert (name, picture) in there
                assert where.setdefault(name, number) == number


def test_the_list_is_lfws(tmp_path):
    from mien.evaluate.protocols.lfw import read_lfw_pairs

    people = made_up([3] * 30)
    for folds in (1, 3):
        text = draw_pairs(people, pairs=4, folds=folds).text()
        assert text.splitlines()[0] == ("4" if folds == 1 else "3\t4")
        (tmp_path / "pairs.txt").write_text(text, "utf-8")
        pairs, found = read_lfw_pairs(tmp_path / "pairs.txt")
        assert (len(pairs), found) == (8 * folds, folds)


def test_all_pairs_there_are_can_be_drawn():
    found = draw_pairs(made_up([2, 2, 2]), pairs=3)
    assert len(set(found.folds[0])) == 6
    with pytest.raises(InputError, match="3 pairs of pictures, and 4"):
        draw_pairs(made_up([2, 2, 2]), pairs=4)


def test_names_that_would_break_the_list_are_refused():
    with pytest.raises(InputError, match="no tab"):
        draw_pairs([("Ada", [Path("a\tb.jpg"), Path("c.jpg")])], pairs=1)
    with pytest.raises(InputError, match="one file name"):
        draw_pairs([("Ada", [Path("x/a.jpg"), Path("y/a.jpg")])], pairs=1)
