"""A gallery's file while it changes from one model to another: both models' embeddings, one of them in use."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from mien.errors import GalleryError
from mien.gallery.homes.sqlite import staged_rows
from mien.gallery.homes.sqlite.open_file import OpenFile
from mien.gallery.homes.sqlite.writing import remove_faces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.gallery.two_models import Role, Staged, Swapped, WhoseFace
    from mien.types import Floats, ModelIdentity

__all__ = ["TwoModels"]

_TOLD = 3  # missing faces that a message names


class TwoModels(OpenFile):
    """What makes `SqliteHome` a `mien.gallery.two_models.KeepsTwoModels`. Thread-safe."""

    def staged(self) -> Staged | None:
        """The second set, or None where there is none."""
        with self._reading() as t:
            return staged_rows.staged_of(t)

    def begin_staging(self, identity: ModelIdentity) -> None:
        """Make room for a model's embeddings; see `KeepsTwoModels.begin_staging`."""
        with self._writing(any_model=True) as t:
            staged_rows.begin(t, identity)

    def unstaged(self) -> list[WhoseFace]:
        """Faces and negative exemplars without an embedding in the second set, in order of enrolment."""
        with self._reading() as t:
            return staged_rows.unstaged_faces(t)

    def stage(self, rows: Sequence[tuple[int, Floats]], identity: ModelIdentity) -> int:
        """Store embeddings in the second set; on return they are on the disk. See `KeepsTwoModels.stage`."""
        with self._writing(any_model=True) as t:
            return staged_rows.put(t, rows, identity)

    def staged_embeddings(self, face_ids: Sequence[int]) -> dict[int, Floats]:
        """Those that these faces have in the second set: face id -> float32 (D,)."""
        with self._reading() as t:
            return staged_rows.vectors_of(t, face_ids)

    def swap_models(self, role: Role, *, calibration: str | None, drop_missing: bool) -> Swapped:
        """Make the second set the one in use, in one transaction; see `KeepsTwoModels.swap_models`."""
        with self._writing(any_model=True) as t:
            staged_rows.need(t, role)
            missing = staged_rows.unstaged_faces(t)
            if missing and not drop_missing:
                told = ", ".join(f"{one.name!r} ({one.face.picture})" for one in missing[:_TOLD])
                more = f" and {len(missing) - _TOLD} more" if len(missing) > _TOLD else ""
                raise GalleryError(
                    f"{self.source}: {len(missing)} faces have no embedding of that model: {told}{more}; give their "
                    "originals, or have them removed (--drop-missing)"
                )
            now = time.time()
            if missing:
                remove_faces(t, [one.face.id for one in missing], now)
            return replace(staged_rows.swap(t, role, calibration, now), dropped=len(missing))

    def drop_staged(self, role: Role) -> int:
        """Drop the second set and every byte of it; returns how many embeddings it held.

        Raises:
            GalleryError: there is no such set; or another program is reading the file, so that its log could not be
                emptied: the set is gone, and its last bytes go with the next `vacuum`.
        """
        with self._writing(any_model=True) as t:
            count = staged_rows.drop(t, role, time.time())
        self.vacuum()
        return count
