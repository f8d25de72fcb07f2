"""The loops that numba compiles for the CPU scan. Needs numba: imported on first use, by `medmamba.ops.cpu` alone.

Shapes are those of `medmamba.ops.sequences`, with A as (k, n, d) so that channels lie side by side. A unit of work is
one image and one tile of channels; a call does the units from `first` to `last`. Inner loops run over the channels of
the tile and are written to vectorise; two states at a time keep the arithmetic units busy.
"""

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload, register_jitable

# exp: 2^f on [0, 1), largest relative error 7.5e-8; softplus: log(1 + e) / e on (0, 1], 3e-8
# (weighted least squares, reweighted until the error is level)
E0, E1, E2 = np.float32(0.9999999250635687), np.float32(0.6931530731978046), np.float32(0.24015361706480703)
E3, E4, E5 = np.float32(0.05582631799281085), np.float32(0.008989340162572051), np.float32(0.0018775766454083853)
L0, L1, L2 = np.float32(0.9999999698795109), np.float32(-0.49999493139844214), np.float32(0.3331909679440749)
L3, L4, L5 = np.float32(-0.24842982109474895), np.float32(0.19106006353721727), np.float32(-0.1366324493007784)
L6, L7, L8 = np.float32(0.07822594169058927), np.float32(-0.029505232523662897), np.float32(0.005232692704037076)
LOG2_E = np.float32(1.4426950408889634)
LOWEST, HIGHEST = np.float32(-126.0), np.float32(126.0)  # powers of two that are normal float32 numbers


@intrinsic
def float_of_bits(typing_context, bits):  # type: ignore[no-untyped-def]
    """The float32 with the bits of an int32."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), code


def exponential(x):  # type: ignore[no-untyped-def]
    """exp(x)."""
    return np.exp(x)


@overload(exponential)
def compiled_exponential(x):  # type: ignore[no-untyped-def]
    """In float32, 2^whole from exponent bits times 2^f from a polynomial: this vectorises, libm's exp does not."""
    if x != types.float32:
        return lambda x: np.exp(x)

    def fast(x):  # type: ignore[no-untyped-def]
        y = x * LOG2_E
        y = LOWEST if y < LOWEST else y  # written so that a NaN stays one
        y = HIGHEST if y > HIGHEST else y
        whole = np.floor(y)
        f = y - whole
        p = E0 + f * (E1 + f * (E2 + f * (E3 + f * (E4 + f * E5))))
        return p * float_of_bits((np.int32(whole) + np.int32(127)) << np.int32(23))

    return fast


def log_one_plus(e):  # type: ignore[no-untyped-def]
    """log(1 + e) for e in [0, 1]."""
    return np.log1p(e)


@overload(log_one_plus)
def compiled_log_one_plus(e):  # type: ignore[no-untyped-def]
    """In float32 a polynomial, which vectorises."""
    if e != types.float32:
        return lambda e: np.log1p(e)
    return lambda e: e * (L0 + e * (L1 + e * (L2 + e * (L3 + e * (L4 + e * (L5 + e * (L6 + e * (L7 + e * L8))))))))


@register_jitable
def set_steps(dt, step):  # type: ignore[no-untyped-def]
    """step = softplus(dt)."""
    for i in range(len(dt)):
        v = dt[i]
        step[i] = (v if v > 0 else v * 0) + log_one_plus(exponential(-v if v > 0 else v))


@register_jitable
def set_steps_and_slopes(dt, step, slope):  # type: ignore[no-untyped-def]
    """step = softplus(dt), and its derivative."""
    for i in range(len(dt)):
        v = dt[i]
        e = exponential(-v if v > 0 else v)
        step[i] = (v if v > 0 else v * 0) + log_one_plus(e)
        slope[i] = (v * 0 + 1 if v > 0 else e) / (1 + e)


def forward(x, dt, A, BC, D, order, y, state, step, inflow, out, first, last):  # type: ignore[no-untyped-def]
    """Add the output of all scans to y, which is x's shape and zero before."""
    k, n, d = A.shape
    j, tile = x.shape[2], len(out)
    at_B, at_C = BC.shape[3] - 2 * n, BC.shape[3] - n
    tiles = (d + tile - 1) // tile
    for unit in range(first, last):
        b, lo = unit // tiles, unit % tiles * tile
        w = min(tile, d - lo)
        for q in range(k):
            state[:] = 0
            for t in range(order.shape[1]):
                p = order[q, t]
                xs, skip, total = x[b, p, q % j, lo : lo + w], D[q, lo : lo + w], y[b, p, q % j, lo : lo + w]
                set_steps(dt[q, b, p, lo : lo + w], step)
                for i in range(w):
                    inflow[i] = step[i] * xs[i]
                    out[i] = skip[i] * xs[i]
                row = BC[b, p, q]
                for m in range(0, n - 1, 2):
                    B0, B1, C0, C1 = row[at_B + m], row[at_B + m + 1], row[at_C + m], row[at_C + m + 1]
                    rate0, rate1 = A[q, m, lo : lo + w], A[q, m + 1, lo : lo + w]
                    h0, h1 = state[m], state[m + 1]
                    for i in range(w):
                        new0 = exponential(step[i] * rate0[i]) * h0[i] + inflow[i] * B0
                        new1 = exponential(step[i] * rate1[i]) * h1[i] + inflow[i] * B1
                        h0[i] = new0
                        h1[i] = new1
                        out[i] += new0 * C0 + new1 * C1
                if n % 2:
                    B0, C0, rate0, h0 = row[at_C - 1], row[at_C + n - 1], A[q, n - 1, lo : lo + w], state[n - 1]
                    for i in range(w):
                        h0[i] = exponential(step[i] * rate0[i]) * h0[i] + inflow[i] * B0
                        out[i] += h0[i] * C0
                for i in range(w):
                    total[i] += out[i]


def backward(  # type: ignore[no-untyped-def]
    grad, x, dt, A, BC, D, order, dx, ddt, dA, dBC, dD,
    borders, states, decays, steps, slopes, carry, inflow, through_input, through_decay, first, last,
):  # fmt: skip
    """Gradients: dx is added to, ddt, dBC (a tile of channels each) are set, dA and dD (an image each) are added to.

    States are kept at the borders of chunks; within a chunk they are computed again, and the adjoint recurrence
    g_t = C_t y'_t + a_{t+1} g_{t+1} then runs backwards.
    """
    k, n, d = A.shape
    j, length = x.shape[2], order.shape[1]
    at_B, at_C = BC.shape[3] - 2 * n, BC.shape[3] - n
    tile, chunk, chunks = len(inflow), len(decays), len(borders)
    tiles = (d + tile - 1) // tile
    for unit in range(first, last):
        b, part = unit // tiles, unit % tiles
        lo = part * tile
        w = min(tile, d - lo)
        for q in range(k):
            borders[0] = 0
            for c in range(chunks - 1):
                here, there = borders[c], borders[c + 1]
                there[:] = here
                for t in range(c * chunk, (c + 1) * chunk):
                    p = order[q, t]
                    xs, step = x[b, p, q % j, lo : lo + w], steps[0]
                    set_steps(dt[q, b, p, lo : lo + w], step)
                    for i in range(w):
                        inflow[i] = step[i] * xs[i]
                    for m in range(n):
                        B0, rate, h = BC[b, p, q, at_B + m], A[q, m, lo : lo + w], there[m]
                        for i in range(w):
                            h[i] = exponential(step[i] * rate[i]) * h[i] + inflow[i] * B0
            carry[:] = 0
            for c in range(chunks - 1, -1, -1):
                start = c * chunk
                size = min(chunk, length - start)
                states[0] = borders[c]
                for t in range(size):
                    p = order[q, start + t]
                    xs, step = x[b, p, q % j, lo : lo + w], steps[t]
                    set_steps_and_slopes(dt[q, b, p, lo : lo + w], step, slopes[t])
                    for i in range(w):
                        inflow[i] = step[i] * xs[i]
                    for m in range(n):
                        B0, rate = BC[b, p, q, at_B + m], A[q, m, lo : lo + w]
                        before, h, a = states[t, m], states[t + 1, m], decays[t, m]
                        for i in range(w):
                            a[i] = exponential(step[i] * rate[i])
                            h[i] = a[i] * before[i] + inflow[i] * B0
                for t in range(size - 1, -1, -1):
                    p = order[q, start + t]
                    xs, g, skip = x[b, p, q % j, lo : lo + w], grad[b, p, q % j, lo : lo + w], D[q, lo : lo + w]
                    step, slope = steps[t], slopes[t]
                    for i in range(w):
                        inflow[i] = step[i] * xs[i]
                        through_input[i] = 0
                        through_decay[i] = 0
                    for m in range(n):
                        B0, C0 = BC[b, p, q, at_B + m], BC[b, p, q, at_C + m]
                        rate, rate_grad, back = A[q, m, lo : lo + w], dA[b, q, m, lo : lo + w], carry[m]
                        before, h, a = states[t, m], states[t + 1, m], decays[t, m]
                        for_B = x.dtype.type(0)
                        for_C = x.dtype.type(0)
                        for i in range(w):
                            adjoint = back[i] + C0 * g[i]
                            for_C += g[i] * h[i]
                            for_B += adjoint * inflow[i]
                            through_input[i] += adjoint * B0
                            back[i] = adjoint * a[i]
                            through_exp = back[i] * before[i]
                            through_decay[i] += through_exp * rate[i]
                            rate_grad[i] += through_exp * step[i]
                        dBC[part, b, p, q, m] = for_B
                        dBC[part, b, p, q, n + m] = for_C
                    skip_grad, input_grad = dD[b, q, lo : lo + w], dx[b, p, q % j, lo : lo + w]
                    dt_grad = ddt[q, b, p, lo : lo + w]
                    for i in range(w):
                        skip_grad[i] += g[i] * xs[i]
                        input_grad[i] += step[i] * through_input[i] + skip[i] * g[i]
                        dt_grad[i] = slope[i] * (xs[i] * through_input[i] + through_decay[i])
