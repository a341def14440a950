"""Model files: cards, the catalogue, the store, sessions, and readers of foreign weights."""
