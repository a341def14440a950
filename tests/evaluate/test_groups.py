"""Rates by group against plain loops over made-up faces."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import InputError
from mien.evaluate.embeddings import Embedded
from mien.evaluate.experiment import Setup
from mien.evaluate.groups_csv import AttributeTable
from mien.evaluate.groups_pairs import all_group_pairs, listed_group_pairs
from mien.evaluate.groups_ranges import parse_ranges
from mien.evaluate.groups_run import GroupRequest, with_probe_groups, with_verification_groups
from mien.evaluate.groups_values import gapped, valued
from mien.evaluate.identification import identify_set
from mien.evaluate.metrics.pairs import all_pair_scores
from mien.evaluate.protocols.pictures import Picture
from mien.evaluate.protocols.sets import IdentificationSet, PairSet, SubjectSet, Templates, TemplateSet
from mien.evaluate.results import ModelFacts
from mien.evaluate.verification import verify_set

SETUP = Setup(ModelFacts("fake", "fast", "00", 8, "CC0", "none", "CC0"))


def unit(rng, n, d=6):
    rows = rng.normal(size=(n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def people(rng, persons, each, d=6, spread=0.35):
    """Faces about a middle for each person."""
    middles, who = unit(rng, persons, d), np.repeat(np.arange(persons), each)
    rows = middles[who] + spread * rng.normal(size=(len(who), d)).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), who


def subject_set(who):
    pictures = [Picture(f"P{w:02d}/{i}.jpg", "nowhere") for i, w in enumerate(who.tolist())]
    return SubjectSet("made up", "", pictures, tuple(f"P{p:02d}" for p in range(int(who.max()) + 1)), who)


def embedded(rows, found=None):
    found = np.ones(len(rows), np.bool_) if found is None else found
    return Embedded(np.where(found[:, None], rows, 0).astype(np.float32), found, np.full((len(rows), 5, 2), np.nan))


def table(column, values, key="image"):
    rows = {name: (value,) for name, value in values.items()}
    return AttributeTable("a.csv", key, (column,), rows, {name: i + 2 for i, name in enumerate(rows)})


@given(seed=st.integers(0, 2**32 - 1), block=st.integers(1, 40), failed=st.booleans(), gap=st.booleans())
@settings(max_examples=40, deadline=None)
def test_groups_share_out_all_pairs_as_a_loop_does(seed, block, failed, gap):
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat(np.arange(5), rng.integers(1, 6, 5)))
    n = len(who)
    rows, found = unit(rng, n), rng.random(n) < 0.8
    if gap:
        numbers = np.where(rng.random(n) < 0.8, rng.integers(0, 30, n), np.nan)
        attribute = gapped(parse_ranges("--gap", "age:0-5,5-12"), numbers)

        def kind(i, j):
            off = abs(numbers[i] - numbers[j])
            return "(none)" if np.isnan(off) else "0-5" if off < 5 else "5-12" if off <= 12 else "(outside)"
    else:
        labels = rng.choice(["a", "b", "c", ""], n).tolist()
        attribute = valued("letter", labels)

        def kind(i, j):
            a, b = sorted((labels[i], labels[j]))
            return "(none)" if not a else a if a == b else f"{a} / {b}"

    floor = np.float32(0.1)
    arguments = {"floor": floor, "failed": failed, "block_bytes": 4 * n * block}
    parts = all_group_pairs(rows, who, attribute, found, **arguments)
    want = {group.name: ([], [], 0) for group in attribute.groups}
    drawn = rng.integers(0, 3, 5)
    weights = dict.fromkeys(want, 0)
    for i, j in itertools.combinations(range(n), 2):
        if not failed and not (found[i] and found[j]):
            continue
        score = float(np.clip(rows[i] @ rows[j], -1, 1)) if found[i] and found[j] else -1.0
        want[kind(i, j)][int(who[i] != who[j])].append((score, who[i], who[j]))
        if who[i] != who[j]:
            weights[kind(i, j)] += int(drawn[who[i]] * drawn[who[j]])
    for group, part in zip(attribute.groups, parts, strict=True):
        same, other, _ = want[group.name]
        np.testing.assert_allclose(part.genuine, sorted(s for s, *_ in same), atol=1e-6)
        np.testing.assert_allclose(part.impostor, sorted(s for s, *_ in other), atol=1e-6)
        assert sorted(part.owner.tolist()) == sorted(int(a) for _, a, _ in same)
        close = sorted(tuple(sorted((int(a), int(b)))) for s, a, b in other if s >= floor)
        assert sorted(tuple(sorted(p)) for p in zip(part.first.tolist(), part.second.tolist(), strict=True)) == close
        assert part.trials.total() == len(other)
        assert part.trials.weighed(drawn[None].astype(float))[0] == weights[group.name]
        there = {int(p) for _, *pair in same + other for p in pair}
        assert set(np.flatnonzero(part.present()).tolist()) == there


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=4, deadline=None)
def test_counts_add_up_to_the_whole_and_order_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    rows, who = people(rng, 12, 4)
    data, faces = subject_set(who), embedded(rows)
    result = verify_set(data, faces, SETUP, fars=(0.1, 0.01))
    values = {p.name: rng.choice(["a", "b", "c"]) for p in data.pictures}
    found = with_verification_groups(data, faces, result, GroupRequest(table("letter", values)))
    (letters,) = found.groups.attributes
    assert sum(row.genuine for row in letters.rows) == data.genuine
    assert sum(row.impostor for row in letters.rows) == data.impostor
    for k, point in enumerate(found.groups.overall):
        assert sum(row.at[k].false.count for row in letters.rows) == round(point.reached * data.impostor)
        assert sum(row.at[k].missed.count for row in letters.rows) == round((1 - point.rate) * data.genuine)
        worst = letters.worst[k]
        if worst.group:
            for row in letters.rows:
                if row.at[k].own.threshold is not None:
                    assert row.at[k].own.threshold <= worst.threshold
            assert worst.success <= point.rate + 1e-12 or worst.threshold < point.threshold
    shuffled = dict(sorted(values.items(), key=lambda _: rng.random()))
    again = with_verification_groups(data, faces, result, GroupRequest(table("letter", shuffled)))
    assert again.groups.record() == found.groups.record()


def test_rates_of_a_group_are_those_of_its_own_pairs():
    rng = np.random.default_rng(5)
    rows, who = people(rng, 30, 4)
    data, faces = subject_set(who), embedded(rows)
    result = verify_set(data, faces, SETUP, fars=(0.05, 0.001))
    letter = {f"P{p:02d}": "ab"[p % 2] for p in range(30)}
    found = with_verification_groups(data, faces, result, GroupRequest(table("letter", letter, "subject")))
    a, mixed, b = found.groups.attributes[0].rows
    assert [row.group.name for row in (a, mixed, b)] == ["a", "a / b", "b"]
    assert (mixed.genuine, mixed.people, a.people) == (0, 30, 15)
    assert mixed.at[0].missed.value is None
    assert "insufficient data: 0 genuine pairs" in mixed.at[0].missed.reason
    for row, odd in ((a, 0), (b, 1)):
        alone = all_pair_scores(rows[who % 2 == odd], who[who % 2 == odd])
        for one, point in zip(row.at, found.groups.overall, strict=True):
            false = int((alone.impostor >= np.float32(point.threshold)).sum())
            missed = int((alone.genuine < np.float32(point.threshold)).sum())
            assert (one.false.count, one.false.trials) == (false, len(alone.impostor))
            assert (one.missed.count, one.missed.trials) == (missed, len(alone.genuine))
            own = one.own.threshold
            allowed = int(one.target * len(alone.impostor))
            assert (alone.impostor >= np.float32(own)).sum() <= allowed
            assert (alone.impostor >= np.nextafter(np.float32(own), np.float32(-1))).sum() > allowed
            assert one.own.rate == pytest.approx((alone.genuine >= np.float32(own)).mean())
            assert one.false.low <= false / len(alone.impostor) <= one.false.high
    assert "bootstrap over 15 people" in a.at[0].false.interval


def test_a_group_with_too_few_pairs_says_so():
    rng = np.random.default_rng(6)
    rows, who = people(rng, 20, 3)
    data, faces = subject_set(who), embedded(rows)
    result = verify_set(data, faces, SETUP, fars=(0.01,))
    values = {p.name: "rare" if i in (0, 3) else "common" for i, p in enumerate(data.pictures)}
    found = with_verification_groups(data, faces, result, GroupRequest(table("kind", values)))
    rare = next(row for row in found.groups.attributes[0].rows if row.group.name == "rare")
    assert (rare.genuine, rare.impostor) == (0, 1)
    assert rare.at[0].false.value is None
    assert rare.at[0].false.reason == "insufficient data: 1 impostor pairs, at least 100 needed"
    assert rare.at[0].own.threshold is None
    assert found.groups.attributes[0].worst[0].group != "rare"


def test_listed_pairs_with_and_without_people():
    rng = np.random.default_rng(7)
    rows, who = people(rng, 14, 4)
    every = np.array(list(itertools.combinations(range(len(who)), 2)))
    pictures = [Picture(f"{i}.jpg", "nowhere") for i in range(len(who))]
    same = who[every[:, 0]] == who[every[:, 1]]
    named = PairSet("listed", "", pictures, every, same, np.zeros(len(every)), tuple("abcdefghijklmn"), who)
    bare = PairSet("listed", "", pictures, every, same, np.zeros(len(every)))
    values = {p.name: "xy"[i % 2] for i, p in enumerate(pictures)}
    request = GroupRequest(table("kind", values))
    of_all = SubjectSet("all", "", pictures, tuple("abcdefghijklmn"), who)
    found = [
        with_verification_groups(data, embedded(rows), verify_set(data, embedded(rows), SETUP, fars=(0.05,)), request)
        for data in (named, bare, of_all)
    ]
    listed, unnamed, subjects = (result.groups.attributes[0].rows for result in found)
    for a, b, c in zip(listed, unnamed, subjects, strict=True):
        counts = [(r.genuine, r.impostor, r.at[0].missed.count, r.at[0].false.count) for r in (a, b, c)]
        assert counts[0] == counts[1] == counts[2]
        assert (a.people, b.people) == (c.people, None)
        assert b.at[0].false.interval.startswith("Wilson")
        # The same people are drawn, and every pair is listed: the intervals are the same too.
        assert (a.at[0].false.low, a.at[0].false.high) == (c.at[0].false.low, c.at[0].false.high)
    with pytest.raises(InputError, match="does not tell whose"):
        with_verification_groups(bare, embedded(rows), found[1], GroupRequest(table("k", {"Ada": "x"}, "subject")))


def test_templates_of_several_values_are_no_group():
    rng = np.random.default_rng(8)
    rows, _ = people(rng, 8, 4)
    pictures = [Picture(f"{i}.jpg", "nowhere") for i in range(32)]
    names = [f"t{i}" for i in range(16)]
    owners, n = np.repeat(np.arange(8), 2), np.arange(32)
    templates = Templates(names, n, n, np.arange(0, 33, 2), [f"p{i}" for i in range(8)], owners)
    pairs = np.array(list(itertools.combinations(range(16), 2)))
    same = owners[pairs[:, 0]] == owners[pairs[:, 1]]
    data = TemplateSet("t", "", pictures, templates, pairs, same, np.zeros(len(pairs)))
    values = {f"{i}.jpg": "xy"[i % 2] if i < 2 else "x" for i in range(32)}
    result = verify_set(data, embedded(rows), SETUP, fars=(0.1,))
    rows_found = with_verification_groups(data, embedded(rows), result, GroupRequest(table("k", values)))
    got = {row.group.name: row.genuine + row.impostor for row in rows_found.groups.attributes[0].rows}
    assert got == {"x": 15 * 14 // 2, "(mixed)": 15}


def test_groups_of_probes_against_a_loop():
    rng = np.random.default_rng(9)
    rows, who = people(rng, 40, 4, spread=0.5)
    names = [f"{i}.jpg" for i in range(len(who))]
    pictures = [Picture(name, "nowhere") for name in names]
    n = np.arange(len(who))
    data = IdentificationSet(
        "made up",
        "",
        pictures,
        Templates.single(names, [f"p{i}" for i in range(40)], who),
        gallery=n[(n % 4 == 0) & (who < 20)],
        known=n[(n % 4 > 0) & (who < 20)],
        unknown=n[who >= 20],
    )
    faces = embedded(rows)
    result = identify_set(data, faces, SETUP, fpirs=(0.1,))
    values = {name: "xy"[i % 2] for i, name in enumerate(names)}
    found = with_probe_groups(data, faces, result, GroupRequest(table("k", values)))
    point = found.groups.overall[0]
    gallery = rows[data.gallery]
    for row in found.groups.attributes[0].rows:
        false = missed = known = unknown = 0
        for probe in [*data.known.tolist(), *data.unknown.tolist()]:
            if values[names[probe]] != row.group.name:
                continue
            scores = gallery @ rows[probe]
            best = int(scores.argmax())
            if who[probe] < 20:
                known += 1
                missed += not (best == who[probe] and scores[best] >= np.float32(point.threshold))
            else:
                unknown += 1
                false += bool(scores[best] >= np.float32(point.threshold))
        assert (row.genuine, row.impostor) == (known, unknown)
        assert (row.at[0].missed.count, row.at[0].false.count) == (missed, false)
    assert found.too_alike is not None
    (low,) = found.groups.attributes[0].worst
    assert low.threshold == max(row.at[0].own.threshold for row in found.groups.attributes[0].rows)
    with pytest.raises(InputError, match="--gap"):
        with_probe_groups(data, faces, result, GroupRequest(table("k", values), gaps=(parse_ranges("--gap", "k:0+"),)))


def test_no_listed_pair_of_a_kind():
    attribute = valued("k", ["a", "b"])
    sides, same = np.array([[0, 1]]), np.array([True])
    parts = listed_group_pairs(np.float32([0.5]), same, sides, sides * 0, attribute, floor=np.float32(0))
    assert [len(part.genuine) for part in parts] == [0, 1, 0]
    assert all(len(part.impostor) == 0 for part in parts)
