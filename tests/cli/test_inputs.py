import pytest

from mien.cli.inputs import make_recognizer, photos_in
from mien.cli.parts import detector_maker, embedder_maker
from mien.errors import CardError, InputError, LicenceError, ModelFileError, NotFoundError


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
        with pytest.raises(InputError, match="--min-face"):
            make_recognizer(None, side)

    @pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan")])
    def test_a_confidence_that_makes_no_sense(self, confidence):
        with pytest.raises(InputError, match="--confidence"):
            make_recognizer(confidence=confidence)


class TestParts:
    def test_the_default_models_are_made_by_the_recognizer_itself(self):
        assert detector_maker(None, None, min_face=None, confidence=None) is None
        assert detector_maker("mtcnn", "commercial", min_face=None, confidence=None) is None
        assert embedder_maker(None, "commercial", "fast") is None

    def test_an_unknown_model_is_named(self):
        with pytest.raises(NotFoundError, match="nonesuch"):
            make_recognizer(model="nonesuch")
        with pytest.raises(NotFoundError, match="nonesuch"):
            make_recognizer(detector="nonesuch")

    def test_a_detector_does_not_embed(self):
        with pytest.raises(CardError, match="expected an embedder, got a card of a detector"):
            make_recognizer(model="yunet")

    def test_a_licence_that_forbids_commercial_use_is_refused(self):
        with pytest.raises(LicenceError, match="arcface-r50"):
            make_recognizer(model="arcface-r50", licence="commercial")
        with pytest.raises(LicenceError, match="scrfd"):
            make_recognizer(detector="scrfd-10g-kps", licence="commercial")

    def test_a_use_that_does_not_exist(self):
        with pytest.raises(InputError, match="--licence"):
            make_recognizer(licence="private")

    def test_a_model_that_was_not_pulled_says_how(self, monkeypatch, tmp_path, hopper):
        monkeypatch.setenv("MIEN_MODELS", str(tmp_path))
        with pytest.raises(ModelFileError, match="mien models pull yunet"):
            make_recognizer(detector="yunet").detect(hopper)
        with pytest.raises(ModelFileError, match="mien models pull sface"):
            make_recognizer(model="sface").embed(hopper)


@pytest.mark.parametrize("verb", ["detect", "crop", "verify", "find", "compare", "enrol", "identify", "recognize"])
def test_an_unreadable_path_is_reported_by_mien_not_refused_by_the_parser(run, tmp_path, monkeypatch, verb):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    monkeypatch.setattr("os.access", lambda *_, **__: False)  # as for a file of somebody else's; root may read all
    second = (
        []
        if verb in ("detect", "compare", "enrol", "identify")
        else [tmp_path / ("out" if verb == "crop" else "a.jpg")]
    )
    answer = run(verb, tmp_path / "a.jpg", *second)
    assert answer.code == 2
    assert "is not readable" not in answer.err
    assert "Usage" not in answer.err
