"""The plug points: small Protocols, batch first, with arrays in and arrays out.

Anything with these methods works in mien; `tests/contract/` holds one suite per Protocol that third parties can run.
Implementations must be safe to call from several threads at once, or say otherwise in their docstring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from mien.types import Analysis, Faces, Floats, ModelIdentity, Pixels

__all__ = ["Analyzer", "Detector", "Embedder", "Landmarker"]


@runtime_checkable
class Detector(Protocol):
    """Finds faces."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    def detect(self, images: Sequence[Pixels]) -> list[Faces]:
        """Find the faces of each picture.

        Args:
            images: RGB uint8 (H, W, 3) each; sizes may differ.

        Returns:
            One `Faces` per picture, largest face first.
        """
        ...


@runtime_checkable
class Landmarker(Protocol):
    """Finds landmarks on faces that were already cut out."""

    @property
    def identity(self) -> str:
        """What makes its points the same points (name, checksum, settings); becomes part of an embedder's identity."""
        ...

    def points(self, chips: Pixels) -> Floats:
        """Find landmarks.

        Args:
            chips: uint8 (N, H, W) grey face chips of one size, upright.

        Returns:
            float32 (N, P, 2) points (x, y) in chip pixels.
        """
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns faces into unit vectors whose cosine says how alike two faces are."""

    @property
    def identity(self) -> ModelIdentity:
        """What makes two embeddings comparable."""
        ...

    def chips(self, image: Pixels, faces: Faces) -> Pixels:
        """Cut and align the faces of one picture.

        Args:
            image: RGB uint8 (H, W, 3).
            faces: N faces with landmarks.

        Returns:
            uint8 (N, V, h, w, 3): V aligned views of each face.
        """
        ...

    def embed(self, chips: Pixels) -> Floats:
        """Embed aligned chips of any number of faces.

        Args:
            chips: uint8 (N, V, h, w, 3) from `chips`.

        Returns:
            float32 (N, D), unit norm.
        """
        ...


@runtime_checkable
class Analyzer(Protocol):
    """Decodes, detects and embeds: what a gallery needs to work on pictures. `Recognizer` is one."""

    @property
    def identity(self) -> ModelIdentity:
        """What makes two embeddings comparable."""
        ...

    def analyze(self, images: Iterable[Any]) -> Iterator[Analysis]:
        """Analyse pictures in order; one that cannot be read yields an `Analysis` with `error` set."""
        ...
