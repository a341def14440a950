"""How good a picture of a face is, measured without any model of its own."""

from mien.quality.face import FaceQuality, measure_quality
from mien.quality.fingerprint import fingerprint_distance
from mien.quality.stability import stability

__all__ = ["FaceQuality", "fingerprint_distance", "measure_quality", "stability"]
