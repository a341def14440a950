"""Calibrations of an exported model: thresholds for error rates, from a folder of people it was not trained on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mien.errors import InputError
from mien.match.calibration_beside import SUFFIX
from mien.match.calibration_file import write
from mien.train.export.faces import recognizer_with, with_landmarks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mien.match import Calibration
    from mien.models.card import ModelCard

__all__ = ["PRESETS", "write_calibrations"]

PRESETS = ("fast", "accurate")


def write_calibrations(people: Path, cards: Mapping[str, ModelCard], folder: Path) -> list[tuple[str, Calibration]]:
    """Calibrate every form and preset, and write a file each: (name of the file, calibration).

    Args:
        people: a folder with a folder of pictures a person.
        cards: variant -> card.
        folder: where to write.

    Raises:
        InputError: too few people or pictures.
    """
    from mien.evaluate.calibration_fit import faces_of, fingerprint
    from mien.evaluate.calibration_run import calibrate_and_confirm
    from mien.evaluate.embeddings import embed_pictures
    from mien.evaluate.protocols import FolderProtocol

    data = FolderProtocol(people).all_pairs()
    pictures, made = data.pictures, []
    for variant, card in cards.items():
        for preset in PRESETS:
            recognizer = recognizer_with(card, preset)
            embedded = embed_pictures(pictures, recognizer)
            found = embedded.found.nonzero()[0]
            if not len(found):
                raise InputError(f"{people}: no face was found in any of {len(data.pictures)} pictures")
            pictures = with_landmarks(data.pictures, embedded.landmarks)
            faces = faces_of(embedded.vectors[found], data.subject[found])
            calibrated = calibrate_and_confirm(
                faces,
                recognizer.identity,
                made_on=f"{data.name}: all pairs of {faces.people} people, a main face a picture",
                date=datetime.now(UTC).date().isoformat(),
                data=fingerprint(data.pictures[i] for i in found.tolist()),
            )
            name = f"{preset}{SUFFIX}" if variant == "fp32" else f"{variant}-{preset}{SUFFIX}"
            write(calibrated.calibration, folder / name, replace_old=True)
            made.append((name, calibrated.calibration))
    return made
