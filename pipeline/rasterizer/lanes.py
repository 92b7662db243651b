"""Eight float32 numbers side by side, as a type that compiled kernels compute with.

LLVM vectorises a loop when it can prove much about it, and its failures are silent. A kernel that
says `Lanes` needs no proof: ``+ - * <= >`` on two of them, and the functions here, are one or two
vector instructions each, on any CPU that LLVM knows (AVX2 has registers of eight; others take two
of four). Products may be fused with a sum that takes them; nothing else is rearranged.

The names exist in kernels only; they do nothing when called from Python. `lane_memory` has what
reads and writes arrays.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.core.typing.templates import signature as signature_of
from numba.extending import intrinsic, lower_builtin, models, register_model

COUNT = 8
FLOATS = ir.VectorType(ir.FloatType(), COUNT)
_BITS = ir.VectorType(ir.IntType(32), COUNT)
_FLAGS = ir.VectorType(ir.IntType(1), COUNT)
_FUSE = ("contract",)


class _Lanes(types.Type):  # type: ignore[misc]
    """Numba's type of eight numbers."""

    def __init__(self) -> None:
        super().__init__("Lanes")


class _Mask(types.Type):  # type: ignore[misc]
    """Numba's type of eight yes or no."""

    def __init__(self) -> None:
        super().__init__("Mask")


class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, FLOATS)


class _MaskModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLAGS)


LANES, MASK = _Lanes(), _Mask()
register_model(_Lanes)(_LanesModel)
register_model(_Mask)(_MaskModel)


def in_kernels(function: Any) -> Any:
    """Give compiled kernels a function that emits its own instructions."""
    return intrinsic(function)


def _operator(function: Any, result: Any, emit: Any) -> None:
    """Let kernels apply ``function`` to two Lanes (or two Masks, where that is the result)."""
    operand = MASK if function is operator.and_ else LANES
    cases = [signature_of(result, operand, operand)]
    infer_global(function)(type("_Operator", (ConcreteTemplate,), {"cases": cases}))
    lower_builtin(function, operand, operand)(
        lambda context, builder, signature, arguments: emit(builder, *arguments)
    )


_operator(operator.add, LANES, lambda b, x, y: b.fadd(x, y, flags=_FUSE))
_operator(operator.sub, LANES, lambda b, x, y: b.fsub(x, y, flags=_FUSE))
_operator(operator.mul, LANES, lambda b, x, y: b.fmul(x, y, flags=_FUSE))
_operator(operator.le, MASK, lambda b, x, y: b.fcmp_ordered("<=", x, y))
_operator(operator.gt, MASK, lambda b, x, y: b.fcmp_ordered(">", x, y))
_operator(operator.and_, MASK, lambda b, x, y: b.and_(x, y))


def _spread(builder: Any, number: Any) -> Any:
    """Eight times the same number."""
    one = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), number, ir.IntType(32)(0))
    zeros = ir.Constant(_BITS, [0] * COUNT)
    return builder.shuffle_vector(one, ir.Constant(FLOATS, ir.Undefined), zeros)


@in_kernels
def spread(_: Any, number: Any) -> Any:
    """Eight times a float32."""
    return LANES(types.float32), lambda c, b, s, args: _spread(b, args[0])


@in_kernels
def steps(_: Any) -> Any:
    """0, 1, ... 7."""
    numbers = ir.Constant(FLOATS, [float(i) for i in range(COUNT)])
    return LANES(), lambda c, b, s, args: numbers


@in_kernels
def least(_: Any, a: Any, b: Any) -> Any:
    """The smaller of each two numbers."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return LANES(LANES, LANES), emit


@in_kernels
def where(_: Any, mask: Any, a: Any, b: Any) -> Any:
    """The number of ``a`` where the mask says so, else that of ``b``."""
    return LANES(MASK, LANES, LANES), lambda c, b, s, args: b.select(*args)


@in_kernels
def minus_magnitude(_: Any, a: Any) -> Any:
    """-|a|: the sign bit set."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        signs = ir.Constant(_BITS, [-(2**31)] * COUNT)
        return builder.bitcast(builder.or_(builder.bitcast(args[0], _BITS), signs), FLOATS)

    return LANES(LANES), emit


@in_kernels
def quotient(_: Any, a: Any, b: Any) -> Any:
    """A quotient of two, made from an estimate of the reciprocal where the CPU has one."""
    return LANES(LANES, LANES), lambda c, b, s, args: b.fdiv(
        *args, flags=("arcp", "afn", "contract", "nnan", "ninf", "nsz", "reassoc")
    )


@in_kernels
def lane(_: Any, numbers: Any, index: Any) -> Any:
    """One of the eight, as a float32."""
    return types.float32(LANES, types.intp), lambda c, b, s, args: b.extract_element(*args)


@in_kernels
def any_of(_: Any, mask: Any) -> Any:
    """Whether the mask says yes anywhere."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(COUNT))
        return builder.icmp_unsigned("!=", bits, bits.type(0))

    return types.boolean(MASK), emit


@in_kernels
def sums(_: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    """The sum of each argument's eight numbers, as eight numbers."""
    low, high = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
    pairs = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
    halves = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for patterns in ((low, high), pairs, halves):
            folded = []
            for x, y in zip(args[::2], args[1::2], strict=True):
                parts = [builder.shuffle_vector(x, y, ir.Constant(_BITS, p)) for p in patterns]
                folded.append(builder.fadd(*parts))
            args = folded
        return args[0]

    return LANES(*[LANES] * COUNT), emit
