"""Calibration files: read back unchanged, hostile ones refused by name, never written over by accident."""

from __future__ import annotations

import dataclasses
import os
import time

import pytest

from mien.errors import CardError, InputError
from mien.gallery import Gallery
from mien.match import (
    Calibration,
    Check,
    CheckedRate,
    FpirPoint,
    FpirTable,
    GalleryRow,
    OperatingPoint,
    ScoreSpread,
)
from mien.match.calibration_file import shipped, write
from mien.types import ModelIdentity

MADE = Calibration(
    model="net",
    preset="fast",
    sha256="0" * 64,
    provisional=False,
    made_on='my "photos"\n\x7f ünï',
    date="2026-01-31",
    genuine=ScoreSpread(10, 0.9, 0.1),
    impostor=ScoreSpread(1000, 0.1, 0.1),
    table=(OperatingPoint(0.1, 0.3, 1.0, True, 0.2, 0.4), OperatingPoint(0.01, 0.5, 0.9, False)),
    fingerprint="a" * 64,
    subjects=4,
    pictures=9,
    fpir=FpirTable(
        1,
        100,
        (
            GalleryRow(1, 1.0, (FpirPoint(0.1, 0.3, 0.2, 0.4), FpirPoint(0.01, 0.5))),
            GalleryRow(10, 8.5, (FpirPoint(0.1, 0.45),)),
        ),
    ),
    checks=(
        Check("others", 3, 7, (CheckedRate(0.1, None, 0.3, 0.09, 0.01, 0.2, 0.9), CheckedRate(0.1, 5, 0.4, 0, 0, 1))),
    ),
)
TEXT = MADE.to_toml()


def test_everything_is_read_back_unchanged(tmp_path):
    write(MADE, tmp_path / "c.toml")
    back = Calibration.read(tmp_path / "c.toml")
    assert back == MADE
    assert back.source == str(tmp_path / "c.toml")
    assert [p.name for p in tmp_path.iterdir()] == ["c.toml"]


def test_a_file_that_is_there_stays(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="--force"):
        write(MADE, path)
    assert path.read_text(encoding="utf-8") == "mine"
    write(MADE, path, replace_old=True)
    assert Calibration.read(path) == MADE
    with pytest.raises(InputError, match="cannot be written"):
        write(MADE, tmp_path / "no" / "c.toml")
    assert [p.name for p in tmp_path.iterdir()] == ["c.toml"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format = 2", "format = 1"),
        ("format = 2", "format = true"),
        ("format = 2\n", ""),
        ("comparisons = 8.5", "comparisons = nan"),
        ("comparisons = 8.5", "comparisons = -8.5"),
        ("comparisons = 8.5", "comparisons = 1e308"),
        ("gallery_size = 10", "gallery_size = -10"),
        ("gallery_size = 10", "gallery_size = 1e3"),
        ("gallery_size = 10", "gallery_size = 99999999999999999999999"),
        ("gallery_size = 10", "gallery_size = true"),
        ("threshold = 0.45", "threshold = 0.2"),
        ("threshold = 0.45", "threshold = inf"),
        ("threshold = 0.45", 'threshold = "high"'),
        ("threshold = 0.45", "threshold = [0.45]"),
        ("draws = 100", "draws = 0"),
        ("measured = 0.09", "measured = 9"),
        ("low = 0.01", "low = nan"),
        ("n = 10,", "n = 1e400,"),
        ("n = 10,", f"n = {'9' * 5000},"),
        ("subjects = 4", "subjects = -4"),
        ("a" * 64, "xyz"),
        ("[fpir]", "[[fpir]]"),
        ("[[checks]]", "[checks]"),
        ("[[checks]]", "checks = " + "[" * 5000),
        ("supported = true", "supported = 1"),
    ],
)
def test_hostile_files_are_named(tmp_path, old, new):
    assert old in TEXT
    path = tmp_path / "bad.toml"
    path.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CardError, match=r"bad\.toml"):
        Calibration.read(path)


def test_what_is_gigantic_or_endless_is_not_read(tmp_path):
    with (tmp_path / "huge.toml").open("wb") as file:
        file.truncate(1 << 40)
    started = time.monotonic()
    with pytest.raises(CardError, match="larger than"):
        Calibration.read(tmp_path / "huge.toml")
    with pytest.raises(CardError, match="not a regular file"):
        Calibration.read("/dev/zero")
    assert time.monotonic() - started < 20


def test_a_file_without_galleries_takes_comparisons_for_independent():
    plain = dataclasses.replace(MADE, fpir=None)
    assert plain.threshold_for(fpir=0.1, gallery_size=1) == plain.threshold(fmr=0.1)
    assert plain.supports_fpir(fpir=0.1, gallery_size=1)
    assert not plain.supports_fpir(fpir=0.1, gallery_size=2)
    assert Calibration.from_toml(plain.to_toml()) == plain


def test_another_model_is_refused():
    with pytest.raises(InputError, match="made for net/fast"):
        MADE.need_for(ModelIdentity("net", "accurate", "0" * 64, 8))
    MADE.need_for(ModelIdentity("net", "fast", "0" * 64, 8))


def test_the_shipped_ones_are_whole_and_final():
    assert {c.preset for c in shipped()} == {"fast", "accurate"}
    for c in shipped():
        assert c.source == "shipped"
        assert not c.provisional
        assert c.fpir.rows[-1].gallery_size >= 1000
        assert len(c.checks) >= 4
        assert c.supports(1e-3)
        assert c.supports_fpir(fpir=1e-2, gallery_size=1000)
        for n in (10, 100, 1000, 10**4):
            assert c.threshold_for(fpir=1e-2, gallery_size=n) <= c.threshold_for(fpir=1e-3, gallery_size=n) < 1


def test_the_threshold_follows_the_gallery_as_it_grows():
    """Three-dimensional embeddings; nobody is near the probe, so nothing but the number of faces matters."""
    identity = ModelIdentity("net", "fast", "0" * 64, 3)
    thresholds = []
    with Gallery.open(":memory:", identity=identity, calibration=MADE) as gallery:
        for i in range(12):
            gallery.add(f"p{i}", [[1.0, 0.0, 0.0]])
            (match,) = gallery.identify_embeddings([[0.0, 0.0, 1.0]], fpir=0.1)
            assert match.threshold == MADE.threshold_for(fpir=0.1, gallery_size=i + 1)
            assert ("extrapolated" in match.reason) == (i + 1 > 10)
            thresholds.append(match.threshold)
    assert thresholds == sorted(thresholds)
    assert thresholds[0] == 0.3 < thresholds[-1]


def test_a_gallery_of_another_model_refuses_the_calibration():
    with Gallery.open(":memory:", identity=ModelIdentity("other", "fast", "1" * 64, 2), calibration=MADE) as gallery:
        gallery.add("a", [[1.0, 0.0]])
        with pytest.raises(InputError, match="made for net/fast"):
            gallery.identify_embeddings([[0.0, 1.0]])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CardError, match="not a regular file"):
        Calibration.read(tmp_path / "pipe")
