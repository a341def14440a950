"""People of two sets, matched by made-up faces and names."""

import numpy as np

from mien.prepare.same_person import Person, PersonRules, match_people

RULES = PersonRules(link=0.4, named=0.35, steps=((1, 0.7), (3, 0.5)))


def person(*rows):
    means = np.zeros((len(rows), 8), np.float32)
    count = np.zeros(len(rows), np.intp)
    for i, (axis, length, n) in enumerate(rows):
        means[i, axis], count[i] = length, n
    return Person(means, count)


def found(a, names_a, b, names_b):
    return [(p.a, p.b, p.by) for p in match_people(a, names_a, b, names_b, RULES)]


def test_by_both_by_either_and_by_neither():
    a = person((0, 0.9, 5), (1, 0.9, 5), (2, 0.9, 5), (3, 0, 0), (4, 0.9, 5))
    b = person((0, 0.9, 5), (1, 0.9, 5), (5, 0.9, 5), (3, 0.9, 5), (6, 0.9, 5))
    answers = found(a, ["Ada L", "Bo", "Cy", "Di", "Ed"], b, ["L, Ada", "Robert", "cy", "DI", "Fo"])
    assert answers == [(0, 0, "name and face"), (1, 1, "face"), (3, 3, "name"), (2, 2, "name, not face")]


def test_few_pictures_need_more():
    a, few, many = person((0, 0.8, 5)), person((0, 0.8, 2)), person((0, 0.8, 3))  # 0.64
    assert found(a, ["A"], few, ["B"]) == []
    assert found(a, ["A"], many, ["B"]) == [(0, 0, "face")]
    assert found(a, ["A"], few, ["a"]) == [(0, 0, "name and face")]


def test_a_look_alike_that_both_have_a_better_one_than_is_left_out():
    a = Person(np.array([[0.9, 0], [0.6, 0.67]], np.float32), np.array([5, 5]))
    b = Person(np.array([[0.9, 0], [0.6, 0.67]], np.float32), np.array([5, 5]))
    assert found(a, ["A", "B"], b, ["C", "D"]) == [(0, 0, "face"), (1, 1, "face")]


def test_nobody():
    none = Person(np.zeros((0, 8), np.float32), np.zeros(0, np.intp))
    assert found(none, [], person((0, 1, 5)), ["A"]) == []
    assert found(person((0, 1, 5)), ["A"], none, []) == []
