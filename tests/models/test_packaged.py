import subprocess
import sys
from dataclasses import replace

import pytest

from mien.errors import ModelFileError, NotFoundError
from mien.models import packaged
from mien.models.packaged import PACKAGED, packaged_file, read_packaged


@pytest.mark.parametrize("name", list(PACKAGED))
def test_every_file_is_found_and_verified(name):
    assert packaged_file(name).is_file()
    assert len(read_packaged(name)) == PACKAGED[name].size


def test_the_packages_are_not_imported():
    code = (
        "import sys; from mien.models.packaged import *; [read_packaged(n) for n in PACKAGED];"
        "assert not {'mtcnn', 'face_recognition_models', 'joblib'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_restricted_model_is_not_in_the_table():
    assert not any("68" in entry.path for entry in PACKAGED.values())


def test_unknown_name():
    with pytest.raises(NotFoundError, match="dlib-resnet"):
        packaged_file("nonsense")


def swap(monkeypatch, **changes):
    monkeypatch.setattr(packaged, "PACKAGED", {"x": replace(PACKAGED["mtcnn-pnet"], **changes)})


def test_missing_package_gives_the_pip_line(monkeypatch):
    swap(monkeypatch, package="no_such_package_at_all")
    with pytest.raises(ModelFileError, match=r"not installed.*pip install .*mtcnn==1\.0\.0"):
        read_packaged("x")


def test_missing_file_gives_the_pip_line(monkeypatch):
    swap(monkeypatch, path="assets/none.lz4")
    with pytest.raises(ModelFileError, match=r"is missing from it.*pip install"):
        read_packaged("x")


def test_damaged_file_is_refused(monkeypatch):
    swap(monkeypatch, sha256="0" * 64)
    with pytest.raises(ModelFileError, match=r"pnet\.lz4: expected sha256 0000"):
        read_packaged("x")


def test_wrong_size_is_refused_before_reading(monkeypatch):
    swap(monkeypatch, size=5)
    with pytest.raises(ModelFileError, match=r"expected 5 bytes, found 27119"):
        read_packaged("x")


def test_a_stubbed_module_is_no_crash(monkeypatch):
    monkeypatch.setitem(sys.modules, "mtcnn", None)
    with pytest.raises(ModelFileError, match="pip install"):
        packaged_file("mtcnn-pnet")
