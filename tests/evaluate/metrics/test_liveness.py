import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import InputError
from mien.evaluate.metrics.liveness import bpcer_at_apcer, liveness_rates

SCORES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20)
ATTACKS = st.dictionaries(st.sampled_from(["print", "replay", "mask"]), SCORES, min_size=1)


@given(SCORES, ATTACKS, st.floats(-0.1, 1.1))
def test_rates_equal_a_plain_count(live, attacks, threshold):
    found = liveness_rates(live, attacks, threshold)
    assert found.bpcer.value == np.mean([s < threshold for s in live])
    apcer = {name: np.mean([s >= threshold for s in scores]) for name, scores in attacks.items()}
    assert {name: rate.value for name, rate in found.apcer.items()} == apcer
    assert apcer[found.worst] == max(apcer.values())
    assert found.acer == pytest.approx((max(apcer.values()) + found.bpcer.value) / 2, abs=1e-15)


@given(SCORES, ATTACKS, st.floats(0.01, 0.99))
def test_bpcer_at_apcer_is_the_least_at_which_no_type_passes_too_often(live, attacks, apcer):
    found = bpcer_at_apcer(live, attacks, apcer)
    every = np.float32([s for scores in attacks.values() for s in scores])
    candidates = np.nextafter(np.concatenate([every, [np.float32(-1)]]), np.float32(9))
    allowed = [t for t in candidates if all(np.mean(np.float32(s) >= t) <= apcer for s in attacks.values())]
    assert found.rates.bpcer.value == min(np.mean(np.float32(live) < t) for t in allowed)
    assert all(rate.value <= apcer for rate in found.rates.apcer.values())
    assert found.sufficient == all(apcer * len(s) >= 1 for s in attacks.values())


def test_the_worst_type_speaks_for_all():
    rates = liveness_rates([0.9] * 10, {"print": [0.1] * 98 + [0.9] * 2, "mask": [0.9, 0.1]}, 0.5)
    assert (rates.worst, rates.acer) == ("mask", 0.25)  # pooled, 3 of 102 would look harmless


@pytest.mark.parametrize(
    ("live", "attacks", "message"),
    [
        ([], {"print": [0]}, "bona fide: expected at least one"),
        ([1], {}, "attack type"),
        ([1], {"print": []}, "attack 'print': expected at least one"),
        ([np.nan], {"print": [0]}, "bona fide"),
        ([1], {"print": [0, np.inf]}, "'print'"),
        ([1], {"print": ["x"]}, "expected numbers"),
    ],
)
def test_refuses(live, attacks, message):
    with pytest.raises(InputError, match=message):
        liveness_rates(live, attacks, 0.5)
    with pytest.raises(InputError, match=message):
        bpcer_at_apcer(live, attacks, 0.5)
