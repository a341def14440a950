"""Search among many faces: arrays in, arrays out; it knows nothing of names or files of the gallery.

`ExactIndex` answers as comparing with every row would, from codes of about one byte a dimension.
"""

from mien.gallery.search.exact import ExactIndex, default_threads
from mien.gallery.search.file import open_index, save_index
from mien.gallery.search.ranking import Hits

__all__ = ["ExactIndex", "Hits", "default_threads", "open_index", "save_index"]
