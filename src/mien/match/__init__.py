"""Scores, thresholds at a stated error rate, and the explanation of a decision."""
