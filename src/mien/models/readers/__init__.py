"""Readers of foreign weight files. Each knows one format and runs no code from the file."""
