"""Filters beside a network: against plain loops, on light, on people never seen, saved, exported."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.signal

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

import torch.nn.functional as F  # noqa: E402

from mien.errors import InputError, ModelFileError  # noqa: E402
from mien.train.backbones import build, load_network, normalise, save_network  # noqa: E402
from mien.train.backbones.gabor_view import GaborView, part  # noqa: E402
from mien.train.data import Source, open_training_set  # noqa: E402
from mien.train.discriminant import evened_within  # noqa: E402

OPTIONS = {
    "size": 96,
    "dim": 16,
    "trunk_size": 32,
    "view_dim": 12,
    "trunk_options": {"widths": [8, 8, 16, 16], "blocks": [1, 1, 1, 1]},
}


@pytest.fixture(scope="module")
def network():
    return build("filters:iresnet-quick", **OPTIONS).eval()


def pictures(people: int, each: int, seed: int = 0, side: int = 96):
    """uint8 (N, side, side, 3): a smooth pattern each, moved a little, under other light, with noise."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(people):
        pattern = draw.integers(0, 255, (9, 9)).astype(np.uint8)
        for _ in range(each):
            x, y = draw.normal(0, 1.0, 2)
            big = cv2.resize(pattern, (side, side), interpolation=cv2.INTER_CUBIC)
            moved = cv2.warpAffine(big, np.array([[1.0, 0, x], [0, 1, y]]), (side, side), borderMode=cv2.BORDER_REFLECT)
            lit = moved * draw.uniform(0.5, 1.0) + draw.uniform(0, 60) + draw.normal(0, 12, moved.shape)
            made.append(np.repeat(np.clip(lit, 0, 255).astype(np.uint8)[..., None], 3, 2))
    return torch.from_numpy(np.stack(made)), torch.arange(people).repeat_interleave(each)


def shown(pixels):
    return (pixels.permute(0, 3, 1, 2).float() - 127.5) / 127.5


def test_features_of_the_first_octave_are_those_of_plain_loops() -> None:
    view = GaborView(4, 1.0, 0.0)
    grey = np.random.default_rng(1).uniform(0, 255, (80, 80))
    found = view.features(torch.tensor(grey, dtype=torch.float32)[None, None])[0].numpy().reshape(3, 16, 10, 10)[0]

    def near(x):  # means over 21 x 21 pixels, mirrored at the border
        return scipy.signal.convolve(np.pad(x, 10, mode="reflect"), np.full((21, 21), 1 / 441), mode="valid")

    x = grey - near(grey)
    x = x / (np.sqrt(near(x * x)) + 6)
    padded = np.pad(x, 5, mode="reflect")
    for wave, length in enumerate((4.0, 4.0 * 2**0.5)):
        for turn in (0, 3, 6):
            kernel = np.zeros((11, 11), complex)
            for i in range(11):
                for j in range(11):
                    u, v, sigma = j - 5, i - 5, 0.375 * length
                    along = u * np.cos(np.pi * turn / 8) + v * np.sin(np.pi * turn / 8)
                    kernel[i, j] = np.exp(-(u * u + v * v) / (2 * sigma**2)) * np.exp(2j * np.pi * along / length)
            bell = np.abs(kernel)
            kernel = (kernel - bell * kernel.real.sum() / bell.sum()) / bell.sum()
            waves = scipy.signal.correlate(padded, kernel.conj(), mode="valid")[::2, ::2]
            cells = np.abs(waves).reshape(10, 4, 10, 4).mean((1, 3))
            np.testing.assert_allclose(found[8 * wave + turn], np.sqrt(cells), atol=2e-3)


def test_light_and_contrast_hardly_matter() -> None:
    view = GaborView(4, 0.8, 0.0)
    grey = shown(pictures(1, 1, seed=5)[0])[:, :1] * 60 + 110
    plain, dim, bright = (view.features(x) for x in (grey, 0.6 * grey, 1.2 * grey + 20))
    assert F.cosine_similarity(plain, dim).item() > 0.995
    assert F.cosine_similarity(plain, bright).item() > 0.995


@pytest.mark.parametrize("value", [0.0, 255.0])
def test_a_flat_picture_is_no_trouble(value: float) -> None:
    features = GaborView(4, 0.5, 0.1).features(torch.full((2, 1, 112, 112), value))
    assert torch.isfinite(features).all()
    assert features.max() < 0.1


@pytest.fixture(scope="module")
def fitted(network):
    seen: list[int] = []
    found, labels = pictures(24, 6)
    batches = [(found[i : i + 48], labels[i : i + 48]) for i in range(0, len(found), 48)]
    before = {key: value.clone() for key, value in network.trunk.state_dict().items()}
    assert not network.fitted
    network.fit(iter(batches), 144, seen.append)
    assert seen == [48, 96, 144]
    assert network.fitted
    assert all(torch.equal(before[key], value) for key, value in network.trunk.state_dict().items())
    return network


def test_views_tell_people_apart_whom_they_never_saw(fitted) -> None:
    strangers, labels = pictures(12, 5, seed=9)
    x = shown(strangers)
    grey = (x.mean(1, keepdim=True) * 127.5) + 127.5
    for view in fitted.views:
        rows = view(grey)
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
        cosines = rows @ rows.T
        same = labels[:, None] == labels[None]
        least = torch.quantile(cosines[same & ~torch.eye(len(rows), dtype=torch.bool)], 0.05)
        assert least > torch.quantile(cosines[~same], 0.95)


def looked(network, x, *looks):
    """The trunk's rows of so many looks: cut, made as small as it wants them, averaged."""
    rows, middle = [], x.shape[-1] / 2
    for look in looks:
        side = min(round(look * 0.95 / 1.2 * x.shape[-1]), x.shape[-1])  # the whole's closeness by the trunk's
        first = int((x.shape[-1] - side) / 2)
        assert abs(first + side / 2 - middle) <= 0.5
        cut = x[:, :, first : first + side, first : first + side]
        small = F.interpolate(cut, (network.trunk.spec.size,) * 2, mode="bilinear", align_corners=False)
        rows.append(F.normalize(network.trunk.test_features(small), dim=1))
    return F.normalize(sum(rows), dim=1)


@pytest.mark.parametrize("looks", [(1.0,), (0.94, 1.0, 1.06), (0.8, 1.5)])
def test_the_trunk_looks_more_than_once(looks) -> None:
    x = shown(pictures(2, 2, seed=4)[0])
    torch.manual_seed(3)
    network = build("filters:iresnet-quick", looks=looks, **OPTIONS).eval()
    with torch.no_grad():
        found = F.normalize(network.test_features(x)[:, :16], dim=1)
        torch.testing.assert_close(found, looked(network, x, *looks), atol=1e-5, rtol=0)
        once = F.normalize(network(x), dim=1)  # what is trained
    assert torch.allclose(found, once, atol=1e-5) == (looks == (1.0,))


def test_cosines_are_mixed_by_weight(fitted) -> None:
    x = shown(pictures(2, 2, seed=4)[0])
    with torch.no_grad():
        whole = F.normalize(fitted.test_features(x), dim=1)
        learned = looked(fitted, x, 0.94, 1.0, 1.06)
        grey = (0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2])[:, None] * 127.5 + 127.5
        views = [view(grey) for view in fitted.views]
    assert whole.shape == (4, fitted.test_dim) == (4, 16 + 3 * 12)
    mixed = learned @ learned.T + sum(0.09 * view @ view.T for view in views)
    torch.testing.assert_close(whole @ whole.T, mixed / 1.27, atol=1e-4, rtol=0)


def test_the_last_layer_makes_small_what_one_persons_pictures_differ_in(fitted) -> None:
    network = copy.deepcopy(fitted)
    found, labels = pictures(24, 6, seed=5)
    x = shown(found)
    with torch.no_grad():
        before = network.test_features(x)
        network.fit_last([network.settled(x[:100]), network.settled(x[100:])], labels)
        after = network.test_features(x)
    kept = network.settled(x[:100])
    assert sum(part.numel() * part.element_size() for part in kept) == network.settled_bytes(100)
    mean, axes = evened_within(before, labels, shrink=5.0)
    torch.testing.assert_close(network.last.axes, axes, atol=0.01, rtol=0)  # settled: views in half precision
    torch.testing.assert_close(after, (before - mean) @ axes, atol=0.01, rtol=0)

    def within(rows):
        rows = F.normalize(rows, dim=1)
        cosines, same = rows @ rows.T, labels[:, None] == labels[None]
        return (cosines[same].mean() - cosines[~same].mean()) / cosines[~same].std()

    assert within(after) > within(before)


def test_a_file_without_the_last_layer_is_read_and_one_with_it_into_a_network_without(fitted, tmp_path: Path) -> None:
    x = shown(pictures(2, 2, seed=7)[0])
    then = {"view_weight": 0.5, "looks": (1.0,)}
    without = build("filters:iresnet-quick", within=None, **then, **OPTIONS).eval()
    without.load_state_dict({k: v for k, v in fitted.state_dict().items() if not k.startswith("last.")})
    assert without.last_layer is None
    save_network(without, tmp_path / "old")
    assert json.loads((tmp_path / "old" / "network.json").read_text())["options"]["within"] is None
    save_network(_named(without, OPTIONS), tmp_path / "older")  # as files were before there was such a layer
    with torch.no_grad():
        wanted = without.test_features(x)
        for network in (
            load_network(tmp_path / "old"),
            load_network(tmp_path / "older"),
            build("filters:iresnet-quick", weights=tmp_path / "older", **then, **OPTIONS).eval(),
        ):
            torch.testing.assert_close(network.test_features(x), wanted)
        closed = copy.deepcopy(fitted)
        closed.last.fit(torch.randn(60, closed.test_dim), torch.arange(60) // 3)
        save_network(closed, tmp_path / "new")
        assert load_network(tmp_path / "new").last_layer.fitted
        left = build("filters:iresnet-quick", weights=tmp_path / "new", within=None, **then, **OPTIONS).eval()
        torch.testing.assert_close(left.test_features(x), wanted)
        # The views are to be fitted anew, and what was fitted to them; or they count for more than when it was.
        for other in ({"closer": 1.0}, {"view_weight": 0.7}):
            assert not build("filters:iresnet-quick", weights=tmp_path / "new", **OPTIONS, **other).last_layer.fitted


def test_what_a_file_does_not_say_is_as_it_was_when_it_was_written(fitted, tmp_path: Path) -> None:
    x = shown(pictures(2, 2, seed=7)[0])
    then = build("filters:iresnet-quick", within=8.0, looks=[1.0], view_weight=0.3, **OPTIONS).eval()
    then.load_state_dict(fitted.state_dict())
    then.last.fit(torch.randn(60, then.test_dim), torch.arange(60) // 3)
    save_network(_named(then, OPTIONS), tmp_path / "then")
    read = load_network(tmp_path / "then")
    assert (read.last.shrink, read.looks, read.view_weight) == (8.0, (1.0,), 0.3)
    assert torch.equal(read.test_features(x), then.test_features(x))
    save_network(read, tmp_path / "again")  # and says so from now on
    written = json.loads((tmp_path / "again" / "network.json").read_text())["options"]
    assert (written["within"], written["looks"], written["view_weight"]) == (8.0, [1.0], 0.3)
    save_network(fitted, tmp_path / "now")
    written = json.loads((tmp_path / "now" / "network.json").read_text())["options"]
    assert (written["within"], written["looks"], written["view_weight"]) == (5.0, [0.94, 1.0, 1.06], 0.3)


@pytest.mark.parametrize(
    "options",
    [{}, {"looks": ()}, {"looks": ("a",)}, {"within": "x"}, {"view_weight": float("nan")}, {"weights": "x"}],
)
def test_a_checkpoint_cannot_make_it_anything(network, options) -> None:
    given = {**network.lasting, **options} if options else {}
    with pytest.raises(InputError, match="expected"):
        copy.deepcopy(network).take_lasting(given)
    with pytest.raises(InputError, match="expected"):
        build("iresnet-quick", size=32).take_lasting({"weights": "x"})


def test_half_a_last_layer_is_refused(fitted, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    save_network(fitted, tmp_path)
    path = tmp_path / "network.safetensors"
    with safe_open(path, "pt") as file:
        state, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()
    del state["last.axes"]
    save_file(state, path, metadata)
    with pytest.raises(ModelFileError, match=r"1 missing: last\.axes"):
        load_network(tmp_path)


def test_a_small_file_asks_for_no_large_last_layer() -> None:
    """It may lack the layer, whose size is the square of the embedding's."""
    many = {**OPTIONS, "dim": 8192, "view_dim": 1}
    with pytest.raises(InputError, match="within: expected at most 8192 numbers"):
        build("filters:iresnet-quick", **many)
    with torch.device("meta"):
        assert build("filters:iresnet-quick", within=None, **many).test_dim == 8195
        assert build("filters:iresnet-quick", **{**many, "dim": 8189}).test_dim == 8192


def test_a_stage_of_the_trunk_keeps_its_name() -> None:
    """`network.frozen` finds stages by name, and one trunk has a stage that is called last."""
    network = build("filters:mobilenetv2", size=64, dim=8, trunk_size=64, view_dim=4, closer=1.0)
    names = [name for name, _ in network.stages()]
    assert len(names) == len(set(names))
    mine, trunks = (list(dict(each.stages())["last"].parameters()) for each in (network, network.trunk))
    assert [id(weight) for weight in mine] == [id(weight) for weight in trunks]


def _named(network, options):
    network = copy.deepcopy(network)
    network.options = {name: value for name, value in options.items() if name not in ("size", "dim")}
    return network


def test_training_is_the_trunk_alone() -> None:
    network = build("filters:iresnet-quick", **OPTIONS)
    rows = network(shown(pictures(2, 4)[0]))
    assert rows.shape == (8, 16)
    rows.square().sum().backward()
    assert all(p.grad is None for view in network.views for p in view.parameters())
    assert all(p.grad is not None for p in network.trunk.parameters() if p.requires_grad)


def test_the_trunk_sees_its_own_template(network) -> None:
    """Eyes that lie where the whole picture's template has them come to lie where the trunk's has them."""
    spots = torch.zeros(1, 3, 96, 96)
    for x, y in network.spec.template[:2]:
        spots[0, :, round(y), round(x)] = 1.0
    seen = network._shown(spots)[0, 0]
    for x, y in network.trunk.spec.template[:2]:
        half = seen[:, :16] if x < 16 else seen[:, 16:]
        row, column = divmod(int(half.argmax()), 16)
        assert abs(row - y) <= 1.2
        assert abs(column + (0 if x < 16 else 16) - x) <= 1.2


@pytest.mark.parametrize(
    ("trunk", "options"),
    [
        ("iresnet-quick", {}),
        ("iresnet-quick", {"size": 96, "closer": 0.9}),
        ("iresnet-quick", {"size": 128}),
        ("mobilenetv2", {"size": 96, "trunk_size": 64, "closer": 1.0}),  # of another normalisation
    ],
)
def test_what_it_learns_from_is_what_its_trunk_sees(trunk, options, tmp_path: Path) -> None:
    network = build(f"filters:{trunk}", **options).eval()
    for i, pixels in enumerate(pictures(2, 2, side=network.spec.size)[0].numpy()):
        (tmp_path / str(i % 2)).mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / str(i % 2) / f"{i}.png"), pixels)
    data = open_training_set([Source(path=str(tmp_path), aligned=True)], spec=network.spec)
    cut = data.cut_to(network.learner.spec)
    whole, closer = (
        normalise(torch.from_numpy(np.stack([each.picture(i) for i in range(4)])), spec)
        for each, spec in ((data, network.spec), (cut, network.learner.spec))
    )
    assert closer.shape == (4, 3, 64, 64)
    torch.testing.assert_close(closer, network._shown(whole), atol=0.02, rtol=0)  # one is rounded to whole grey levels


def test_another_normalisation_of_the_trunk_is_kept() -> None:
    network = build("filters:mobilenetv2", size=64, dim=8, trunk_size=64, view_dim=4, closer=1.0).eval()
    pixels, _ = pictures(1, 2, side=64)
    spec = network.trunk.spec
    wanted = (pixels.permute(0, 3, 1, 2).float() - torch.tensor(spec.mean).view(1, 3, 1, 1)) / torch.tensor(
        spec.std
    ).view(1, 3, 1, 1)
    torch.testing.assert_close(network._shown(shown(pixels)), wanted, atol=1e-4, rtol=1e-4)


def test_saved_and_read_again(fitted, tmp_path: Path) -> None:
    save_network(fitted, tmp_path / "net")
    again = load_network(tmp_path / "net")
    x = shown(pictures(2, 2, seed=7)[0])
    with torch.no_grad():
        assert torch.equal(again.test_features(x), fitted.test_features(x))
    assert again.fitted
    assert again.name == "filters:iresnet-quick"


def test_the_graph_gives_the_same(fitted) -> None:
    pytest.importorskip("onnxscript", reason="needs onnxscript: pip install 'mien[train]'")
    from mien.train.export.graph import check_graph, to_onnx

    agreement = check_graph(to_onnx(fitted), fitted, pictures(3, 2, seed=8)[0].numpy())
    assert agreement.good, agreement


def test_the_trunk_is_as_the_network_alone() -> None:
    with torch.device("meta"):
        for name in ("iresnet18", "mobilefacenet", "inception-resnet-v1"):
            alone, beside = build(name), build(f"filters:{name}")
            assert (beside.dim, beside.trunk.spec) == (alone.dim, alone.spec)


def test_other_sizes_of_the_picture_reach_the_trunk(network) -> None:
    assert network._shown(torch.zeros(1, 3, 96, 96)).shape[-1] == 32
    assert network._shown(torch.zeros(1, 3, 48, 48)).shape[-1] == 16


def test_fine_tuning_keeps_views_of_the_same_parts_only(fitted, tmp_path: Path) -> None:
    save_network(fitted, tmp_path / "net")
    same = build("filters:iresnet-quick", weights=tmp_path / "net", **OPTIONS)
    named = build("filters:iresnet-quick", weights=tmp_path / "net" / "network.safetensors", **OPTIONS)
    assert same.fitted
    assert named.fitted
    for other in ({"views": [[1.0, 0.0], [0.7, 0.0], [0.5, 0.1]]}, {"closer": 1.0}):
        changed = build("filters:iresnet-quick", weights=tmp_path / "net", **{**OPTIONS, **other})
        assert not changed.fitted
        assert torch.equal(changed.trunk.fc.weight, fitted.trunk.fc.weight)


def test_eight_bits_leave_the_filters_alone(fitted) -> None:
    pytest.importorskip("onnxscript", reason="needs onnxscript: pip install 'mien[train]'")
    from mien.train.export.graph import graph_input, run_graph, to_onnx
    from mien.train.export.variants import to_int8

    found = pictures(8, 4, seed=3)[0].numpy()
    graph = to_onnx(fitted)
    small = to_int8(graph, [graph_input(fitted, found, pixels=False)])
    whole, eight = (torch.from_numpy(run_graph(one, fitted, found, pixels=False)) for one in (graph, small))
    views = slice(16, None)  # the last layer is not fitted: numbers stay where they are
    torch.testing.assert_close(eight[:, views], whole[:, views], atol=1e-3, rtol=0)
    assert not torch.equal(eight[:, :16], whole[:, :16])  # the trunk is in eight bits
    closed = copy.deepcopy(fitted)
    rows = torch.cat([torch.nn.functional.normalize(torch.randn(400, 52)), torch.zeros(0, 52)])
    closed.last.fit(rows, torch.arange(400) // 4)
    small = to_int8(to_onnx(closed), [graph_input(closed, found, pixels=False)])
    eight_closed = torch.from_numpy(run_graph(small, closed, found, pixels=False))
    torch.testing.assert_close(eight_closed, (eight - closed.last.mean) @ closed.last.axes, atol=1e-4, rtol=1e-4)


def test_parts_lie_inside() -> None:
    x = torch.arange(100.0).view(1, 1, 10, 10)
    assert part(x, 1.0, 0.0).shape[-1] == 10
    assert part(x, 0.5, 0.25)[0, 0, -1, 0] == 92  # the lowest rows, in the middle
    assert part(x, 0.5, 0.0)[0, 0, 0, 0] == 22


@pytest.mark.parametrize(
    "options",
    [
        {"looks": []},
        {"looks": 1.0},
        {"looks": [0.4]},
        {"looks": [float("nan")]},
        {"looks": [True]},
        {"looks": [1.0] * 10},
        {"within": 0},
        {"within": float("nan")},
        {"within": "much"},
        {"within": True},
        {"views": []},
        {"views": [[0.5]]},
        {"views": [[0.5, 0.3]]},
        {"views": [[1.5, 0.0]]},
        {"views": [[0.5, 0.0]] * 17},
        {"views": 3},
        {"views": [1, 2]},
        {"views": ["ab"]},
        {"views": [[0.5, float("nan")]]},
        {"view_dim": 0},
        {"view_dim": 1.5},
        {"view_dim": "x"},
        {"view_weight": 0.0},
        {"trunk_options": {"weights": "default"}},
        {"trunk_options": {"dim": 3}},
        {"trunk_options": {"name": "iresnet18"}},
        {"trunk_options": [1]},
        {"trunk_options": "ab"},
        {"closer": 1.3},
        {"trunk_options": {"unknown": 3}},
        {"closer": 9.0},
    ],
)
def test_settings_that_make_no_sense(options) -> None:
    with pytest.raises(InputError, match="expected"):
        build("filters:iresnet-quick", **options)


@pytest.mark.parametrize(
    "name", ["filters:", "filters:unknown", "filters:filters:iresnet18", "filters:resface18", "filters:dlib-resnet29"]
)
def test_trunks_that_are_none(name: str) -> None:
    with pytest.raises(InputError, match="expected"):
        build(name)


def test_a_file_that_asks_for_other_files_is_refused(network, tmp_path: Path) -> None:
    save_network(network, tmp_path)
    path = tmp_path / "network.safetensors"
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size].replace(b'\\"widths\\"', b'\\"weights\\"')
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])
    with pytest.raises(ModelFileError):
        load_network(tmp_path)
