"""The group part of a report: what is drawn where, and what is said."""

from __future__ import annotations

import re

import pytest

from mien.evaluate.groups_results import AttributeRates, GroupAt, GroupRow, Groups, WorstThreshold
from mien.evaluate.groups_values import Coverage, Group
from mien.evaluate.metrics.fixed_threshold import wilson_rate
from mien.evaluate.report.groups_plot import DotRow, dots
from mien.evaluate.report.groups_report import alike_sections, group_sections
from mien.evaluate.results import PairOfShots, RateAt, Shot
from mien.evaluate.twins import AlikePeople, TooAlike

EVIL = "<script>alert(1)</script>"


def point(target=0.001, threshold=0.9):
    return RateAt(target, 0.95, 0.9, 0.99, threshold, target)


def row(name, false, missed, own=0.9):
    at = GroupAt(0.001, wilson_rate(*false), wilson_rate(*missed), point(threshold=own))
    return GroupRow(Group(name, (name,)), 20, missed[1], false[1], (at,))


def groups(*rows, worst=None, coverage=None):
    worst = worst or WorstThreshold(0.001, "day", 0.93, 0.0004, 0.9, 0.95)
    attribute = AttributeRates("light", "value", 3, rows, (worst,))
    return Groups(True, "a.csv" if coverage else "", coverage, (point(),), (attribute,))


def test_dots_lie_where_the_rates_are():
    rows = [DotRow("a", (wilson_rate(10, 10_000), wilson_rate(20, 100))), DotRow("b", (wilson_rate(100, 10_000),) * 2)]
    drawing = str(dots(rows, ("FMR", "FNMR"), (0.001, 0.2), title="t"))
    circles = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawing)
    (ax, ay), (bx, by), (cx, _), (dx, _) = [(float(x), float(y)) for x, y in circles]
    assert (ax < bx, ay < by, cx > dx) == (True, True, True)
    rules = [float(x) for x in re.findall(r'd="M([\d.]+) 20V\d+" class="rule"', drawing)]
    assert rules == pytest.approx([ax, cx], abs=0.2)  # the rates of everybody, as it happens
    assert "0.10 % (10 of 10,000; 95 %:" in drawing


def test_the_worst_comes_first_and_names_are_escaped():
    few = wilson_rate(0, 3, reason="insufficient data: 3 impostor pairs, at least 1000 needed")
    rare = GroupRow(
        Group("rare", ("rare",)), 2, 0, 3, (GroupAt(0.001, few, few, RateAt(0.001, None, None, None, None, None)),)
    )
    found = groups(
        row("night", (5, 10_000), (3, 100)),
        rare,
        row(EVIL, (50, 10_000), (1, 100)),
        coverage=Coverage(10, 2, 1, ("<i>gone",)),
    )
    ((anchor, _, body),) = group_sections(found)
    assert anchor == "groups"
    assert EVIL not in body
    names = re.findall(r'<th scope="row"><bdi>(.*?)</bdi>', body)
    assert names == [EVIL.replace("<", "&lt;").replace(">", "&gt;"), "night", "rare"]
    assert "insufficient data" in body
    assert "&lt;i&gt;gone" in body
    assert "<bdi>day</bdi></strong> needs the highest threshold, 0.9300" in body
    assert "Light is not known of 3 pictures" in body


def test_no_group_needs_a_higher_threshold():
    calm = groups(row("day", (5, 10_000), (3, 100)), worst=WorstThreshold(0.001, "day", 0.9, 0.001, 0.95, 0.95))
    assert "No group with enough data needs a higher threshold" in group_sections(calm)[0][2]
    none = groups(row("day", (5, 10_000), (3, 100)), worst=WorstThreshold(0.001))
    assert "No group has enough data to tell a threshold" in group_sections(none)[0][2]


def test_without_a_threshold_or_groups():
    assert group_sections(None) == alike_sections(None) == []
    assert "too little data" in group_sections(Groups(True, "", None, (), ()))[0][2]
    assert "Insufficient data." in alike_sections(TooAlike(0.001, None, 3, 0, (), "insufficient data"))[0][2]
    assert "There are none." in alike_sections(TooAlike(0.001, 0.9, 3, 0, ()))[0][2]


def test_couples_are_named():
    pair = PairOfShots(Shot("gone/a.png", "/nowhere/a.png"), Shot("gone/b.png", "/nowhere/b.png"), 0.97)
    couple = AlikePeople(EVIL, "Eve", 5, 6, pair)
    body = alike_sections(TooAlike(0.001, 0.9, 10, 1, (couple,)))[0][2]
    assert EVIL not in body
    assert "<bdi>Eve</bdi>" in body
    assert "matching pairs: 5 of 6; the best 0.9700" in body
    assert "1 couple of people, of 45" in body
