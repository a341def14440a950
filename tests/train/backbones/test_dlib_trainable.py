"""The trainable twin of the default embedder computes what the default embedder does, and gives its weights back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.embed.dlib_resnet import DlibResNet  # noqa: E402
from mien.embed.probe import probe_chips  # noqa: E402
from mien.embed.views import CHIP, DETECTOR_TEMPLATE, PRESETS, place  # noqa: E402
from mien.images.align import similarity, transform_points  # noqa: E402
from mien.models.graphs.dlib_resnet import dlib_resnet_graph  # noqa: E402
from mien.models.session import open_session  # noqa: E402
from mien.train.backbones import build, load_network, normalise, save_network  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def chips() -> np.ndarray:
    found = probe_chips()  # real faces that installed packages ship
    if found is None:
        pytest.skip("needs the portraits that scikit-image and matplotlib ship")
    return np.ascontiguousarray(found[:4])


def onnx_outputs(network: object, chips: np.ndarray) -> np.ndarray:
    session = open_session(dlib_resnet_graph(network.as_dlib()), threads=1, engine="onnxruntime", name="twin")
    return session.run(chips)[0]


@pytest.mark.parametrize("affine", ["folded", "kept"])
def test_default_weights_compute_what_the_shipped_embedder_does(chips: np.ndarray, affine: str) -> None:
    network = build("dlib-resnet29", weights="default", affine=affine).eval()
    embedder = DlibResNet("fast", engine="onnxruntime", threads=1)
    views = np.stack([chips, chips[:, :, ::-1]], 1)
    with torch.no_grad():
        each = [network(normalise(torch.from_numpy(views[:, v].copy()), network.spec)) for v in (0, 1)]
    ours = torch.nn.functional.normalize(each[0] + each[1]).numpy()
    assert np.abs(ours - embedder.embed(views)).max() < 1e-5
    assert np.abs(each[0].numpy() - onnx_outputs(network, chips)).max() < 1e-5


def test_its_pictures_are_cut_as_the_first_fast_view() -> None:
    view = PRESETS["fast"][0]
    face = np.array([(80, 90), (140, 95), (112, 130), (85, 160), (135, 165)], np.float32)
    shipped = place(view, similarity(face[None], DETECTOR_TEMPLATE))[0]
    spec = build("dlib-resnet29").spec
    ours = similarity(face, np.array(spec.template))
    assert (spec.size, spec.std) == (CHIP, (256.0,) * 3)
    assert np.abs(transform_points(face[None], ours[None]) - transform_points(face[None], shipped[None])).max() < 1e-3


@pytest.mark.parametrize("affine", ["folded", "kept"])
def test_trained_weights_go_back_into_the_shipped_form(chips: np.ndarray, affine: str, tmp_path: Path) -> None:
    network = build("dlib-resnet29", weights="default", affine=affine)
    x = normalise(torch.from_numpy(chips), network.spec)
    before = network(x)
    before.square().sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.sub_(1e-3 * parameter.abs().mean() * parameter.grad.sign())
        after = network.eval()(x)
        save_network(network, tmp_path)
        assert torch.allclose(load_network(tmp_path)(x), after, atol=1e-6)
    assert float((after - before.detach()).abs().max()) > 1e-3
    assert np.abs(onnx_outputs(network, chips) - after.numpy()).max() < 1e-5
