import os
import subprocess
import sys

import pytest

import mien

VERBS = "detect crop verify find compare enrol identify recognize people demo doctor models".split()


def modules_after(code):
    """Top-level and mien's own modules that a fresh interpreter has loaded after `code`."""
    probe = f"import sys\n{code}\nprint('\\nloaded:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    return set(done.stdout.rpartition("loaded:")[2].split())


def test_version(run):
    answer = run("--version")
    assert (answer.code, answer.out) == (0, f"mien {mien.__version__}\n")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], *([verb, "--help"] for verb in VERBS)])
def test_help_of_everything(run, arguments):
    answer = run(*arguments)
    assert answer.code == 0
    assert "Usage" in answer.out


def test_every_verb_is_in_the_help(run):
    words = run("--help").out.split()
    assert [verb for verb in VERBS if verb not in words] == []


@pytest.mark.parametrize("arguments", [["nonesuch"], ["people", "nonesuch"], ["verify"], ["identify", "--nonesuch"]])
def test_a_usage_error_is_bad_input(run, arguments):
    answer = run(*arguments)
    assert answer.code == 2
    assert answer.out == ""


def test_an_error_of_ours_is_bad_input_and_one_line(run, tmp_path):
    answer = run("identify", tmp_path / "no\x1b[31mwhere.jpg")
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert "\x1b" not in answer.err
    assert "Traceback" not in answer.err


def test_an_error_inside_mien_has_its_own_code(run, tmp_path, monkeypatch):
    def crash(*_args, **_options):
        raise RuntimeError("the roof fell in")

    (tmp_path / "a.jpg").write_bytes(b"")
    monkeypatch.setattr("mien.cli.identify.photos_in", crash)
    monkeypatch.delenv("MIEN_DEBUG", raising=False)
    answer = run("identify", tmp_path / "a.jpg")
    assert answer.code == 3
    assert "internal error: RuntimeError: the roof fell in" in answer.err
    assert "Traceback" not in answer.err
    monkeypatch.setenv("MIEN_DEBUG", "1")
    assert "Traceback" in run("identify", tmp_path / "a.jpg").err


def test_control_c_has_the_shells_code(run, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("mien.cli.identify.photos_in", interrupt)
    assert run("identify", "a.jpg").code == 130


def test_import_mien_loads_nothing_heavy():
    heavy = {"torch", "onnxruntime", "onnx", "openvino", "cv2", "matplotlib", "PIL", "numpy", "rich", "typer"}
    assert not modules_after("import mien") & heavy


def test_help_loads_no_model_and_no_picture_code():
    loaded = modules_after("from mien.cli import main\nmain(['--help'])")
    heavy = {"torch", "onnxruntime", "onnx", "openvino", "cv2", "matplotlib", "PIL", "mien.recognizer", "mien.gallery"}
    assert not loaded & (heavy | {"mien.images", "mien.models", "mien.detect", "mien.embed", "mien.match"})


def test_as_a_program():
    """The one test through the shell's door: `python -m mien` and its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "mien", "people", "list", "--gallery", "nowhere.db"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"},
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no gallery here" in done.stderr
