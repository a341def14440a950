"""One step against plain PyTorch: parts of a batch, clipping, mean weights, frozen stages, rates and weight decay."""

from __future__ import annotations

import math
import os
import shutil

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'mien[train]'")

from mien.errors import InputError  # noqa: E402
from mien.train.averaging import WeightAverage  # noqa: E402
from mien.train.backbones import build  # noqa: E402
from mien.train.checks import check_sizes  # noqa: E402
from mien.train.data import Batch  # noqa: E402
from mien.train.objective import Objective  # noqa: E402
from mien.train.optimizers import network_optimizer  # noqa: E402
from mien.train.parts import made_network  # noqa: E402
from mien.train.processes import Processes  # noqa: E402
from mien.train.step import Stepper, network_input  # noqa: E402

ALONE = Processes(0, 1, torch.device("cpu"))
LOSSES = {
    "arcface": {"scale": 16.0}, "cosface": {"scale": 16.0}, "softmax": {}, "center": {"weight": 0.1},
    "adaface": {"scale": 16.0}, "curricularface": {"scale": 16.0}, "magface": {"scale": 16.0},
    "triplet": {"mining": "batch-all"}, "contrastive": {}, "sphereface": {}, "l-softmax": {},
    "sub-center": {"scale": 16.0}, "combined": {"scale": 16.0}, "arcface-triplet": {"scale": 16.0},
    "normface": {}, "harmonic-triplet": {"mining": "batch-all"},
}  # fmt: skip


def stepper_of(config, classes: int = 6, old=None) -> Stepper:
    network = made_network(config.network, config.loop.seed)
    objective = Objective(config.loss, network.dim, classes, seed=config.loop.seed)
    if objective.needs_old and old is None:
        old = made_network(config.network, 7).eval()
    return Stepper(network, objective, config, ALONE, old=old)


def batch_of(rows: int = 12, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 256, (rows, 32, 32, 3), generator=draw, dtype=torch.uint8)
    return Batch(pictures, torch.arange(rows) % 6, torch.arange(rows))


def gradients_of(stepper: Stepper, batch: Batch):
    found = stepper.gradients(batch)
    weights = [*stepper.network.parameters(), *stepper.objective.parameters()]
    return found, [None if p.grad is None else p.grad.to_dense().clone() for p in weights]


@pytest.mark.parametrize("parts", [2, 5])
@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_in_parts_gives_the_whole_batchs_gradient(tiny, name: str, parts: int) -> None:
    loss = {"name": name, "options": LOSSES[name]}
    whole, want = gradients_of(stepper_of(tiny(loss=loss)), batch_of())
    found, got = gradients_of(stepper_of(tiny(loss=loss, optimizer={"accumulate": parts})), batch_of())
    torch.testing.assert_close(found.loss, whole.loss, rtol=1e-5, atol=1e-5)
    assert found.terms.keys() == whole.terms.keys()
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert any(one is not None and bool(one.any()) for one in want)


def test_dropout_and_running_statistics_do_not_notice_the_two_passes(tiny) -> None:
    network = {"options": {"widths": [8] * 4, "blocks": [1] * 4, "dropout": 0.4}}
    config = tiny(loss={"name": "triplet", "options": {"mining": "batch-all"}})
    config = type(config).from_dict({**config.to_dict(), "network": {**config.to_dict()["network"], **network}})
    steppers = [stepper_of(config), stepper_of(config.with_settings(["optimizer.accumulate=2"]))]
    for stepper in steppers:
        torch.manual_seed(5)
        stepper.gradients(batch_of())
    counts = [s.network.state_dict() for s in steppers]
    tracked = [name for name in counts[0] if name.endswith("num_batches_tracked")]
    assert tracked
    assert {int(counts[0][name]) for name in tracked} == {1}
    assert {int(counts[1][name]) for name in tracked} == {2}  # one for each part, none for the pass without gradients


def test_the_loss_and_its_gradient_are_those_of_the_plain_formula(tiny) -> None:
    from mien.train.losses import arcface

    config = tiny()
    stepper = stepper_of(config)
    batch = batch_of()
    found, got = gradients_of(stepper, batch)
    network, centres = made_network(config.network, 0), stepper.objective.head.centres.detach().squeeze(1).clone()
    centres.requires_grad_()
    plain = arcface(network(network_input(batch.pictures, network.spec)), centres, batch.labels, scale=16.0, margin=0.3)
    plain.backward()
    torch.testing.assert_close(found.loss, plain.detach(), rtol=1e-5, atol=1e-6)
    for one, other in zip(got, [*network.parameters(), centres], strict=True):
        torch.testing.assert_close(one.reshape(other.shape), other.grad, rtol=1e-3, atol=1e-5)
    squares = sum(float(p.grad.double().square().sum()) for p in network.parameters())
    assert float(found.network_square) == pytest.approx(squares, rel=1e-5)
    assert float(found.head_square) == pytest.approx(float(centres.grad.double().square().sum()), rel=1e-4)


def test_clipping_and_rates_are_plain_sgd_on_the_clipped_gradient(tiny) -> None:
    config = tiny(optimizer={"clip": 0.5, "momentum": 0.0, "weight_decay": 0.0, "head_lr": 3.0, "lr": 0.1})
    stepper = stepper_of(config)
    before = {n: p.detach().clone() for n, p in stepper.network.named_parameters()}
    centres = stepper.objective.head.centres.detach().clone()
    found, _ = gradients_of(stepper, batch_of())
    norm = float(found.network_square + found.head_square) ** 0.5
    assert norm > 0.5
    grads = {n: p.grad.clone() for n, p in stepper.network.named_parameters()}
    head = stepper.objective.head.centres.grad.clone()
    stepper.apply(norm, 0.05)
    for name, weight in stepper.network.named_parameters():
        torch.testing.assert_close(weight.detach(), before[name] - 0.05 * 0.5 / norm * grads[name])
    want = centres - 3 * 0.05 * 0.5 / norm * head
    torch.testing.assert_close(stepper.objective.head.centres.detach(), want)


def test_vectors_have_no_weight_decay_and_early_stages_lower_rates(tiny) -> None:
    config = tiny(network={"layer_decay": 0.5}, optimizer={"weight_decay": 0.1})
    config = config.with_settings(["network.options.norm=group"])
    stepper = stepper_of(config)
    groups = stepper.network_optimizer.param_groups
    assert all((group["weight_decay"] == 0.0) == all(p.ndim <= 1 for p in group["params"]) for group in groups)
    stages = [name for name, _ in stepper.network.stages()]
    rates = {group["name"]: group["factor"] for group in groups}
    assert [rates[name] for name in reversed(stages)] == [0.5**k for k in range(len(stages))]
    taken = [p for group in groups for p in group["params"]]
    assert {id(p) for p in taken} == {id(p) for p in stepper.network.parameters() if p.requires_grad}


def test_muon_turns_each_stages_tables_by_its_angle_and_centres_move_by_sgd(tiny) -> None:
    rule = {"name": "muon", "lr": 0.2, "head_lr": 3.0, "weight_decay": 0.1, "head_weight_decay": 0.0, "clip": 0.5}
    network = {**tiny().to_dict()["network"], "layer_decay": 0.5, "frozen": ["layer2"]}
    stepper = stepper_of(tiny(network=network, optimizer=rule))
    before = {n: p.detach().clone() for n, p in stepper.network.named_parameters()}
    centres = stepper.objective.head.centres.detach().clone()
    found, _ = gradients_of(stepper, batch_of())
    norm = float(found.network_square + found.head_square) ** 0.5
    assert norm > 0.5
    head = stepper.objective.head.centres.grad.clone()
    stepper.apply(norm, 0.04)
    learning = [name for name, _ in stepper.network.stages() if name != "layer2"]
    for depth, name in enumerate(reversed(learning)):
        stage = dict(stepper.network.stages())[name]
        tables = [p for p in stage.parameters() if p.ndim > 1]
        assert tables
        for table in tables:
            old = next(before[n] for n, p in stepper.network.named_parameters() if p is table)
            assert table.norm().item() == pytest.approx(old.norm().item(), rel=1e-5)
            cosine = torch.nn.functional.cosine_similarity(old.double().flatten(), table.double().flatten(), dim=0)
            assert math.acos(min(cosine.item(), 1.0)) == pytest.approx(0.04 * 0.5**depth, rel=0.3)
    for name, weight in stepper.network.named_parameters():
        if not weight.requires_grad:
            assert torch.equal(weight, before[name])
    want = centres - 3 * 0.04 * 0.5 / norm * head
    torch.testing.assert_close(stepper.objective.head.centres.detach(), want)


def test_muon_turns_weights_of_layers_and_nothing_else(tiny) -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = torch.nn.Parameter(torch.zeros(1, 1, 8))
            self.conv = torch.nn.Conv2d(3, 8, 3)
            self.deep = torch.nn.Conv2d(8, 8, 3, groups=8)
            self.attention = torch.nn.MultiheadAttention(8, 2)
            self.nothing = torch.nn.Linear(8, 8)
            torch.nn.init.zeros_(self.nothing.weight)

        def stages(self):
            return [("all", self)]

    network = Odd()
    rule = network_optimizer(network, tiny(optimizer={"name": "muon", "lr": 0.03, "nesterov": True}).optimizer)
    names = {id(p): name for name, p in network.named_parameters()}
    turned = {names[id(p)] for group in rule.param_groups if group["turned"] for p in group["params"]}
    assert turned == {"conv.weight", "deep.weight", "attention.in_proj_weight", "attention.out_proj.weight"}
    assert sum(len(group["params"]) for group in rule.param_groups) == len(names)
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    rule.step()
    for name, weight in network.named_parameters():
        if name in turned:
            assert weight.norm().item() == pytest.approx(before[name].norm().item(), rel=1e-5)
            assert not torch.equal(weight, before[name])
        else:
            torch.testing.assert_close(weight.detach(), before[name] - 0.03 * 1.9)


def test_frozen_stages_stay_to_the_bit(tiny) -> None:
    first = build("iresnet-small", size=32, dim=16, widths=[8] * 4, blocks=[1] * 4).stages()[0][0]
    config = tiny().with_settings([f"network.frozen=['{first}']", "network.options.norm=batch"])
    stepper = stepper_of(config)
    stage = dict(stepper.network.stages())[first]
    before = {k: v.clone() for k, v in stage.state_dict().items()}
    found, _ = gradients_of(stepper, batch_of())
    stepper.apply(float(found.network_square + found.head_square) ** 0.5, 0.1)
    assert all(torch.equal(v, before[k]) for k, v in stage.state_dict().items())
    with pytest.raises(InputError, match="no stage 'stemm'"):
        stepper_of(tiny(network={**config.to_dict()["network"], "frozen": ["stemm"]}))
    every = [name for name, _ in stepper.network.stages()]
    with pytest.raises(InputError, match="got all of them"):
        stepper_of(tiny(network={**config.to_dict()["network"], "frozen": every}))


def test_the_mean_of_weights_is_the_recurrence(tiny) -> None:
    network = made_network(tiny().network, 0)
    average = WeightAverage(network, 0.9)
    name = next(iter(dict(network.named_parameters())))
    mean = network.state_dict()[name].double().clone()
    for n in range(20):
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(n)) * 0.1)
        average.update(network)
        decay = min(0.9, (1 + n) / (10 + n))
        mean = decay * mean + (1 - decay) * network.state_dict()[name].double()
    torch.testing.assert_close(average.state_dict()[name].double(), mean, rtol=1e-5, atol=1e-6)
    own = network.state_dict()[name].clone()
    with average.applied(network):
        torch.testing.assert_close(network.state_dict()[name].double(), mean, rtol=1e-5, atol=1e-6)
    assert torch.equal(network.state_dict()[name], own)


def test_a_share_of_the_starting_weights_is_in_what_is_measured(tiny, tmp_path) -> None:
    from mien.train.backbones import save_network

    start = made_network(tiny().network, 5)
    save_network(start, tmp_path / "start")
    config = tiny(network={"weights": str(tmp_path / "start")}, optimizer={"start_share": 0.25, "ema": 0.5})
    stepper = stepper_of(config)
    for seed in range(3):
        found = stepper.gradients(batch_of(seed=seed))
        stepper.apply(float(found.network_square + found.head_square) ** 0.5, 0.1)
    own = {name: value.clone() for name, value in stepper.network.state_dict().items()}
    means = stepper.average.state_dict()
    with stepper.measured_network() as network:
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                want = 0.25 * start.state_dict()[name] + 0.75 * means[name]
                torch.testing.assert_close(value, want, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(value, own[name]) for name, value in stepper.network.state_dict().items())
    with pytest.raises(InputError, match="starting weights"):
        stepper_of(tiny(optimizer={"start_share": 0.25}))


def test_bf16_and_fp16_are_near_fp32(tiny) -> None:
    exact = stepper_of(tiny()).gradients(batch_of())
    for precision in ("bf16", "fp16"):
        stepper = stepper_of(tiny(loop={"precision": precision}))
        stepper.scale.scale = min(stepper.scale.scale, 64.0)  # where the real one would settle after some overflows
        found = stepper.gradients(batch_of())
        assert float(found.loss) == pytest.approx(float(exact.loss), rel=0.05)
        scaled = float(found.network_square) ** 0.5 / stepper.scale.scale
        assert scaled == pytest.approx(float(exact.network_square) ** 0.5, rel=0.2)


def test_smaller_pictures_are_resized_and_nets_that_cannot_are_named(tiny) -> None:
    spec = made_network(tiny().network, 0).spec
    flat = torch.full((2, 32, 32, 3), 100, dtype=torch.uint8)
    small = network_input(flat, spec, 16)
    assert small.shape == (2, 3, 16, 16)
    torch.testing.assert_close(small, torch.full_like(small, (100 - 127.5) / 127.5))
    config = tiny(schedule={"sizes": [[0, 32], [0.5, 64]]})  # its last map would be 2 x 2
    with pytest.raises(InputError, match="does not take pictures of 64 pixels"):
        check_sizes(made_network(config.network, 0), config)


def test_recomputed_stages_give_the_same_gradients(tiny) -> None:
    _, want = gradients_of(stepper_of(tiny()), batch_of())
    _, got = gradients_of(stepper_of(tiny().with_settings(["network.recompute=true"])), batch_of())
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_more_parts_than_pictures_are_refused(tiny) -> None:
    with pytest.raises(InputError, match="expected at most 4"):
        stepper_of(tiny(optimizer={"accumulate": 5})).gradients(batch_of(4))


def raising(module: str, name: str, text: str):
    """A stand-in for torch.compile whose network fails as the compiler does."""
    error = type(name, (RuntimeError,), {"__module__": module})

    def compile_(network):
        def forward(*_given):
            raise error(text)

        return forward

    return compile_


@pytest.mark.parametrize(
    ("module", "name"), [("torch._inductor.exc", "InductorError"), ("torch._dynamo.exc", "Unsupported")]
)
def test_a_network_that_cannot_be_compiled_is_told_in_words(tiny, monkeypatch, module: str, name: str) -> None:
    monkeypatch.setattr(torch, "compile", raising(module, name, "\nCppCompileError: no g++\nCommand: ..."))
    stepper = stepper_of(tiny(loop={"compile": True}))
    with pytest.raises(InputError, match=r"^loop\.compile: .*\(CppCompileError: no g\+\+\); leave out loop\.compile$"):
        stepper.gradients(batch_of())
    monkeypatch.setattr(torch, "compile", raising(module, name, "ImportError: /tmp/c2.main.so: file too short"))
    stepper = stepper_of(tiny(loop={"compile": True}))
    with pytest.raises(InputError, match=r"file too short\); leave out .* remove the folder torchinductor_\*"):
        stepper.gradients(batch_of())
    monkeypatch.setattr(torch, "compile", raising("builtins", "MemoryError", "of the network itself"))
    with pytest.raises(RuntimeError, match="of the network itself"):
        stepper_of(tiny(loop={"compile": True})).gradients(batch_of())


def test_a_platform_without_compiling_is_told(tiny, monkeypatch) -> None:
    def none(_network):
        raise RuntimeError("torch.compile is not supported on Python 3.99+")

    monkeypatch.setattr(torch, "compile", none)
    with pytest.raises(InputError, match=r"loop\.compile: .*not supported on Python 3\.99\+"):
        stepper_of(tiny(loop={"compile": True}))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of the compiler, about this machine
def test_a_compiled_network_has_the_loss_and_gradients_of_the_plain_one(tiny) -> None:
    network = {"name": "iresnet-small", "size": 32, "dim": 8, "options": {"widths": [8] * 4, "blocks": [1] * 4}}
    _, want = gradients_of(stepper_of(tiny(network=network)), batch_of())
    compiled = stepper_of(tiny(network=network, loop={"compile": True}))
    found, got = gradients_of(compiled, batch_of())
    plain = stepper_of(tiny(network=network)).gradients(batch_of())
    assert float(found.loss) == pytest.approx(float(plain.loss), rel=1e-4)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-4)
