"""OpenVINO's Python layer must be used by one thread alone the first time."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from mien.models.graphs.builder import GraphBuilder

pytest.importorskip("openvino")


def test_the_first_run_of_a_session_is_alone_and_later_ones_are_not(monkeypatch):
    from mien.models.session_openvino import OpenVinoSession

    graph = GraphBuilder("sum")
    pixels = graph.pixels(4, 4)
    graph.node("Relu", pixels, output="answer")
    session = OpenVinoSession(graph.model({"answer": ("N", 3, 4, 4)}), "sum", 1, 2, "f32")
    running, most, order = [], [], threading.Lock()
    real = session._run

    def slow(*inputs):
        with order:
            running.append(1)
            most.append((session._has_run, len(running)))
        time.sleep(0.05)
        answer = real(*inputs)
        with order:
            running.pop()
        return answer

    monkeypatch.setattr(session, "_run", slow)
    batch = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    answers = []

    def ask():
        answers.extend(session.run(batch)[0] for _ in range(3))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 12
    for answer in answers:
        np.testing.assert_array_equal(answer, answers[0])
    assert most[0] == (False, 1)
    assert [count for done, count in most if not done] == [1]
    assert max(count for _, count in most) > 1
