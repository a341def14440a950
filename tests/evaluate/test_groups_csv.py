"""Files of attributes: what is read, and what is refused with the line named."""

from __future__ import annotations

import numpy as np
import pytest

from mien.errors import InputError
from mien.evaluate.groups_csv import read_attributes
from mien.evaluate.groups_ranges import parse_ranges
from mien.evaluate.groups_values import MAX_VALUES, column_attributes, gapped, valued


def written(tmp_path, content):
    path = tmp_path / "attributes.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_file_is_read(tmp_path):
    path = written(
        tmp_path, '\ufeffImage,subject,age,"the light"\r\nAda\\1.jpg,Ada,23,"in, door"\r\n\r\n./B/2.jpg,B,,-1.5\r\n'
    )
    found = read_attributes(path)
    assert (found.key, found.columns) == ("image", ("age", "the light"))
    assert found.rows == {"Ada/1.jpg": ("23", "in, door"), "B/2.jpg": ("", "-1.5")}
    assert found.lines == {"Ada/1.jpg": 2, "B/2.jpg": 4}
    assert found.column("age") == {"Ada/1.jpg": "23"}
    assert read_attributes(written(tmp_path, "subject,a\nZoë,x\nZoe\u0308,x\n")).rows == {"Zoë": ("x",)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: expected a header"),
        ("name,age\na,1\n", "line 1: expected a column named image or subject"),
        ("image,subject\na,b\n", "line 1: expected a column of an attribute besides image"),
        ("image,age,age\na,1,2\n", "line 1: expected a name of its own"),
        ("image,\na,1\n", "line 1: expected a name of its own"),
        ("image,age\n", "got a header only"),
        ("image,age\na,1\nb\n", "line 3: expected 2 cells as in the header, got 1"),
        ("image,age\na,1\n,2\n", "line 3: expected the name of an image"),
        ("image,age\na,1\n\nb,2\na,3\n", "line 5: 'a' has other values than in line 2"),
        ("image,age\na,NaN\n", "line 2, column age: got 'NaN'; leave the cell empty"),
        ("image,age\na,=1+1\n", "line 2, column age: expected a value, got what a spreadsheet takes for a formula"),
        ("image,age\na,@SUM(1)\n", "formula"),
        ("image,age\na,-cmd|' /C calc'!A0\n", "formula"),
        ("image,age\na,x\x1b[31m\n", "line 2, column age: expected text without control characters"),
        ('image,age\na,"x\ny"\n', "line 2, column age: expected text without control characters"),
        ("image,age\na,\x00\n", "line 2"),
        ("image,age\na," + 201 * "x" + "\n", "line 2, column age: expected at most 200 characters, got 201"),
        ("image,age\na," + 200_000 * "x" + "\n", "line 2: not CSV"),
        ('image,age\na,"x\n', "not CSV"),
        ("image,age\na,1\nb,caf\u00e9\n".encode("latin-1"), "line 3: expected UTF-8"),
        ("image,age\na,1\n".encode("utf-16"), "line 1: expected UTF-8"),
        (",".join(["image", *map(str, range(200))]), "at most 100 columns"),
    ],
)
def test_a_hostile_file_is_refused(tmp_path, content, said):
    with pytest.raises(InputError) as caught:
        read_attributes(written(tmp_path, content))
    assert said in str(caught.value)
    assert "attributes.csv" in str(caught.value)


def test_a_file_that_is_not_there_or_a_folder(tmp_path):
    for path in (tmp_path / "gone.csv", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_attributes(path)


def test_ranges():
    ages = parse_ranges("--bin", "age: 0-17, 18-39, 40+")
    assert (ages.column, ages.labels) == ("age", ("0-17", "18-39", "40+"))
    assert ages.place(np.array([0, 17, 17.5, 18, 40, 1e9, -1])).tolist() == [0, 0, 0, 1, 2, 2, -1]
    gaps = parse_ranges("--gap", "a:b:0-5,5-20")
    assert gaps.column == "a:b"
    assert gaps.place(np.array([4.9, 5, 20, 20.1])).tolist() == [0, 1, 1, -1]


BAD_RANGES = """age;age:;:0-1;age:a-b;age:5-1;age:0-10,20-30;age:0+,5-9;age:0-5,0-9;age:nan-1;age:1e9-2e9;age:0--5"""


@pytest.mark.parametrize("text", [*BAD_RANGES.split(";"), "age:" + ",".join(f"{i}-{i}" for i in range(30))])
def test_ranges_that_make_no_sense(text):
    with pytest.raises(InputError, match="--bin"):
        parse_ranges("--bin", text)


def test_values_make_groups_in_order():
    found = valued("light", ["low", "high", "", "low"], order=("low", "mid", "high"))
    assert [group.name for group in found.groups] == ["low", "low / high", "(none)", "high"]
    assert found.groups[int(found.between[found.codes[1], found.codes[0]])].name == "low / high"
    assert found.unknown == 1
    assert [group.name for group in found.groups if not group.counts] == ["(none)"]
    with pytest.raises(InputError, match="--bin number:"):
        valued("number", [str(i) for i in range(MAX_VALUES + 1)])
    with pytest.raises(InputError, match="round them"):
        gapped(parse_ranges("--gap", "x:0+"), np.arange(2000) / 7)


def test_columns_meet_a_protocol(tmp_path):
    path = written(tmp_path, "image,age,kind\nA/1.jpg,10,x\nA/2.jpg,30,y\nGone/1.jpg,5,z\nB/1.jpg,,x\n")
    pictures = ["A/1.jpg", "A/2.jpg", "B/1.jpg", "B/2.jpg"]
    bins, gaps = [parse_ranges("--bin", "age:0-17")], [parse_ranges("--gap", "age:0-5,5-50")]
    found, coverage = column_attributes(read_attributes(path), pictures, None, bins=bins, gaps=gaps)
    age, kind, gap = found
    assert [age.values[code] for code in age.codes] == ["0-17", "(outside)", "(none)", "(none)"]
    assert [kind.values[code] for code in kind.codes] == ["x", "y", "x", "(none)"]
    assert gap.name == "age gap"
    assert gap.groups[int(gap.between[gap.codes[0], gap.codes[1]])].name == "5-50"
    assert gap.groups[int(gap.between[gap.codes[0], gap.codes[2]])].name == "(none)"
    assert (coverage.matched, coverage.unmatched, coverage.unknown_keys, coverage.examples) == (
        3,
        1,
        1,
        ("Gone/1.jpg",),
    )
    only_gap, _ = column_attributes(read_attributes(path), pictures, None, gaps=gaps)
    assert [attribute.name for attribute in only_gap] == ["kind", "age gap"]


def test_columns_that_do_not_meet_a_protocol(tmp_path):
    table = read_attributes(written(tmp_path, "image,age\nA/1.jpg,10\nA/2.jpg,old\n"))
    with pytest.raises(
        InputError, match=r"no image of the protocol is named, such as 'B/1\.jpg'; line 2 has 'A/1\.jpg'"
    ):
        column_attributes(table, ["B/1.jpg"], None)
    with pytest.raises(InputError, match="line 3, column age: expected a number, got 'old'"):
        column_attributes(table, ["A/1.jpg"], None, bins=[parse_ranges("--bin", "age:0+")])
    with pytest.raises(InputError, match="expected a column 'size', got age"):
        column_attributes(table, ["A/1.jpg"], None, bins=[parse_ranges("--bin", "size:0+")])
