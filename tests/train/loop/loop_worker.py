"""One process of test_processes.py: `loop_worker.py RANK WORLD MEET JOBS.json` makes runs, one after another.

JOBS.json: a list of {"config", "folder", "stop" (steps or null), "sleep" (seconds a step)}.
"""

from __future__ import annotations

import gc
import hashlib
import json
import runpy
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from mien.train import trainer
from mien.train.config import TrainConfig
from mien.train.step import Stepper

StopAfter = runpy.run_path(str(Path(__file__).with_name("stopping.py")))["StopAfter"]


def main() -> None:
    rank, world, meet, jobs = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{meet}", rank=rank, world_size=world, timeout=timedelta(seconds=200)
        )
    apply = Stepper.apply
    for job in json.loads(jobs.read_text()):
        if job.get("stop") is not None:
            trainer.Interrupts = lambda job=job: StopAfter(job["stop"])
        else:
            trainer.Interrupts = lambda: StopAfter(None)

        def slowly(self, *given, job=job) -> None:
            time.sleep(job.get("sleep", 0.0))
            apply(self, *given)
            if world > 1:  # each has made the same step, to the bit
                weights = b"".join(p.detach().cpu().contiguous().numpy().tobytes() for p in self.network.parameters())
                everyones: list = [None] * world
                dist.all_gather_object(everyones, hashlib.sha256(weights).hexdigest())
                assert len(set(everyones)) == 1, f"{job['folder']}: the processes' networks differ"

        Stepper.apply = slowly
        trainer.train(TrainConfig.from_dict(job["config"]), job["folder"])
    if world > 1:  # as `joined` leaves a group
        dist.barrier()
        gc.collect()
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
