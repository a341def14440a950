"""`kernels.passing` as LLVM code: 16 rows in the lanes of a vector, with the processor's int8 products."""

from __future__ import annotations

import importlib
from typing import Any, TypeAlias

__all__ = ["passing_intrinsic"]

Llvm: TypeAlias = Any  # llvmlite's and numba's own things have no types

_LANES = 16
_VNNI = "llvm.x86.avx512.vpdpbusd.512"  # u8 x s8, four products added to each of 16 int32


def passing_intrinsic(*, vnni: bool) -> Llvm:
    """A numba intrinsic with the arguments of `kernels.passing`.

    Args:
        vnni: use AVX-512 VNNI, which the machine must have; else plain vector arithmetic for any processor.
    """
    types = importlib.import_module("numba").types
    ir = importlib.import_module("llvmlite.ir")
    intrinsic = importlib.import_module("numba.extending").intrinsic
    i16, i32, i64, f32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
    words16, halves32 = ir.VectorType(i32, _LANES), ir.VectorType(i16, 2 * _LANES)
    floats16, shorts16 = ir.VectorType(f32, _LANES), ir.VectorType(i16, _LANES)
    bytes64 = ir.VectorType(ir.IntType(8), 4 * _LANES)

    def filled(vector: Llvm, value: int) -> Llvm:
        return ir.Constant(vector, [value] * vector.count)

    def spread(b: Llvm, vector: Llvm, value: Llvm) -> Llvm:
        nothing = ir.Constant(vector, ir.Undefined)
        first = b.insert_element(nothing, value, ir.Constant(i32, 0))
        return b.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(i32, vector.count), [0] * vector.count))

    def with_vnni(b: Llvm, total: Llvm, codes: Llvm, below: Llvm, above: Llvm) -> Llvm:
        dot = b.module.globals.get(_VNNI) or ir.Function(
            b.module, ir.FunctionType(words16, [words16, bytes64, bytes64]), _VNNI
        )
        nibble = filled(words16, 0x0F0F0F0F)
        low, high = b.and_(codes, nibble), b.and_(b.lshr(codes, filled(words16, 4)), nibble)
        for part, weights in ((low, below), (high, above)):
            total = b.call(dot, [total, b.bitcast(part, bytes64), b.bitcast(weights, bytes64)])
        return total

    def with_shorts(b: Llvm, total: Llvm, codes: Llvm, below: Llvm, above: Llvm) -> Llvm:
        # A 16-bit lane holds two bytes, so four nibbles; four products of at most 15 x 127 fit into it.
        eight, nibble = filled(halves32, 8), filled(halves32, 15)
        codes, below, above = (b.bitcast(v, halves32) for v in (codes, below, above))
        parts = None
        for at, weights in ((0, below), (4, above), (8, below), (12, above)):
            part = b.and_(b.lshr(codes, filled(halves32, at)), nibble)
            even = b.ashr(b.shl(weights, eight), eight)
            product = b.mul(part, even if at < 8 else b.ashr(weights, eight))
            parts = product if parts is None else b.add(parts, product)
        pairs, half = b.bitcast(parts, words16), filled(words16, 16)
        return b.add(b.add(total, b.ashr(b.shl(pairs, half), half)), b.ashr(pairs, half))

    product = with_vnni if vnni else with_shorts

    @intrinsic  # type: ignore[untyped-decorator]
    def passing(  # noqa: PLR0917
        _: Llvm, coarse: Llvm, group: Llvm, words: Llvm, weights: Llvm, at: Llvm, shifts: Llvm, scale: Llvm, step: Llvm,
        least: Llvm, out: Llvm,
    ) -> Llvm:  # fmt: skip
        signature = types.int64(
            coarse, types.int64, types.int64, weights, types.int64, shifts, *[types.float32] * 3, out
        )

        def generate(context: Llvm, b: Llvm, signature: Llvm, arguments: Llvm) -> Llvm:
            coarse, group, words, weights, at, shifts, scale, step, least, out = arguments
            coarse, weights, shifts, out = (
                context.make_array(kind)(context, b, array).data
                for kind, array in zip(
                    [signature.args[i] for i in (0, 3, 5, 9)], (coarse, weights, shifts, out), strict=True
                )
            )
            codes = b.gep(b.bitcast(coarse, words16.as_pointer()), [b.mul(group, words)])
            weights = b.gep(weights, [at])
            before, loop, done = b.block, b.append_basic_block("words"), b.append_basic_block("totals")
            b.branch(loop)
            b.position_at_end(loop)
            word, total = b.phi(i64), b.phi(words16)
            word.add_incoming(ir.Constant(i64, 0), before)
            total.add_incoming(filled(words16, 0), before)
            loaded = b.load(b.gep(codes, [word]))
            loaded.align = 1
            twice = b.mul(word, ir.Constant(i64, 2))
            below, above = (
                spread(b, words16, b.load(b.gep(weights, [b.add(twice, ir.Constant(i64, n))]))) for n in (0, 1)
            )
            summed = product(b, total, loaded, below, above)
            following = b.add(word, ir.Constant(i64, 1))
            word.add_incoming(following, loop)
            total.add_incoming(summed, loop)
            b.cbranch(b.icmp_signed("<", following, words), loop, done)
            b.position_at_end(done)
            own = b.load(b.gep(b.bitcast(shifts, shorts16.as_pointer()), [group]))
            own.align = 1
            estimate = b.fadd(
                b.fmul(b.sitofp(summed, floats16), spread(b, floats16, scale)),
                b.fmul(b.sitofp(own, floats16), spread(b, floats16, step)),
            )
            b.store(estimate, b.bitcast(out, floats16.as_pointer())).align = 4
            passed = b.fcmp_ordered(">=", estimate, spread(b, floats16, least))
            return b.zext(b.bitcast(passed, i16), i64)

        return signature, generate

    return passing
