"""How long `import mien` and `mien --help` take in a fresh process, and what they load.

    python benchmarks/startup.py [--runs 15]

Bars: import below 0.3 s and free of heavy packages, help below 0.5 s. Writes benchmarks/results/startup.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEAVY = ["torch", "cv2", "onnx", "onnxruntime", "openvino", "matplotlib", "PIL", "numpy"]


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import mien": [sys.executable, "-c", "import mien"],
        "mien --help": [sys.executable, "-m", "mien", "--help"],
    }
    times = {name: sorted(seconds(command) for _ in range(runs)) for name, command in commands.items()}
    for name, spent in times.items():
        print(f"{name:16} median {statistics.median(spent):.3f} s  (min {spent[0]:.3f}, max {spent[-1]:.3f})")
    probe = f"import sys, mien; print([m for m in {HEAVY!r} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True).stdout.strip()
    print("heavy packages loaded by `import mien`:", loaded)
    result = {"machine": platform.platform(), "seconds": times, "heavy": loaded}
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "startup.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
