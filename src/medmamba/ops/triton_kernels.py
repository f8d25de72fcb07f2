# mypy: disable-error-code="no-untyped-def"
"""The kernels of the Triton scan. Needs triton: imported on first use, by `medmamba.ops.triton_scan` alone.

A program scans one tile of channels of one image in one direction, a token at a time, with the state (n, d) in
registers: d are the channels of the tile, side by side in memory as threads are, so that each sum over states stays
inside a thread or few. Where a comment says (b, 4, ...), an image has one part for each direction.

Sizes of the padded tile (powers of two) are capitals with BLOCK or TILE; what lies beyond n, r or d is read as zero,
which leaves the state there at zero, and never written. An image is passed over in 64 bits, what is in it in 32.
"""

import triton
import triton.language as tl

# sizes that change from call to call; without this Triton compiles anew for a 1 and for a multiple of 16
SIZES = ["height", "width", "channels", "chunk"]


@triton.jit(do_not_specialize=SIZES)
def forward(
    x, proj, dt_weight, dt_bias, A, D, y, height, width, channels,
    N: tl.constexpr, R: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_R: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """y of one direction, (b, 4, h, w, d)."""
    image, direction, c, n, r = place(BLOCK_N, BLOCK_R, TILE)
    length = height * width
    x, proj = one_image(x, proj, image, direction, length, channels, N, R)
    y += (image * 4 + direction) * length * channels
    weight, bias, rates, skip = parameters(dt_weight, dt_bias, A, D, direction, c, n, r, channels, N, R)
    h = tl.zeros([BLOCK_N, TILE], tl.float32)
    for time in range(length):
        here = position(time, direction, height, width)
        u, _low, raw, B, C = token(x, proj, weight, bias, here, c, n, r, channels, N, R)
        step = softplus(raw)
        h = tl.exp(step * rates) * h + B * (step * u)
        out = tl.sum(C * h, axis=0, keep_dims=True) + skip * u
        tl.store(y + here * channels + c, out, mask=c < channels)


@triton.jit(do_not_specialize=SIZES)
def backward(
    grad, x, proj, dt_weight, dt_bias, A, D, starts, states, dx, dproj, dweight, dbias, dA, dD,
    height, width, channels, chunk,
    N: tl.constexpr, R: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_R: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Gradients by the adjoint recurrence g_t = C_t y'_t + a_{t+1} g_{t+1} with the decays a = exp(step A).

    Of x for each direction, (b, 4, h, w, d); of proj for each tile of channels, (tiles, b, h, w, 4, r + 2n); of the
    parameters for each image, (b, 4, r, d), (b, 4, d), (b, 4, n, d) and (b, 4, d). To work with: the state at the start
    of every chunk, `starts` (b, 4, chunks, n, d), and at the start of every token of one chunk, `states`
    (b, 4, chunk, n, d).
    """
    image, direction, c, n, r = place(BLOCK_N, BLOCK_R, TILE)
    length = height * width
    chunks = tl.cdiv(length, chunk)
    sequence = image * 4 + direction
    x, proj = one_image(x, proj, image, direction, length, channels, N, R)
    grad += image * length * channels
    dx += sequence * length * channels
    dproj += ((tl.program_id(2) * tl.num_programs(0) + image) * length * 4 + direction) * (R + 2 * N)
    starts += sequence * chunks * N * channels + n * channels + c
    states += sequence * chunk * N * channels + n * channels + c
    state = N * channels  # numbers between two states
    inside = (n < N) & (c < channels)
    weight, bias, rates, skip = parameters(dt_weight, dt_bias, A, D, direction, c, n, r, channels, N, R)

    h = tl.zeros([BLOCK_N, TILE], tl.float32)
    for time in range(length):
        if time % chunk == 0:
            tl.store(starts + time // chunk * state, h, mask=inside)
        here = position(time, direction, height, width)
        u, _low, raw, B, _C = token(x, proj, weight, bias, here, c, n, r, channels, N, R)
        step = softplus(raw)
        h = tl.exp(step * rates) * h + B * (step * u)

    carry = tl.zeros([BLOCK_N, TILE], tl.float32)  # a_{t+1} g_{t+1}
    sum_weight, sum_bias = tl.zeros([BLOCK_R, TILE], tl.float32), tl.zeros([1, TILE], tl.float32)
    sum_A, sum_D = tl.zeros([BLOCK_N, TILE], tl.float32), tl.zeros([1, TILE], tl.float32)
    for k in range(chunks - 1, -1, -1):
        first = k * chunk
        tokens = tl.minimum(chunk, length - first)
        tl.debug_barrier()  # what one thread wrote, another may read: the starts, and the states of the chunk before
        h = tl.load(starts + k * state, mask=inside, other=0.0)
        for i in range(tokens):
            tl.store(states + i * state, h, mask=inside)
            here = position(first + i, direction, height, width)
            u, _low, raw, B, _C = token(x, proj, weight, bias, here, c, n, r, channels, N, R)
            step = softplus(raw)
            h = tl.exp(step * rates) * h + B * (step * u)
        tl.debug_barrier()
        for i in range(tokens - 1, -1, -1):
            here = position(first + i, direction, height, width)
            u, low, raw, B, C = token(x, proj, weight, bias, here, c, n, r, channels, N, R)
            step = softplus(raw)
            before = tl.load(states + i * state, mask=inside, other=0.0)
            g = tl.load(grad + here * channels + c, mask=c < channels, other=0.0).to(tl.float32)

            adjoint = C * g + carry
            carry = tl.exp(step * rates) * adjoint
            through_decay = carry * before
            through_input = tl.sum(adjoint * B, axis=0, keep_dims=True)
            through_step = tl.sum(through_decay * rates, axis=0, keep_dims=True) + u * through_input
            draw = through_step * tl.sigmoid(raw)

            tl.store(dx + here * channels + c, step * through_input + skip * g, mask=c < channels)
            said = dproj + here * 4 * (R + 2 * N)
            tl.store(said + r, tl.sum(weight * draw, axis=1, keep_dims=True), mask=r < R)
            tl.store(said + R + n, tl.sum(adjoint * (step * u), axis=1, keep_dims=True), mask=n < N)
            tl.store(said + R + N + n, tl.sum(h * g, axis=1, keep_dims=True), mask=n < N)
            sum_weight += low * draw
            sum_bias += draw
            sum_A += through_decay * step
            sum_D += g * u
            h = before

    tl.store(dweight + (sequence * R + r) * channels + c, sum_weight, mask=(r < R) & (c < channels))
    tl.store(dbias + sequence * channels + c, sum_bias, mask=c < channels)
    tl.store(dA + (sequence * N + n) * channels + c, sum_A, mask=inside)
    tl.store(dD + sequence * channels + c, sum_D, mask=c < channels)


@triton.jit
def place(BLOCK_N: tl.constexpr, BLOCK_R: tl.constexpr, TILE: tl.constexpr):
    """Image and direction of a program, and its channels (1, d), states (n, 1) and ranks (r, 1)."""
    c = tl.program_id(2) * TILE + tl.arange(0, TILE)[None, :]
    n, r = tl.arange(0, BLOCK_N)[:, None], tl.arange(0, BLOCK_R)[:, None]
    return tl.program_id(0).to(tl.int64), tl.program_id(1), c, n, r


@triton.jit
def one_image(x, proj, image, direction, length, channels, N: tl.constexpr, R: tl.constexpr):
    """Where an image begins, and what its positions say to a direction."""
    return x + image * length * channels, proj + (image * length * 4 + direction) * (R + 2 * N)


@triton.jit
def parameters(dt_weight, dt_bias, A, D, direction, c, n, r, channels, N: tl.constexpr, R: tl.constexpr):
    """dt_weight (r, d), dt_bias (1, d), A (n, d) and D (1, d) of a tile; the first and the third lie so in memory."""
    at, is_channel = direction * channels + c, c < channels
    weight = tl.load(dt_weight + (direction * R + r) * channels + c, mask=(r < R) & is_channel, other=0.0)
    bias = tl.load(dt_bias + at, mask=is_channel, other=0.0)
    rates = tl.load(A + (direction * N + n) * channels + c, mask=(n < N) & is_channel, other=0.0)
    return weight, bias, rates, tl.load(D + at, mask=is_channel, other=0.0)


@triton.jit
def position(time, direction, height, width):
    """What a direction reads at a time: rows, columns, and the reverses of these two; see `sequences.map_order`."""
    forth = tl.where(direction < 2, time, height * width - 1 - time)
    return tl.where(direction % 2 == 0, forth, forth % height * width + forth // height)


@triton.jit
def token(x, proj, weight, bias, here, c, n, r, channels, N: tl.constexpr, R: tl.constexpr):
    """Of a position: input (1, d), low-rank dt (r, 1), dt of each channel before softplus (1, d), B and C (n, 1)."""
    said = proj + here * 4 * (R + 2 * N)
    u = tl.load(x + here * channels + c, mask=c < channels, other=0.0).to(tl.float32)
    low = tl.load(said + r, mask=r < R, other=0.0).to(tl.float32)
    B = tl.load(said + R + n, mask=n < N, other=0.0).to(tl.float32)
    C = tl.load(said + R + N + n, mask=n < N, other=0.0).to(tl.float32)
    return u, low, tl.sum(weight * low, axis=0, keep_dims=True) + bias, B, C


@triton.jit
def softplus(v):
    """log(1 + e^v) with a small relative error, however negative v is, and without overflow.

    With e = e^-|v| it is max(v, 0) + log(1 + e), and log(1 + e) = 2 artanh(z) with z = e / (2 + e) <= 1/3, of which
    seven terms of the power series leave 2e-8. A GPU's own logarithm is exact near 1 only as a difference from zero.
    """
    e = tl.exp(-tl.abs(v))
    z = e / (2.0 + e)
    s = z * z
    series = 1.0 + s * (1 / 3 + s * (1 / 5 + s * (1 / 7 + s * (1 / 9 + s * (1 / 11 + s * (1 / 13))))))
    return tl.maximum(v, 0.0) + 2.0 * z * series
