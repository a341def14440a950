"""Matching: scores, thresholds at a stated error rate, and the open-set decision."""

from mien.match.calibrate import calibrate
from mien.match.calibration import (
    IDENTIFY_FPIR,
    VERIFY_FMR,
    Calibration,
    Check,
    CheckedRate,
    OperatingPoint,
    ScoreSpread,
    calibration_for,
    check_threshold,
    comparison_fmr,
)
from mien.match.decide import Candidate, decide
from mien.match.open_set import FpirPoint, FpirTable, GalleryRow
from mien.match.scores import cosine, similarity_blocks, similarity_matrix, unit_embeddings

__all__ = [
    "IDENTIFY_FPIR",
    "VERIFY_FMR",
    "Calibration",
    "Candidate",
    "Check",
    "CheckedRate",
    "FpirPoint",
    "FpirTable",
    "GalleryRow",
    "OperatingPoint",
    "ScoreSpread",
    "calibrate",
    "calibration_for",
    "check_threshold",
    "comparison_fmr",
    "cosine",
    "decide",
    "similarity_blocks",
    "similarity_matrix",
    "unit_embeddings",
]
