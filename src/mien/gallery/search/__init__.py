"""Search among many faces: arrays in, arrays out; it knows nothing of names or files of the gallery.

`ExactIndex` answers as comparing with every row would, from codes of about one byte a dimension.
"""

from mien.gallery.search.approximate import ApproximateIndex, RecallReport
from mien.gallery.search.exact import ExactIndex, default_threads
from mien.gallery.search.file import open_index, save_index
from mien.gallery.search.ranking import Hits
from mien.gallery.search.template import from_template, to_template

__all__ = [
    "ApproximateIndex",
    "ExactIndex",
    "Hits",
    "RecallReport",
    "default_threads",
    "from_template",
    "open_index",
    "save_index",
    "to_template",
]
