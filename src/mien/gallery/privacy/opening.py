"""The keys of a gallery, from the one word that says where its master key is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import UnsupportedError
from mien.gallery.homes import is_url
from mien.gallery.privacy.gallery_files import key_file_of
from mien.gallery.privacy.master import master_key

if TYPE_CHECKING:
    import os

    from mien.gallery.privacy.sealer import EncryptedSealer

__all__ = ["sealer_for"]


def sealer_for(
    place: str | os.PathLike[str], key: str, *, create: bool = False, readonly: bool = False
) -> EncryptedSealer:
    """The sealer of an encrypted gallery whose key file is beside it.

    Args:
        place: the gallery's file.
        key: where the master key comes from; see `master_key`.
        create: make the key file where neither it nor the gallery is there.
        readonly: refuse to make or destroy keys.

    Raises:
        UnsupportedError: a gallery there cannot be encrypted.
        InputError, NotFoundError, GalleryError: the master key or the key file cannot be used; says why.
        MissingExtraError: `cryptography` is not installed.
    """
    if is_url(place) or str(place) == ":memory:":
        raise UnsupportedError("no encrypted gallery can live on a server or in memory; give a file, or no key")
    from mien.gallery.privacy.sealer import EncryptedSealer

    new = create and not readonly and not Path(place).exists()
    return EncryptedSealer(key_file_of(place), master_key(key), create=new, readonly=readonly)
