"""`mien gallery`: upkeep of the place where known people live."""

from __future__ import annotations

import typer

from mien.cli.gallery_exchange import export_gallery, import_gallery
from mien.cli.gallery_forget import erase_person, expire_people, prove_erasure
from mien.cli.gallery_keep import backup_gallery, copy_gallery, restore_gallery
from mien.cli.gallery_keys import new_key, rekey_gallery
from mien.cli.gallery_logs import audit_log, show_sightings
from mien.cli.gallery_look import calibration_of, check_gallery, gallery_info
from mien.cli.gallery_migrate import migrate_gallery

__all__ = ["app"]

app = typer.Typer(name="gallery", help="Check, back up, copy, encrypt and erase a gallery.", no_args_is_help=True)

_LOOK, _MOVE, _FORGET, _KEYS = "Look", "Keep and move", "Forget", "Encrypt"

app.command("info", rich_help_panel=_LOOK)(gallery_info)
app.command("check", rich_help_panel=_LOOK)(check_gallery)
app.command("sightings", rich_help_panel=_LOOK)(show_sightings)
app.command("audit", rich_help_panel=_LOOK)(audit_log)
app.command("calibration", rich_help_panel=_LOOK)(calibration_of)
app.command("backup", rich_help_panel=_MOVE)(backup_gallery)
app.command("restore", rich_help_panel=_MOVE)(restore_gallery)
app.command("copy", rich_help_panel=_MOVE)(copy_gallery)
app.command("migrate", rich_help_panel=_MOVE)(migrate_gallery)
app.command("export", rich_help_panel=_MOVE)(export_gallery)
app.command("import", rich_help_panel=_MOVE)(import_gallery)
app.command("erase", rich_help_panel=_FORGET)(erase_person)
app.command("prove-erased", rich_help_panel=_FORGET)(prove_erasure)
app.command("expire", rich_help_panel=_FORGET)(expire_people)
app.command("new-key", rich_help_panel=_KEYS)(new_key)
app.command("rekey", rich_help_panel=_KEYS)(rekey_gallery)
