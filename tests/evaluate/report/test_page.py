"""The page as a whole: nothing gets in, nothing gets out, and what was found is there."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from mien.errors import InputError
from mien.evaluate.protocols.sets import Exclusion
from mien.evaluate.report import ReportTable, report_page, write_report
from mien.evaluate.results import Failure, PairOfShots

if TYPE_CHECKING:
    from pathlib import Path

    from mien.evaluate.results import IdentificationResult, VerificationResult

HOSTILE = "<script>alert(1)</script>/\"'><img src=x onerror=alert(2)>"


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def hostile(result: VerificationResult | IdentificationResult) -> VerificationResult | IdentificationResult:
    """The same result with a hostile string wherever a string comes from outside."""
    e = result.experiment
    words = dict.fromkeys(("protocol", "rules", "failure_rule", "command", "date"), HOSTILE)
    model = replace(
        e.model, name=HOSTILE, preset=HOSTILE, licence=HOSTILE, detector=HOSTILE, settings=HOSTILE,
        sha256=HOSTILE, detector_licence=HOSTILE, facts=((HOSTILE, HOSTILE),),
    )  # fmt: skip
    failures = (Failure(HOSTILE, HOSTILE), Failure("b", f"{HOSTILE} again", unreadable=True))
    pairs = tuple(
        PairOfShots(replace(p.a, name=HOSTILE), replace(p.b, name=f"\udc80\x1b{HOSTILE}"), p.score)
        for p in result.false_matches
    )
    experiment = replace(e, model=model, failures=failures, exclusions=(Exclusion(HOSTILE, HOSTILE),), **words)
    return replace(result, experiment=experiment, false_matches=pairs, false_non_matches=pairs)


@pytest.fixture(params=["verification", "identification"])
def result(request: pytest.FixtureRequest, made):
    return getattr(made, request.param)()


def test_hostile_names_stay_text(result) -> None:
    table = ReportTable(HOSTILE, HOSTILE, (HOSTILE,), ((HOSTILE,),))
    page = Page(report_page(hostile(result), tables=(table,)))
    plain = Page(report_page(result, tables=(ReportTable("a", "b", ("c",), (("d",),)),)))
    assert "script" not in page.tags
    assert page.tags["img"] == plain.tags["img"] > 0
    assert set(page.tags) == set(plain.tags)
    assert not page.unbalanced
    assert not page.open
    assert page.text.count("<script>alert(1)</script>") > 20
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]


def test_the_policy_admits_nothing_but_the_style_that_is_there(result) -> None:
    import base64
    import hashlib

    html = report_page(result)
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert {rule.strip() for rule in policy.replace("&#x27;", "'").split(";")} == {
        "default-src 'none'", "img-src data:", f"style-src 'sha256-{digest}'", "base-uri 'none'", "form-action 'none'",
    }  # fmt: skip
    assert html.index("Content-Security-Policy") < html.index("<style>")


def test_nothing_outside_is_named(result) -> None:
    html = report_page(result)
    page = Page(html)
    assert not re.search(r"(https?:)?//\w", re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", html))
    addresses = [value for _, key, value in page.attributes if key in ("src", "href", "action", "data", "xlink:href")]
    assert all(value.startswith(("data:image/jpeg;base64,", "#")) for value in addresses)
    assert not [key for _, key, _ in page.attributes if key == "style"]  # the policy would forbid it
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    anchors = {value[1:] for _, key, value in page.attributes if key == "href"}
    assert anchors <= {value for _, key, value in page.attributes if key == "id"}


def test_what_can_be_seen_can_be_heard(result) -> None:
    page = Page(report_page(result))
    assert page.tags["img"] == sum(tag == "img" and key == "alt" and bool(value) for tag, key, value in page.attributes)
    assert page.tags["svg"] == sum(t == "svg" and k == "aria-label" and bool(v) for t, k, v in page.attributes)
    assert page.tags["th"] == sum(tag == "th" and key == "scope" for tag, key, _ in page.attributes)
    assert ("html", "lang", "en") in page.attributes


def test_headline_numbers_of_verification(made) -> None:
    result = made.verification()
    text = Page(report_page(result)).text
    row = next(row for row in result.tar_at_far if row.target == 0.001)
    assert row.rate is not None
    for number in (result.eer.rate, row.rate, result.accuracy.found.mean, *result.eer_interval[:2]):
        assert f"{number * 100:.2f}" in text
    assert f"{row.threshold:.4f}" in text
    assert f"{result.auc:.5f}" in text
    assert "needs 100,000 impostor pairs" in text
    for fact in ("mien-default", "ab" * 32, "CC0-1.0", result.experiment.command, result.experiment.date, "<VGGFace>"):
        assert fact in text


def test_headline_numbers_of_identification(made) -> None:
    result = made.identification()
    text = Page(report_page(result)).text
    row = result.dir_at_fpir[-1]
    assert f"{row.rate * 100:.2f} %" in text
    assert f"{row.low * 100:.2f}–{row.high * 100:.2f} %" in text
    assert f"{result.cmc.rate(1).value * 100:.2f} %" in text
    assert "200 people" in text
    assert "1 in 100 strangers" in text


def test_a_closed_set_has_ranks_only(made) -> None:
    page = Page(report_page(made.identification(strangers=False)))
    assert page.tags["svg"] == 1
    assert "too few probes of strangers" in page.text


def test_reasons_are_grouped(made) -> None:
    many = tuple(Failure(f"{i}.jpg", f"{i}.jpg: broken", unreadable=True) for i in range(5000))
    odd = tuple(Exclusion(f"p{i}", f"reason number {i}") for i in range(500))
    result = made.verification(experiment=made.experiment(failures=many, exclusions=odd, pictures=9000))
    page = Page(report_page(result))
    assert "…: broken 5,000" in page.text.replace("broken5,000", "broken 5,000")
    assert "470 other reasons" in page.text
    assert page.tags["bdi"] < 300


def test_size_is_bounded(made) -> None:
    pairs = made.pairs[:1] * 500
    result = made.verification(genuine=20_000, impostor=200_000, false_matches=pairs, false_non_matches=pairs)
    html = report_page(result)
    assert Page(html).tags["img"] == 4 * 24
    assert len(html) < 1_500_000
    assert max(len(path) for path in re.findall(r' d="([^"]*)"', html)) < 40_000


@pytest.mark.parametrize(("genuine", "impostor"), [(2, 2), (2, 3), (2, 50)])
def test_few_scores(made, genuine: int, impostor: int) -> None:
    result = made.verification(genuine=genuine, impostor=impostor, eer_interval=None, d_prime=None)
    page = Page(report_page(replace(result, tar_at_far=result.tar_at_far[-1:], false_matches=())))
    assert page.tags["svg"] == 4
    assert "too few pairs" in page.text
    assert "There are none." in page.text


def test_write(made, tmp_path: Path) -> None:
    folder = tmp_path / "фото 面" / "<b>"
    path = write_report(folder, made.verification())
    assert path == folder / "report.html"
    write_report(folder, made.identification())
    assert [p.name for p in folder.iterdir()] == ["report.html"]
    assert "Identification report" in path.read_text("utf-8")


def test_what_cannot_be_written_is_named(made, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.report\.html: cannot be written"):
        write_report(tmp_path / "file", made.verification())
    (tmp_path / "report.html").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_report(tmp_path, made.verification())
    assert [p.name for p in tmp_path.glob(".mien-*")] == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_page_is_for_its_maker_alone(tmp_path: Path) -> None:
    from mien.evaluate.report.shell import write_page

    before = os.umask(0)
    try:
        path = write_page(tmp_path / "page.html", "<p>faces")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
