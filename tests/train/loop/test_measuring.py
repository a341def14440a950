"""Pairs measured during training, against plain loops; aligned pictures are stood in for."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import NotFoundError  # noqa: E402
from mien.images.augment import evened  # noqa: E402
from mien.train import measuring  # noqa: E402
from mien.train.config import PairsConfig  # noqa: E402
from mien.train.display import Display  # noqa: E402
from mien.train.measuring import PairMeasure, embed_pictures  # noqa: E402
from mien.train.pair_lists import trained_people_told  # noqa: E402
from mien.train.parts import made_measures, made_network  # noqa: E402
from mien.train.processes import Processes  # noqa: E402
from mien.train.step import network_input  # noqa: E402

PEOPLE, EACH = 12, 4


class Store:
    """Aligned pictures: random ones, of all but the rows left out."""

    def __init__(self, records, missing=()) -> None:
        self.rows = np.array([i for i in range(len(records)) if records.name(i) not in missing])
        self.names = [records.name(int(i)) for i in self.rows]
        draw = np.random.default_rng(0)
        self._pictures = draw.integers(0, 256, (len(self.rows), 32, 32, 3)).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.rows)

    def picture(self, i: int):
        return self._pictures[i]


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """Lists of 20 pairs of each kind over made-up people, and a store without one picture."""
    for person in range(PEOPLE):
        folder = tmp_path / "images" / f"p{person:02d}"
        folder.mkdir(parents=True)
        for k in range(EACH):
            (folder / f"p{person:02d}_{k + 1:04d}.jpg").write_bytes(b"not looked at")
    draw = np.random.default_rng(1)
    for name in ("test", "train"):
        lines = {True: set(), False: set()}
        while len(lines[True]) < 20:
            a, b = sorted(draw.choice(EACH, 2, replace=False) + 1)
            lines[True].add(f"p{draw.integers(PEOPLE):02d}\t{a}\t{b}")
        while len(lines[False]) < 20:
            a, b = sorted(draw.choice(PEOPLE, 2, replace=False))
            lines[False].add(f"p{a:02d}\t{draw.integers(EACH) + 1}\tp{b:02d}\t{draw.integers(EACH) + 1}")
        text = "\n".join(["20", *sorted(lines[True]), *sorted(lines[False])])
        (tmp_path / f"{name}.txt").write_text(text + "\n")
    first = (tmp_path / "test.txt").read_text().splitlines()[1].split("\t")
    gone = f"{first[0]}/{first[0]}_{int(first[1]):04d}.jpg"
    monkeypatch.setattr(measuring, "aligned_store", lambda _cache, records, *_a, **_n: Store(records, {gone}))
    return tmp_path, gone


def embedded(store):
    """Embeddings by name: one's own direction and noise."""
    rows = []
    for name in store.names:
        own = np.random.default_rng(int(name[1:3])).standard_normal(16)
        noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(16)
        rows.append(own + 0.9 * noise)
    rows = np.array(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def scores_by_hand(path, gone):
    vectors = {}

    def of(name):
        class One:
            names = (name,)

        return vectors.setdefault(name, embedded(One)[0])

    scores, same = [], []
    for line in path.read_text().splitlines()[1:]:
        part = line.split("\t")
        a = f"{part[0]}/{part[0]}_{int(part[1]):04d}.jpg"
        other = part[-2] if len(part) == 4 else part[0]
        b = f"{other}/{other}_{int(part[-1]):04d}.jpg"
        same.append(len(part) == 3)
        scores.append(-1.0 if gone in (a, b) else float(of(a) @ of(b)))
    return np.array(scores), np.array(same)


def best(scores, same) -> float:
    candidates = sorted(scores)
    return max(candidates, key=lambda t: ((scores >= t) == same).sum())


def test_a_threshold_chosen_on_other_pairs(pairs) -> None:
    folder, gone = pairs
    config = PairsConfig(
        pairs=str(folder / "test.txt"),
        images=str(folder / "images"),
        threshold_pairs=str(folder / "train.txt"),
        name="view 1",
    )
    found = PairMeasure(config, None, folder)(embedded)
    scores, same = scores_by_hand(folder / "test.txt", gone)
    chosen, chosen_same = scores_by_hand(folder / "train.txt", gone)
    right = ((chosen >= best(chosen, chosen_same)) == chosen_same).mean()
    assert (found.name, found.pairs, found.no_face) == ("view 1", 40, int((scores == -1).sum()))
    assert found.no_face >= 1
    tied = [t for t in chosen if (((chosen >= t) == chosen_same).mean()) == right]
    accuracies = [((scores >= t) == same).mean() for t in tied]
    assert min(accuracies) <= found.accuracy <= max(accuracies)
    highest = np.sort(scores[~same])[-1]  # at a rate of 0.01 none of 20 may pass
    assert found.tar == (scores[same] > highest).mean()


def test_pairs_whose_pictures_are_not_there_stop_or_are_left_out_and_told(pairs) -> None:
    folder, _ = pairs
    config = PairsConfig(pairs=str(folder / "test.txt"), images=str(folder / "images"))
    text = (folder / "test.txt").read_text().splitlines()
    lost = text[1].split("\t")[0]
    for picture in (folder / "images" / lost).iterdir():
        picture.unlink()
    without = sum(lost in line.split("\t") for line in text)
    with pytest.raises(NotFoundError, match="--skip-missing leaves them out"):
        PairMeasure(config, None, folder)
    told = []
    found = PairMeasure(replace(config, skip_missing=True), None, folder, say=told.append)(embedded)
    assert found.pairs == 40 - without
    assert len(told) == 1
    assert told[0].startswith(f"test: measured on {40 - without} pairs; left out: ")
    assert f"{without} x a picture of the pair is missing" in told[0]


def test_people_who_are_trained_on_too_are_told_by_their_names(pairs, tiny) -> None:
    folder, _ = pairs
    told = []

    class Told(Display):
        def say(self, text: str) -> None:
            told.append(text)

    listed = {"pairs": str(folder / "test.txt"), "images": str(folder / "images")}
    config = tiny(measure={"sets": [listed]}, data={"cache": str(folder / "cache")})
    people = {
        part for line in (folder / "test.txt").read_text().split("\n") for part in line.split("\t") if part[:1] == "p"
    }
    (measure,) = made_measures(config, None, Told(), ["other", "", "q01"])
    assert measure.people == people
    assert not told
    made_measures(config, None, Told(), ["other", min(people), max(people)])
    assert len(told) == 1
    assert f"2 of its {len(people)} people are trained on, too, by name ({min(people)}, {max(people)})" in told[0]


def test_names_that_are_written_otherwise_are_the_same_people() -> None:
    told = trained_people_told("own", ["Andre\u0301", "B"], ["Andr\u00e9", "C", ""])
    assert told.startswith("warning: own: 1 of its 2 people is trained on, too, by name (Andr\u00e9): ")
    assert trained_people_told("own", ["", "A"], ["", "a"]) == ""
    many = [f"p{i}" for i in range(9)]
    assert "9 of its 9 people are trained on, too, by name (p0, p1, p2, ...)" in trained_people_told("own", many, many)


def test_ten_parts_each_with_the_threshold_of_the_other_nine(pairs) -> None:
    folder, gone = pairs
    config = PairsConfig(pairs=str(folder / "test.txt"), images=str(folder / "images"))
    found = PairMeasure(config, None, folder)(embedded)
    scores, same = scores_by_hand(folder / "test.txt", gone)
    low = high = 0.0
    for fold in range(10):
        inside = np.zeros(40, bool)
        inside[[2 * fold, 2 * fold + 1, 20 + 2 * fold, 20 + 2 * fold + 1]] = True
        out, out_same = scores[~inside], same[~inside]
        most = max((((out >= t) == out_same).sum()) for t in out)
        tied = [t for t in out if (((out >= t) == out_same).sum()) == most]
        inner = [((scores[inside] >= t) == same[inside]).mean() for t in tied]
        low, high = low + min(inner) / 10, high + max(inner) / 10
    assert low - 1e-9 <= found.accuracy <= high + 1e-9


@pytest.mark.parametrize("evening", [(), ("self-quotient", "clahe")])
def test_embeddings_are_the_networks_of_picture_and_mirror_image(tiny, evening) -> None:
    network = made_network(tiny().network, 0, evening).eval()

    class Records:
        def __len__(self):
            return 7

        def name(self, i):
            return str(i)

    store, alone = Store(Records()), Processes(0, 1, torch.device("cpu"))
    found = embed_pictures(network, store, alone, batch=3, flip=True, precision="fp32")
    with torch.no_grad():
        for i in range(7):
            both = [network(network_input(torch.from_numpy(p.copy())[None], network.spec)) for p in
                    (evened(store.picture(i), evening), evened(store.picture(i), evening)[:, ::-1])]  # fmt: skip
            want = torch.nn.functional.normalize(both[0] + both[1], dim=1)[0].numpy()
            np.testing.assert_allclose(found[i], want, atol=1e-5)
