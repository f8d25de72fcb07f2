"""Vectors of `LANES` numbers for numba: what the CPU kernels compute with. Needs numba.

Left to itself, LLVM checks before every loop anew which of its arrays overlap, and with as few channels as stay in the
first-level cache these checks cost as much as the scan. A vector here is a value of LLVM's own vector type, wider than
most machines' registers; LLVM cuts it to what the machine has.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, overload, register_model

LANES = 16

# 2^f on [-1/2, 1/2], largest relative error 8.0e-8; log(1 + e) / e on [0, 1], 3e-8
# (weighted least squares, reweighted until the error is level)
POWER = (
    *(1.000000063631097, 0.6931470145873536, 0.2402213637621297),
    *(0.05550664137424409, 0.009675025789044524, 0.0013290030547924614),
)
LOG = (
    *(0.9999999698795109, -0.49999493139844214, 0.3331909679440749),
    *(-0.24842982109474895, 0.19106006353721727, -0.1366324493007784),
    *(0.07822594169058927, -0.029505232523662897, 0.005232692704037076),
)
LOG2_E = 1.4426950408889634
LOWEST = -126.0  # 2 to this power is the smallest normal float32
ROUND = 12582912.0  # 1.5 * 2^23: a float32 to which this is added loses its fraction, and its last bits count

FUSED = ("contract", "nsz")  # a product and a sum may become one instruction


class Vector(types.Type):
    """`LANES` numbers of a dtype."""

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype})")


def of_numbers(dtype: types.Type) -> ir.VectorType:
    return ir.VectorType(ir.FloatType() if dtype == types.float32 else ir.DoubleType(), LANES)


OF_INTEGERS = ir.VectorType(ir.IntType(32), LANES)


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind):  # type: ignore[no-untyped-def]
        super().__init__(manager, kind, of_numbers(kind.dtype))


def constant(value: float, kind: ir.VectorType) -> ir.Constant:
    """The same number in all lanes, rounded as the lanes are."""
    number: float = int(value) if isinstance(kind.element, ir.IntType) else float(value)
    if isinstance(kind.element, ir.FloatType):
        number = float(np.float32(value))
    return ir.Constant(kind, [number] * LANES)


def _address(context, builder, kind, array, index):  # type: ignore[no-untyped-def]
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), of_numbers(kind.dtype).as_pointer())


@intrinsic
def load(typing_context, array, index):  # type: ignore[no-untyped-def]
    """The numbers of a contiguous array from an index on, which counts over all its dimensions."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.load(_address(context, builder, array, *arguments), align=array.dtype.bitwidth // 8)

    return Vector(array.dtype)(array, types.intp), code


@intrinsic
def store(typing_context, array, index, vector):  # type: ignore[no-untyped-def]
    """Put numbers where `load` finds them."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = _address(context, builder, array, *arguments[:2])
        builder.store(arguments[2], place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, types.intp, vector), code


@intrinsic
def prefetch(typing_context, array, index):  # type: ignore[no-untyped-def]
    """Have the machine bring what `load` will read: it does not wait, and reads nothing."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = context.make_array(array)(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [place.type], kind)
        builder.call(function, [place, *(ir.Constant(number, value) for value in (0, 3, 1))])  # to read, to keep, data
        return context.get_dummy_value()

    return types.none(array, types.intp), code


@intrinsic
def splat(typing_context, number):  # type: ignore[no-untyped-def]
    """One number in all lanes."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return _splat(builder, arguments[0])

    return Vector(number)(number), code


def _splat(builder, number):  # type: ignore[no-untyped-def]
    nothing = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
    one = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, nothing, constant(0, OF_INTEGERS))


@intrinsic
def spread(typing_context, array, index):  # type: ignore[no-untyped-def]
    """One number of a contiguous array in all lanes; the index counts over all its dimensions."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = context.make_array(array)(context, builder, arguments[0]).data
        return _splat(builder, builder.load(builder.gep(data, [arguments[1]])))

    return Vector(array.dtype)(array, types.intp), code


@intrinsic
def lane(typing_context, vector, index):  # type: ignore[no-untyped-def]
    """The number in one lane."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.extract_element(*arguments)

    return vector.dtype(vector, types.intp), code


@intrinsic
def with_lane(typing_context, vector, index, number):  # type: ignore[no-untyped-def]
    """The vector with another number in one lane."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.insert_element(arguments[0], arguments[2], arguments[1])

    return vector(vector, types.intp, vector.dtype), code


@intrinsic
def total(typing_context, vector):  # type: ignore[no-untyped-def]
    """Sum of all lanes, halves added to halves."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        rest, width = arguments[0], LANES
        while width > 1:
            width //= 2
            halves = (
                ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(first, first + width)))
                for first in (0, width)
            )
            rest = builder.fadd(*(builder.shuffle_vector(rest, rest, half) for half in halves))
        return builder.extract_element(rest, ir.Constant(ir.IntType(32), 0))

    return vector.dtype(vector), code


@intrinsic
def where_positive(typing_context, vector, yes, no):  # type: ignore[no-untyped-def]
    """Lanes of `yes` where the vector is above zero, lanes of `no` elsewhere and where it is NaN."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        positive = builder.fcmp_ordered(">", arguments[0], constant(0, arguments[0].type))
        return builder.select(positive, *arguments[1:])

    return yes(vector, yes, no), code


@intrinsic
def all_above(typing_context, vector, bound):  # type: ignore[no-untyped-def]
    """Whether every lane is at least the number; not if one is NaN."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        above = builder.fcmp_ordered(">=", arguments[0], _splat(builder, arguments[1]))
        together = ir.IntType(LANES)
        return builder.icmp_signed("==", builder.bitcast(above, together), ir.Constant(together, -1))

    return types.boolean(vector, vector.dtype), code


def _operation(function: Callable[..., Any], instruction: str) -> None:
    """Let an operator of Python work on vectors."""

    @intrinsic
    def both(typing_context, a, b):  # type: ignore[no-untyped-def]
        def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return getattr(builder, instruction)(*arguments, flags=FUSED)

        return a(a, b), code

    @overload(function)
    def of_vectors(a, b):  # type: ignore[no-untyped-def]
        return (lambda a, b: both(a, b)) if isinstance(a, Vector) and isinstance(b, Vector) else None


for _function, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _operation(_function, _instruction)


def _polynomial(builder, x, coefficients):  # type: ignore[no-untyped-def]
    """By Horner's rule, the constant coefficient first."""
    value = constant(coefficients[-1], x.type)
    for coefficient in coefficients[-2::-1]:
        value = builder.fadd(builder.fmul(value, x, flags=FUSED), constant(coefficient, x.type), flags=FUSED)
    return value


def _fused(builder, a, b, c):  # type: ignore[no-untyped-def]
    """a b + c, rounded once where the machine can."""
    of_numbers = "f32" if isinstance(a.type.element, ir.FloatType) else "f64"
    kind = ir.FunctionType(a.type, [a.type] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}{of_numbers}")
    return builder.call(function, [a, b, c])


@intrinsic
def _fast_power(typing_context, y):  # type: ignore[no-untyped-def]
    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        y, kind = arguments[0], arguments[0].type
        lowest, rounding = constant(LOWEST, kind), constant(ROUND, kind)
        y = builder.select(builder.fcmp_ordered("<", y, lowest), lowest, y)  # so a NaN stays one
        shifted = builder.fadd(y, rounding)  # without flags, that the next line does not undo it
        fraction = builder.fsub(y, builder.fsub(shifted, rounding))
        exponent = builder.add(builder.bitcast(shifted, OF_INTEGERS), constant(127, OF_INTEGERS))
        whole = builder.bitcast(builder.shl(exponent, constant(23, OF_INTEGERS)), kind)
        return builder.fmul(_polynomial(builder, fraction, POWER), whole, flags=FUSED)

    return y(y), code


@intrinsic
def _fast_log(typing_context, e):  # type: ignore[no-untyped-def]
    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.fmul(arguments[0], _polynomial(builder, arguments[0], LOG), flags=FUSED)

    return e(e), code


@intrinsic
def _fast_power_of_product(typing_context, a, b):  # type: ignore[no-untyped-def]
    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        a, b = arguments
        rounding = constant(ROUND, a.type)
        shifted = _fused(builder, a, b, rounding)
        fraction = _fused(builder, a, b, builder.fsub(rounding, shifted))
        whole = builder.shl(builder.bitcast(shifted, OF_INTEGERS), constant(23, OF_INTEGERS))
        mantissa = builder.bitcast(_polynomial(builder, fraction, POWER), OF_INTEGERS)
        return builder.bitcast(builder.add(mantissa, whole), a.type)  # exponents add up

    return a(a, b), code


def _by_lane(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one number, lane after lane: for float64, where nobody waits."""

    def of_vector(vector):  # type: ignore[no-untyped-def]
        for i in range(LANES):
            vector = with_lane(vector, i, function(lane(vector, i)))
        return vector

    return of_vector


def power(vector):  # type: ignore[no-untyped-def]
    """2^vector, up to 127; below -126, 2^-126 in float32."""
    raise NotImplementedError


@overload(power)
def _power(vector):  # type: ignore[no-untyped-def]
    """In float32, 2^whole from exponent bits times 2^fraction from a polynomial: libm's functions take one number."""
    return (lambda vector: _fast_power(vector)) if vector.dtype == types.float32 else _by_lane(np.exp2)


def power_of_product(a, b):  # type: ignore[no-untyped-def]
    """2^(a b) for products from -126 to 127 in all lanes, which is not checked: in fewer steps than `power`."""
    raise NotImplementedError


@overload(power_of_product)
def _power_of_product(a, b):  # type: ignore[no-untyped-def]
    return (lambda a, b: _fast_power_of_product(a, b)) if a.dtype == types.float32 else (lambda a, b: power(a * b))


def log_one_plus(vector):  # type: ignore[no-untyped-def]
    """log(1 + vector), for 0 to 1."""
    raise NotImplementedError


@overload(log_one_plus)
def _log_one_plus(vector):  # type: ignore[no-untyped-def]
    return (lambda vector: _fast_log(vector)) if vector.dtype == types.float32 else _by_lane(np.log1p)
