"""The loops that numba compiles for the CPU scan. Needs numba: imported on first use, by `medmamba.ops.cpu` alone.

Shapes are those of `medmamba.ops.sequences`, with A as (k, n, d) so that channels lie side by side. A unit of work is
one image and one tile of channels; a call does the units from `first` to `last`.
"""

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

# 2^f on [0, 1), largest relative error 7.5e-8 (weighted least squares, reweighted to level the error)
C0, C1, C2 = np.float32(0.9999999250635687), np.float32(0.6931530731978046), np.float32(0.24015361706480703)
C3, C4, C5 = np.float32(0.05582631799281085), np.float32(0.008989340162572051), np.float32(0.0018775766454083853)
LOG2_E = np.float32(1.4426950408889634)
LOWEST, HIGHEST = np.float32(-126.0), np.float32(126.0)  # powers of two that are normal float32 numbers


@intrinsic
def float_of_bits(typing_context, bits):  # type: ignore[no-untyped-def]
    """The float32 with the bits of an int32."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), code


def decay(exponent):  # type: ignore[no-untyped-def]
    """exp(exponent)."""
    return np.exp(exponent)


@overload(decay)
def compiled_decay(exponent):  # type: ignore[no-untyped-def]
    """In float32, 2^whole from exponent bits times 2^f from a polynomial: this vectorises, libm's exp does not."""
    if exponent != types.float32:
        return lambda exponent: np.exp(exponent)

    def exponential(exponent):  # type: ignore[no-untyped-def]
        y = exponent * LOG2_E
        y = LOWEST if y < LOWEST else y  # written so that a NaN stays one
        y = HIGHEST if y > HIGHEST else y
        whole = np.floor(y)
        f = y - whole
        p = C0 + f * (C1 + f * (C2 + f * (C3 + f * (C4 + f * C5))))
        return p * float_of_bits((np.int32(whole) + np.int32(127)) << np.int32(23))

    return exponential


def forward(x, s, A, B, C, D, order, y, tile, first, last):  # type: ignore[no-untyped-def]
    k, n, d = A.shape
    j = x.shape[2]
    tiles = (d + tile - 1) // tile
    state = np.empty((n, tile), x.dtype)
    inflow = np.empty(tile, x.dtype)
    out = np.empty(tile, x.dtype)
    for unit in range(first, last):
        b, lo = unit // tiles, unit % tiles * tile
        w = min(tile, d - lo)
        for q in range(k):
            state[:] = 0
            for t in range(order.shape[1]):
                p = order[q, t]
                xs, step = x[b, p, q % j, lo : lo + w], s[b, p, q, lo : lo + w]
                skip, total = D[q, lo : lo + w], y[b, p, q % j, lo : lo + w]
                for i in range(w):
                    inflow[i] = step[i] * xs[i]
                    out[i] = skip[i] * xs[i]
                for m in range(n):
                    Bm, Cm = B[b, p, q, m], C[b, p, q, m]
                    rate, h = A[q, m, lo : lo + w], state[m]
                    for i in range(w):
                        value = decay(step[i] * rate[i]) * h[i] + inflow[i] * Bm
                        h[i] = value
                        out[i] += value * Cm
                for i in range(w):
                    total[i] += out[i]


def backward(  # type: ignore[no-untyped-def]
    grad, x, s, A, B, C, D, order, dx, ds, dA, dB, dC, dD, tile, chunk, first, last
):
    k, n, d = A.shape
    j, length = x.shape[2], order.shape[1]
    tiles, chunks = (d + tile - 1) // tile, (length + chunk - 1) // chunk
    borders = np.empty((chunks, n, tile), x.dtype)
    states = np.empty((chunk + 1, n, tile), x.dtype)
    decays = np.empty((chunk, n, tile), x.dtype)
    carry = np.empty((n, tile), x.dtype)
    inflow = np.empty(tile, x.dtype)
    through_input = np.empty(tile, x.dtype)
    through_decay = np.empty(tile, x.dtype)
    for unit in range(first, last):
        b, part = unit // tiles, unit % tiles
        lo = part * tile
        w = min(tile, d - lo)
        for q in range(k):
            borders[0] = 0
            for c in range(chunks - 1):
                here, there = borders[c], borders[c + 1]
                for m in range(n):
                    for i in range(w):
                        there[m, i] = here[m, i]
                for t in range(c * chunk, (c + 1) * chunk):
                    p = order[q, t]
                    xs, step = x[b, p, q % j, lo : lo + w], s[b, p, q, lo : lo + w]
                    for m in range(n):
                        Bm = B[b, p, q, m]
                        rate, h = A[q, m, lo : lo + w], there[m]
                        for i in range(w):
                            h[i] = decay(step[i] * rate[i]) * h[i] + step[i] * xs[i] * Bm
            carry[:] = 0
            for c in range(chunks - 1, -1, -1):
                start = c * chunk
                size = min(chunk, length - start)
                states[0] = borders[c]
                for t in range(size):
                    p = order[q, start + t]
                    xs, step = x[b, p, q % j, lo : lo + w], s[b, p, q, lo : lo + w]
                    for m in range(n):
                        Bm = B[b, p, q, m]
                        rate, before, h, a = A[q, m, lo : lo + w], states[t, m], states[t + 1, m], decays[t, m]
                        for i in range(w):
                            a[i] = decay(step[i] * rate[i])
                            h[i] = a[i] * before[i] + step[i] * xs[i] * Bm
                for t in range(size - 1, -1, -1):
                    p = order[q, start + t]
                    xs, step = x[b, p, q % j, lo : lo + w], s[b, p, q, lo : lo + w]
                    g, skip = grad[b, p, q % j, lo : lo + w], D[q, lo : lo + w]
                    for i in range(w):
                        inflow[i] = step[i] * xs[i]
                        through_input[i] = 0
                        through_decay[i] = 0
                    for m in range(n):
                        Bm, Cm = B[b, p, q, m], C[b, p, q, m]
                        rate, rate_grad, back = A[q, m, lo : lo + w], dA[b, q, m, lo : lo + w], carry[m]
                        before, h, a = states[t, m], states[t + 1, m], decays[t, m]
                        for_B = x.dtype.type(0)
                        for_C = x.dtype.type(0)
                        for i in range(w):
                            adjoint = back[i] + Cm * g[i]
                            for_C += g[i] * h[i]
                            for_B += adjoint * inflow[i]
                            through_input[i] += adjoint * Bm
                            back[i] = adjoint * a[i]
                            through_exp = back[i] * before[i]
                            through_decay[i] += through_exp * rate[i]
                            rate_grad[i] += through_exp * step[i]
                        dB[part, b, p, q, m] = for_B
                        dC[part, b, p, q, m] = for_C
                    skip_grad, input_grad = dD[b, q, lo : lo + w], dx[b, p, q % j, lo : lo + w]
                    step_grad = ds[b, p, q, lo : lo + w]
                    for i in range(w):
                        skip_grad[i] += g[i] * xs[i]
                        input_grad[i] += step[i] * through_input[i] + skip[i] * g[i]
                        step_grad[i] = xs[i] * through_input[i] + through_decay[i]
