"""The example trains on a folder."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def test_the_example_trains_on_a_folder(people, tmp_path) -> None:
    path = Path(__file__).parents[3] / "examples" / "train_on_your_folder.py"
    spec = spec_from_file_location(path.stem, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    settings = (
        "data.sources.0.aligned=true", "data.batch=12", "data.workers=0", "schedule.epochs=1", "network.size=48",
        "network.options.trunk_size=32", "network.options.trunk_options={widths = [8, 8, 8, 8]}", "loop.threads=1",
        "loop.tensorboard=false",
    )  # fmt: skip
    result = module.main(str(people), str(tmp_path / "run"), settings=settings)
    assert (result.stopped, result.step) == ("finished", 4)
    assert (tmp_path / "run" / "best" / "network.safetensors").exists()
