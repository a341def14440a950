"""Evaluation: what a face system's error rates are, measured so that they can be believed."""
