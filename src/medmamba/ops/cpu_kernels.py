"""The loops that numba compiles for the CPU scan. Needs numba: imported on first use, by `medmamba.ops.cpu` alone.

Shapes are those of `medmamba.ops.sequences`, with A as (k, n, d) so that channels lie side by side, and d a multiple of
`LANES`. A unit of work is one image, one part of the scans and one tile of channels; a call does the units from `first`
to `last`. Where all scans read the same input (j = 1), each part adds up its scans in a map of its own. `rates` is
A log2(e), since 2^x is what the machine computes.
"""

from numba.extending import register_jitable

from medmamba.ops.cpu_vectors import (
    LANES,
    LOG2_E,
    LOWEST,
    all_above,
    load,
    log_one_plus,
    power_of_product,
    prefetch,
    splat,
    spread,
    store,
    total,
    where_positive,
)
from medmamba.ops.cpu_vectors import power as exp2


@register_jitable
def place(unit, parts, tiles, tile, k, d):  # type: ignore[no-untyped-def]
    """Image, part, its scans from one to another, tile, first channel and number of channels of a unit."""
    # side by side are parts, whose outputs lie apart: threads that write neighbouring tiles share lines of the cache
    b, c, part = unit // (parts * tiles), unit // parts % tiles, unit % parts
    return b, part, k * part // parts, k * (part + 1) // parts, c, c * tile, min(tile, d - c * tile)


@register_jitable
def find(x, BC, order, q, t, b, lo):  # type: ignore[no-untyped-def]
    """What scan q reads at time t: its position, and where its row of BC and its first channel of x lie."""
    _, length, j, d = x.shape
    at = b * length + order[q, t]
    return order[q, t], (at * BC.shape[2] + q) * BC.shape[3], (at * j + q % j) * d + lo


@register_jitable
def set_steps(  # type: ignore[no-untyped-def]
    steps, slopes, dt, weight, bias, BC, order, q, b, begin, size, lo, w, tile
):  # fmt: skip
    """Steps, softplus of what precedes it, for `size` tokens from `begin` on; and its derivative, if `slopes` has room.

    For many tokens at once and apart from the recurrence: softplus is one long chain, and others fill its gaps.
    """
    (k, r, d), images, length = weight.shape, len(BC), order.shape[1]
    zero, one = splat(BC.dtype.type(0)), splat(BC.dtype.type(1))
    log2_e = splat(BC.dtype.type(LOG2_E))
    for t in range(size):
        p = order[q, begin + t]
        row = ((b * length + p) * k + q) * BC.shape[3]
        for i in range(0, w, LANES):
            if r:
                v = load(bias, q * d + lo + i)
                for m in range(r):
                    v = v + load(weight, (q * r + m) * d + lo + i) * spread(BC, row + m)
            else:
                v = load(dt, ((q * images + b) * length + p) * d + lo + i)
            e = exp2(where_positive(v, zero - v, v) * log2_e)
            store(steps, t * tile + i, where_positive(v, v, v * zero) + log_one_plus(e))
            if len(slopes):
                store(slopes, t * tile + i, where_positive(v, one, e) / (one + e))


@register_jitable
def fetch(x, y, BC, order, q, b, begin, end, lo, w, at_y):  # type: ignore[no-untyped-def]
    """Ask for what scan q will read at the times from one to another: down a column, it is far apart in memory."""
    for t in range(begin, end):
        _, row, at_x = find(x, BC, order, q, t, b, lo)
        for i in range(0, w, LANES):
            prefetch(x, at_x + i)
            prefetch(y, at_y * x.size + at_x + i)
        for i in range(0, BC.shape[3], LANES):
            prefetch(BC, row + i)


@register_jitable
def set_lowest(lowest, rates, q, lo, w):  # type: ignore[no-untyped-def]
    """The lowest rate of each channel of scan q; NaN for a channel of which one is NaN or infinite."""
    _, n, d = rates.shape
    for i in range(0, w, LANES):
        low = total_rate = splat(rates.dtype.type(0))
        for m in range(n):
            rate = load(rates, (q * n + m) * d + lo + i)
            low, total_rate = where_positive(low - rate, rate, low), total_rate + rate
        store(lowest, i, low + (total_rate - total_rate))


@register_jitable
def power(step, rates, at, small):  # type: ignore[no-untyped-def]
    """2^(step rate); `small` says that no exponent is out of range."""
    if small:
        return power_of_product(step, load(rates, at))
    return exp2(step * load(rates, at))


def forward(  # type: ignore[no-untyped-def]
    x, dt, weight, bias, rates, BC, D, order, y, state, steps, slopes, lowest, parts, tile, first, last
):  # fmt: skip
    """Set y, (parts, b, l, 1, d) for j = 1 and (1, b, l, j, d) otherwise, to the outputs of the scans.

    With `weight` (k, r, d) and `bias` (k, d) what precedes softplus comes from the first r columns of BC, which saves
    the largest array of all; with r = 0 it is read from `dt`.
    """
    (k, n, d), (_, length, j, _) = rates.shape, x.shape
    tiles, chunk = (d + tile - 1) // tile, len(steps)
    at_B, at_C, bound = BC.shape[3] - 2 * n, BC.shape[3] - n, x.dtype.type(LOWEST)
    for unit in range(first, last):
        b, part, begin, end, _, lo, w = place(unit, parts, tiles, tile, k, d)
        at_y = part if j == 1 else 0
        for q in range(begin, end):
            state[:] = 0
            set_lowest(lowest, rates, q, lo, w)
            for start in range(0, length, chunk):
                size = min(chunk, length - start)
                fetch(x, y, BC, order, q, b, start + size, min(start + size + chunk, length), lo, w, at_y)
                set_steps(steps, slopes, dt, weight, bias, BC, order, q, b, start, size, lo, w, tile)
                for t in range(size):
                    _, row, at_x = find(x, BC, order, q, start + t, b, lo)
                    there = at_y * x.size + at_x
                    for i in range(0, w, LANES):
                        xs, step = load(x, at_x + i), load(steps, t * tile + i)
                        inflow, out = step * xs, load(D, q * d + lo + i) * xs
                        small = all_above(step * load(lowest, i), bound)
                        for m in range(n):
                            decay = power(step, rates, (q * n + m) * d + lo + i, small)
                            h = decay * load(state, m * tile + i) + inflow * spread(BC, row + at_B + m)
                            store(state, m * tile + i, h)
                            out = out + h * spread(BC, row + at_C + m)
                        if j == 1 and q > begin:
                            out = out + load(y, there + i)
                        store(y, there + i, out)


def backward(  # type: ignore[no-untyped-def]
    grad, x, dt, A, rates, BC, D, order, dx, ddt, dA, dBC, dD,
    borders, states, decays, steps, slopes, carry, sums, lowest, parts, tile, first, last,
):  # fmt: skip
    """Gradients: dx (as y in `forward`), ddt and dBC (a tile each) are set, dA and dD (an image each) added to.

    States are kept at the borders of chunks; within a chunk they are computed again, and the adjoint recurrence
    g_t = C_t y'_t + a_{t+1} g_{t+1} then runs backwards.
    """
    (k, n, d), (images, length, j, _) = rates.shape, x.shape
    chunk, chunks, tiles = len(decays), len(borders), (d + tile - 1) // tile
    at_B, at_C, bound = BC.shape[3] - 2 * n, BC.shape[3] - n, x.dtype.type(LOWEST)
    zero, no_slopes = splat(x.dtype.type(0)), slopes[:0]
    none = A[:, :0]  # a weight of rank 0: `dt` is there, and the bias beside it is not read
    for unit in range(first, last):
        b, part, begin, end, tile_number, lo, w = place(unit, parts, tiles, tile, k, d)
        at_dx = part if j == 1 else 0
        for q in range(begin, end):
            borders[0] = 0
            set_lowest(lowest, rates, q, lo, w)
            for c in range(chunks - 1):
                borders[c + 1] = borders[c]
                set_steps(steps, no_slopes, dt, none, D, BC, order, q, b, c * chunk, chunk, lo, w, tile)
                for t in range(chunk):
                    _, row, at_x = find(x, BC, order, q, c * chunk + t, b, lo)
                    for i in range(0, w, LANES):
                        step = load(steps, t * tile + i)
                        inflow = step * load(x, at_x + i)
                        small = all_above(step * load(lowest, i), bound)
                        for m in range(n):
                            at = ((c + 1) * n + m) * tile + i
                            decay = power(step, rates, (q * n + m) * d + lo + i, small)
                            store(borders, at, decay * load(borders, at) + inflow * spread(BC, row + at_B + m))
            carry[:] = 0
            for c in range(chunks - 1, -1, -1):
                start = c * chunk
                size = min(chunk, length - start)
                states[0] = borders[c]
                set_steps(steps, slopes, dt, none, D, BC, order, q, b, start, size, lo, w, tile)
                for t in range(size):
                    _, row, at_x = find(x, BC, order, q, start + t, b, lo)
                    for i in range(0, w, LANES):
                        step = load(steps, t * tile + i)
                        inflow = step * load(x, at_x + i)
                        small = all_above(step * load(lowest, i), bound)
                        for m in range(n):
                            at = (t * n + m) * tile + i
                            decay = power(step, rates, (q * n + m) * d + lo + i, small)
                            store(decays, at, decay)
                            h = decay * load(states, at) + inflow * spread(BC, row + at_B + m)
                            store(states, at + n * tile, h)
                for t in range(size - 1, -1, -1):
                    p, row, at_x = find(x, BC, order, q, start + t, b, lo)
                    at_dt = ((q * images + b) * length + p) * d + lo
                    there = at_dx * x.size + at_x
                    sums[:] = 0
                    for i in range(0, w, LANES):
                        g, xs, step = load(grad, at_x + i), load(x, at_x + i), load(steps, t * tile + i)
                        inflow, through_input, through_decay = step * xs, zero, zero
                        for m in range(n):
                            at, of_rate = (t * n + m) * tile + i, (q * n + m) * d + lo + i
                            adjoint = load(carry, m * tile + i) + g * spread(BC, row + at_C + m)
                            store(sums, m * LANES, load(sums, m * LANES) + adjoint * inflow)
                            h = load(states, at + n * tile)
                            store(sums, (n + m) * LANES, load(sums, (n + m) * LANES) + g * h)
                            through_input = through_input + adjoint * spread(BC, row + at_B + m)
                            back = adjoint * load(decays, at)
                            store(carry, m * tile + i, back)
                            through_exp = back * load(states, at)
                            through_decay = through_decay + through_exp * load(A, of_rate)
                            at_dA = b * A.size + of_rate
                            store(dA, at_dA, load(dA, at_dA) + through_exp * step)
                        at_dD = (b * k + q) * d + lo + i
                        store(dD, at_dD, load(dD, at_dD) + g * xs)
                        input_grad = step * through_input + load(D, q * d + lo + i) * g
                        if j == 1 and q > begin:
                            input_grad = input_grad + load(dx, there + i)
                        store(dx, there + i, input_grad)
                        slope = load(slopes, t * tile + i)
                        store(ddt, at_dt + i, slope * (xs * through_input + through_decay))
                    for m in range(2 * n):
                        dBC[tile_number, b, p, q, m] = total(load(sums, m * LANES))
