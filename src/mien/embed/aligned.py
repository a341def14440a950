"""Any embedder of aligned faces, driven by its card: ArcFace-style models, SFace, and users' own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from mien.errors import CardError, InputError, ModelError
from mien.images.align import ARCFACE_112, similarity, warp
from mien.images.augment import evened
from mien.models.opening import find_card, open_card
from mien.types import ModelIdentity

if TYPE_CHECKING:
    from mien.models.card import ModelCard
    from mien.models.session import Session
    from mien.types import Faces, Floats, Pixels, Preset

__all__ = ["AlignedEmbedder"]

_VIEWS: Final = {"fast": 1, "accurate": 2}
_TEMPLATES: Final = {"arcface-112": (ARCFACE_112, (112, 112))}


def _template(card: ModelCard) -> Floats:
    """Where the five landmarks go: float32 (5, 2)."""
    if not isinstance(card.template, str):
        return np.array(card.template, np.float32)
    points, size = _TEMPLATES[card.template]
    if card.input_size != size:
        raise CardError(
            f"{card.name}: alignment.template: {card.template!r} is for an input of {size}, this model's is "
            f"{card.input_size}; give five points instead"
        )
    return points


def _planes(chips: Pixels, colour: str | None) -> Pixels:
    """RGB chips (B, h, w, 3) as the planes that a network wants: (B, 3, h, w), or (B, 1, h, w) of grey (BT.601)."""
    if colour == "grey":
        grey: Pixels = np.empty((len(chips), 1, *chips.shape[1:3]), np.uint8)
        for chip, plane in zip(chips, grey, strict=True):
            plane[0] = cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY)
        return grey
    return (chips if colour == "rgb" else chips[..., ::-1]).transpose(0, 3, 1, 2)


class AlignedEmbedder:
    """Embeds faces that were aligned by five landmarks to a template.

    Presets: "fast" embeds one aligned view of each face; "accurate" adds the view's mirror image, and sums both outputs
    before normalising, so that the longer output (the clearer view) counts for more.

    Thread-safe: nothing changes after construction, and sessions may be run by several threads.

    Args:
        card: a card of family "aligned", or its name: says size, colour order, mean, std, template and dimension.
        session: the opened network; None opens the card's file from the user's store.
        preset: one of the card's presets.
        threads: threads of one run.

    Raises:
        ModelFileError: the model was not pulled, is damaged, or no checksum of it is known.
        CardError: the card is not one of such a model.
        InputError: the card has no such preset.
    """

    def __init__(
        self,
        card: ModelCard | str,
        session: Session | None = None,
        *,
        preset: Preset = "accurate",
        threads: int | None = None,
    ) -> None:
        self.card = find_card(card, "aligned")
        if preset not in self.card.presets or preset not in _VIEWS:
            known = [name for name in self.card.presets if name in _VIEWS]
            raise InputError(f"{self.card.name}: preset: expected one of {', '.join(known)}; got {preset!r}")
        size, dimension, checksum = self.card.input_size, self.card.dimension, self.card.embedding_sha256
        assert size is not None  # the card saw to it
        assert dimension is not None
        self._size = size
        self._template = _template(self.card)
        self._views = _VIEWS[preset]
        self._session = session or open_card(self.card, threads=threads)
        if checksum is None:
            raise CardError(f"{self.card.name}: files.sha256: expected a checksum; it identifies the embeddings")
        self._identity = ModelIdentity(self.card.name, preset, checksum, dimension)
        self._mean = np.array(self.card.mean, np.float32)[:, None, None]
        self._std = np.array(self.card.std, np.float32)[:, None, None]

    @property
    def identity(self) -> ModelIdentity:
        """What makes two embeddings comparable."""
        return self._identity

    def chips(self, image: Pixels, faces: Faces) -> Pixels:
        """Cut and align the faces of one picture.

        Args:
            image: RGB uint8 (H, W, 3).
            faces: N faces with landmarks.

        Returns:
            uint8 (N, V, h, w, 3): one view of each face, or the view and its mirror image; light evened out, where the
            card says that the network was trained so.

        Raises:
            InputError: the landmarks of a face coincide.
        """
        width, height = self._size
        chips = np.empty((len(faces), self._views, height, width, 3), np.uint8)
        if len(faces):
            chips[:, 0] = self._evened(warp(image, similarity(faces.landmarks, self._template), self._size))
            if self._views == 2:
                chips[:, 1] = chips[:, 0, :, ::-1]
        return chips

    def _evened(self, chips: Pixels) -> Pixels:
        """Chips (N, h, w, 3) in the light that the network was trained in; for a grey one, of equal channels."""
        if not self.card.evening:
            return chips
        if self.card.colour == "grey":
            chips = np.stack([np.asarray(cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY))[..., None] for chip in chips])
        return np.stack([evened(chip, self.card.evening) for chip in chips])

    def embed(self, chips: Pixels) -> Floats:
        """Embed aligned chips of any number of faces.

        Args:
            chips: uint8 (N, V, h, w, 3) from `chips`, which evens their light out where need be.

        Returns:
            float32 (N, D), unit norm.

        Raises:
            ModelError: the network does not answer as its card says.
            ValueError: the chips have another shape.
        """
        width, height = self._size
        if chips.dtype != np.uint8 or chips.shape[1:] != (self._views, height, width, 3):
            raise ValueError(
                f"{self.card.name}: expected uint8 chips (N, {self._views}, {height}, {width}, 3), "
                f"got {chips.dtype} {chips.shape}"
            )
        flat = chips.reshape(-1, height, width, 3)
        outputs = np.zeros((len(flat), self._identity.dimension), np.float32)
        for start in range(0, len(flat), self.card.batch):
            outputs[start : start + self.card.batch] = self._run(flat[start : start + self.card.batch])
        summed: Floats = outputs.reshape(len(chips), self._views, self._identity.dimension).sum(axis=1)
        norms = np.linalg.norm(summed, axis=1, keepdims=True)
        if not (np.isfinite(norms).all() and (norms > 0).all()):
            raise ModelError(f"{self.card.name}: the network answers with NaN, infinity or nothing but zeros")
        summed /= norms
        return summed

    def _run(self, chips: Pixels) -> Floats:
        """The network's raw outputs for (B, h, w, 3) chips."""
        blob = _planes(chips, self.card.colour).astype(np.float32, order="C")
        blob -= self._mean
        blob /= self._std
        output: Floats = self._session.run(blob)[0]
        expected = (len(chips), self._identity.dimension)
        if output.size != expected[0] * expected[1]:
            raise ModelError(f"{self.card.name}: expected an output of shape {expected}, got {output.shape}")
        return output.reshape(expected)
