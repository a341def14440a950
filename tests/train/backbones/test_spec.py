"""Pictures become inputs as a card would say."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError  # noqa: E402
from mien.images.align import ARCFACE_112  # noqa: E402
from mien.train.backbones import InputSpec, build, normalise  # noqa: E402


@pytest.mark.parametrize("colour", ["rgb", "bgr", "grey"])
def test_normalise_is_pixel_minus_mean_by_std_in_the_networks_order(colour: str) -> None:
    channels = 1 if colour == "grey" else 3
    spec = InputSpec(
        size=16, channels=channels, colour=colour, mean=(10.0, 20.0, 30.0)[:channels], std=(2.0, 4.0, 8.0)[:channels]
    )
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, channels), np.uint8)
    expected = pixels[..., ::-1] if colour == "bgr" else pixels
    expected = ((expected.astype(np.float64) - spec.mean) / spec.std).transpose(0, 3, 1, 2)
    batch = torch.from_numpy(pixels)
    x = normalise(batch, spec)
    assert np.abs(x.numpy() - expected).max() < 1e-5
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(batch.numpy(), pixels)
    assert normalise(batch, spec, torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(1, 16, 16, 1), (1, 15, 16, 3), (16, 16, 3), (1, 3, 16, 16)])
def test_pictures_of_another_shape_or_type_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="pictures: expected uint8"):
        normalise(torch.zeros(shape, dtype=torch.uint8), InputSpec(size=16))
    with pytest.raises(InputError, match="float32"):
        normalise(torch.zeros(1, 16, 16, 3), InputSpec(size=16))


def test_templates_are_arcfaces_scaled_about_pixel_centres() -> None:
    assert np.allclose(InputSpec(size=112).template, ARCFACE_112)
    assert np.allclose((np.array(InputSpec(size=224).template) + 0.5) / 2, ARCFACE_112 + 0.5, rtol=0.01)
    wider = [(50.0, 60.0), (60.0, 60.0), (55.0, 70.0), (51.0, 80.0), (59.0, 80.0)]
    near = np.array(build("iresnet18", widths=[8, 8, 8, 8], size=56, dim=8, closer=1.25).spec.template)
    assert np.allclose(np.ptp(near, axis=0), np.ptp(ARCFACE_112, axis=0) / 2 * 1.25)
    assert np.allclose(near.mean(0) - 27.5, (ARCFACE_112.mean(0) - 55.5) / 2 * 1.25)
    with pytest.raises(InputError, match="closer"):
        build("iresnet18", closer=0.0)
    network = build("iresnet18", template=wider, widths=[8, 8, 8, 8], size=112, dim=8)
    assert network.spec.template == tuple(wider)
    assert "template" not in network.options


def test_specs_survive_json_and_refuse_nonsense() -> None:
    spec = InputSpec.plain(64, "grey", mean=1.0, std=2.0)
    assert InputSpec.from_dict(spec.to_dict()) == spec
    assert "evening" not in spec.to_dict()  # what older networks are saved with
    even = dataclasses.replace(spec, evening=("gamma", "clahe"))
    assert even.to_dict()["evening"] == ["gamma", "clahe"]
    assert InputSpec.from_dict(json.loads(json.dumps(even.to_dict()))) == even
    for evening in (["flat"], ["clahe", "clahe"], "clahe", [["clahe"]], 3, None, ["none"]):
        with pytest.raises(InputError, match=r"evening|input:"):
            InputSpec.from_dict({**spec.to_dict(), "evening": evening})
    with pytest.raises(InputError, match="light"):
        InputSpec.from_dict({**spec.to_dict(), "light": []})
    for change in ({"std": [0.0]}, {"mean": [1, 2]}, {"mean": ["x"]}, {"template": [[1, 2]]}, {"size": "64"}):
        with pytest.raises(InputError):
            InputSpec.from_dict({**spec.to_dict(), **change})
    with pytest.raises(InputError, match="template"):
        dataclasses.replace(spec, template=((float("nan"), 0.0),) * 5)
