import pytest

from mien.cli.inputs import make_detecting_engine, make_recognizer, photos_in
from mien.errors import InputError, NotFoundError


class TestPhotosIn:
    def test_folders_are_opened_and_files_taken_as_they_are(self, tmp_path):
        for name in ("b/2.jpg", "b/1.PNG", "b/.hidden.jpg", "b/notes.txt", "a.dat"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        found = photos_in([tmp_path / "b", tmp_path / "a.dat", tmp_path / "b" / "2.jpg"])
        assert found == [tmp_path / "b" / "1.PNG", tmp_path / "b" / "2.jpg", tmp_path / "a.dat"]

    def test_a_missing_path_is_named(self, tmp_path):
        with pytest.raises(NotFoundError, match=r"gone\.jpg"):
            photos_in([tmp_path / "gone.jpg"])

    def test_a_link_to_nothing_is_left_to_the_decoder(self, tmp_path):
        (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
        assert photos_in([tmp_path / "a.jpg"]) == [tmp_path / "a.jpg"]

    def test_no_picture_at_all(self, tmp_path):
        with pytest.raises(InputError, match="no pictures in"):
            photos_in([tmp_path])


@pytest.mark.usefixtures("squares")
class TestMakers:
    @pytest.mark.parametrize("preset", ["best", "", "FAST"])
    def test_a_preset_that_does_not_exist(self, preset):
        if not preset:
            assert make_recognizer(preset) is not None  # not given
            return
        with pytest.raises(InputError, match="--preset: expected fast or accurate"):
            make_recognizer(preset)

    @pytest.mark.parametrize("side", [0, -1, float("nan")])
    def test_a_face_size_that_makes_no_sense(self, side):
        for make in (lambda: make_recognizer(None, side), lambda: make_detecting_engine(1, side)):
            with pytest.raises(InputError, match="--min-face"):
                make()

    def test_options_reach_the_detector(self):
        engine = make_detecting_engine(5, 24, upright=True, confidence=0.5)
        assert engine.detector.options["min_face"] == 24
        assert engine.detector.confidence == 0.5
        assert engine.upright
        assert engine.embedder is None

    def test_one_photo_gives_its_networks_all_cores_and_many_share_them(self, monkeypatch):
        monkeypatch.setattr("mien.models.session.available_cores", lambda: 4)
        one, many = make_detecting_engine(1), make_detecting_engine(2)
        assert (one.workers, one.detector.options["threads"]) == (1, 4)
        assert (many.workers, many.detector.options["threads"]) == (4, 1)
