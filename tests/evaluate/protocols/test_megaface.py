import json

import numpy as np
import pytest

from mien.errors import InputError, NotFoundError
from mien.evaluate.protocols import MegafaceProtocol
from mien.images import decode

PROBES = ["Ada L/Ada_L_1.png", "Ada L/Ada_L_2.png", "Ada L/Ada_L_3.png", "Bo/Bo_1.png", "Bo/Bo_2.png", "Cy/Cy_1.png"]
OTHERS = [f"{i % 3}/{i}@N0{i % 2}/{i}_0.jpg" for i in range(30)]


@pytest.fixture
def sets(put):
    return put(*PROBES, root="facescrub_images"), put(*OTHERS, root="megaface_images")


def test_all_pictures_of_both_folders(sets):
    found = MegafaceProtocol(*sets).read()
    assert found.name == "MegaFace"
    assert found.scheme == "each-mate"
    assert [p.name for p in found.pictures] == PROBES
    assert found.templates.people == ("Ada L", "Bo", "Cy")
    assert found.gallery.tolist() == list(range(6))
    assert found.known.tolist() == [0, 1, 2, 3, 4]
    assert len(found.unknown) == 0
    assert sorted(p.name for p in found.distractors) == sorted(OTHERS)
    assert [(e.what, e.why) for e in found.exclusions] == [("Cy", "has one probe, and so no mate to find")]
    assert decode(found.distractors[3].source)
    assert decode(found.pictures[3].source)
    assert len(found.distractors[5:10]) == 5


def test_any_first_distractors_are_a_fixed_sample(sets):
    whole = [p.name for p in MegafaceProtocol(*sets, seed=7).read().distractors]
    assert whole != sorted(whole)
    assert [p.name for p in MegafaceProtocol(*sets, most=10, seed=7).read().distractors] == whole[:10]
    assert [p.name for p in MegafaceProtocol(*sets, most=10, seed=8).read().distractors] != whole[:10]


def test_lists_as_text_and_as_the_devkits_json(sets, text):
    lines = text("".join(f"data/facescrub_images/{name}\n" for name in PROBES[:4]), "probes.txt")
    devkit = text(json.dumps({"id": ["x"] * 5, "path": OTHERS[:5]}), "others.json")
    found = MegafaceProtocol(*sets, probe_list=lines, distractor_list=devkit).read()
    assert [p.name for p in found.pictures] == PROBES[:4]
    assert sorted(p.name for p in found.distractors) == sorted(OTHERS[:5])


def test_the_cleaned_variant(sets, text):
    probe_noise = text("# noise\nAda_L_2.png\n", "facescrub_noises.txt")
    other_noise = text(f"# noise\n7\t{OTHERS[7]}\n{OTHERS[8]}\nnot/in/it.jpg\n", "megaface_noises.txt")
    found = MegafaceProtocol(*sets, probe_noise=probe_noise, distractor_noise=other_noise).read()
    assert found.name == "MegaFace (R)"
    assert "left out" in found.rules
    assert [p.name for p in found.pictures] == PROBES[:1] + PROBES[2:]
    assert sorted(p.name for p in found.distractors) == sorted(set(OTHERS) - {OTHERS[7], OTHERS[8]})
    assert [e.what for e in found.exclusions if "noise" in e.why] == [PROBES[1], *sorted([OTHERS[7], OTHERS[8]])]


@pytest.mark.parametrize(
    "content",
    [
        "../../etc/passwd\n",
        "/etc/passwd\n",
        '{"path": ["../x.jpg"]}',
        '{"id": []}',
        '{"path": [1]}',
        "{",
        '{"a":' * 9999,
    ],
)
def test_hostile_lists(sets, text, content):
    with pytest.raises(InputError, match=r"list\.txt"):
        MegafaceProtocol(*sets, distractor_list=text(content)).read()


def test_missing_and_too_few(sets, text, put):
    gone = text("Bo/Bo_1.png\nBo/Bo_2.png\nBo/Bo_3.png\n")
    with pytest.raises(NotFoundError, match=r"Bo/Bo_3\.png"):
        MegafaceProtocol(*sets, probe_list=gone).read()
    found = MegafaceProtocol(*sets, probe_list=gone, missing="exclude").read()
    assert len(found.pictures) == 2
    with pytest.raises(InputError, match="two probes"):
        MegafaceProtocol(*sets, probe_list=text("Cy/Cy_1.png\n")).read()
    empty = put(root="empty")
    empty.mkdir()
    with pytest.raises(InputError, match="distractors"):
        MegafaceProtocol(sets[0], empty).read()
    with pytest.raises(InputError, match="folder for each person"):
        MegafaceProtocol(put("1.jpg", "2.jpg", root="flat"), sets[1]).read()
    with pytest.raises(InputError, match="most=0"):
        MegafaceProtocol(*sets, most=0)


def test_distractors_cost_little_more_than_their_names(tmp_path):
    from mien.evaluate.protocols import FolderPictures

    names = [f"{i}.jpg" for i in range(1000)]
    pictures = FolderPictures(tmp_path, names)
    assert pictures.names[3] is names[3]
    assert pictures[-1].name == "999.jpg"
    assert pictures[2].source == str(tmp_path / "2.jpg")
    assert len(list(pictures)) == len(np.unique([p.name for p in pictures])) == 1000


def test_noise_is_found_below_a_folder_more(sets, put, text):
    deeper = put(*(f"FlickrFinal2/{name}" for name in OTHERS), root="megaface")
    noise = text(f"{OTHERS[7]}\n", "megaface_noises.txt")
    found = MegafaceProtocol(sets[0], deeper, distractor_noise=noise).read()
    assert len(found.distractors) == len(OTHERS) - 1
    assert found.exclusions[0].what == f"FlickrFinal2/{OTHERS[7]}"
