"""The loops that numba compiles for the CPU scan. Needs numba: imported on first use, by `medmamba.ops.cpu` alone.

Shapes are those of `medmamba.ops.sequences`, with A as (k, n, d) so that channels lie side by side, and d a multiple of
`LANES`. A unit of work is one image, one part of the scans and one tile of channels; a call does the units from `first`
to `last`. Where all scans read the same input (j = 1), each part adds up its scans in a map of its own. `rates` is
A log2(e), since 2^x is what the machine computes.
"""

from numba.extending import register_jitable

from medmamba.ops.cpu_vectors import LANES, LOG2_E, load, softplus, splat, store, total, where_positive
from medmamba.ops.cpu_vectors import power as exp2


@register_jitable
def place(unit, parts, tiles, tile, k, d):  # type: ignore[no-untyped-def]
    """Image, part, its scans from one to another, tile, first channel and number of channels of a unit."""
    b, part, c = unit // (parts * tiles), unit // tiles % parts, unit % tiles
    return b, part, k * part // parts, k * (part + 1) // parts, c, c * tile, min(tile, d - c * tile)


def forward(  # type: ignore[no-untyped-def]
    x, dt, weight, bias, rates, BC, D, order, y, state, parts, tile, first, last
):  # fmt: skip
    """Set y, (parts, b, l, 1, d) for j = 1 and (1, b, l, j, d) otherwise, to the outputs of the scans.

    With `weight` (k, r, d) and `bias` (k, d) the steps before softplus come from the first r columns of BC, which saves
    the largest array of all; with r = 0 they are read from `dt`.
    """
    (k, n, d), (images, length, j, _), r = rates.shape, x.shape, weight.shape[1]
    tiles = (d + tile - 1) // tile
    at_B, at_C = BC.shape[3] - 2 * n, BC.shape[3] - n
    zero, log2_e = splat(x.dtype.type(0)), splat(x.dtype.type(LOG2_E))
    for unit in range(first, last):
        b, part, begin, end, _, lo, w = place(unit, parts, tiles, tile, k, d)
        for q in range(begin, end):
            state[:] = 0
            at_y = part if j == 1 else 0
            for t in range(length):
                p = order[q, t]
                row = BC[b, p, q]
                at_x = ((b * length + p) * j + q % j) * d + lo
                at_dt = ((q * images + b) * length + p) * d + lo
                there = at_y * x.size + at_x
                for i in range(0, w, LANES):
                    xs = load(x, at_x + i)
                    if r:
                        v = load(bias, q * d + lo + i)
                        for m in range(r):
                            v = v + load(weight, (q * r + m) * d + lo + i) * splat(row[m])
                    else:
                        v = load(dt, at_dt + i)
                    step, _ = softplus(v, zero, log2_e)
                    inflow, out = step * xs, load(D, q * d + lo + i) * xs
                    for m in range(n):
                        decay = exp2(step * load(rates, (q * n + m) * d + lo + i))
                        h = decay * load(state, m * tile + i) + inflow * splat(row[at_B + m])
                        store(state, m * tile + i, h)
                        out = out + h * splat(row[at_C + m])
                    if j == 1 and q > begin:
                        out = out + load(y, there + i)
                    store(y, there + i, out)


def backward(  # type: ignore[no-untyped-def]
    grad, x, dt, A, rates, BC, D, order, dx, ddt, dA, dBC, dD,
    borders, states, decays, steps, slopes, carry, sums, parts, tile, first, last,
):  # fmt: skip
    """Gradients: dx (as y in `forward`), ddt and dBC (a tile each) are set, dA and dD (an image each) added to.

    States are kept at the borders of chunks; within a chunk they are computed again, and the adjoint recurrence
    g_t = C_t y'_t + a_{t+1} g_{t+1} then runs backwards.
    """
    (k, n, d), (images, length, j, _) = rates.shape, x.shape
    chunk, chunks, tiles = len(decays), len(borders), (d + tile - 1) // tile
    at_B, at_C = BC.shape[3] - 2 * n, BC.shape[3] - n
    zero, log2_e = splat(x.dtype.type(0)), splat(x.dtype.type(LOG2_E))
    one = splat(x.dtype.type(1))
    for unit in range(first, last):
        b, part, begin, end, tile_number, lo, w = place(unit, parts, tiles, tile, k, d)
        for q in range(begin, end):
            at_dx = part if j == 1 else 0
            borders[0] = 0
            for c in range(chunks - 1):
                borders[c + 1] = borders[c]
                for t in range(c * chunk, (c + 1) * chunk):
                    p = order[q, t]
                    row = BC[b, p, q]
                    at_x = ((b * length + p) * j + q % j) * d + lo
                    at_dt = ((q * images + b) * length + p) * d + lo
                    for i in range(0, w, LANES):
                        step, _ = softplus(load(dt, at_dt + i), zero, log2_e)
                        inflow = step * load(x, at_x + i)
                        for m in range(n):
                            at = ((c + 1) * n + m) * tile + i
                            decay = exp2(step * load(rates, (q * n + m) * d + lo + i))
                            store(borders, at, decay * load(borders, at) + inflow * splat(row[at_B + m]))
            carry[:] = 0
            for c in range(chunks - 1, -1, -1):
                start = c * chunk
                size = min(chunk, length - start)
                states[0] = borders[c]
                for t in range(size):
                    p = order[q, start + t]
                    row = BC[b, p, q]
                    at_x = ((b * length + p) * j + q % j) * d + lo
                    at_dt = ((q * images + b) * length + p) * d + lo
                    for i in range(0, w, LANES):
                        v = load(dt, at_dt + i)
                        step, e = softplus(v, zero, log2_e)
                        store(steps, t * tile + i, step)
                        store(slopes, t * tile + i, where_positive(v, one, e) / (one + e))
                        inflow = step * load(x, at_x + i)
                        for m in range(n):
                            at = (t * n + m) * tile + i
                            decay = exp2(step * load(rates, (q * n + m) * d + lo + i))
                            store(decays, at, decay)
                            h = decay * load(states, at) + inflow * splat(row[at_B + m])
                            store(states, at + n * tile, h)
                for t in range(size - 1, -1, -1):
                    p = order[q, start + t]
                    row = BC[b, p, q]
                    at_x = ((b * length + p) * j + q % j) * d + lo
                    at_dt = ((q * images + b) * length + p) * d + lo
                    there = at_dx * x.size + at_x
                    sums[:] = 0
                    for i in range(0, w, LANES):
                        g, xs, step = load(grad, at_x + i), load(x, at_x + i), load(steps, t * tile + i)
                        inflow, through_input, through_decay = step * xs, zero, zero
                        for m in range(n):
                            at, of_rate = (t * n + m) * tile + i, (q * n + m) * d + lo + i
                            adjoint = load(carry, m * tile + i) + g * splat(row[at_C + m])
                            store(sums, m * LANES, load(sums, m * LANES) + adjoint * inflow)
                            h = load(states, at + n * tile)
                            store(sums, (n + m) * LANES, load(sums, (n + m) * LANES) + g * h)
                            through_input = through_input + adjoint * splat(row[at_B + m])
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
