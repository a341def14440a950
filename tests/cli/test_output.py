import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import typer

from mien.cli import output
from mien.errors import ImageError, InputError
from mien.types import Analysis, Face, Faces


def analysis(name, error=None):
    if error is not None:
        return Analysis.failed(name, error)
    return Analysis(name, (10, 10), Faces.none(), np.zeros((0, 4), np.float32))


class TestPrintable:
    @pytest.mark.parametrize("name", ["a b", "张伟.jpg", "né.png", "🙂"])
    def test_keeps_what_can_be_shown(self, name):
        assert output.printable(name) == name

    @pytest.mark.parametrize("bad", ["\x1b[31m", "\r", "\n", "\x07", "\u202e", "\u2028", "\x9b", "\udcff"])
    def test_escapes_what_drives_a_terminal(self, bad):
        shown = output.printable(f"a{bad}b")
        assert shown.isprintable()
        assert shown.startswith("a\\")


class TestJson:
    def test_is_utf8_text(self, capsys):
        output.emit_json({"name": "张伟"})
        assert '"张伟"' in capsys.readouterr().out

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
    def test_is_json_whatever_the_terminal(self, monkeypatch, encoding):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        output.emit_json({"name": "张伟", "file": "a\udcff"})
        sys.stdout.flush()
        assert json.loads(raw.getvalue().decode(encoding)) == {"name": "张伟", "file": "a\udcff"}

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_refuses_what_is_not_json(self, value):
        with pytest.raises(ValueError, match="JSON"):
            output.emit_json({"score": value})


class TestCsv:
    @pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\t=1", " =1", "＝1", "\r=1", "\n=1"])
    def test_no_cell_is_a_formula(self, capsys, cell):
        output.emit_csv(["a"], [[cell]])
        rows = list(csv.reader(io.StringIO(capsys.readouterr().out, newline="")))
        assert rows == [["a"], ["'" + cell.replace("\r", "\\r")]]

    def test_no_new_line_hides_in_a_cell(self, capsys):
        output.emit_csv(["a"], [["x\r=1"]])
        assert capsys.readouterr().out == "a\nx\\r=1\n"

    def test_numbers_stay_numbers(self, capsys):
        output.emit_csv(["a", "b"], [[-0.5, None]])
        assert capsys.readouterr().out == "a,b\n-0.5,\n"

    def test_quotes_and_lines_survive(self, capsys):
        output.emit_csv(["a"], [['x"y,\nz']])
        assert list(csv.reader(io.StringIO(capsys.readouterr().out, newline="")))[1] == ['x"y,\nz']

    def test_names_that_are_not_unicode(self, capsys):
        output.emit_csv(["a"], [["a\udcff"]])
        assert capsys.readouterr().out == "a\na\\udcff\n"


class TestLinesAndTables:
    def test_markup_in_names_is_shown_not_read(self, capsys):
        output.print_line("[bold]x[/] \x1b[1m :smile:", style="bold")
        assert capsys.readouterr().out == "[bold]x[/] \\x1b[1m :smile:\n"

    def test_a_long_line_stays_one_line(self, capsys):
        output.print_line("x " * 500)
        assert capsys.readouterr().out.count("\n") == 1

    def test_columns_line_up_and_nothing_is_cut(self, capsys):
        output.print_table(["name", "n"], [["[red]" + "a" * 150, 5], ["b", 1000], ["c", None]], right=["n"])
        lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
        assert lines[1].startswith("[red]aaa")
        assert lines[1].endswith("   5")
        assert lines[2].endswith("1000")
        assert lines[3].endswith("   -")

    def test_a_table_without_rows(self, capsys):
        output.print_table(["a"], [])
        assert capsys.readouterr().out.strip() == "a"


def test_messages_go_to_stderr_without_markup(capsys):
    output.say("[red]x", label="error:")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "error: [red]x\n")


def test_a_face_in_json():
    points = ((1.234, 2), (3, 4), (5, 6), (7, 8), (9, 10))
    record = output.face_record(Face((0.126, 1, 2, 3), 0.98765, points))
    assert record["box"] == [0.13, 1, 2, 3]
    assert record["confidence"] == 0.9877
    assert record["landmarks"][0] == [1.23, 2]
    assert json.loads(json.dumps(record)) == record


def test_failures_in_json_name_the_picture_once():
    failures = [analysis("a.jpg", ImageError("a.jpg", "is empty")), analysis("b.jpg", InputError("no"))]
    assert output.errors_of(failures) == [
        {"source": "a.jpg", "error": "is empty"},
        {"source": "b.jpg", "error": "no"},
    ]


class TestWatch:
    def test_good_ones_pass_and_bad_ones_are_named(self, capsys):
        analyses = [analysis("a"), analysis("b", ImageError("b\x1b", "is empty")), analysis("c")]
        failures = []
        assert [a.source for a in output.watch(analyses, 3, "Looking", failures)] == ["a", "c"]
        assert [f.source for f in failures] == ["b"]
        assert capsys.readouterr().err == "skipped: b\\x1b: is empty\n"

    def test_what_belongs_to_an_analysis_stays_with_it(self):
        pairs = [(1, analysis("a")), (2, analysis("b", ImageError("b", "is empty"))), (3, analysis("c"))]
        assert [key for key, _ in output.watch_each(pairs, 3, "Looking", [])] == [1, 3]

    def test_is_lazy(self):
        def stream():
            yield analysis("a")
            raise AssertionError

        assert next(output.watch(stream(), None, "Looking", [])).source == "a"


def test_results_stay_on_stdout_under_a_progress_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with output.progress(5, "Working") as advance:
        advance(5)
        print("result")
    captured = capsys.readouterr()
    assert captured.out == "result\n"
    assert "Working" in captured.err


@pytest.mark.parametrize(
    ("facts", "code"),
    [({"failed": True, "matched": False}, 2), ({"failed": True}, 2), ({"failed": False, "matched": False}, 1)],
)
def test_exit_codes(facts, code):
    with pytest.raises(typer.Exit) as stop:
        output.finish(**facts)
    assert stop.value.exit_code == code


def test_all_well_goes_on():
    output.finish(failed=False)


@pytest.mark.parametrize(("trouble", "code"), [(BrokenPipeError(32, "Broken pipe"), 0), (KeyboardInterrupt(), 130)])
def test_who_leaves_early_is_not_told_no_match(monkeypatch, trouble, code):
    from mien.cli import main

    def leave(*_):
        raise trouble

    monkeypatch.setattr("mien.cli.detect.photos_in", leave)
    assert main(["detect", "a.jpg"]) == code


def test_a_reader_that_leaves_ends_the_run_in_peace(tmp_path):
    program = "import sys; from mien.cli import main; sys.exit(main(['--help']))"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize("flags", [("--json", "--csv"), ("--csv", "--json")])
def test_two_formats_at_once_are_bad_input(run, tmp_path, flags):
    answer = run("detect", tmp_path, *flags)
    assert (answer.code, answer.out) == (2, "")
    assert "expected one of the two" in answer.err
