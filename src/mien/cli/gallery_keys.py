"""`mien gallery new-key` and `rekey`: the master key of an encrypted gallery."""

from __future__ import annotations

from typing import Annotated

import typer

from mien.cli.galleries import DEFAULT_GALLERY, GalleryPath, KeyOption, open_gallery
from mien.cli.output import JsonFlag, emit_json, print_line, say
from mien.errors import InputError

__all__ = ["new_key", "rekey_gallery"]


def new_key(
    place: Annotated[str, typer.Argument(help="file:PATH or keyring:SERVICE/USER.", show_default=False)],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Make a master key. It is never written over another, and never printed: back it up, nobody can restore it."""
    from mien.gallery.privacy.master import new_master_key

    source = new_master_key(place).source
    if as_json:
        emit_json({"key": source})
    else:
        print_line(f"{source}: a new master key; keep a copy of it, apart from the gallery")
        say("encrypt a gallery with: mien gallery copy people.db secret.db --to-key " + source)


def rekey_gallery(
    new: Annotated[
        str, typer.Argument(metavar="NEW", help="The new master key, from `mien gallery new-key`.", show_default=False)
    ],
    *,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Change the master key of an encrypted gallery; the old one opens it no more."""
    from mien.gallery.privacy.master import master_key
    from mien.gallery.privacy.sealer import EncryptedSealer

    if key is None:
        raise InputError("--key: expected the master key that the gallery has now (or MIEN_GALLERY_KEY)")
    wanted = master_key(new)
    with open_gallery(gallery, key=key) as known:
        sealer = getattr(known.home, "sealer", None)
        assert isinstance(sealer, EncryptedSealer)  # a key opens nothing else
        sealer.rekey(wanted)
    if as_json:
        emit_json({"gallery": gallery, "key": new})
    else:
        print_line(f"{gallery}: opens with {new} from now on; other programs must open it again")
