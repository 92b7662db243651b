"""Read and write `lanes` in flat float32 arrays. Nothing checks the bounds."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from pipeline.rasterizer.lanes import COUNT, FLOATS, LANES, in_kernels


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """The address of eight numbers of a contiguous array."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), FLOATS.as_pointer())


@in_kernels
def load(_: Any, array: Any, index: Any) -> Any:
    """Eight numbers of a flat float32 array, from ``index`` on; nothing checks the bounds."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, signature.args[0], *args), align=4)

    return LANES(array, types.intp), emit


@in_kernels
def store(_: Any, array: Any, index: Any, numbers: Any) -> Any:
    """Write eight numbers to a flat float32 array, from ``index`` on."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _place(context, builder, signature.args[0], *args[:2])
        builder.store(args[2], place, align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, LANES), emit


def _concatenated(builder: Any, parts: list[Any]) -> Any:
    """One long vector of vectors of the same length; an odd one out is filled up with itself."""
    while len(parts) > 1:
        parts = parts + parts[len(parts) // 2 * 2 :]
        length = parts[0].type.count
        every = ir.Constant(ir.VectorType(ir.IntType(32), 2 * length), list(range(2 * length)))
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [builder.shuffle_vector(a, b, every) for a, b in pairs]
    return parts[0]


def _picked(builder: Any, numbers: Any, picks: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(picks)), picks)
    return builder.shuffle_vector(numbers, numbers, mask)


@in_kernels
def store_pixels(_: Any, array: Any, index: Any, channels: Any) -> Any:
    """Write eight pixels, channels side by side, to a flat float32 array from ``index`` on."""
    depth = len(channels)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        planes = _concatenated(builder, cgutils.unpack_tuple(builder, args[2], depth))
        picks = [k * COUNT + pixel for pixel in range(COUNT) for k in range(depth)]
        pixels = _picked(builder, planes, picks)
        place = _place(context, builder, signature.args[0], *args[:2])
        builder.store(pixels, builder.bitcast(place, pixels.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, channels), emit


@in_kernels
def load_pixels(_: Any, array: Any, index: Any, fourth: Any) -> Any:
    """Eight pixels of three channels, or of four unless ``fourth`` is None, channel by channel."""
    depth = 3 if isinstance(fourth, types.NoneType) else 4

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _place(context, builder, signature.args[0], *args[:2])
        kind = ir.VectorType(ir.FloatType(), COUNT * depth)
        pixels = builder.load(builder.bitcast(place, kind.as_pointer()), align=4)
        picks = [list(range(k, COUNT * depth, depth)) for k in range(depth)]
        planes = [_picked(builder, pixels, pick) for pick in picks]
        return context.make_tuple(builder, signature.return_type, planes)

    return types.UniTuple(LANES, depth)(array, types.intp, fourth), emit
