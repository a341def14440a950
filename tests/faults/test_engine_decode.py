"""A batch with every kind of broken picture in it: each is named, and the good ones are delivered."""

from __future__ import annotations

import mien
from mien.errors import MienError


def test_decode_faults_never_stop_a_batch(broken_inputs, hopper) -> None:
    rec = mien.default_recognizer("fast")
    sources = [source for _, source in broken_inputs]
    batch = [hopper]
    for source in sources:
        batch += [source, hopper]
    results = list(rec.analyze(batch))
    assert len(results) == len(batch)
    for found in results[0::2]:
        assert found.error is None
        assert len(found.faces) == 1
    for (kind, _), found in zip(broken_inputs, results[1::2], strict=True):
        assert isinstance(found.error, MienError), kind
        assert found.source in str(found.error), kind
    assert len(sources) >= 40
