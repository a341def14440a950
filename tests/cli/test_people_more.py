"""`mien people` beyond list, rename and remove: what is said of somebody, entries, corrections."""

import csv
import io
import json
import time

import pytest

pytestmark = pytest.mark.usefixtures("squares")


@pytest.fixture
def gallery(run, paint, tmp_path):
    for look in range(3):
        paint(tmp_path / f"people/Ada/{look}.png", (1, look))
    paint(tmp_path / "people/张伟.png", (2, 0))
    assert run("enrol", tmp_path / "people", "-g", tmp_path / "p.db").code == 0
    return tmp_path / "p.db"


@pytest.fixture
def asked(run, gallery):
    """asked("describe", "Ada", ...) -> the JSON document; the exit code must be 0."""

    def asked(*arguments):
        answer = run("people", *arguments, "-g", gallery, "--json")
        assert answer.code == 0, answer.err
        return json.loads(answer.out)

    return asked


def named(run, gallery, photo, *more):
    document = json.loads(run("identify", photo, "-g", gallery, "--json", *more).out)
    return [face["name"] for face in document["photos"][0]["faces"]]


def test_what_is_said_is_kept_shown_and_listed(run, gallery, asked):
    said = asked(
        "describe", "Ada", "--group", "夜班", "--group", "staff", "--external-id", "=7", "--consent", "form 12",
        "--metadata", '{"desk": [3, "ü"]}', "--expires", "2027-01-31T09:30+00:00",
    )["described"]  # fmt: skip
    assert (said["groups"], said["external_id"], said["consent"]) == (["staff", "夜班"], "=7", "form 12")
    assert (said["metadata"], said["expires"]) == ({"desk": [3, "ü"]}, "2027-01-31T09:30:00+00:00")
    assert asked("describe", "Ada", "--leave", "staff", "--expires", "never")["described"]["groups"] == ["夜班"]
    shown = asked("show", "Ada")["person"]
    assert (shown["expires"], shown["consent"], len(shown["listed"])) == (None, "form 12", 3)
    assert shown["listed"][0]["quality"] == 0.9
    assert [p["name"] for p in asked("list", "--group", "夜班")["people"]] == ["Ada"]
    rows = list(csv.DictReader(io.StringIO(run("people", "list", "-g", gallery, "--csv").out)))
    assert (rows[0]["external_id"], rows[0]["groups"], rows[1]["groups"]) == ("'=7", "夜班", "")
    assert "夜班" in run("people", "list", "-g", gallery).out
    text = run("people", "show", "Ada", "-g", gallery).out
    assert text.splitlines()[0] == "Ada"
    assert "external id: =7" in text
    assert asked("describe", "Ada", "--external-id", "")["described"]["external_id"] is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "expected something to say"),
        (["--metadata", "[1]"], "expected a JSON object"),
        (["--metadata", "{"], "expected a JSON object"),
        (["--expires", "soon"], "expected a date such as"),
        (["--leave", "nobody"], "is not one of their groups (none)"),
        (["--group", "\u202eevil"], "control characters"),
    ],
)
def test_what_cannot_be_said_is_explained_and_nothing_changes(run, gallery, asked, options, says):
    before = asked("show", "Ada")
    answer = run("people", "describe", "Ada", *options, "-g", gallery)
    assert answer.code == 2
    assert says in answer.err
    assert asked("show", "Ada") == before


@pytest.mark.parametrize("name", ["[bold]Eve[/bold]", "=HYPERLINK(1)", "../../etc", "%s{0}", "محمد", "\U0001f600" * 9])
def test_names_are_only_names(run, gallery, asked, paint, tmp_path, name):
    assert asked("rename", "张伟", name)["renamed"]["name"] == name
    assert asked("describe", name, "--group", name, "--consent", name)["described"]["groups"] == [name]
    assert run("people", "show", name, "-g", gallery).out.startswith(f"{name}\n")
    assert name in run("people", "list", "-g", gallery).out
    assert name in run("identify", paint(tmp_path / "p.png", (2, 0)), "-g", gallery, "--explain").out


def test_merge_split_move_and_single_faces(run, gallery, asked, paint, tmp_path):
    faces = [face["id"] for face in asked("show", "Ada")["person"]["listed"]]
    assert asked("split", "Ada", "Eve", "--face", faces[2])["split"]["faces"] == 1
    assert asked("move", "Ada", "Eve", "--face", faces[1], "--face", faces[1])["moved"]["faces"] == 2
    strange = run("people", "move", "Ada", "Eve", "--face", faces[2], "-g", gallery)
    assert (strange.code, "is not one of 'Ada'" in strange.err) == (2, True)
    assert run("people", "remove", "Ada", "--face", faces[2], "-g", gallery).code == 2
    merged = asked("merge", "Ada", "Eve")["merged"]
    assert (merged["name"], merged["faces"], merged["old_name"]) == ("Eve", 3, "Ada")
    removed = asked("remove", "Eve", "--face", faces[0])["kept"]
    assert (removed["faces"], removed["removed_faces"]) == (2, [faces[0]])
    assert [p["name"] for p in asked("list")["people"]] == ["张伟", "Eve"]
    assert run("people", "split", "Eve", "Ada", "--face", *faces[1:2], "--face", faces[2], "-g", gallery).code == 2


def test_not_this_person_is_remembered_and_can_be_taken_back(run, gallery, asked, paint, tmp_path):
    stranger = paint(tmp_path / "stranger.png", (2, 0), (1, 5), columns=2)  # the second is the one like Ada
    probe = paint(tmp_path / "probe.png", (1, 5))
    loose = ["--threshold", "0.9"]
    assert named(run, gallery, probe, *loose) == ["Ada"]
    rejected = asked("reject", "Ada", stranger)["rejected"]
    assert (rejected["name"], rejected["faces"]) == ("Ada", 3)
    assert named(run, gallery, probe, *loose) == [None]
    assert named(run, gallery, paint(tmp_path / "ada.png", (1, 0)), *loose) == ["Ada"]
    assert "NOT this person" in run("people", "show", "Ada", "-g", gallery).out
    asked("remove", "Ada", "--face", rejected["face"])
    assert named(run, gallery, probe, *loose) == ["Ada"]


def test_a_known_stranger_is_recognised_and_unnamed(run, gallery, asked, paint, tmp_path):
    wall = paint(tmp_path / "wall.png", (9, 0))
    poster = asked("ignore", "poster", wall)["ignored"]
    assert (poster["known_stranger"], poster["faces"]) == (True, 1)
    out = run("identify", paint(tmp_path / "w.png", (9, 0), None), "-g", gallery).out
    assert "looks like poster, a known stranger" in out
    assert "a known stranger" in run("people", "list", "-g", gallery).out
    assert asked("describe", "poster", "--named")["described"]["known_stranger"] is False
    taken = run("people", "ignore", "Ada", wall, "-g", gallery)
    assert (taken.code, "is enrolled as a person" in taken.err) == (2, True)


def test_identify_asks_a_group_explains_and_logs(run, gallery, asked, paint, tmp_path):
    asked("describe", "张伟", "--group", "night")
    photo = paint(tmp_path / "photo.png", (1, 0), (7, 0), columns=2)
    assert sorted(map(str, named(run, gallery, photo))) == ["Ada", "None"]
    assert named(run, gallery, photo, "--group", "night") == [None, None]
    assert named(run, gallery, photo, "--rule", "mean", "--threshold", "0.8") == ["Ada", None]
    needs = run("identify", photo, "-g", gallery, "--rule", "mean")
    assert (needs.code, "threshold" in needs.err) == (2, True)
    assert run("identify", photo, "-g", gallery, "--rule", "best").code == 2
    told = json.loads(run("identify", photo, "-g", gallery, "--explain", "--json").out)
    first = told["photos"][0]["faces"][0]["explanation"][0]
    assert (first["name"], first["known_stranger"], first["faces"][0]["score"]) == ("Ada", False, 1.0)
    assert first["faces"][0]["picture"].endswith("/0.png")
    assert "face 1, " in run("identify", photo, "-g", gallery, "--explain").out

    before = time.time()
    assert run("identify", photo, "-g", gallery, "--log").code == 0
    assert run("identify", photo, "-g", gallery, "--log", "--log-time", "noon").code == 2
    from mien.gallery import Gallery

    with Gallery.open(gallery) as known:
        seen = [(s.name, s.source) for s in known.sightings(since=before - 1)]
    assert seen == [("Ada", str(photo)), (None, str(photo))]
