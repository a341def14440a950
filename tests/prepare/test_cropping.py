import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.errors import InputError, NoFaceError, NotFoundError
from mien.images import decode
from mien.prepare import cropping_cut
from mien.prepare.cropping import CropOptions, crop
from mien.prepare.cropping_cut import Cutter, central
from mien.prepare.cropping_folder import votes
from mien.prepare.cropping_review import Review
from mien.prepare.cropping_writing import Writer, _hidden
from mien.prepare.manifest import read_manifest
from mien.recognizer import Recognizer
from mien.types import Faces


def decisions(folder: Path) -> dict[str, str]:
    return {entry["source"]: entry["decision"] for entry in read_manifest(folder)}


@pytest.mark.parametrize(("choose", "expected"), [("main", 2), ("largest", 3), ("central", 1)])
def test_which_face(recognizer, tmp_path, choose, expected, paint, who):
    # 1 is small and nearest to the middle, 2 a little farther and larger, 3 the largest but at the edge.
    photo = paint(tmp_path / "in" / "a.png", (3, 18), (1, 4), (2, 16), None)
    pixels = decode(photo).pixels[:, :94]
    Image.fromarray(pixels).save(photo)
    (answer,) = crop(tmp_path / "in", tmp_path / "out", recognizer, CropOptions(choose=choose))
    assert (answer.decision, answer.faces, answer.before) == ("cut", 3, False)
    assert who(answer.crops[0].file) == expected


def test_central_prefers_the_larger_of_two_as_near():
    boxes = np.array([[0, 0, 40, 40], [60, 0, 100, 40], [90, 0, 95, 5]], np.float32)
    assert central(Faces(boxes, np.ones(3), np.zeros((3, 5, 2))), (100, 40)) == 0


class TestPerson:
    def test_the_face_of_the_person_is_cut_and_photos_without_are_named(self, recognizer, tmp_path, paint, who):
        wanted = paint(tmp_path / "wanted.png", (7, 12))
        paint(tmp_path / "in" / "a.png", (3, 18), (7, 10))
        paint(tmp_path / "in" / "b.png", (3, 18))
        paint(tmp_path / "in" / "c.png", None)
        answers = {a.source.name: a for a in crop(tmp_path / "in", tmp_path / "out", recognizer, person=[wanted])}
        assert who(answers["a.png"].crops[0].file) == 7
        assert answers["a.png"].crops[0].similarity == pytest.approx(1)
        assert [answers[n].decision for n in ("b.png", "c.png")] == ["not the person", "no face"]

    def test_several_photos_of_the_person(self, recognizer, tmp_path, paint, who):
        person = [paint(tmp_path / f"{i}.png", (i, 12)) for i in (7, 8)]
        paint(tmp_path / "in" / "a.png", (3, 18), (8, 10))
        (answer,) = crop(tmp_path / "in", tmp_path / "out", recognizer, person=person)
        assert who(answer.crops[0].file) == 8

    def test_a_photo_of_nobody_is_refused(self, recognizer, tmp_path, paint):
        paint(tmp_path / "in" / "a.png", (3, 18))
        with pytest.raises(NoFaceError, match="nobody"):
            list(crop(tmp_path / "in", tmp_path / "out", recognizer, person=[paint(tmp_path / "nobody.png", None)]))
        assert not (tmp_path / "out").exists()


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path, paint):
        for i in range(6):  # 7 is in all photos, always the smaller; a new neighbour each time
            paint(tmp_path / "in" / "ada" / f"{i}.png", (20 + i, 18), (7, 10))
        paint(tmp_path / "in" / "ada" / "stranger.png", (50, 18))
        paint(tmp_path / "in" / "bob" / "0.png", (9, 8), (10, 16))
        return tmp_path / "in"

    def test_whom_the_folder_is_of(self, recognizer, folder, tmp_path, who):
        answers = list(crop(folder, tmp_path / "out", recognizer, match_folder=True))
        cut = {a.source.relative_to(folder).as_posix(): who(a.crops[0].file) for a in answers if a.crops}
        assert cut == {**{f"ada/{i}.png": 7 for i in range(6)}, "bob/0.png": 10}
        assert decisions(tmp_path / "out")["ada/stranger.png"] == "like nobody else in the folder"

    def test_a_new_photo_is_compared_with_those_done_before(self, recognizer, folder, tmp_path, paint, who):
        list(crop(folder, tmp_path / "out", recognizer, match_folder=True))
        paint(folder / "ada" / "new.png", (60, 18), (7, 10))
        new = [a for a in crop(folder, tmp_path / "out", recognizer, match_folder=True) if not a.before]
        assert [(a.source.name, who(a.crops[0].file)) for a in new] == [("new.png", 7)]

    def test_votes_by_the_definition(self):
        generator = np.random.default_rng(0)
        vectors = generator.normal(size=(40, 8)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        photos = np.sort(generator.integers(0, 12, 40))
        for i, likeness in enumerate(votes(vectors, photos)):
            best = [max(vectors[i] @ v for v in vectors[photos == p]) for p in set(photos) - {photos[i]}]
            assert likeness == pytest.approx(np.mean(best), abs=1e-5)
        assert votes(vectors[:2], [3, 3]).tolist() == [0, 0]


class TestRecord:
    def test_every_photo_has_its_line(self, recognizer, tmp_path, paint):
        photo = paint(tmp_path / "in" / "张伟" / "é.png", (1, 12), None)
        paint(tmp_path / "in" / "wall.png", None)
        (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
        list(crop(tmp_path / "in", tmp_path / "out", recognizer))
        lines = {entry["source"]: entry for entry in read_manifest(tmp_path / "out")}
        assert decisions(tmp_path / "out") == {"broken.png": "failed", "wall.png": "no face", "张伟/é.png": "cut"}
        line = lines["张伟/é.png"]
        assert line["sha256"] == __import__("hashlib").sha256(photo.read_bytes()).hexdigest()
        (record,) = line["crops"]
        assert (record["file"], record["size"], record["box"]) == ("张伟/é.png", [112, 112], [6, 6, 18, 18])
        assert len(record["landmarks"]) == 5
        assert "broken" not in lines["broken.png"]["error"]

    def test_only_what_is_new_is_looked_at(self, model, recognizer, tmp_path, paint, who):
        photos = [paint(tmp_path / "in" / f"{i}.png", (1, 12) if i else None) for i in range(5)]
        list(crop(tmp_path / "in", tmp_path / "out", recognizer))
        model.looked_at = 0
        again = list(crop(tmp_path / "in", tmp_path / "out", recognizer))
        assert model.looked_at == 0
        assert [(a.decision, a.before) for a in again] == [("no face", True), *[("cut", True)] * 4]
        paint(photos[1], (2, 12))  # changed
        os.utime(photos[1], ns=(1, 2))
        paint(tmp_path / "in" / "new.png", (3, 12))
        (tmp_path / "out" / "2.png").unlink()
        new = [a.source.name for a in crop(tmp_path / "in", tmp_path / "out", recognizer) if not a.before]
        assert new == ["1.png", "2.png", "new.png"]
        assert who(tmp_path / "out" / "1.png") == 2  # whatever the time of the file that took the place of the first

    def test_a_photo_that_changed_is_cut_again(self, recognizer, tmp_path, paint, who):
        photo = paint(tmp_path / "in" / "a.png", (1, 12))
        list(crop(tmp_path / "in", tmp_path / "out", recognizer))
        paint(photo, (2, 12))
        os.utime(photo, (photo.stat().st_mtime + 10,) * 2)
        (answer,) = crop(tmp_path / "in", tmp_path / "out", recognizer)
        assert (answer.before, who(tmp_path / "out" / "a.png")) == (False, 2)

    @pytest.mark.parametrize("later", [(2, 12), None])
    def test_a_photo_that_is_as_it_was_earlier_is_cut_again(self, recognizer, tmp_path, paint, who, later):
        photo, times = tmp_path / "in" / "a.png", {(1, 12): 1e9, later: 2e9}
        for people in [(1, 12), later]:
            os.utime(paint(photo, people), (times[people],) * 2)
            list(crop(tmp_path / "in", tmp_path / "out", recognizer))
        os.utime(paint(photo, (1, 12)), (1e9, 1e9))  # restored, its time as well
        (answer,) = crop(tmp_path / "in", tmp_path / "out", recognizer)
        assert (answer.before, who(tmp_path / "out" / "a.png")) == (False, 1)
        (answer,) = crop(tmp_path / "in", tmp_path / "out", recognizer)
        assert answer.before

    def test_more_kinds_of_decisions_than_there_are(self, recognizer, tmp_path, paint):
        """Of a later version, or by somebody's hand."""
        photo = paint(tmp_path / "in" / "a.png", (1, 12))
        list(crop(tmp_path / "in", tmp_path / "out", recognizer))
        with (tmp_path / "out" / "manifest.jsonl").open("a") as file:
            file.writelines(f'{{"source":"b{i}","decision":"new {i}"}}\n' for i in range(1000))
        list(crop(tmp_path / "in", tmp_path / "out", recognizer))
        os.utime(photo, (1e9, 1e9))
        answers = [list(crop(tmp_path / "in", tmp_path / "out", recognizer)) for _ in range(2)]
        assert [a.before for (a,) in answers] == [False, True]

    def test_photos_that_failed_are_tried_again_but_written_down_once(self, recognizer, tmp_path, paint):
        paint(tmp_path / "in" / "a.png", (1, 12))
        (tmp_path / "in" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
        for _ in range(3):
            answers = list(crop(tmp_path / "in", tmp_path / "out", recognizer))
            assert [a.decision for a in answers if a.error] == ["failed"]
        assert len(list(read_manifest(tmp_path / "out"))) == 2

    def test_a_crop_that_cannot_be_removed_is_not_told_of_as_new(self, recognizer, tmp_path, monkeypatch, paint, who):
        photo, crops = paint(tmp_path / "in" / "a.png", (1, 12)), tmp_path / "out"
        list(crop(tmp_path / "in", crops, recognizer))
        paint(photo, (2, 12))
        os.utime(photo, (photo.stat().st_mtime + 10,) * 2)
        unlink = os.unlink

        def held(path, *more, **named):
            if path == str(crops / "a.png"):
                raise PermissionError(13, "in use", path)
            unlink(path, *more, **named)

        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", held)
            with pytest.raises(InputError, match="in use"):
                list(crop(tmp_path / "in", crops, recognizer))
        assert list(crops.glob(".mien-*")) == []
        assert len(list(read_manifest(crops))) == 1
        (answer,) = crop(tmp_path / "in", crops, recognizer)
        assert (answer.before, who(crops / "a.png")) == (False, 2)

    def test_other_options_are_refused(self, recognizer, tmp_path, paint):
        paint(tmp_path / "in" / "a.png", (1, 12))
        list(crop(tmp_path / "in", tmp_path / "out", recognizer))
        with pytest.raises(InputError, match="size was None"):
            list(crop(tmp_path / "in", tmp_path / "out", recognizer, CropOptions(size=(50, 50))))
        with pytest.raises(InputError, match="size was None"):
            list(crop(tmp_path / "in", tmp_path / "out", recognizer, CropOptions(size=(50, 50)), dry_run=True))
        anew = crop(tmp_path / "in", tmp_path / "out", recognizer, CropOptions(size=(50, 50)), fresh=True, dry_run=True)
        assert [a.decision for a in anew] == ["to do"]
        (answer,) = crop(tmp_path / "in", tmp_path / "out", recognizer, CropOptions(size=(50, 50)), fresh=True)
        assert answer.crops[0].size == (50, 50)

    def test_cutting_everything_again_may_be_stopped_too(self, recognizer, tmp_path, paint):
        for i in range(400):
            paint(tmp_path / "in" / f"{i:03}.png", (1, 12))
        list(crop(tmp_path / "in", tmp_path / "out", recognizer))
        small = CropOptions(size=(20, 20))
        run = crop(tmp_path / "in", tmp_path / "out", recognizer, small, fresh=True)
        next(run)
        run.close()  # stopped: some crops are small now, others of the old size
        list(crop(tmp_path / "in", tmp_path / "out", recognizer, small))
        assert {decode(p).size for p in (tmp_path / "out").glob("*.png")} == {(20, 20)}

    def test_crops_from_before_the_manifest_stay(self, recognizer, tmp_path, paint):
        paint(tmp_path / "in" / "a.png", (1, 12))
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a.png").write_bytes(b"mine")
        (answer,) = crop(tmp_path / "in", tmp_path / "out", recognizer)
        assert (answer.decision, answer.before) == ("there", True)
        assert (tmp_path / "out" / "a.png").read_bytes() == b"mine"
        assert decisions(tmp_path / "out") == {"a.png": "there"}

    def test_a_dry_run_writes_nothing_and_opens_nothing(self, model, recognizer, tmp_path, paint):
        for i in range(3):
            paint(tmp_path / "in" / f"{i}.png", (1, 12))
        answers = list(crop(tmp_path / "in", tmp_path / "out", recognizer, dry_run=True))
        assert [a.decision for a in answers] == ["to do"] * 3
        assert not (tmp_path / "out").exists()
        list(crop(tmp_path / "in", tmp_path / "out", recognizer))
        paint(tmp_path / "in" / "9.png", (1, 12))
        model.looked_at, before = 0, sorted(p.name for p in (tmp_path / "out").iterdir())
        answers = list(crop(tmp_path / "in", tmp_path / "out", recognizer, dry_run=True))
        assert [a.decision for a in answers] == ["cut"] * 3 + ["to do"]
        assert (model.looked_at, sorted(p.name for p in (tmp_path / "out").iterdir())) == (0, before)


@pytest.mark.parametrize(
    "options",
    [{"choose": "best"}, {"template": "x"}, {"size": (7, 7)}, {"size": (8, 5000)}, {"margin": float("nan")}],
)
def test_options_that_make_no_sense(options):
    with pytest.raises(InputError, match=next(iter(options))):
        CropOptions(**options)


def test_folders_that_make_no_sense(recognizer, tmp_path, paint):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError):
        list(crop(tmp_path / "gone", tmp_path / "out", recognizer))
    with pytest.raises(InputError, match="no pictures"):
        list(crop(tmp_path / "empty", tmp_path / "out", recognizer))
    paint(tmp_path / "in" / "a.png", (1, 12))
    with pytest.raises(InputError, match="choose"):
        list(crop(tmp_path / "in", tmp_path / "out", recognizer, CropOptions(choose="all"), match_folder=True))
    with pytest.raises(InputError, match="choose"):
        list(crop(tmp_path / "in", tmp_path / "out", recognizer, CropOptions(choose="all"), person=["x"]))


def test_a_folder_where_a_crop_belongs(recognizer, tmp_path, paint):
    paint(tmp_path / "in" / "a.png", (1, 12))
    paint(tmp_path / "in" / "b.png", (1, 12))
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    answers = {a.source.name: a for a in crop(tmp_path / "in", tmp_path / "out", recognizer, fresh=True)}
    assert "folder" in str(answers["a.png"].error)
    assert answers["b.png"].decision == "cut"


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_links_in_a_circle_are_told_of_and_stop_nothing(recognizer, tmp_path, paint):
    photos, out = tmp_path / "in", tmp_path / "in" / "crops"  # inside, so that it is asked where each photo really is
    paint(photos / "a.png", (1, 12))
    paint(photos / "b" / "c.png", (2, 12))
    (photos / "loop.png").symlink_to("loop.png")
    out.mkdir()
    (out / "b").symlink_to("b")
    answers = {a.source.name: a for a in crop(photos, out, recognizer)}
    assert {name: a.decision for name, a in answers.items()} == {
        "a.png": "cut",
        "loop.png": "failed",
        "c.png": "failed",
    }
    assert "loop.png" in str(answers["loop.png"].error)
    assert f"{out / 'b'}: the folder cannot be made" in str(answers["c.png"].error)


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_an_output_folder_that_is_a_link_in_a_circle(recognizer, tmp_path, paint):
    paint(tmp_path / "in" / "a.png", (1, 12))
    (tmp_path / "out").symlink_to("out")
    with pytest.raises(InputError, match="out"):
        list(crop(tmp_path / "in", tmp_path / "out", recognizer))


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_nothing_is_written_through_a_link_that_waits_under_a_hidden_name(recognizer, tmp_path, paint):
    for i in range(9):
        paint(tmp_path / "in" / f"{i}.png", (1, 12))
    paint(tmp_path / "in" / "a.png", (1, 12))
    outside, out = tmp_path / "precious", tmp_path / "out"
    outside.write_text("mine")
    out.mkdir()
    (out / Path(_hidden(str(out / "a.png"))).name).symlink_to(outside)
    *others, answer = crop(tmp_path / "in", out, recognizer)
    assert answer.decision == "failed"
    assert "a.png: cannot be written" in str(answer.error)
    assert outside.read_text() == "mine"
    assert [other.decision for other in others] == ["cut"] * 9


@pytest.mark.parametrize(
    "options",
    [CropOptions(choose="all", size=(40, 40)), CropOptions(choose="all", size=(40, 40), align=False),
     CropOptions(choose="all", align=False)],
)  # fmt: skip
def test_crops_are_the_same_however_many_are_cut_and_encoded_at_a_time(
    recognizer, tmp_path, monkeypatch, options, paint
):
    for i in range(70):
        paint(tmp_path / "in" / f"{i:02}.png", *[(1 + i % 3, 8 + i % 9)] * (i % 9 + 1))
    list(crop(tmp_path / "in", tmp_path / "together", recognizer, options))
    batches, cut, sizes, cuts = Cutter.batches, CropOptions.cut, [], []

    def watched(self, photos, analyses):
        for pieces in batches(self, photos, analyses):
            sizes.append(sum(len(piece.faces) for piece in pieces[:-1]))
            yield pieces

    def watched_cut(self, pixels, faces, turns=0):
        cuts.append(len(faces))
        return cut(self, pixels, faces, turns)

    monkeypatch.setattr(Cutter, "batches", watched)
    monkeypatch.setattr(CropOptions, "cut", watched_cut)
    room = 3 * 40 * 40 * 3 if options.size else 3 * 24 * 24 * 3  # three crops, or a few
    monkeypatch.setattr("mien.prepare.cropping_cut._AT_ONCE", room)
    list(crop(tmp_path / "in", tmp_path / "few", recognizer, options))
    assert max(sizes) <= (3 if options.size else 24)
    assert max(cuts) <= (3 if options.size else 8)
    once, again = (
        {p.name: p.read_bytes() for p in (tmp_path / name).iterdir() if p.suffix == ".png"}
        for name in ("together", "few")
    )
    assert once == again
    assert len(once) == sum(i % 9 + 1 for i in range(70))
    first, second = ({e["source"]: e for e in read_manifest(tmp_path / name)} for name in ("together", "few"))
    assert first == second


@pytest.mark.parametrize("by_parts", [False, True])
@pytest.mark.parametrize("where", ["cut", "encode"])
def test_a_photo_that_is_too_large_for_the_memory_fails_alone(
    recognizer, tmp_path, monkeypatch, by_parts, where, paint
):
    for i in range(20):
        paint(tmp_path / "in" / f"{i:02}.png", *[(90 if i == 7 else 1, 12)] * 3)
    if by_parts:
        monkeypatch.setattr("mien.prepare.cropping_cut._AT_ONCE", 112 * 112 * 3)
    original = CropOptions.cut if where == "cut" else cropping_cut.encode
    calls = []

    def cut(self, pixels, faces, turns=0):
        if pixels[:, :, 0].max() == 90:
            calls.append(0)
            if not by_parts or len(calls) == 3:  # two of its crops are written by then
                raise MemoryError
        return original(self, pixels, faces, turns)

    def encode(image, suffix, **more):
        if image.pixels[:, :, 0].max() == 90:
            raise MemoryError
        return original(image, suffix, **more)

    if where == "cut":
        monkeypatch.setattr(CropOptions, "cut", cut)
    else:
        monkeypatch.setattr(cropping_cut, "encode", encode)
    answers = list(crop(tmp_path / "in", tmp_path / "out", recognizer, CropOptions(choose="all")))
    (bad,) = [a for a in answers if a.decision != "cut"]
    assert str(bad.error) == f"{tmp_path / 'in' / '07.png'}: too large for this machine's memory"
    assert sum(len(a.crops) for a in answers) == 19 * 3
    assert list((tmp_path / "out").glob("*.part")) == []


@pytest.mark.parametrize("stop", ["closed", "interrupted", "broken"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_is_left_keeps_what_is_finished(model, tmp_path, monkeypatch, stop, workers, paint):
    for i in range(300):
        paint(tmp_path / "in" / f"{i:03}.png", (1, 12))
    recognizer, out = Recognizer(detector=model, embedder=model, workers=workers), tmp_path / "out"
    monkeypatch.setattr("mien.prepare.cropping_writing._SECONDS", 3600.0)
    monkeypatch.setattr("mien.prepare.cropping_writing._BATCH", 64)
    added, add = [], Writer.add

    def counted(self, draft):
        added.append(draft)
        if len(added) == 100 and stop != "closed":
            raise {"interrupted": KeyboardInterrupt, "broken": RuntimeError}[stop]("mine")
        add(self, draft)

    monkeypatch.setattr(Writer, "add", counted)
    run = crop(tmp_path / "in", out, recognizer)
    if stop == "closed":
        next(run)
        run.close()
    else:
        with pytest.raises((KeyboardInterrupt, RuntimeError), match="mine"):
            list(run)
    monkeypatch.setattr(Writer, "add", add)
    crops = {p.name for p in out.glob("*.png")}
    assert len(crops) >= (64 if stop == "closed" else 100)
    assert crops == set(decisions(out))
    assert [p.name for p in out.iterdir() if p.name.endswith(".part")] == []
    again = list(crop(tmp_path / "in", out, recognizer))
    assert sum(a.before for a in again) == len(crops)
    assert len(list(read_manifest(out))) == 300


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
@pytest.mark.parametrize("room", [100, 4000, 20000])
def test_a_full_disk_is_an_error_and_the_run_goes_on_later(recognizer, tmp_path, room_for, room, paint):
    for i in range(100):
        paint(tmp_path / "in" / f"{i:03}.png", (1, 12))
    with room_for(room), pytest.raises(InputError, match=r"manifest\.jsonl: cannot be \w+ \(File too large\)"):
        list(crop(tmp_path / "in", tmp_path / "out", recognizer))
    assert list((tmp_path / "out").glob(".mien-*")) == []
    assert [a.decision for a in crop(tmp_path / "in", tmp_path / "out", recognizer)] == ["cut"] * 100


def test_a_resumed_run_works_in_batches_of_the_same_size(model, recognizer, tmp_path, paint):
    for i in range(100):
        paint(tmp_path / "in" / f"{i:03}.png", (1, 12))
    sizes, detect = [], model.detect
    model.detect = lambda images: sizes.append(len(images)) or detect(images)
    list(crop(tmp_path / "in", tmp_path / "out", recognizer))
    assert sizes == [4] * 25
    for i in range(0, 80, 2):
        (tmp_path / "out" / f"{i:03}.png").unlink()
    sizes.clear()
    list(crop(tmp_path / "in", tmp_path / "out", recognizer))
    assert sizes == [4] * 10


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), 1.01, -2])
def test_a_threshold_that_is_no_similarity(recognizer, tmp_path, threshold, paint):
    photo = paint(tmp_path / "in" / "a.png", (1, 12))
    for question in ({"person": [photo]}, {"match_folder": True}):
        with pytest.raises(InputError, match="threshold: expected a similarity from -1 to 1"):
            list(crop(tmp_path / "in", tmp_path / "out", recognizer, threshold=threshold, **question))
    with pytest.raises(InputError, match="threshold: means nothing"):
        list(crop(tmp_path / "in", tmp_path / "out", recognizer, threshold=0.5))
    assert not (tmp_path / "out").exists()


def test_pictures_are_let_go_of_while_the_run_goes_on(recognizer, tmp_path, monkeypatch, paint):
    """Chunks of large photos would be gigabytes if they stayed decoded until their turn comes."""
    import weakref

    from mien.types import Analysis

    alive: list[int] = [0, 0]  # now, and at most
    original = Analysis.__post_init__

    def gone():
        alive[0] -= 1

    def made(self):
        original(self)
        if self.image is not None:
            alive[0] += 1
            alive[1] = max(alive)
            weakref.finalize(self.image.pixels, gone)

    monkeypatch.setattr(Analysis, "__post_init__", made)
    monkeypatch.setattr("mien.engine.PIXELS_AT_ONCE", 24 * 24 * 4)
    for i in range(120):
        paint(tmp_path / "in" / f"{i}.png", (1, 12))
    assert len(list(crop(tmp_path / "in", tmp_path / "out", recognizer))) == 120
    assert 0 < alive[1] <= 2 * 4 + 2


class TestReview:
    def test_the_page_is_whole_and_tells_of_everything(self, recognizer, tmp_path, paint):
        paint(tmp_path / "in" / "<b>张&.png", (1, 12))
        paint(tmp_path / "in" / "wall.png", None)
        (tmp_path / "in" / "x<script>.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
        sheet = Review(tmp_path / "in", tmp_path / "out")
        for answer in crop(tmp_path / "in", tmp_path / "out", recognizer):
            sheet.add(answer)
        page = sheet.write(tmp_path / "review.html").read_text("utf-8")
        assert "default-src &#x27;none&#x27;" in page
        assert "<script>" not in page
        assert "<b>张" not in page
        assert "&lt;b&gt;张&amp;.png" in page
        assert page.count("data:image/jpeg") == 2  # the crop and the wall; the broken one cannot be shown
        assert all(f"Skipped: {reason}" in page for reason in ("failed", "no face"))

    def test_crops_of_earlier_runs_are_on_it(self, recognizer, tmp_path, paint):
        for i in range(5):
            paint(tmp_path / "in" / f"{i}.png", (1, 12))
        list(crop(tmp_path / "in", tmp_path / "out", recognizer))
        (tmp_path / "out" / "1.png").unlink()  # cut again now
        paint(tmp_path / "in" / "new.png", (1, 12))
        paint(tmp_path / "precious.png", (1, 12))
        sheet = Review(tmp_path / "in", tmp_path / "out")
        for answer in crop(tmp_path / "in", tmp_path / "out", recognizer):
            sheet.add(answer)
        (tmp_path / "out" / "2.png").unlink()
        with (tmp_path / "out" / "manifest.jsonl").open("a") as file:  # what a stranger may have added
            file.write('{"source":"x","crops":[{"file":"../precious.png","score":0.1},{"file":7},3]}\n')
            file.write('{"source":"y","crops":{"file":"3.png"}}\n')
            for name in ("C:/precious.png", "C:precious.png", "..\\\\precious.png", "\\\\\\\\x\\\\y\\\\precious.png"):
                file.write(f'{{"source":"z","crops":[{{"file":"{name}","score":0.1}}]}}\n')
            file.write(f'{{"source":"z","crops":[{{"file":"precious.png","score":{10**400}}}]}}\n')
        page = sheet.write(tmp_path / "review.html").read_text("utf-8")
        assert page.count("data:image/jpeg") == page.count("confidence 0.90") == 5
        assert all(page.count(f">{name}.png<") == 1 for name in "0134")
        assert "Those of earlier runs are among them" in page
        assert "precious" not in page

    def test_a_later_crop_of_the_same_file_takes_the_place_of_the_earlier(self, tmp_path):
        scores = [0.1, *(0.2 + i / 5000 for i in range(3000))]
        lines = [f'{{"source":"{i}.png","crops":[{{"file":"{i}.png","score":{s}}}]}}' for i, s in enumerate(scores)]
        lines += ['{"source":"0.png","crops":[{"file":"0.png","score":0.99}]}']
        lines += ['{"source":"2999.png","crops":[{"file":"2999.png","score":0.01}]}']
        (tmp_path / "manifest.jsonl").write_text("\n".join(['{"mien_manifest":1}', *lines, ""]))
        most = Review(tmp_path, tmp_path)._of_all_runs().most(there=False)
        assert [shown.file.name for shown in most] == ["2999.png", *(f"{i}.png" for i in range(1, 200))]

    def test_it_keeps_few_of_many_and_the_doubtful_ones(self, tmp_path):
        from mien.prepare.cropping import Crop, Cropped
        from mien.types import Face

        sheet = Review(tmp_path, tmp_path)
        for i in range(1000):
            face = Face((0, 0, 1, 1), i / 1000, ((0, 0),) * 5)
            sheet.add(Cropped(tmp_path / f"{i}.png", "cut", faces=1, crops=(Crop(tmp_path / f"c{i}", (8, 8), face),)))
            sheet.add(Cropped(tmp_path / f"n{i}.png", "no face"))
        page = sheet.write(tmp_path / "r.html").read_text("utf-8")
        assert page.count("confidence 0.") == 200
        assert page.index("confidence 0.00") < page.index("confidence 0.19")
        assert "confidence 0.21" not in page
        assert "1,000 photos; the first 60 of them" in page
