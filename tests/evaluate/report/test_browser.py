"""Reports in a real browser: what is meant to be seen is seen, nothing runs, nothing is loaded, nobody complains."""

from __future__ import annotations

import io
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from mien.evaluate.clustering import measure_clusters, read_clusters
from mien.evaluate.detection import FoundFaces, detection_result
from mien.evaluate.liveness import measure_liveness, read_scores
from mien.evaluate.measured import Call
from mien.evaluate.protocols import DetectionSet, FolderPictures
from mien.evaluate.report import write_report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVIL = "<script>alert(1)</script>"
STYLES = {"same": (13, 122, 107), "other": (210, 96, 26), "curve": (36, 87, 179)}


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs a browser: chromium, chromium-browser or google-chrome")
    with api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        yield opened
        opened.close()


class Seen:
    """A page in the browser, and what happened while it was opened."""

    def __init__(self, chromium, page: Path, picture: Path, **options) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        tab = chromium.new_page(viewport={"width": 1200, "height": 900}, **options)
        tab.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error('refused: ' + e.blockedURI))"
        )
        tab.on("console", lambda message: self.said.append(message.text))
        tab.on("pageerror", lambda error: self.said.append(str(error)))
        tab.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: self.asked.append(request.url))
        tab.goto(page.as_uri())
        tab.wait_for_load_state("networkidle")
        self.counts = {tag: tab.locator(tag).count() for tag in ("svg", "table", "img", "script", "svg path.line")}
        self.broken = tab.evaluate("[...document.images].filter(i => !i.complete || i.naturalWidth === 0).length")
        self.text = tab.inner_text("body")
        self.wide = tab.evaluate("document.documentElement.scrollWidth > innerWidth")
        picture.write_bytes(tab.screenshot(full_page=True))
        tab.close()
        with Image.open(io.BytesIO(picture.read_bytes())) as image:
            self.pixels = np.asarray(image.convert("RGB")).astype(int)

    def of(self, style: str) -> int:
        """How many pixels have a style's colour."""
        return int((np.abs(self.pixels - STYLES[style]).max(axis=2) < 8).sum())

    def check(self, page: Path) -> None:
        """What holds for every report."""
        assert self.said == []
        # The page itself, and its pictures, which lie inside it: nothing else is asked for.
        assert [url for url in self.asked if url != page.as_uri() and not url.startswith("data:image/jpeg")] == []
        assert self.counts["script"] == 0
        assert self.broken == 0
        assert self.counts["table"] >= 1
        assert not self.wide
        assert len(np.unique(self.pixels[::4, ::4].reshape(-1, 3), axis=0)) > 20


@pytest.mark.parametrize("kind", ["verification", "identification"])
def test_curves_tables_and_faces(made, chromium, tmp_path: Path, kind: str) -> None:
    page = write_report(tmp_path / EVIL, getattr(made, kind)(experiment=made.experiment(protocol=EVIL)))
    seen = Seen(chromium, page, tmp_path / "page.png")
    seen.check(page)
    assert seen.counts["svg"] >= 4
    assert seen.counts["svg path.line"] >= 2
    assert seen.counts["img"] >= 6
    assert EVIL in seen.text
    assert seen.pixels.shape[0] > 2000
    for style in STYLES:
        assert seen.of(style) > 200
    assert len(np.unique(seen.pixels[::4, ::4].reshape(-1, 3), axis=0)) > 2000  # photographs


def test_in_the_dark_and_on_a_telephone(made, chromium, tmp_path: Path) -> None:
    page = write_report(tmp_path, made.verification())
    dark = Seen(chromium, page, tmp_path / "dark.png", color_scheme="dark")
    dark.check(page)
    assert dark.pixels[:, :3].mean() < 60
    tab = chromium.new_page(viewport={"width": 390, "height": 800})
    tab.goto(page.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.close()


def test_a_clustering(chromium, tmp_path: Path) -> None:
    rows = "\n".join(f"{i}.jpg,{EVIL if i % 3 else 'Ada'},{i % 4}" for i in range(30))
    (tmp_path / "c.csv").write_text(f"picture,label,cluster\n{rows}\n")
    page = write_report(tmp_path, measure_clusters(read_clusters(tmp_path / "c.csv"), EVIL, Call()))
    seen = Seen(chromium, page, tmp_path / "page.png")
    seen.check(page)
    assert seen.text.count(EVIL) >= 3


def test_liveness(chromium, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [f"l{i},,{random.normal(1, 0.3):.4f}" for i in range(200)]
    rows += [f"a{i},{EVIL},{random.normal(0, 0.3):.4f}" for i in range(200)]
    (tmp_path / "s.csv").write_text("picture,attack,score\n" + "\n".join(rows) + "\n")
    page = write_report(tmp_path, measure_liveness(read_scores(tmp_path / "s.csv"), "s.csv", Call()))
    seen = Seen(chromium, page, tmp_path / "page.png")
    seen.check(page)
    assert seen.counts["svg"] == 3
    assert EVIL in seen.text
    assert seen.of("same") > 200
    assert seen.of("other") > 200


def test_a_detector(chromium, hopper: Path, tmp_path: Path) -> None:
    evil = f"{EVIL.replace('/', '')}.jpg"
    shutil.copy(hopper, tmp_path / evil)
    truth = np.array([[200, 100, 350, 300], [10, 400, 60, 460]], np.float32)
    data = DetectionSet(
        "made", "rules", FolderPictures(tmp_path, [evil]), truth, np.zeros(2, np.bool_), np.array([0, 2])
    )
    found = FoundFaces(
        np.array([[205, 100, 350, 300], [400, 20, 460, 80]], np.float32), np.array([0.9, 0.4], np.float32)
    )
    page = write_report(tmp_path / "out", detection_result(data, [found], Call()))
    seen = Seen(chromium, page, tmp_path / "page.png")
    seen.check(page)
    assert (seen.counts["svg"], seen.counts["img"]) == (2, 2)
    assert evil in seen.text
    red, green, blue = np.moveaxis(seen.pixels, 2, 0)
    assert ((red > 170) & (green > 110) & (blue < 90)).sum() > 200  # the yellow frames around the boxes
