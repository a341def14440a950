"""Encryption at rest, provable erasure, retention: what a gallery owes the people in it."""
