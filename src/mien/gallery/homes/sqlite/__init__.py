"""The home in one SQLite file."""

from mien.gallery.homes.sqlite.backup import restore
from mien.gallery.homes.sqlite.connection import MEMORY
from mien.gallery.homes.sqlite.home import SqliteHome

__all__ = ["MEMORY", "SqliteHome", "restore"]
