"""When the key file is older than the gallery: people whose keys are lost are given up, and all others are saved."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mien.errors import NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from mien.gallery.privacy.sealer import EncryptedSealer

__all__ = ["give_up_unreadable"]


def give_up_unreadable(gallery: Path, sealer: EncryptedSealer) -> int:
    """Give up everybody in an encrypted gallery who has no key, for good; returns how many.

    Only for a gallery that does not open because its key file was lost and restored from an older backup. Try newer
    backups of the key file first: what is given up here can never be read again. The next opening for writing removes
    those people's rows.

    Args:
        gallery: the gallery's file; closed.
        sealer: of its key file.

    Raises:
        NotFoundError: there is no such gallery.
        GalleryFileError: it is not a gallery.
    """
    from mien.gallery.homes.sqlite.connection import connect, explained

    if not gallery.is_file():
        raise NotFoundError(f"{gallery}: there is no such gallery")
    with explained(str(gallery)), contextlib.closing(connect(gallery, readonly=True)) as db:
        people = {row[0] for row in db.execute("SELECT pseudonym FROM subjects")}
    lost = sorted(name for name in people if not sealer.keys.live(name))
    lost = sorted(set(lost) - sealer.destroyed(lost))
    sealer.destroy(*lost)
    return len(lost)
