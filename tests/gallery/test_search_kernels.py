"""The compiled loops do what their uncompiled text says."""

from __future__ import annotations

import numpy as np
import pytest

from mien.gallery.search import kernels
from mien.gallery.search.codebook import Codebook, Codes
from mien.gallery.search.compiled import available, compiled_encode
from mien.gallery.search.nibbles import NibbleScanner

pytestmark = pytest.mark.skipif(not available(), reason="needs numba")


def has_vnni():
    from numba.core.codegen import get_host_cpu_features

    return "+avx512vnni" in get_host_cpu_features()


@pytest.mark.parametrize(
    "vnni",
    [
        False,
        pytest.param(
            True, marks=pytest.mark.skipif(not available() or not has_vnni(), reason="the processor lacks AVX-512 VNNI")
        ),
    ],
)
def test_sixteen_rows_at_once(vnni):
    import numba

    from mien.gallery.search.lanes import passing_intrinsic

    lanes = passing_intrinsic(vnni=vnni)

    @numba.njit
    def call(a, b, c, d, e, f, g, h, i, out):
        return lanes(a, b, c, d, e, f, g, h, i, out)

    rng = np.random.default_rng(0)
    for words in (1, 2, 16, 64):
        coarse = rng.integers(0, 256, 3 * words * 64, dtype=np.uint8)
        weights = rng.integers(-127, 128, words * 16, dtype=np.int8)
        if words == 16:
            coarse[:], weights[:] = 255, 127  # the largest sums
        shifts = rng.integers(-32768, 32768, 48).astype(np.int16)
        for group in range(3):
            passed = []
            for function in (call, kernels.passing):
                out = np.empty(16, np.float32)
                mask = function(
                    coarse, group, words, weights.view(np.int32), 2 * words, shifts, np.float32(0.01), np.float32(1e-3),
                    np.float32(3), out,
                )  # fmt: skip
                passed.append((mask, out))
            assert passed[0][0] == passed[1][0]
            np.testing.assert_allclose(passed[0][1], passed[1][1], rtol=1e-6, atol=1e-4)


def small_scanner(rng):
    rows = rng.standard_normal((96, 20)) + 2 * np.arange(20) / 20
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    scanner = NibbleScanner.trained(rows, 96)
    assert scanner.write(rows, 0) == 96
    return scanner, rows


def test_codes_and_bounds():
    """Codes decode, by the layout as documented, to within the bounds that were stored with them."""
    scanner, rows = small_scanner(np.random.default_rng(0))
    book, codes = scanner.book, scanner.codes
    points = (rows.astype(np.float64) - book.mean) @ book.axes.T
    for row, point in enumerate(points):
        coarse, fine, sums = np.zeros(20), np.zeros(20), 0.0
        for slot in range(book.slots):
            word, i, above = slot // 8, slot % 4, slot % 8 >= 4
            byte = codes.coarse[(row // 16 * (book.slots // 8) + word) * 64 + row % 16 * 4 + i]
            low = codes.fine[(row * (book.slots // 8) + word) * 4 + i]
            high, low = ((byte >> 4), (low >> 4)) if above else ((byte & 15), (low & 15))
            step, axis = book.slot_step[slot], book.slot_axis[slot]
            coarse[axis] += (high - 7.5) * step
            fine[axis] += (high - 7.5) * step + book.slot_last[slot] * (low - 7.5) * step / 16
            sums += (high - 7.5) ** 2
        bound = codes.bounds[row // 16]
        assert np.linalg.norm(point - coarse) <= bound[0] <= 0.5
        assert np.linalg.norm(point - fine) <= bound[1] <= bound[0]
        assert np.sqrt(sums) <= bound[2]
        shift = (rows[row].astype(np.float64) - book.mean) @ book.mean
        assert abs(shift - codes.shifts[row] * book.shift_step) <= bound[3] <= book.shift_step


def test_compiled_code_equals_its_text():
    rng = np.random.default_rng(1)
    scanner, rows = small_scanner(rng)
    book = scanner.book
    centred = rows.astype(np.float64) - book.mean
    written = []
    for encode in (kernels.encode, compiled_encode()):
        codes = Codes.room_for(96, book.slots)
        encode(
            centred @ book.axes.T, centred @ book.mean, book.slot_axis, book.slot_step, book.slot_last, book.shift_step,
            0, codes.coarse, codes.fine, codes.shifts, codes.bounds,
        )  # fmt: skip
        written.append(codes)
    for name in ("coarse", "fine", "shifts", "bounds"):
        np.testing.assert_allclose(*(getattr(codes, name) for codes in written), rtol=1e-6)


@pytest.mark.parametrize("d", [1, 3, 8, 9, 128])
def test_slots(d):
    rng = np.random.default_rng(d)
    for spread in (np.ones(d), 0.5 ** np.arange(d), np.zeros(d)):
        book = Codebook.trained((rng.standard_normal((500, d)) * spread + 1).astype(np.float32))
        assert book.slots % 8 == 0
        assert 8 <= book.slots <= -(-d // 8) * 8
        used = book.slot_step > 0
        assert (np.bincount(book.slot_axis[used], minlength=d) <= 2).all()
