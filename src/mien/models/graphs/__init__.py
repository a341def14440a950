"""Builders of ONNX graphs from weights that come in other formats."""
