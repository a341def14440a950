"""No input makes `decode` hang, warn, swallow memory, or raise anything but an error that names the input."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mien.errors import ImageError
from mien.images import decode, source_name
from mien.types import Image

HERE = Path(__file__).parent


@pytest.mark.timeout(60)
def test_decode_refuses_and_names(broken_kind, tmp_path, monkeypatch):
    source = broken_kind(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ImageError) as caught:
        decode(source)
    error = caught.value
    assert error.source == source_name(source)
    assert str(error).startswith(f"{error.source}: ")
    assert len(error.reason) > 5
    str(error).encode("utf-8")  # can be printed
    assert sorted(path.name for path in tmp_path.iterdir()) == before  # nothing in it was executed


@pytest.mark.timeout(60)
def test_decode_delivers_what_is_odd_but_whole(odd_kind, tmp_path):
    assert isinstance(decode(odd_kind(tmp_path)), Image)


def test_decode_is_tried_on_forty_kinds(broken_inputs):
    assert len(broken_inputs) >= 40
    assert len({kind for kind, _ in broken_inputs}) == len(broken_inputs)


def test_decode_refuses_when_named_by_its_caller(broken_inputs):
    for _, source in broken_inputs:
        with pytest.raises(ImageError, match=r"^the picture of Ada: "):
            decode(source, name="the picture of Ada")


RUN_ALL = """
import sys, tempfile, warnings
from pathlib import Path
warnings.simplefilter("error")
sys.path.insert(0, {here!r})
import broken
from mien.errors import MienError
from mien.images import decode

failed = 0
with tempfile.TemporaryDirectory() as folder:
    sources = broken.make_all({{**broken.BROKEN, **broken.ODD}}, Path(folder))
    # Making the bombs takes memory, too: count from here.
    Path("/proc/self/clear_refs").write_text("5")
    for kind, source in sources:
        try:
            decode(source)
        except MienError:
            failed += 1
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(failed, len(broken.BROKEN), int(peak.split()[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures memory through Linux's /proc")
@pytest.mark.timeout(120)
def test_decode_of_all_kinds_stays_under_a_gibibyte(tmp_path):
    """In one process, one after the other, with warnings as errors and nothing on stderr but a codec's own words."""
    script = tmp_path / "run_all.py"
    script.write_text(RUN_ALL.format(here=str(HERE)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    failed, broken, peak_mib = map(int, done.stdout.split())
    assert failed == broken
    assert peak_mib < 1024
