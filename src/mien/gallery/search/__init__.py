"""Search among many faces: arrays in, arrays out; it knows nothing of names or files of the gallery.

`ExactIndex` answers as comparing with every row would, from codes of about one byte a dimension.
"""

from mien.gallery.search.approximate import ApproximateIndex, BehindError, RecallReport
from mien.gallery.search.exact import ExactIndex
from mien.gallery.search.file import OpenedIndex, open_index, read_index, save_index
from mien.gallery.search.ranking import Hits
from mien.gallery.search.template import from_template, to_template
from mien.gallery.search.threads import default_threads

__all__ = [
    "ApproximateIndex",
    "BehindError",
    "ExactIndex",
    "Hits",
    "OpenedIndex",
    "RecallReport",
    "default_threads",
    "from_template",
    "open_index",
    "read_index",
    "save_index",
    "to_template",
]
