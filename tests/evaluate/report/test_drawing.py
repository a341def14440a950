"""Axes, plots, markup and thumbnails."""

from __future__ import annotations

import base64
import io
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mien.evaluate.metrics.curves import roc_points
from mien.evaluate.metrics.scores import score_set
from mien.evaluate.report.axis import Axis
from mien.evaluate.report.figures import det_figure
from mien.evaluate.report.markup import Markup, element, text
from mien.evaluate.report.plot import Area, Line, Mark, plot
from mien.evaluate.report.thumbnails import SIDE, jpeg_uri, thumbnail
from mien.evaluate.results import Shot


@given(st.text(), st.text())
def test_markup_never_lets_text_out(child: str, value: str) -> None:
    made = element("p", child, title=value)
    inside = re.fullmatch(r'<p title="([^"<>]*)">([^<>]*)</p>', made, re.DOTALL)
    assert inside is not None
    made.encode("utf-8")


def test_markup_is_not_escaped_twice() -> None:
    assert element("p", element("b", "&"), [None, [Markup("<i></i>"), 3]]) == "<p><b>&amp;</b><i></i>3</p>"
    assert text(text("&")) == "&amp;"
    with pytest.raises(ValueError, match="expected a name"):
        element("p onload=x")
    with pytest.raises(ValueError, match="expected a name"):
        element("p", **{"a b": "c"})


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_linear_ticks(low: float, span: float) -> None:
    axis = Axis("a", low, low + span)
    ticks = axis.ticks()
    values = [value for value, _ in ticks]
    assert 2 <= len(values) <= 8
    assert all(low - span * 1e-6 <= v <= low + span * (1 + 1e-6) for v in values)
    assert len({label for _, label in ticks}) == len(ticks)
    for value, label in ticks:
        assert float(label.replace("−", "-")) == pytest.approx(value, abs=span * 1e-6)


@given(st.floats(1e-9, 0.5))
def test_log_ticks(low: float) -> None:
    axis = Axis("a", low, 1.0, log=True, percent=True)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 9
    for value, label in ticks:
        assert low * (1 - 1e-6) <= value <= 1 + 1e-9
        assert float(label.removesuffix(" %")) / 100 == pytest.approx(value, rel=1e-6)


def test_places() -> None:
    log = Axis("a", 1e-4, 1.0, log=True)
    np.testing.assert_allclose(log.share([0, 1e-4, 1e-2, 1, 5]), [0, 0, 0.5, 1, 1], atol=1e-12)
    np.testing.assert_allclose(Axis("a", -1, 1).share([-1, 0.5]), [0, 0.75])


@pytest.mark.parametrize(("low", "high", "log"), [(1, 1, False), (2, 1, False), (0, 1, True), (math.nan, 1, False)])
def test_impossible_axes(low: float, high: float, log: bool) -> None:
    with pytest.raises(ValueError, match="axis a"):
        Axis("a", low, high, log=log)


def test_a_line_goes_where_its_points_are() -> None:
    axis = Axis("a", 0, 1)
    line = Line(np.array([0.0, 0.0, 0.5, 1.0]), np.array([0.0, 0.0, 1.0, 0.0]), "curve")
    svg = plot(axis, axis, [line], title="t", description="d")
    (path,) = re.findall(r'd="(M[^"]*)" class="line curve"', svg)
    points = [tuple(map(float, point.split())) for point in path[1:].split("L")]
    (x0, y0), (x1, y1), (x2, y2) = points  # the repeated one is left out
    assert (x1 - x0, y2) == (x2 - x1, y0)
    assert y1 < y0  # up is less in SVG


def test_a_histogram_is_closed_and_a_mark_says_what_it_is() -> None:
    axis = Axis("a", 0, 1)
    area = Area(np.array([0.0, 0.5, 1.0]), np.array([0.25, 1.0]), "same")
    svg = plot(axis, axis, [area, Mark(0.5, 0.5, "here <b>", 0.4, 0.6)], title="t", description="d")
    (path,) = re.findall(r'd="(M[^"]*Z)" class="area same"', svg)
    assert len(path.split("L")) == 6
    assert "<title>here &lt;b&gt;</title>" in svg
    assert "whisker" in svg


def test_det_goes_through_the_exact_points() -> None:
    """Every drawn point is one of the exact curve, and the ends are right."""
    random = np.random.default_rng(0)
    curve = roc_points(score_set(random.normal(1, 1, 100), random.normal(-1, 1, 1000)))
    html = det_figure(curve, (), "x", "y")
    (path,) = re.findall(r'd="(M[^"]*)" class="line curve"', html)
    drawn = {tuple(map(float, point.split())) for point in path[1:].split("L")}
    x, y = Axis("x", 1e-3, 1, log=True), Axis("y", 1e-2, 1, log=True)
    across, up = np.round(76 + x.share(curve.fmr) * 494, 1), np.round(342 - y.share(curve.fnmr) * 328, 1)
    exact = set(zip(across.tolist(), up.tolist(), strict=True))
    assert drawn <= exact
    assert len(drawn) > 50


def test_thumbnail_puts_the_eyes_where_they_belong() -> None:
    pixels = np.zeros((300, 400, 3), np.uint8)
    points = ((150.0, 120.0), (210.0, 120.0), (180.0, 150.0), (155.0, 185.0), (205.0, 185.0))
    for x, y in points[:2]:
        pixels[int(y) - 5 : int(y) + 6, int(x) - 5 : int(x) + 6] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    html = thumbnail(Shot("<x>", memoryview(file.getvalue()), points))
    assert 'alt="Face in &lt;x&gt;"' in html
    shown = _picture(html)
    assert shown.shape == (SIDE, SIDE, 3)
    bright = shown[..., 0] > 128
    rows, columns = np.nonzero(bright)
    assert np.ptp(rows) < 14  # level
    assert 25 < columns.min() < SIDE / 2 < columns.max() < SIDE - 25
    assert abs(columns.mean() - SIDE / 2) < 3


def test_whole_picture_without_landmarks_and_words_without_a_picture() -> None:
    file = io.BytesIO()
    Image.new("RGB", (200, 100), "white").save(file, "PNG")
    html = thumbnail(Shot("wide", memoryview(file.getvalue())))
    shown = _picture(html)
    assert "no face found" in html
    assert shown[SIDE // 2].min() > 250
    assert shown[:20].max() < 20
    assert "cannot be read" in thumbnail(Shot("broken", memoryview(b"not a picture")))


def test_jpeg_holds_pixels_only() -> None:
    found = base64.b64decode(jpeg_uri(np.zeros((8, 8, 3), np.uint8)).split(",")[1])
    with Image.open(io.BytesIO(found)) as image:
        assert image.format == "JPEG"
        assert not image.getexif()
        assert "comment" not in image.info


def _picture(html: str) -> np.ndarray:
    (data,) = re.findall(r"base64,([A-Za-z0-9+/=]+)", html)
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return np.asarray(image.convert("RGB"))


def test_ticks_of_counts_are_written_in_full() -> None:
    assert [label for _, label in Axis("a", 5, 2e6, log=True).ticks()] == [
        "10", "100", "1,000", "10,000", "100,000", "1,000,000",
    ]  # fmt: skip
    assert Axis("a", 1e-5, 1e-4, log=True).ticks()[0][1] == "1e-5"
