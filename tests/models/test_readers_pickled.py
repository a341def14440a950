import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.models.readers.pickled_values import PickledValues, PickleFault

plain = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=300)
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


def bytes_for_views(value):
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, list | tuple):
        return type(value)(bytes_for_views(item) for item in value)
    return value


@settings(max_examples=150, deadline=None)
@given(values, st.integers(0, 5))
def test_equals_pickle(value, protocol):
    found = PickledValues(pickle.dumps(value, protocol)).run()
    assert found == value
    assert repr(found) == repr(value)  # True is not 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=5), st.integers(3, 5))
def test_bytes_are_views_of_the_data(value, protocol):
    data = pickle.dumps([value, tuple(value)], protocol)
    found = PickledValues(data).run()
    assert bytes_for_views(found) == [value, tuple(value)]
    assert all(view.obj is data for view in found[0])


def test_many_items_and_shared_ones():
    shared = ["x"]
    value = [shared] * 3000 + list(range(3000))
    for protocol in range(6):
        found = PickledValues(pickle.dumps(value, protocol)).run()
        assert found == value
        assert found[0] is found[2999]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", [print, {1, 2}, 1.5, 1j, PickledValues, {1: 2}, 2**100, bytearray(b"x"), range(3)])
def test_anything_else_is_refused(value, protocol):
    if protocol == 5 and isinstance(value, bytearray):
        assert bytes(PickledValues(pickle.dumps(value, protocol)).run()) == b"x"
        return
    with pytest.raises(PickleFault):
        PickledValues(pickle.dumps(value, protocol)).run()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40))
def test_random_bytes_end_in_a_value_or_a_fault(data):
    try:
        PickledValues(data + b".").run()
    except PickleFault as error:
        assert str(error)  # noqa: PT017 - either end is right


def test_steps_are_bounded():
    with pytest.raises(PickleFault, match="more than 10 instructions"):
        PickledValues(b"N" * 11 + b".", most_steps=10).run()
