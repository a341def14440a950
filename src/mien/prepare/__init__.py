"""Verbs over folders: from raw pictures and videos to a clean training or test set."""
