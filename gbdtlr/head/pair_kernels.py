"""Eight pairs of numbers from all over an array into two vectors, and back: what lets an online learner use them.

Copied one number at a time, the vectors would have to wait for memory: a processor hands a number just written on to
the reader of that number, but not several of them to the reader of a vector.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

PAIRS = 8
_DOUBLE = ir.DoubleType()
_PAIR = ir.VectorType(_DOUBLE, 2)
_VECTOR = ir.VectorType(_DOUBLE, PAIRS)


def _pointer(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


def _pairs(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
    """Where each of the pairs ``state[row[k + j]]`` is."""
    found = []
    for j in range(PAIRS):
        k = builder.add(args[2], ir.Constant(args[2].type, j))
        c = builder.zext(builder.load(_pointer(context, builder, signature.args[1], args[1], k)), ir.IntType(64))
        first = builder.shl(c, ir.Constant(c.type, 1))
        found.append(builder.bitcast(_pointer(context, builder, signature.args[0], args[0], first), _PAIR.as_pointer()))
    return found


def _vectors(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
    """Where ``a[k:]`` and ``b[k:]`` are."""
    return [
        builder.bitcast(_pointer(context, builder, signature.args[i], args[i], args[2]), _VECTOR.as_pointer())
        for i in (3, 4)
    ]


def _mask(lanes: list[int]) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)


def _take_pairs(_typing: Any, state: Any, row: Any, k: Any, a: Any, b: Any) -> Any:
    """``a[k + j], b[k + j] = state[row[k + j]]`` for j < PAIRS.

    Parameters: float64 (n, 2); uint32 (m,); whole number; float64 (at least k + PAIRS,), twice. All without gaps.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pairs = [builder.load(pair, align=8) for pair in _pairs(context, builder, signature, args)]
        two = [builder.shuffle_vector(pairs[j], pairs[j + 1], _mask([0, 2, 1, 3])) for j in range(0, PAIRS, 2)]
        four = [builder.shuffle_vector(two[j], two[j + 1], _mask([0, 1, 4, 5, 2, 3, 6, 7])) for j in (0, 2)]
        to_a, to_b = _vectors(context, builder, signature, args)
        builder.store(builder.shuffle_vector(*four, _mask([0, 1, 2, 3, 8, 9, 10, 11])), to_a, align=8)
        builder.store(builder.shuffle_vector(*four, _mask([4, 5, 6, 7, 12, 13, 14, 15])), to_b, align=8)
        return context.get_dummy_value()

    return types.void(state, row, k, a, b), generate


def _put_pairs(_typing: Any, state: Any, row: Any, k: Any, a: Any, b: Any) -> Any:
    """``state[row[k + j]] = a[k + j], b[k + j]``; the mirror of ``take_pairs``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        both = [builder.load(vector, align=8) for vector in _vectors(context, builder, signature, args)]
        for j, pair in enumerate(_pairs(context, builder, signature, args)):
            builder.store(builder.shuffle_vector(*both, _mask([j, PAIRS + j])), pair, align=8)
        return context.get_dummy_value()

    return types.void(state, row, k, a, b), generate


take_pairs: Any = intrinsic(_take_pairs)
put_pairs: Any = intrinsic(_put_pairs)
