"""Data set formats: bytes in, records out, and back. Each module knows one format and runs no code from a file."""
