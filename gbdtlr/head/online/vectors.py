"""Eight float64 at a time, as one value of a kernel: what an online learner's arithmetic is done in.

A loop over eight numbers would not do. Copied one by one from all over the state, they would have to wait for memory:
a processor hands a number just written on to the reader of that number, but not several of them to the reader of a
vector. Here two numbers of each coordinate are read at once and their halves sorted::

    state  | z0 r0 | ... | z5 r5 | ... | z2 r2 |     at any places, a pair each
    gather | z0 z5 z2 ... |   | r0 r5 r2 ... |       eight places, two values

``+ - * /``, ``-x``, ``min`` and ``max`` of vectors go number by number, each rounded as it would be alone, so that a
result does not depend on which vectors a processor has.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending, types

WIDTH = 8
TRANSPOSED = 16
"""Samples whose codes ``transpose`` lays out at once."""

_BYTE, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_DOUBLE = ir.DoubleType()
_PAIR, _VECTOR = ir.VectorType(_DOUBLE, 2), ir.VectorType(_DOUBLE, WIDTH)
_EVEN, _ODD = (0, 8, 2, 10, 4, 12, 6, 14), (1, 9, 3, 11, 5, 13, 7, 15)


_numba: Any = extending
_types: Any = types


class _Vector(types.Type):
    """What numba knows a vector by."""


_numba.register_model(_Vector)(lambda manager, kind: _numba.models.PrimitiveModel(manager, kind, _VECTOR))
_new: Any = _Vector
_vector = _new("Vector")


def _operator(function: Any, n: int, lowered: Callable[..., Any]) -> None:
    """Let kernels apply ``function`` to ``n`` vectors."""

    def typer(_context: Any) -> Any:
        if n == 1:
            return lambda a: _vector if a is _vector else None
        return lambda a, b: _vector if a is _vector and b is _vector else None

    _numba.type_callable(function)(typer)
    _numba.lower_builtin(function, *[_Vector] * n)(lambda _context, builder, _signature, args: lowered(builder, *args))


_operator(operator.add, 2, lambda builder, a, b: builder.fadd(a, b))
_operator(operator.iadd, 2, lambda builder, a, b: builder.fadd(a, b))
_operator(operator.sub, 2, lambda builder, a, b: builder.fsub(a, b))
_operator(operator.mul, 2, lambda builder, a, b: builder.fmul(a, b))
_operator(operator.truediv, 2, lambda builder, a, b: builder.fdiv(a, b))
_operator(operator.neg, 1, lambda builder, a: builder.fneg(a))
_operator(min, 2, lambda builder, a, b: builder.select(builder.fcmp_ordered("<", b, a), b, a))
_operator(max, 2, lambda builder, a, b: builder.select(builder.fcmp_ordered(">", b, a), b, a))


def _mask(lanes: Any) -> Any:
    return ir.Constant(ir.VectorType(_I32, len(lanes)), list(lanes))


def _spread(builder: Any, x: Any, n: int) -> Any:
    """A vector of ``n`` times ``x``."""
    vector = ir.Constant(ir.VectorType(x.type, n), ir.Undefined)
    first = builder.insert_element(vector, x, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, first, _mask([0] * n))


def _further(builder: Any, at: Any, by: int) -> Any:
    return builder.add(at, ir.Constant(at.type, by))


def _pointer(context: Any, builder: Any, kind: Any, array: Any, at: Any, to: Any) -> Any:
    """Where ``array.reshape(-1)[at]`` is, as a pointer to ``to``."""
    return builder.bitcast(builder.gep(context.make_array(kind)(context, builder, array).data, [at]), to.as_pointer())


def _n_columns(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return builder.extract_value(context.make_array(kind)(context, builder, array).shape, 1)


def _function(builder: Any, name: str, result: Any, *kinds: Any) -> Any:
    """One of LLVM's own functions."""
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(result, kinds), name)


def _splat(_typing: Any, x: Any) -> Any:
    """Eight times the same number."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return _spread(builder, args[0], WIDTH)

    return _vector(x), generate


def _square_root(_typing: Any, x: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.call(_function(builder, "llvm.sqrt.v8f64", _VECTOR, _VECTOR), args)

    return _vector(x), generate


def _sum_lanes(_typing: Any, x: Any) -> Any:
    """Sum of the eight: of the halves, then of the halves' halves, so that few additions wait for one another."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        rest = args[0]
        for n in (4, 2, 1):
            low, high = (builder.shuffle_vector(rest, rest, _mask(range(k, k + n))) for k in (0, n))
            rest = builder.fadd(low, high)
        return builder.extract_element(rest, ir.Constant(_I32, 0))

    return _types.float64(x), generate


def _load(_typing: Any, a: Any, k: Any) -> Any:
    """``a[k : k + 8]`` of a float64 (m,)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature.args[0], args[0], args[1], _VECTOR), align=8)

    return _vector(a, k), generate


def _store(_typing: Any, a: Any, k: Any, x: Any) -> Any:
    """``a[k : k + 8] = x`` of a float64 (m,)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, signature.args[0], args[0], args[1], _VECTOR), align=8)
        return context.get_dummy_value()

    return _types.void(a, k, x), generate


def _places(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
    """The eight numbers ``places[k : k + 8]`` of arguments (array, places, k, ...), 64 bits each."""
    places = []
    for j in range(WIDTH):
        at = _pointer(context, builder, signature.args[1], args[1], _further(builder, args[2], j), _I32)
        places.append(builder.zext(builder.load(at), _I64))
    return places


def _pairs(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
    """Where each of the eight pairs is; a place counts numbers, not pairs: a processor scales by 8, not by 16."""
    return [
        _pointer(context, builder, signature.args[0], args[0], place, _PAIR)
        for place in _places(context, builder, signature, args)
    ]


def _gather(_typing: Any, state: Any, places: Any, k: Any) -> Any:
    """``state[places[k + j]]`` and ``state[places[k + j] + 1]`` for j < 8, two vectors.

    Parameters: float64 (m,); uint32 (n,), even; whole number. All without gaps, here and below.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pairs = [builder.load(pair, align=8) for pair in _pairs(context, builder, signature, args)]

        def joined(four: list[Any]) -> Any:
            halves = [builder.shuffle_vector(*two, _mask(range(4))) for two in (four[:2], four[2:])]
            return builder.shuffle_vector(*halves, _mask(range(8)))

        even, odd = joined(pairs[0::2]), joined(pairs[1::2])
        both = [builder.shuffle_vector(even, odd, _mask(lanes)) for lanes in (_EVEN, _ODD)]
        return context.make_tuple(builder, signature.return_type, both)

    return _types.UniTuple(_vector, 2)(state, places, k), generate


def _scatter(_typing: Any, state: Any, places: Any, k: Any, a: Any, b: Any) -> Any:
    """The mirror of ``gather``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        both = [builder.shuffle_vector(args[3], args[4], _mask(lanes)) for lanes in (_EVEN, _ODD)]
        for j, pair in enumerate(_pairs(context, builder, signature, args)):
            half, first = both[j % 2], j // 2 * 2
            builder.store(builder.shuffle_vector(half, half, _mask([first, first + 1])), pair, align=8)
        return context.get_dummy_value()

    return _types.void(state, places, k, a, b), generate


def _gather_sum(_typing: Any, values: Any, places: Any, k: Any) -> Any:
    """Sum of ``values[places[k + j] // 2]`` over j < 8, in a fixed order: what belongs to pairs, one number each."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start = _pointer(context, builder, signature.args[0], args[0], ir.Constant(_I64, 0), ir.FloatType())
        # Places are even: in units of half a number they are right.
        rest = [
            builder.load(builder.bitcast(builder.gep(start, [place]), _DOUBLE.as_pointer()))
            for place in _places(context, builder, signature, args)
        ]
        while len(rest) > 1:
            rest = [builder.fadd(*rest[j : j + 2]) for j in range(0, len(rest), 2)]
        return rest[0]

    return _types.float64(values, places, k), generate


def _places_as_vector(context: Any, builder: Any, kind: Any, places: Any, k: Any) -> Any:
    return builder.load(_pointer(context, builder, kind, places, k, ir.VectorType(_I32, WIDTH)), align=4)


def _select_equal(_typing: Any, one: Any, other: Any, k: Any, a: Any, b: Any) -> Any:
    """``a`` where ``one[k + j] == other[k + j]``, else ``b``; uint32 (n,), twice, whole number, two vectors."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        two = [_places_as_vector(context, builder, signature.args[i], args[i], args[2]) for i in (0, 1)]
        return builder.select(builder.icmp_unsigned("==", *two), args[3], args[4])

    return _vector(one, other, k, a, b), generate


def _zero_at(_typing: Any, places: Any, k: Any, _place: Any, x: Any) -> Any:
    """``x``, but zero where ``places[k + j]`` is that place; uint32 (n,), whole number, uint32, vector."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        each = _places_as_vector(context, builder, signature.args[0], args[0], args[1])
        here = builder.icmp_unsigned("==", each, _spread(builder, args[2], WIDTH))
        return builder.select(here, ir.Constant(_VECTOR, [0.0] * WIDTH), args[3])

    return _vector(places, k, _types.uint32, x), generate


def _transpose(_typing: Any, leaves: Any, t: Any, i: Any, offsets: Any, places: Any, row: Any) -> Any:
    """``places[row + a, t + b] = 2 * (offsets[t + b] + leaves[t + b, i + a])`` for a < 16, b < 8.

    The codes of one tree lie together, those of a sample are wanted together: three times, the vectors' numbers are
    interleaved, those of tree b with those of tree b + 4.

    Parameters: uint8 or uint16 (n_trees, n); whole number, twice; int64 (at least n_trees,); uint32 (m, at least
    n_trees); whole number.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds, (leaves_, t_, i_, offsets_, places_, row_) = signature.args, args
        n = _n_columns(context, builder, kinds[0], leaves_)
        narrow = ir.VectorType(ir.IntType(kinds[0].dtype.bitwidth), TRANSPOSED)
        trees = []
        for b in range(WIDTH):
            tree = _further(builder, t_, b)
            at = builder.add(builder.mul(tree, n), i_)
            leaf = builder.load(_pointer(context, builder, kinds[0], leaves_, at, narrow), align=1)
            offset = builder.trunc(builder.load(_pointer(context, builder, kinds[3], offsets_, tree, _I64)), _I32)
            code = builder.add(
                builder.zext(leaf, ir.VectorType(_I32, TRANSPOSED)), _spread(builder, offset, TRANSPOSED)
            )
            trees.append(builder.add(code, code))
        low, high = ([q for a in half for q in (a, a + TRANSPOSED)] for half in (range(8), range(8, 16)))
        for _ in range(3):
            pairs = [(trees[b], trees[b + 4]) for b in range(4)]
            trees = [builder.shuffle_vector(*pair, _mask(half)) for pair in pairs for half in (low, high)]
        width = _n_columns(context, builder, kinds[4], places_)
        for a in range(TRANSPOSED):
            two = trees[a // 2]
            line = builder.shuffle_vector(two, two, _mask(range(a % 2 * WIDTH, a % 2 * WIDTH + WIDTH)))
            at = builder.add(builder.mul(_further(builder, row_, a), width), t_)
            builder.store(line, _pointer(context, builder, kinds[4], places_, at, line.type), align=4)
        return context.get_dummy_value()

    return _types.void(leaves, t, i, offsets, places, row), generate


def _prefetch(_typing: Any, a: Any, at: Any) -> Any:
    """Have ``a[at]`` of an array (m,) fetched from memory, but do not wait for it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _pointer(context, builder, signature.args[0], args[0], args[1], _BYTE)
        hints = [ir.Constant(_I32, hint) for hint in (1, 3, 1)]  # to read, into the nearest cache, data
        function = _function(builder, "llvm.prefetch.p0", ir.VoidType(), place.type, _I32, _I32, _I32)
        builder.call(function, [place, *hints])
        return context.get_dummy_value()

    return _types.void(a, at), generate


splat: Any = _numba.intrinsic(_splat)
square_root: Any = _numba.intrinsic(_square_root)
sum_lanes: Any = _numba.intrinsic(_sum_lanes)
load: Any = _numba.intrinsic(_load)
store: Any = _numba.intrinsic(_store)
gather: Any = _numba.intrinsic(_gather)
scatter: Any = _numba.intrinsic(_scatter)
gather_sum: Any = _numba.intrinsic(_gather_sum)
select_equal: Any = _numba.intrinsic(_select_equal)
zero_at: Any = _numba.intrinsic(_zero_at)
transpose: Any = _numba.intrinsic(_transpose)
prefetch: Any = _numba.intrinsic(_prefetch)
