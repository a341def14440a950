"""Embedders, one file per family: aligned chips in, unit vectors out."""
