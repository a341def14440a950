import random
import sys

import pytest

from mien.prepare import last_lines
from mien.prepare.last_lines import LastLines


@pytest.mark.parametrize("recent", [1, 7, 1000])
def test_it_knows_what_a_dict_knows(monkeypatch, recent):
    monkeypatch.setattr(last_lines, "_RECENT", recent)
    chance, expected, last = random.Random(0), {}, LastLines()
    for _ in range(500):
        key, value = chance.choice([0, 1, 2**64 - 1, chance.randrange(60)]), chance.randrange(2**64)
        expected[key] = value
        last.put(key, value)
        assert last.get(key) == value
    assert {key: last.get(key) for key in expected} == expected
    assert last.get(12345) is None
    assert len(last) == len(expected)
    assert sorted(last.values().tolist()) == sorted(expected.values())


def test_a_thing_takes_sixteen_bytes():
    last = LastLines()
    for key in range(200_000):
        last.put(key * 2**40, key)
    assert len(last) == 200_000
    assert sum(map(sys.getsizeof, (last._keys, last._values, last._recent))) < 17.1 * 200_000
