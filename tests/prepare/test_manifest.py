"""The manifest: nothing is done twice, nothing is skipped, wherever a run is stopped."""

from __future__ import annotations

import json
import os

import pytest

from mien.errors import InputError
from mien.prepare import manifest as module
from mien.prepare.manifest import Manifest, done_before, entry_at, located, read_manifest, stamp

MARKS = {"size": 3, "modified": 5}


def entry(source, **more):
    return {"source": source, **MARKS, "decision": "kept", **more}


def test_what_was_done_is_known_again(tmp_path):
    with Manifest(tmp_path / "out", "crop", {"size": 112}) as first:
        first.add([entry("张伟/1.jpg"), entry("b.jpg", reason="…")])
        assert first.done("b.jpg", MARKS)
    with Manifest(tmp_path / "out", "crop", {"size": 112}) as again:
        assert len(again) == 2
        assert again.done("张伟/1.jpg", MARKS)
        assert not again.done("张伟/1.jpg", {"size": 4, "modified": 5})
        assert not again.done("c.jpg", MARKS)
    assert [e["source"] for e in read_manifest(tmp_path / "out")] == ["张伟/1.jpg", "b.jpg"]


@pytest.mark.parametrize("cut", range(1, 80, 7))
def test_a_line_that_was_cut_off_is_done_again_and_the_rest_stays(tmp_path, cut):
    with Manifest(tmp_path, "crop", {}) as first:
        first.add([entry("a.jpg"), entry("b.jpg")])
    path = tmp_path / "manifest.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with Manifest(tmp_path, "crop", {}) as again:
        left = [name for name in ("a.jpg", "b.jpg") if again.done(name, MARKS)]
        again.add([entry(name) for name in ("a.jpg", "b.jpg") if name not in left])
    assert path.read_bytes() == whole
    assert left == (["a.jpg"] if cut <= len(json.dumps(entry("b.jpg"), separators=(",", ":"))) + 1 else [])


def test_a_first_line_that_was_cut_off_is_written_again(tmp_path):
    (tmp_path / "manifest.jsonl").write_bytes(b'{"mien_man')
    with Manifest(tmp_path, "crop", {}) as again:
        again.add([entry("a.jpg")])
    assert [e["source"] for e in read_manifest(tmp_path)] == ["a.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
def test_a_disk_that_is_full_is_an_error_and_no_half_line_stays(tmp_path, room_for):
    with Manifest(tmp_path, "crop", {}) as manifest:
        manifest.add([entry("a.jpg")])
        with room_for(manifest.path.stat().st_size + 100):
            with pytest.raises(InputError, match=r"manifest\.jsonl: cannot be written \(File too large\)"):
                manifest.add([entry("b.jpg"), entry("c.jpg"), entry("d.jpg")])
            manifest.close()  # and raises nothing more
        assert not manifest.done("b.jpg", MARKS)
    with Manifest(tmp_path, "crop", {}) as again:
        again.add([entry("b.jpg")])
    assert [e["source"] for e in read_manifest(tmp_path)] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("verb", "settings", "words"),
    [("pack", {"size": 1}, "made by 'crop'"), ("crop", {"size": 2}, "size was 1, is 2")],
)
def test_another_verb_or_other_settings_are_refused(tmp_path, verb, settings, words):
    Manifest(tmp_path, "crop", {"size": 1}).close()
    with pytest.raises(InputError, match=words):
        Manifest(tmp_path, verb, settings)
    Manifest(tmp_path, verb, settings, fresh=True).close()


def test_two_runs_at_once_are_refused(tmp_path):
    with Manifest(tmp_path, "crop", {}), pytest.raises(InputError, match="another run"):
        Manifest(tmp_path, "crop", {})
    Manifest(tmp_path, "crop", {}).close()


@pytest.mark.parametrize("content", [b"nonsense\n", b"[1]\n", b'{"x": 1}\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n"])
def test_a_damaged_manifest_is_named(tmp_path, content):
    (tmp_path / "manifest.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=r"manifest\.jsonl"):
        Manifest(tmp_path, "crop", {})


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be used"):
        Manifest(tmp_path / "file", "crop", {})


def test_there_is_no_manifest(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        list(read_manifest(tmp_path))


def test_a_changed_file_has_another_stamp(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"1")
    before = stamp(file)
    file.write_bytes(b"22")
    assert stamp(file) != before


def test_names_that_are_not_unicode_survive(tmp_path):
    with Manifest(tmp_path, "crop", {}) as first:
        first.add([entry("caf\udce9.jpg")])
    with Manifest(tmp_path, "crop", {}) as again:
        assert again.done("caf\udce9.jpg", MARKS)


def test_ctrl_c_in_the_middle_of_a_line_leaves_no_half_of_it(tmp_path, monkeypatch):
    def half(file, content):
        file.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    with Manifest(tmp_path, "crop", {}) as manifest:
        with monkeypatch.context() as patch:
            patch.setattr(module, "write_whole", half)
            with pytest.raises(KeyboardInterrupt):
                manifest.add([entry("a.jpg")])
        assert not manifest.done("a.jpg", MARKS)
        manifest.add([entry("b.jpg")])
    assert [e["source"] for e in read_manifest(tmp_path)] == ["b.jpg"]


def test_a_line_that_is_too_long_is_not_taken_for_one_that_was_cut_off(tmp_path, monkeypatch):
    with Manifest(tmp_path, "crop", {}) as manifest:
        manifest.add([entry("a.jpg", more="x" * 1000), entry("b.jpg")])
    before = manifest.path.read_bytes()
    monkeypatch.setattr(module, "_LONGEST_LINE", 500)
    with pytest.raises(InputError, match=r"manifest\.jsonl, line 2: too long"):
        Manifest(tmp_path, "crop", {})
    with pytest.raises(InputError, match="line 2: too long"):
        list(read_manifest(tmp_path))
    assert manifest.path.read_bytes() == before


def test_a_line_that_could_not_be_read_again_is_not_written(tmp_path, monkeypatch):
    longest = len(json.dumps(entry("a.jpg"), separators=(",", ":"))) + 1
    with Manifest(tmp_path, "crop", {}) as manifest:
        monkeypatch.setattr(module, "_LONGEST_LINE", max(longest, manifest.path.stat().st_size))
        room = module._LONGEST_LINE - longest
        manifest.add([entry("a" * room + "a.jpg")])
        with pytest.raises(InputError, match="cannot be written"):
            manifest.add([entry("b.jpg"), entry("a" * room + "aa.jpg")])
        assert not manifest.done("b.jpg", MARKS)
    with Manifest(tmp_path, "crop", {}) as again:
        assert len(again) == 1


def test_lines_about_no_source_are_no_sources(tmp_path):
    with Manifest(tmp_path, "frames", {}) as first:
        first.add([{"decision": "begun"}, entry("a.jpg")])
    with Manifest(tmp_path, "frames", {}) as again:
        assert len(first) == len(again) == 1


def test_only_the_last_line_about_a_source_counts(tmp_path):
    former, later = {"size": 3, "modified": 9}, {"size": 4, "modified": 10}
    with Manifest(tmp_path, "frames", {}) as first:
        first.add([{"source": "a.jpg", **former}, {"source": "b.jpg", **former}])
        first.add([{"source": "a.jpg", **later}])
        assert (first.done("a.jpg", former), first.done("a.jpg", later)) == (False, True)
    before = done_before(tmp_path, "frames", {})
    with Manifest(tmp_path, "frames", {}) as again:
        for done in (before, again.done):
            assert (done("a.jpg", former), done("a.jpg", later), done("b.jpg", former)) == (False, True, True)
        assert len(again) == 2


@pytest.mark.parametrize("marks", [{}, {"size": [1]}, {"size": 1.5, "modified": {"a": 1}}, {"modified": 1 << 3000}])
def test_marks_by_somebody_s_hand_are_no_error(tmp_path, marks):
    with Manifest(tmp_path, "frames", {}) as first:
        first.add([{"source": "a.jpg", **marks}])
    with Manifest(tmp_path, "frames", {}) as again:
        assert (again.done("a.jpg", marks), again.done("a.jpg", MARKS)) == (True, False)


def test_a_line_is_found_again_where_it_begins(tmp_path):
    with Manifest(tmp_path, "frames", {}, more={"from": "x"}) as first:
        first.add([entry("é.jpg"), entry("b.jpg")])
    lines = list(located(tmp_path))
    assert [line for _, line in lines] == list(read_manifest(tmp_path))
    assert [entry_at(tmp_path, at) for at, _ in reversed(lines)] == [line for _, line in reversed(lines)]
