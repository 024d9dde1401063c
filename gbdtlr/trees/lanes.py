"""Many rows at a time, a byte of each: what a block's rows are sent down a tree in.

A value here holds ``LANES`` bytes, or as many leaves, and a few of them stay in the processor's registers for all
splits of a tree. A loop over rows for each split would write every leaf to memory and read it again at the next one,
and see to rows that fill no register one by one. The compiler makes of these values as many registers as a processor
has for them; what they hold does not depend on it.

Matrices of bytes are flat arrays here, ``BLOCK`` bytes to a line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gbdtlr.trees.planes import PER_TERM

BLOCK = 512
"""Rows quantised and sent down all trees at a time: bytes to a line."""
LANES = 64
WIDE, NARROW = 4 * LANES, LANES
"""Rows sent down a tree together, of many rows and of a few."""

_BYTE, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_BYTES = ir.VectorType(_BYTE, LANES)
_N_TERM = 1 + 2 * PER_TERM
_types: Any = types
_cgutils: Any = cgutils


def _spread(builder: Any, x: Any) -> Any:
    """``LANES`` times ``x``."""
    vector = ir.Constant(ir.VectorType(x.type, LANES), ir.Undefined)
    first = builder.insert_element(vector, x, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, vector, ir.Constant(ir.VectorType(_I32, LANES), None))


def _place(builder: Any, data: Any, line: Any, at: Any, further: int = 0) -> Any:
    """Pointer to the ``LANES`` numbers from ``data[line * BLOCK + at + further]`` on."""
    start = builder.add(builder.mul(line, ir.Constant(_I64, BLOCK)), builder.add(at, ir.Constant(_I64, further)))
    kind = ir.VectorType(data.type.pointee, LANES)
    return builder.bitcast(builder.gep(data, [start]), kind.as_pointer())


def _replay(n_rows: int) -> Callable[..., Any]:
    """The replay of ``n_rows``, a multiple of ``LANES``."""

    def replay(
        _typing: Any, bytes_: Any, split_plane: Any, split_bin: Any, first: Any, second: Any, _begin: Any, _end: Any,
        leaf: Any, _line: Any, _at: Any,
    ) -> Any:  # fmt: skip
        """Splits ``begin:end``, one after the other, on the leaves ``leaf[line * BLOCK + at:][:n_rows]``.

        Parameters
        ----------
        bytes_ : uint8, planes of BLOCK bytes each
        split_plane, split_bin, first, second : as in Planes
        leaf : of the type of ``first``, lines of BLOCK each
        """

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            datas = {
                i: context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 1, 2, 3, 4, 7)
            }
            begin, end, line, at = (args[i] for i in (5, 6, 8, 9))
            places = [_place(builder, datas[7], line, at, v) for v in range(0, n_rows, LANES)]
            leaves = [_cgutils.alloca_once_value(builder, builder.load(place, align=1)) for place in places]
            with _cgutils.for_range_slice(builder, begin, end, ir.Constant(_I64, 1), _I64) as (j, _):
                plane, bin_, old, new = (builder.load(builder.gep(datas[i], [j])) for i in (1, 2, 3, 4))
                plane = builder.sext(plane, _I64)
                bins, olds, news = (_spread(builder, x) for x in (bin_, old, new))
                for v, kept in enumerate(leaves):
                    byte = builder.load(_place(builder, datas[0], plane, at, v * LANES), align=1)
                    now = builder.load(kept)
                    here = builder.and_(builder.icmp_unsigned("==", now, olds), builder.icmp_unsigned(">", byte, bins))
                    builder.store(builder.select(here, news, now), kept)
            for place, kept in zip(places, leaves, strict=True):
                builder.store(builder.load(kept), place, align=1)
            return context.get_dummy_value()

        whole = _types.int64
        arguments = (bytes_, split_plane, split_bin, first, second, whole, whole, leaf, whole, whole)
        return _types.void(*arguments), generate

    return replay


def _match(n_rows: int) -> Callable[..., Any]:
    """The match of ``n_rows``, a multiple of ``LANES``."""

    def match(_typing: Any, bytes_: Any, terms: Any, _begin: Any, _end: Any, _line: Any, _at: Any) -> Any:
        """``bytes_[line * BLOCK + at:][:n_rows]``: 0 where terms ``begin:end`` have the row's category, else 255.

        Parameters
        ----------
        bytes_ : uint8, planes of BLOCK bytes each
        terms : int32 (n_terms, 9), as in Planes
        """

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data, term = (context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 1))
            begin, end, line, at = args[2:]
            none = ir.Constant(_BYTES, None)
            found = [_cgutils.alloca_once_value(builder, none) for _ in range(0, n_rows, LANES)]
            with _cgutils.for_range_slice(builder, begin, end, ir.Constant(_I64, 1), _I64) as (j, _):
                start = builder.mul(j, ir.Constant(_I64, _N_TERM))
                places = (builder.add(start, ir.Constant(_I64, k)) for k in range(_N_TERM))
                plane, *numbers = (builder.load(builder.gep(term, [place])) for place in places)
                plane = builder.sext(plane, _I64)
                spread = [_spread(builder, builder.trunc(number, _BYTE)) for number in numbers]
                for v, kept in enumerate(found):
                    group = builder.load(_place(builder, data, plane, at, v * LANES), align=1)
                    bit = builder.load(_place(builder, data, plane, at, v * LANES + BLOCK), align=1)
                    wanted = none
                    for asked, bits in zip(spread[:PER_TERM], spread[PER_TERM:], strict=True):
                        wanted = builder.select(builder.icmp_unsigned("==", group, asked), bits, wanted)
                    builder.store(builder.or_(builder.load(kept), builder.and_(bit, wanted)), kept)
            for v, kept in enumerate(found):
                missed = builder.icmp_unsigned("==", builder.load(kept), none)
                builder.store(builder.sext(missed, _BYTES), _place(builder, data, line, at, v * LANES), align=1)
            return context.get_dummy_value()

        return _types.void(bytes_, terms, *[_types.int64] * 4), generate

    return match


replay_wide: Any = intrinsic(_replay(WIDE))
replay_narrow: Any = intrinsic(_replay(NARROW))
match_wide: Any = intrinsic(_match(WIDE))
match_narrow: Any = intrinsic(_match(NARROW))
