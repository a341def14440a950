"""The classification layer at scale: exact, chunked over classes, sharded over processes, sampled.

- [MarginHead][]: any margin of [mien.train.losses][] over any number of classes.
- [RowSGD][]: the optimizer that keeps a sampled head's momentum and weight decay sparse.
- [shard_bounds][], [gather_shards][]: how classes are shared out, for checkpoints.
"""

from __future__ import annotations

from mien.train.heads.margin_head import MarginHead
from mien.train.heads.row_sgd import RowSGD
from mien.train.heads.sampling import sample_classes
from mien.train.heads.sharding import gather_shards, shard_bounds

__all__ = ["MarginHead", "RowSGD", "gather_shards", "sample_classes", "shard_bounds"]
