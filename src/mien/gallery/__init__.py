"""The gallery: subjects as durable truth in SQLite, vectors as an index derived from it, exact open-set search."""

from mien.gallery.embeddings import EmbeddingGallery, GalleryStats
from mien.gallery.gallery import Gallery
from mien.gallery.reports import EnrolReport, FolderReport, Outcome, PictureReport

__all__ = ["EmbeddingGallery", "EnrolReport", "FolderReport", "Gallery", "GalleryStats", "Outcome", "PictureReport"]
