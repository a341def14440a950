"""From a training run to a model that mien, and any ONNX runtime, can use.

- [export_run][]: the network as ONNX with its card, variants, calibration and model card; [Exported][]: what it wrote.
- [read_run][], [Run][]: what a training run left behind.
- [to_onnx][], [check_graph][]: the graph, and the proof that it computes what the network does.
"""

from __future__ import annotations

from mien.train.export.graph import Agreement, check_graph, to_onnx
from mien.train.export.run_folder import Run, read_run
from mien.train.export.write import Exported, ExportSettings, export_run

__all__ = ["Agreement", "ExportSettings", "Exported", "Run", "check_graph", "export_run", "read_run", "to_onnx"]
