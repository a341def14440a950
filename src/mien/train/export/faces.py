"""Real aligned faces: to check a graph on, to calibrate eight-bit numbers with, and to measure accuracy by."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

import cv2
import numpy as np

from mien.embed.probe import probe_chips
from mien.embed.views import DETECTOR_TEMPLATE
from mien.errors import InputError
from mien.images.align import similarity, warp
from mien.images.augment import evened
from mien.recognizer import Recognizer, open_embedder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from mien.evaluate.embeddings import Embedded
    from mien.evaluate.protocols.pictures import Picture
    from mien.models.card import ModelCard
    from mien.train.backbones import InputSpec
    from mien.types import Analysis, Floats, Pixels, Preset

__all__ = ["aligned_faces", "embed_with", "example_faces", "recognizer_with", "with_landmarks"]

MOST_FACES: Final = 256
"""Faces that a graph is checked and calibrated on: more change neither."""


def example_faces(spec: InputSpec) -> Pixels:
    """Faces that are there without any data: one person, 16 looks; uint8 (N, size, size, C)."""
    chips = probe_chips()
    if chips is None:
        return np.zeros((0, spec.size, spec.size, spec.channels), np.uint8)
    size, template = (spec.size, spec.size), np.array(spec.template, np.float32)
    middle = (spec.size - 1) / 2
    looks = [similarity(DETECTOR_TEMPLATE, middle + (template - middle) * scale)[None] for scale in (1.0, 1.08)]
    return _as_trained(np.concatenate([warp(chip, look, size) for chip in chips for look in looks]), spec)


def aligned_faces(sources: Sequence[Any], spec: InputSpec, *, most: int = MOST_FACES) -> Pixels:
    """The main faces of pictures, aligned as a network wants them, light evened: uint8 (N, size, size, C).

    Args:
        sources: pictures; of many, `most` evenly spread ones are looked at.
        spec: the network's.
        most: pictures to look at.
    """
    if len(sources) > most:
        sources = [sources[i] for i in np.linspace(0, len(sources) - 1, most).astype(int)]
    template = np.array(spec.template, np.float32)

    def cut(_source: object, found: Analysis) -> Pixels | None:
        if found.image is None or not len(found.faces):
            return None
        matrix = similarity(found.faces.landmarks[found.main()], template)
        return warp(found.image.pixels, matrix[None], (spec.size, spec.size))

    made = [one for one in Recognizer("fast").map(list(sources), cut, embed=False) if one is not None]
    if not made:
        raise InputError(f"no face was found in any of {len(sources)} pictures")
    return _as_trained(np.concatenate(made), spec)


def _as_trained(pictures: Pixels, spec: InputSpec) -> Pixels:
    """In the colours and the light that the network was trained on."""
    if spec.channels == 1:
        pictures = np.stack([np.asarray(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY))[..., None] for one in pictures])
    return np.stack([evened(one, spec.evening) for one in pictures]) if spec.evening else pictures


def recognizer_with(card: ModelCard | str | None, preset: str) -> Recognizer:
    """The default detector and the embedder of a card."""
    chosen = cast("Preset", preset)
    return Recognizer(chosen, embedder=lambda threads: open_embedder(card, chosen, threads=threads))


def embed_with(card: ModelCard | str | None, preset: str, pictures: Sequence[Picture]) -> Embedded:
    """The embeddings of pictures by the model of a card."""
    from mien.evaluate.embeddings import embed_pictures

    return embed_pictures(pictures, recognizer_with(card, preset))


def with_landmarks(pictures: Sequence[Picture], landmarks: Floats) -> list[Picture]:
    """The pictures, with the landmarks that were found, so that nothing is detected again; without a face as before."""
    found = [bool(np.isfinite(points).all()) for points in landmarks]
    return [
        replace(pictures[i], landmarks=tuple((float(x), float(y)) for x, y in landmarks[i]))
        if found[i]
        else pictures[i]
        for i in range(len(pictures))
    ]
