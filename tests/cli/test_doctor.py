import json

import pytest

from mien.cli import doctor as module
from mien.cli.doctor import Check
from mien.errors import ModelFileError


@pytest.fixture(scope="module")
def healthy():
    """What the self-test finds with the real models, run once."""
    return module.self_test()


def test_the_self_test_passes_with_the_real_models(healthy):
    assert [check.name for check in healthy] == ["finds a face", "knows a face again", "tells two faces apart"]
    assert [check.detail for check in healthy if not check.ok] == []


def test_the_self_test_notices_a_wrong_answer(monkeypatch):
    """The very same run, judged against other expectations, must fail."""
    monkeypatch.setattr(module, "_SAME", dict.fromkeys(module._SAME, 0.9))
    monkeypatch.setattr(module, "_BOX", (0.0, 0.0, 50.0, 50.0))
    assert [check.ok for check in module.self_test()] == [False, False, True]


def test_json_of_a_healthy_installation(run, healthy, monkeypatch):
    monkeypatch.setattr(module, "self_test", lambda: list(healthy))
    answer = run("doctor", "--json")
    assert (answer.code, answer.err) == (0, "")
    document = json.loads(answer.out)
    assert document["ok"] is True
    assert {"mien", "python", "platform", "cores_available"} <= set(document["system"])
    names = [check["name"] for check in document["checks"]]
    assert {"numpy", "onnxruntime", "dlib-resnet", "mtcnn-onet", "finds a face"} <= set(names)
    assert {extra["extra"] for extra in document["extras"]} == {"heic", "openvino"}
    assert all((extra["version"] is None) != (extra["install"] is None) for extra in document["extras"])
    assert "cache" in document["folders"]


def test_a_damaged_model_is_broken_and_says_what_to_do(run, monkeypatch):
    def damaged(name):
        raise ModelFileError(
            f"{name}: expected sha256 aa, found bb; reinstall it with: pip install --force-reinstall x"
        )

    monkeypatch.setattr("mien.models.packaged.read_packaged", damaged)
    answer = run("doctor", "--no-self-test")
    assert answer.code == 1
    assert "BROKEN" in answer.out
    assert "pip install --force-reinstall" in answer.out
    assert "All is well" not in answer.out


def test_a_crash_in_a_check_is_a_finding(run, monkeypatch):
    def crash():
        raise OSError("no such library")

    monkeypatch.setattr(module, "self_test", crash)
    answer = run("doctor", "--json")
    assert answer.code == 1
    (broken,) = [check for check in json.loads(answer.out)["checks"] if not check["ok"]]
    assert (broken["name"], broken["detail"]) == ("self-test", "OSError: no such library")


def test_a_missing_package_and_a_missing_extra_come_with_the_pip_line(run, monkeypatch):
    monkeypatch.setattr(module, "_NEEDED", ("numpy", "no-such-package"))
    monkeypatch.setattr(module, "_EXTRAS", {"gone": ("no_such_module", "no-such-package", "a test")})
    answer = run("doctor", "--no-self-test")
    assert answer.code == 1
    assert "pip install no-such-package" in answer.out
    assert 'pip install "mien[gone]"' in answer.out


def test_overlap_of_boxes():
    assert module._overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert module._overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert module._overlap((0, 0, 2, 2), (5, 5, 6, 6)) == 0


def test_another_opencv_will_do(monkeypatch):
    from importlib import metadata

    def version(name):
        if name == "opencv-python":
            return "4.11"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert module._package("opencv-python-headless") == Check("opencv-python", True, "4.11")
