"""Lines in kernels: all lanes of one code or row are added at once, as one vector (see ``kernels``)."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _lines(context: Any, builder: Any, array_type: Any, array: Any, n_lanes: int) -> Any:
    """Where line ``i`` of an array starts, as a function of ``i``."""
    data = context.make_array(array_type)(context, builder, array).data
    line = ir.VectorType(ir.FloatType(), n_lanes)

    def pointer(i: Any) -> Any:
        return builder.bitcast(builder.gep(data, [builder.mul(i, ir.Constant(i.type, n_lanes))]), line.as_pointer())

    return pointer


def _add_lines(_typing: Any, dst: Any, i: Any, src: Any, js: Any, lanes: Any) -> Any:
    """``dst[i, :] += src[j, :]`` for each j of a tuple, each line one vector; ``lanes``: any tuple as long as a line.

    A loop over the lanes would not do: LLVM cannot know that ``dst`` and ``src`` do not overlap, and goes lane by
    lane (5 times slower, measured).
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to = _lines(context, builder, signature.args[0], args[0], len(lanes))(args[1])
        source = _lines(context, builder, signature.args[2], args[2], len(lanes))
        total = builder.load(to, align=4)
        for k in range(len(js)):
            total = builder.fadd(total, builder.load(source(builder.extract_value(args[3], k)), align=4))
        builder.store(total, to, align=4)
        return context.get_dummy_value()

    return types.void(dst, i, src, js, lanes), generate


def _add_to_lines(_typing: Any, dst: Any, js: Any, src: Any, i: Any, lanes: Any) -> Any:
    """``dst[j, :] += src[i, :]`` for each j of a tuple; the mirror of ``add_lines``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target = _lines(context, builder, signature.args[0], args[0], len(lanes))
        each = builder.load(_lines(context, builder, signature.args[2], args[2], len(lanes))(args[3]), align=4)
        for k in range(len(js)):
            to = target(builder.extract_value(args[1], k))
            builder.store(builder.fadd(builder.load(to, align=4), each), to, align=4)
        return context.get_dummy_value()

    return types.void(dst, js, src, i, lanes), generate


def _put_line(_typing: Any, dst: Any, i: Any, src: Any, j: Any, lanes: Any) -> Any:
    """``dst[i, :] = src[j, :]``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to = _lines(context, builder, signature.args[0], args[0], len(lanes))(args[1])
        source = _lines(context, builder, signature.args[2], args[2], len(lanes))(args[3])
        builder.store(builder.load(source, align=4), to, align=4)
        return context.get_dummy_value()

    return types.void(dst, i, src, j, lanes), generate


def _fetch_line(_typing: Any, src: Any, i: Any, lanes: Any) -> Any:
    """Have line ``src[i, :]`` fetched from memory, but do not wait for it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        line = _lines(context, builder, signature.args[0], args[0], len(lanes))(args[1])
        place = builder.bitcast(line, ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        kinds = ir.FunctionType(ir.VoidType(), [place.type, word, word, word])
        name = "llvm.prefetch.p0"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kinds, name)
        builder.call(
            function, [place, *(ir.Constant(word, hint) for hint in (0, 3, 1))]
        )  # to read, nearest cache, data
        return context.get_dummy_value()

    return types.void(src, i, lanes), generate


def _splat(builder: Any, value: Any, n_lanes: int) -> Any:
    """A vector of one number."""
    line = ir.VectorType(ir.FloatType(), n_lanes)
    first = builder.insert_element(ir.Constant(line, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), n_lanes), None)
    return builder.shuffle_vector(first, ir.Constant(line, ir.Undefined), zeros)


def _add_products(_typing: Any, dst: Any, i: Any, src: Any, js: Any, values: Any, lanes: Any) -> Any:
    """``dst[i, :] += value * src[j, :]`` for each j of a tuple, with the number beside it in another."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to = _lines(context, builder, signature.args[0], args[0], len(lanes))(args[1])
        source = _lines(context, builder, signature.args[2], args[2], len(lanes))
        total = builder.load(to, align=4)
        for k in range(len(js)):
            value = _splat(builder, builder.extract_value(args[4], k), len(lanes))
            each = builder.load(source(builder.extract_value(args[3], k)), align=4)
            total = builder.fadd(total, builder.fmul(value, each))
        builder.store(total, to, align=4)
        return context.get_dummy_value()

    return types.void(dst, i, src, js, values, lanes), generate


def _add_product_to_lines(_typing: Any, dst: Any, js: Any, src: Any, i: Any, values: Any, lanes: Any) -> Any:
    """``dst[j, :] += value * src[i, :]`` for each j and its value; the mirror of ``add_products``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target = _lines(context, builder, signature.args[0], args[0], len(lanes))
        each = builder.load(_lines(context, builder, signature.args[2], args[2], len(lanes))(args[3]), align=4)
        for k in range(len(js)):
            value = _splat(builder, builder.extract_value(args[4], k), len(lanes))
            to = target(builder.extract_value(args[1], k))
            builder.store(builder.fadd(builder.load(to, align=4), builder.fmul(value, each)), to, align=4)
        return context.get_dummy_value()

    return types.void(dst, js, src, i, values, lanes), generate


add_lines: Any = intrinsic(_add_lines)
add_to_lines: Any = intrinsic(_add_to_lines)
put_line: Any = intrinsic(_put_line)
fetch_line: Any = intrinsic(_fetch_line)
add_products: Any = intrinsic(_add_products)
add_product_to_lines: Any = intrinsic(_add_product_to_lines)
