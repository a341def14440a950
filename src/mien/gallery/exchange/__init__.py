"""A gallery as a table that other programs read: CSV, NumPy and Parquet, out and in."""

from mien.gallery.exchange.exporting import export_gallery
from mien.gallery.exchange.importing import ImportReport, import_gallery

__all__ = ["ImportReport", "export_gallery", "import_gallery"]
