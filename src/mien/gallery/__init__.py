"""The gallery: people as durable truth in a home, vectors as an index derived from it, open-set search."""

from mien.gallery.attendance import Attendance
from mien.gallery.embeddings import EmbeddingGallery
from mien.gallery.explaining import Explanation
from mien.gallery.gallery import Gallery
from mien.gallery.home import Capabilities, Home, Sighting, StoredFace
from mien.gallery.homes import open_home
from mien.gallery.register import GalleryStats
from mien.gallery.reports import EnrolReport, FolderReport, Outcome, PictureReport
from mien.gallery.upkeep import CheckReport

__all__ = [
    "Attendance",
    "Capabilities",
    "CheckReport",
    "EmbeddingGallery",
    "EnrolReport",
    "Explanation",
    "FolderReport",
    "Gallery",
    "GalleryStats",
    "Home",
    "Outcome",
    "PictureReport",
    "Sighting",
    "StoredFace",
    "open_home",
]
