"""Scanning with onnxruntime's int8 products: the base install's way to read a large gallery."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mien.gallery.search.sifting import sift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.gallery.records import Ids
    from mien.gallery.search.ranking import Ranking
    from mien.types import Floats

    Bytes = NDArray[np.uint8]
    Doubles = NDArray[np.float64]

__all__ = ["OctetScanner"]

Session: TypeAlias = Any  # onnxruntime has no types

_SAMPLE = 65_536
_REACH = 1.2  # codes reach this much further than what the training rows need
_CHUNK = 65_536  # rows a product
_PROBES = 16  # probes a product


@dataclass(frozen=True, slots=True, eq=False)
class OctetScanner:
    """One byte an axis, centred; the same bound as `codebook`'s. Rows are written once, by one thread, before a scan.

    Attributes:
        mean: float64 (D,).
        step: float64 (D,), width of a cell.
        codes: uint8 (rows, D), 128 for the mean.
        shifts: float32 (rows,), the mean's product with each centred row.
        residuals: float32 (rows,), length of what the code leaves out.
    """

    mean: Doubles
    step: Doubles
    codes: Bytes
    shifts: Floats
    residuals: Floats

    @classmethod
    def trained(cls, rows: Floats, room: int) -> OctetScanner:
        """A scanner for rows like these (N, D), with room for so many; it holds none yet."""
        sample = np.asarray(rows[:: max(1, len(rows) // _SAMPLE)], np.float64)
        mean = sample.mean(0)
        step = np.maximum(np.abs(sample - mean).max(0) * _REACH / 127, 1e-7)
        codes = np.empty((room, rows.shape[1]), np.uint8)
        return cls(mean, step, codes, np.empty(room, np.float32), np.empty(room, np.float32))

    def copied(self, room: int, coded: int) -> OctetScanner:
        """The same codebook with room for so many rows, the first of them coded as they are here."""
        codes = np.empty((room, len(self.mean)), np.uint8)
        copy = OctetScanner(self.mean, self.step, codes, np.empty(room, np.float32), np.empty(room, np.float32))
        for name in ("codes", "shifts", "residuals"):
            getattr(copy, name)[:coded] = getattr(self, name)[:coded]
        return copy

    def write(self, rows: Floats, coded: int) -> int:
        """Encode rows (N, D) from `coded` on; returns how many are coded now."""
        for start in range(coded, len(rows), _CHUNK):
            self._encode(rows, slice(start, min(start + _CHUNK, len(rows))))
        return len(rows)

    def rewrite(self, rows: Floats, changed: Ids) -> None:
        """Encode those of the coded rows (N, D) anew that have changed."""
        for start in range(0, len(changed), _CHUNK):
            self._encode(rows, changed[start : start + _CHUNK])

    def _encode(self, rows: Floats, which: slice | Ids) -> None:
        centred = rows[which].astype(np.float64) - self.mean
        cells = np.clip(np.rint(centred / self.step), -127, 127)
        self.codes[which] = cells + 128
        self.shifts[which] = centred @ self.mean
        self.residuals[which] = np.linalg.norm(centred - cells * self.step, axis=1) * (1 + 1e-6)

    @staticmethod
    def searched(count: int, coded: int) -> int:
        """How many rows `search` covers: those with a code."""
        return coded

    def nbytes(self, coded: int) -> int:
        """Bytes that the codes of so many rows take."""
        return coded * (len(self.mean) + 8)

    def search(
        self,
        probes: Floats,
        rankings: list[Ranking],
        *,
        rows: Floats,
        owners: Ids,
        coded: int,
        allowed: NDArray[np.bool_] | None,
        k: int,
        by_owner: bool,
        threads: int,
    ) -> None:
        """Offer each probe's best rows (N, D) to its ranking."""
        del k, by_owner  # the rankings know
        session = _products(threads)
        for begin in range(0, len(probes), _PROBES):
            exact = probes[begin : begin + _PROBES].astype(np.float64)
            centred = exact - self.mean
            weights = centred * self.step
            scale = np.maximum(np.abs(weights).max(1, keepdims=True), 1e-30) / 127
            whole = np.rint(weights / scale).astype(np.int8)
            reach, lost = np.linalg.norm(centred, axis=1), np.linalg.norm(weights - scale * whole, axis=1)
            lost *= 127 * np.sqrt(len(self.mean))
            total = np.abs(whole).sum(1, dtype=np.int64) * 255.0 * scale[:, 0]
            base = exact @ self.mean - 128 * scale[:, 0] * whole.sum(1, dtype=np.int64)
            lost += 2.0**-21 * (2 + total + np.abs(base))  # float32 roundings
            columns = np.ascontiguousarray(whole.T)
            for start in range(0, coded, _CHUNK):
                stop = min(start + _CHUNK, coded)
                products = session.run(None, {"rows": self.codes[start:stop], "probes": columns})[0]
                for q in range(len(exact)):
                    estimates = products[:, q] * np.float32(scale[q, 0])
                    estimates += self.shifts[start:stop]
                    estimates += np.float32(base[q])
                    margin = self.residuals[start:stop] * np.float32(reach[q] * (1 + 1e-6))
                    margin += np.float32(lost[q])
                    sift(
                        rankings[begin + q], estimates, margin,
                        first=start, rows=rows, owners=owners, probe=probes[begin + q], allowed=allowed,
                    )  # fmt: skip


@cache
def _products(threads: int) -> Session:
    """uint8 (n, D) times int8 (D, m), as int32."""
    import onnxruntime
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["rows", "probes"], ["products"])],
        "products",
        [
            helper.make_tensor_value_info("rows", TensorProto.UINT8, ["n", "d"]),
            helper.make_tensor_value_info("probes", TensorProto.INT8, ["d", "m"]),
        ],
        [helper.make_tensor_value_info("products", TensorProto.INT32, ["n", "m"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
