"""A face embedder of your own from a folder of people (a sub-folder of photos each), measured on pairs you keep apart.

python examples/train_on_your_folder.py people/ runs/mine [pairs.txt held_out_people/]
"""

import sys
from dataclasses import replace

from mien.train.config import MeasureConfig, PairsConfig, SourceConfig
from mien.train.display import PlainDisplay
from mien.train.recipes import recipe
from mien.train.trainer import TrainResult, train


def main(people: str, run: str, *held_out: str, settings: tuple[str, ...] = ()) -> TrainResult:
    config = recipe("small-cpu")
    config = replace(config, data=replace(config.data, sources=(SourceConfig(path=people),)))
    if held_out:  # from `mien data pairs held_out_people/ pairs.txt`
        pairs = PairsConfig(pairs=held_out[0], images=held_out[1])
        config = replace(config, measure=MeasureConfig(sets=(pairs,)))
    result = train(config.with_settings(settings), run, display=PlainDisplay())  # stopped? the same line goes on
    print(f"{result.folder}/best: {result.best or 'not measured'}")
    return result


if __name__ == "__main__":
    main(*sys.argv[1:])
