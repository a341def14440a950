"""Fine-tune the default model on your own people, and let it into your gallery only if it is better there.

    python examples/fine_tune_and_promote.py people/ held-out/ people.db runs/mine

`people/` (to learn from) and `held-out/` (to judge on) hold a folder of photos a person; nobody should be in both.
"""

import sys
from dataclasses import replace
from pathlib import Path

from mien import Gallery, Recognizer
from mien.errors import InputError
from mien.recognizer import open_embedder
from mien.train.config import SourceConfig
from mien.train.export import ExportSettings, export_run
from mien.train.promotion import held_out_faces, judge, present_model, promote
from mien.train.recipes import recipe
from mien.train.trainer import train


def main(people: Path, held_out: Path, gallery: Path, run: Path) -> int:
    config = recipe("fine-tune-dlib")
    config = replace(config, data=replace(config.data, sources=(SourceConfig(path=str(people)),)))
    train(config, run)
    # Calibrating on the people it is judged on is fair: the judgement looks at no threshold.
    calibrated = True
    try:
        made = export_run(run, settings=ExportSettings(calibrate=held_out, licence="unstated"))
    except InputError as error:  # some dozens of people are needed to tell a rate of one in a thousand
        calibrated = False
        print(f"without a calibration, so whoever asks names a threshold: {error}")
        made = export_run(run, settings=ExportSettings(licence="unstated"))
    with Gallery.open(gallery) as known:
        present = present_model(known)
        old = Recognizer(present.preset)
        new = Recognizer(present.preset, embedder=open_embedder(str(run), present.preset))
        both = held_out_faces(held_out, old, new)
        judgement = judge(both, present, new.identity, data=held_out.name)
        print(made.folder, judgement.verdict, *judgement.reasons, sep="\n")
        done = promote(known, new, judgement, originals=[people], no_threshold=not calibrated)
        print(f"changed; to take it back: {done.rollback}" if done.changed else "nothing has changed")
        return 0 if done.changed else 1


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:5])))
