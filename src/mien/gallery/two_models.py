"""What a home that can change its model is asked for: a second set of embeddings beside the one in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.gallery.home import StoredFace
    from mien.types import Floats, ModelIdentity

__all__ = ["KeepsTwoModels", "Role", "Staged", "Swapped", "WhoseFace"]

Role: TypeAlias = Literal["new", "old"]
"""What the second set is: the model that the gallery is to change to, or the one that it has changed from."""


@dataclass(frozen=True, slots=True)
class Staged:
    """The second set of embeddings.

    Attributes:
        identity: the model that made them.
        role: "new" before the change was confirmed, "old" after it.
        faces: faces and negative exemplars that have one.
        missing: those that have none.
    """

    identity: ModelIdentity
    role: Role
    faces: int
    missing: int


@dataclass(frozen=True, slots=True)
class WhoseFace:
    """A face and the name of whose it is."""

    name: str
    face: StoredFace


@dataclass(frozen=True, slots=True)
class Swapped:
    """What a change of the model has done.

    Attributes:
        before: the model until then.
        now: the model from then on.
        faces: faces and negative exemplars that have changed.
        dropped: those that were removed, for they had no embedding of the model.
    """

    before: ModelIdentity
    now: ModelIdentity
    faces: int
    dropped: int


@runtime_checkable
class KeepsTwoModels(Protocol):
    """A home whose capability is `migration`. Every method is all or nothing, and thread-safe as the home is."""

    def staged(self) -> Staged | None:
        """The second set, or None where there is none."""
        ...

    def begin_staging(self, identity: ModelIdentity) -> None:
        """Make room for a model's embeddings; nothing where there is already.

        Raises:
            GalleryModelError: the gallery is this model's already, or the second set is another model's.
            GalleryError: the gallery is bound to no model yet.
        """
        ...

    def unstaged(self) -> list[WhoseFace]:
        """Faces and negative exemplars without an embedding in the second set, in order of enrolment."""
        ...

    def stage(self, rows: Sequence[tuple[int, Floats]], identity: ModelIdentity) -> int:
        """Store embeddings (face id, float32 (D,)) in the second set; returns how many. Faces that are gone are not.

        Raises:
            GalleryModelError: the second set is another model's, or there is none any more.
        """
        ...

    def staged_embeddings(self, face_ids: Sequence[int]) -> dict[int, Floats]:
        """Those that these faces have in the second set: face id -> float32 (D,)."""
        ...

    def swap_models(self, role: Role, *, calibration: str | None, drop_missing: bool) -> Swapped:
        """Make the second set the one in use, and the other way round.

        The calibration kept with the gallery goes with its model: it is put aside, and comes back when the models are
        swapped again. A home that is open goes on to refuse the new model's embeddings until it is opened again.

        Args:
            role: what the second set must be: "new" to confirm a change, "old" to take it back.
            calibration: TOML to keep with the gallery from then on; of a model that comes back its own is kept.
            drop_missing: remove faces that are not in the second set; else they are a reason to refuse.

        Raises:
            GalleryError: there is no such second set, or faces are not in it.
        """
        ...

    def drop_staged(self, role: Role) -> int:
        """Drop the second set and every byte of it; returns how many embeddings it held. Raises GalleryError."""
        ...
