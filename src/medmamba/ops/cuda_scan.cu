// The cross-scan for NVIDIA cards, compiled at run time behind `cuda_instructions.cuh` and `cuda_common.cuh`;
// `medmamba.ops.cuda` sets the macros and launches.
//
//   RANK              of the step's projection
//   STATES            of a channel, at most 16 (fewer are padded with zeros)
//   UNIT              bytes that divide a row of a map: 16, 8, 4 or 2
//
// A block is one warp. It owns 32 channels of one image in one direction, and a segment of the sequence (all of it when
// there are warps enough). A lane owns a tile of 4 channels (group lane / 4) by 4 states (group lane % 4), so that B and C
// are read once for four channels, dt and dt x once for four states, and sums over states or over channels are made in
// registers first and then over 4 or 8 lanes. While a warp works on one chunk, the next one is on its way to shared memory:
// without that it would mostly wait for memory.

#define LN2 0.6931471805599453f
#define FULL 0xffffffffu
#define ROW (RANK + 2 * STATES)
#define CHUNK 8      // tokens that are fetched and prepared together, and between two kept states
#define SUB 2        // of these in registers at once
#define TILE 512     // states of a warp
#define SUMS (STATES + RANK + 2)  // gradients of a channel's parameters

#if UNIT == 16
typedef uint4 Unit;
#elif UNIT == 8
typedef uint2 Unit;
#elif UNIT == 4
typedef unsigned Unit;
#else
typedef unsigned short Unit;
#endif

const int PER_UNIT = UNIT / sizeof(T), UNITS = 32 / PER_UNIT;  // elements of a unit, units of a warp's channels
const int WORDS = (ROW * sizeof(T) + (sizeof(T) == 2 ? 2 : 0) + 3) / 4;  // that hold a row of proj wherever it begins
const int STRIDE = WORDS * 4 / sizeof(T);                                // the same in elements
const int SOME_RANKS = RANK <= 8 ? RANK : 4;                             // that loops over ranks do at once

// log(1 + exp(v)) with a small relative error also where it is tiny: max(v, 0) + log1p(e), e = exp(-|v|), and log1p(e) / e
// is a minimax polynomial of degree 7 on [0, 1], relative error 3.5e-7
__device__ __forceinline__ float softplus(float v) {
    float e = exp2_(-fabsf(v) * LOG2E), p = -0.00853920914f;
    p = p * e + 0.044089634f;
    p = p * e - 0.107681714f;
    p = p * e + 0.177452415f;
    p = p * e - 0.244954631f;
    p = p * e + 0.332754791f;
    p = p * e - 0.499974042f;
    p = p * e + 0.999999821f;
    return fmaxf(v, 0.f) + e * p;
}

// derivative of softplus, 1 - exp(-dt), from its value dt; both ways are computed, because a branch costs more
__device__ __forceinline__ float sigmoid_of_step(float dt) {
    float series = dt * (1.f - dt * (0.5f - dt * (0.16666667f - dt * 0.041666667f)));
    float decay = exp2_here(-dt * LOG2E);
    return dt < 0.0625f ? series : 1.f - decay;
}

// where direction k is at time t: rows, columns, and the reverses of these two
__device__ __forceinline__ int position(int t, int k, int h, int w) {
    int u = k < 2 ? t : h * w - 1 - t;
    return k & 1 ? (u % h) * w + u / h : u;
}

// sum over the 4 lanes of a channel group; the lane keeps channel `own`, one of 4
__device__ __forceinline__ float over_states(const float* v, int sg) {
    bool odd = sg & 1, high = sg & 2;
    float a = odd ? v[2] : v[0], b = odd ? v[3] : v[1];
    a += __shfl_xor_sync(FULL, odd ? v[0] : v[2], 1);
    b += __shfl_xor_sync(FULL, odd ? v[1] : v[3], 1);
    return (high ? b : a) + __shfl_xor_sync(FULL, high ? a : b, 2);
}
__device__ __forceinline__ int own_channel(int lane) { return (lane & ~3) + 2 * (lane & 1) + ((lane >> 1) & 1); }

// sum of 8 values over the 8 lanes with one state group; the lane keeps value `own_value`
__device__ __forceinline__ float over_channels(const float* v, int cg) {
    bool one = cg & 1, two = cg & 2, four = cg & 4;
    float a[4], b[2];
#pragma unroll
    for (int i = 0; i < 4; i++) a[i] = (one ? v[4 + i] : v[i]) + __shfl_xor_sync(FULL, one ? v[i] : v[4 + i], 4);
#pragma unroll
    for (int i = 0; i < 2; i++) b[i] = (two ? a[2 + i] : a[i]) + __shfl_xor_sync(FULL, two ? a[i] : a[2 + i], 8);
    return (four ? b[1] : b[0]) + __shfl_xor_sync(FULL, four ? b[0] : b[1], 16);
}
__device__ __forceinline__ int own_value(int cg) { return 4 * (cg & 1) + 2 * ((cg >> 1) & 1) + ((cg >> 2) & 1); }

struct Map {
    const T* x; const T* proj; const float* weight; const float* bias; const float* A; const float* D;
    int h, w, d, segment;  // tokens of a segment, a multiple of CHUNK
};

// what a warp keeps in shared memory of a chunk
struct __align__(16) Chunk {
    T x[2][CHUNK * 32];  // y or dx replaces it
    unsigned proj[2][CHUNK * WORDS];
    __align__(16) float bc[CHUNK * 32];  // B and C, padded to 16 states each
    float dt[CHUNK * 32], u[CHUNK * 32];  // u is dt x
    float low[RANK * CHUNK];
    float weight[RANK * 32];
};

// which part of the work is this warp's
struct Part {
    int lane, sg, cg, own, k, tile, c0, segment, first, last, length, off;
    long image, images;

    __device__ __forceinline__ Part(const Map& m) {
        lane = threadIdx.x, sg = lane & 3, cg = lane >> 2, own = own_channel(lane), k = blockIdx.y;
        tile = blockIdx.x, c0 = tile * 32, length = m.h * m.w;
        int segments = (length + m.segment - 1) / m.segment, images_ = gridDim.z / segments;
        segment = blockIdx.z % segments, first = segment * m.segment, last = min(length, first + m.segment);
        image = (long)(blockIdx.z / segments) * length, images = (long)images_ * length;
        off = sizeof(T) == 2 ? k & ROW & 1 : 0;  // an odd row begins in the middle of a word in every second direction
    }
    __device__ __forceinline__ int tiles() const { return gridDim.x; }
    // of this warp among all, in order of image, segment, direction, tile
    __device__ __forceinline__ long number() const { return ((long)blockIdx.z * 4 + k) * tiles() + tile; }
};

// the warp's channels of a chunk of a map; lane t of every CHUNK knows the place of step t
__device__ __forceinline__ void fetch_rows(const Map& m, const Part& p, T* to, const T* from, int place, int steps) {
    int unit = p.lane % UNITS, first = p.lane / UNITS, offset = place * m.d;
    bool inside = p.c0 + unit * PER_UNIT < m.d;
    from += inside ? p.image * m.d + p.c0 + unit * PER_UNIT : 0;
    to += first * 32 + unit * PER_UNIT;
#pragma unroll
    for (int i = 0; i < CHUNK; i += 32 / UNITS) {
        unsigned at = __shfl_sync(FULL, offset, i + first);
        fetch<UNIT>(to + i * 32, from + (inside ? at : 0), inside && i + first < steps);
    }
}

__device__ __forceinline__ void write_rows(const Map& m, const Part& p, T* to, const T* from, int place, int steps) {
    int unit = p.lane % UNITS, first = p.lane / UNITS, offset = place * m.d;
    bool inside = p.c0 + unit * PER_UNIT < m.d;
    to += (p.k * p.images + p.image) * m.d + p.c0 + unit * PER_UNIT;
    from += first * 32 + unit * PER_UNIT;
#pragma unroll
    for (int i = 0; i < CHUNK; i += 32 / UNITS) {
        unsigned at = __shfl_sync(FULL, offset, i + first);
        if (inside && i + first < steps) *(Unit*)(to + at) = *(const Unit*)(from + i * 32);
    }
}

// past the end, the first place's proj stands in: x and the gradient are zero there, which makes it harmless
__device__ __forceinline__ void fetch_proj(const Map& m, const Part& p, unsigned* to, int place) {
    int words = ((ROW + p.off) * sizeof(T) + 3) / 4;
    unsigned offset = (unsigned)place * (unsigned)(4 * ROW * sizeof(T) / 4);
    const unsigned* rows = (const unsigned*)(m.proj + (p.image * 4 + p.k) * ROW - p.off) + p.lane;
#pragma unroll
    for (int t = 0; t < CHUNK; t++) {
        const unsigned* row = rows + __shfl_sync(FULL, offset, t);
#pragma unroll
        for (int i = 0; i < WORDS; i += 32)
            if (i + p.lane < words) fetch<4>(to + t * WORDS + i + p.lane, row + i, true);
    }
}

#define LOAD4(name, pointer)                              \
    const float4 name##_four = *(const float4*)(pointer); \
    const float name[4] = {name##_four.x, name##_four.y, name##_four.z, name##_four.w}

// B, C and the low-rank step of a chunk as floats, from rows of proj: (CHUNK, 32) and (RANK, CHUNK)
__device__ __forceinline__ void convert(const Part& p, const unsigned* proj, float* bc, float* low) {
    const T* rows = (const T*)proj + p.off;
    int column = p.lane < 16 ? RANK + p.lane : RANK + STATES + p.lane - 16;
    bool is_state = (p.lane & 15) < STATES;
#pragma unroll
    for (int t = 0; t < CHUNK; t++) bc[t * 32 + p.lane] = is_state ? value(rows[t * STRIDE + column]) : 0.f;
    const int together = 32 / CHUNK;  // ranks
#pragma unroll 8
    for (int r = 0; r < RANK; r += together) {
        int mine = r + p.lane / CHUNK;
        if (RANK % together == 0 || mine < RANK) low[r * CHUNK + p.lane] = value(rows[p.lane % CHUNK * STRIDE + mine]);
    }
    __syncwarp();
}

// the next four steps of the channel c0 + lane, from the first of them in `low`
__device__ __forceinline__ void four_steps(const float* weight, const float* low, float bias, int lane, float* dt) {
#pragma unroll
    for (int i = 0; i < 4; i++) dt[i] = bias;
#pragma unroll SOME_RANKS
    for (int r = 0; r < RANK; r++) {
        float w = weight[r * 32 + lane];
        LOAD4(four, low + r * CHUNK);
#pragma unroll
        for (int i = 0; i < 4; i++) dt[i] += w * four[i];
    }
#pragma unroll
    for (int i = 0; i < 4; i++) dt[i] = softplus(dt[i]);
}

// all that a chunk needs before its first step
__device__ __forceinline__ void prepare(const Part& p, Chunk& s, int buffer, float bias) {
    convert(p, s.proj[buffer], s.bc, s.low);
#pragma unroll
    for (int t4 = 0; t4 < CHUNK; t4 += 4) {
        float dt[4];
        four_steps(s.weight, s.low + t4, bias, p.lane, dt);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int cell = (t4 + i) * 32 + p.lane;
            s.dt[cell] = dt[i];
            s.u[cell] = dt[i] * value(s.x[buffer][cell]);
        }
    }
    __syncwarp();
}

// the weights of the lane's channel go to shared memory; its bias
__device__ __forceinline__ float load_step(const Map& m, const Part& p, float* weight) {
    int c = p.c0 + p.lane;
    for (int r = 0; r < RANK; r++) weight[r * 32 + p.lane] = c < m.d ? m.weight[(p.k * m.d + c) * RANK + r] : 0.f;
    return c < m.d ? m.bias[p.k * m.d + c] : 0.f;
}

__device__ __forceinline__ void load_rates(const Map& m, const Part& p, float* rate) {
#pragma unroll
    for (int e = 0; e < 16; e++) {
        int c = p.c0 + p.cg * 4 + e / 4, n = p.sg * 4 + e % 4;
        rate[e] = c < m.d && n < STATES ? m.A[(p.k * m.d + c) * STATES + n] * LOG2E : 0.f;
    }
}

// a lane's tile, four states of a channel together
__device__ __forceinline__ void load_tile(float* tile, const float* from, int lane) {
#pragma unroll
    for (int j = 0; j < 4; j++) *(float4*)(tile + 4 * j) = ((const float4*)from)[j * 32 + lane];
}
__device__ __forceinline__ void store_tile(float* to, const float* tile, int lane) {
#pragma unroll
    for (int j = 0; j < 4; j++) ((float4*)to)[j * 32 + lane] = *(const float4*)(tile + 4 * j);
}

// one step of the recurrence for a lane's tile; KEEP also gives the state before it and the decay
template <bool KEEP>
__device__ __forceinline__ void advance(float* state, const float* rate, const float* B4, const float* dt4, const float* u4, float* before, float* decay) {
    LOAD4(B, B4);
    LOAD4(dt, dt4);
    LOAD4(u, u4);
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int e = j * 4 + i;
            float a = KEEP ? exp2_here(dt[j] * rate[e]) : exp2_(dt[j] * rate[e]);
            if (KEEP) {
                before[e] = state[e];
                decay[e] = a;
            }
            state[e] = a * state[e] + u[j] * B[i];
        }
}

extern __shared__ float4 shared_memory[];

enum Mode { Y, ENDS, KEPT, KEPT_AND_ENDS };

// Y: y of every direction (4, b, l, d). KEPT: the state before every CHUNK steps, a tile each, and with ENDS the sums of the
// steps from the segment's beginning to there, 32 each. ENDS: the state after a segment, and the sums of all its steps.
struct Results { T* y; float *ends, *sums, *kept, *walked; };

// of three chunks: the one that is scanned, the next one, which is prepared meanwhile, and the one on its way
struct __align__(16) Pipeline {
    T x[3][CHUNK * 32];  // y replaces it
    __align__(16) unsigned proj[CHUNK * WORDS];
    __align__(16) float bc[2][CHUNK * 32];
    float dt[2][CHUNK * 32], u[2][CHUNK * 32];
    float low[RANK * CHUNK];
    float weight[RANK * 32];
};

// begins to fetch a chunk, if there is one of this number; the place of its step lane % CHUNK
__device__ __forceinline__ int fetch_chunk(const Map& m, const Part& p, T* x, unsigned* proj, int chunk, int chunks) {
    int first = p.first + chunk * CHUNK, t = first + p.lane % CHUNK, place = t < p.last ? position(t, p.k, m.h, m.w) : 0;
    if (chunk < chunks) {
        fetch_rows(m, p, x, m.x, place, p.last - first);
        fetch_proj(m, p, proj, place);
    }
    end_of_fetch();
    return place;
}

// Scan a segment from the state `start`, or from zero where that is null.
// The steps' sizes of the next chunk are computed among the steps of this one, whose latencies they fill; before the first
// chunk and after the last one, the other half works on what is left in memory, for nothing.
template <Mode MODE>
__device__ __forceinline__ void scan(const Map& m, const float* start, const Results& to) {
    const bool ends = MODE == ENDS || MODE == KEPT_AND_ENDS, keeps = MODE == KEPT || MODE == KEPT_AND_ENDS;
    Part p(m);
    Pipeline& s = *(Pipeline*)shared_memory;
    float rate[16], state[16] = {}, bias = load_step(m, p, s.weight), sum = 0.f;
    load_rates(m, p, rate);
    float skip = MODE == Y && p.c0 + p.own < m.d ? m.D[p.k * m.d + p.c0 + p.own] : 0.f;
    int chunks = (p.last - p.first + CHUNK - 1) / CHUNK;
    long number = ((p.image / p.length * 4 + p.k) * p.tiles() + p.tile) * ((p.length + CHUNK - 1) / CHUNK);
    T *x = s.x[2], *next_x = s.x[0], *far_x = s.x[1];
    int place = 0, next_place = fetch_chunk(m, p, next_x, s.proj, 0, chunks);
    for (int chunk = -1; chunk < chunks; chunk++) {
        wait_for_fetch<0>();
        int buffer = chunk & 1, first = p.first + chunk * CHUNK, steps = chunk < 0 ? CHUNK : min(CHUNK, p.last - first);
        const float *bc = s.bc[buffer], *dt = s.dt[buffer], *u = s.u[buffer];
        convert(p, s.proj, s.bc[buffer ^ 1], s.low);
        int far_place = fetch_chunk(m, p, far_x, s.proj, chunk + 2, chunks);
#pragma unroll 1
        for (int t4 = 0; t4 < steps; t4 += 4) {
            if (keeps && t4 == 0 && chunk >= 0) {
                store_tile(to.kept + (number + first / CHUNK) * TILE, state, p.lane);
                if (ends) to.walked[(number + first / CHUNK) * 32 + p.lane] = sum;
            }
            float next_dt[4], next_u[4], out[4];  // stored at the end: stores would keep the loads of later steps behind them
            four_steps(s.weight, s.low + t4, bias, p.lane, next_dt);
#pragma unroll
            for (int i = 0; i < 4; i++) next_u[i] = next_dt[i] * value(next_x[(t4 + i) * 32 + p.lane]);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int t = t4 + i;
                advance<false>(state, rate, bc + t * 32 + p.sg * 4, dt + t * 32 + p.cg * 4, u + t * 32 + p.cg * 4, nullptr, nullptr);
                if (ends) sum += dt[t * 32 + p.lane];
                if (MODE == Y) {
                    LOAD4(C, bc + t * 32 + 16 + p.sg * 4);
                    float part[4];
#pragma unroll
                    for (int j = 0; j < 4; j++)
                        part[j] = C[0] * state[j * 4] + C[1] * state[j * 4 + 1] + C[2] * state[j * 4 + 2] + C[3] * state[j * 4 + 3];
                    out[i] = over_states(part, p.sg) + skip * value(x[t * 32 + p.own]);
                }
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int t = t4 + i;
                s.dt[buffer ^ 1][t * 32 + p.lane] = next_dt[i];
                s.u[buffer ^ 1][t * 32 + p.lane] = next_u[i];
                if (MODE == Y) store(x + t * 32 + p.own, out[i]);
            }
        }
        if (chunk < 0) {  // nothing was scanned yet, only the first chunk prepared
#pragma unroll
            for (int e = 0; e < 16; e++) state[e] = 0.f;
            if (start) load_tile(state, start + p.number() * TILE, p.lane);
            sum = 0.f;
        } else if (MODE == Y) {
            __syncwarp();
            write_rows(m, p, to.y, x, place, steps);
            __syncwarp();
        }
        T* free_x = x;
        x = next_x, next_x = far_x, far_x = free_x;
        place = next_place, next_place = far_place;
    }
    if (ends) {
        store_tile(to.ends + p.number() * TILE, state, p.lane);
        to.sums[p.number() * 32 + p.lane] = sum;
    }
}

#define MAP const T *x, const T *proj, const float *weight, const float *bias, const float *A, const float *D
#define SIZES int h, int w, int d, int segment
#define THE_MAP {x, proj, weight, bias, A, D, h, w, d, segment}

extern "C" __global__ void scan_forward(MAP, const float* start, T* y, SIZES) { scan<Y>(THE_MAP, start, {y}); }
extern "C" __global__ void scan_ends(MAP, float* ends, float* sums, SIZES) { scan<ENDS>(THE_MAP, nullptr, {nullptr, ends, sums}); }
extern "C" __global__ void scan_states(MAP, float* kept, SIZES) { scan<KEPT>(THE_MAP, nullptr, {nullptr, nullptr, nullptr, kept}); }
extern "C" __global__ void scan_states_and_ends(MAP, float* ends, float* sums, float* kept, float* walked, SIZES) {
    scan<KEPT_AND_ENDS>(THE_MAP, nullptr, {nullptr, ends, sums, kept, walked});
}

// the gradient of the state before a segment, if that of the state after it were zero
extern "C" __global__ void scan_adjoint_ends(MAP, const T* grad, float* ends, SIZES) {
    Map m = THE_MAP;
    Part p(m);
    Chunk& s = *(Chunk*)shared_memory;
    float rate[16], g[16] = {}, step_bias = load_step(m, p, s.weight);
    load_rates(m, p, rate);
    int chunks = (p.last - p.first + CHUNK - 1) / CHUNK;
    for (int chunk = chunks; chunk >= 0; chunk--) {
        __syncwarp();
        int next = p.first + (chunk - 1) * CHUNK, buffer = chunk & 1;
        if (chunk > 0) {
            int t = next + p.lane % CHUNK, place = t < p.last ? position(t, p.k, m.h, m.w) : 0;
            fetch_rows(m, p, s.x[buffer ^ 1], grad, place, p.last - next);
            fetch_proj(m, p, s.proj[buffer ^ 1], place);
        }
        end_of_fetch();
        if (chunk == chunks) continue;
        wait_for_fetch<1>();
        prepare(p, s, buffer, step_bias);
#pragma unroll 4
        for (int t = CHUNK - 1; t >= 0; t--) {
            LOAD4(C, s.bc + t * 32 + 16 + p.sg * 4);
            LOAD4(dt, s.dt + t * 32 + p.cg * 4);
            float dy[4];
            load_pack<4>(dy, s.x[buffer] + t * 32 + p.cg * 4);
#pragma unroll
            for (int e = 0; e < 16; e++) g[e] = (g[e] + C[e % 4] * dy[e / 4]) * exp2_(dt[e / 4] * rate[e]);
        }
    }
    store_tile(ends + p.number() * TILE, g, p.lane);
}

// From what every segment gives alone to what it begins with, in place: the decay over a segment is exp(A sum of steps).
// A thread takes one state through all segments, the last one first if `reverse`. Block: TILE threads for a warp's tile.
extern "C" __global__ void scan_combine(const float* A, const float* sums, float* ends, int segments, int d, int reverse) {
    int tile = blockIdx.x, k = blockIdx.y, e = threadIdx.x, lane = e / 4 % 32, c = tile * 32 + lane / 4 * 4 + e / 128;
    int n = lane % 4 * 4 + e % 4;
    float rate = c < d && n < STATES ? A[(k * d + c) * STATES + n] * LOG2E : 0.f, carried = 0.f;
#pragma unroll 8
    for (int i = 0; i < segments; i++) {
        int segment = reverse ? segments - 1 - i : i;
        long number = (((long)blockIdx.z * segments + segment) * 4 + k) * gridDim.x + tile;
        float alone = ends[number * TILE + e], decay = exp2_(rate * sums[number * 32 + c % 32]);
        ends[number * TILE + e] = carried;
        carried = alone + decay * carried;
    }
}

struct __align__(16) BackwardChunk : Chunk {
    T grad[2][CHUNK * 32];
    __align__(16) float border[CHUNK / SUB][TILE];  // the state before its first, second ... SUB steps
    float walked[32];
    float dweight[RANK * 32];
};

// dx (4, b, l, d); dproj (tiles, b, l, 4, ROW); sums over a segment (b segments, 4, d, SUMS), of a channel those for A, the
// step's weights, its bias and D. The lane's own channel is `own` of its warp in the scan, `lane` in `prepare`.
extern "C" __global__ void __launch_bounds__(32, 12)
scan_backward(MAP, const T* grad, const float* kept, const float* walked, const float* start, const float* adjoint, T* dx, T* dproj, float* sums, SIZES) {
    Map m = THE_MAP;
    Part p(m);
    BackwardChunk& s = *(BackwardChunk*)shared_memory;
    int number = own_value(p.cg), state_ = p.sg * 4 + number % 4;  // of the sums over channels that this lane gets
    int target = state_ >= STATES ? -1 : number < 4 ? RANK + state_ : RANK + STATES + state_;
    bool there = p.c0 + p.own < d;
    float skip = there ? D[p.k * d + p.c0 + p.own] : 0.f, step_bias = load_step(m, p, s.weight);
    float rate[16], g[16] = {}, drate[16] = {}, dskip = 0.f, dshift = 0.f;
    load_rates(m, p, rate);
    if (adjoint) load_tile(g, adjoint + p.number() * TILE, p.lane);
    for (int r = 0; r < RANK; r++) s.dweight[r * 32 + p.lane] = 0.f;
    long first_kept = ((p.image / p.length * 4 + p.k) * p.tiles() + p.tile) * ((p.length + CHUNK - 1) / CHUNK);
    kept += first_kept * TILE, walked += start ? first_kept * 32 : 0;
    T* out = dproj + (p.tile * p.images + p.image) * 4 * ROW + p.k * ROW;
    int chunks = (p.last - p.first + CHUNK - 1) / CHUNK, place = 0;
    for (int chunk = chunks; chunk >= 0; chunk--) {
        __syncwarp();
        int next = p.first + (chunk - 1) * CHUNK, buffer = chunk & 1, here = place;
        if (chunk > 0) {
            int t = next + p.lane % CHUNK;
            place = t < p.last ? position(t, p.k, h, w) : 0;
            fetch_rows(m, p, s.x[buffer ^ 1], x, place, p.last - next);
            fetch_rows(m, p, s.grad[buffer ^ 1], grad, place, p.last - next);
            fetch_proj(m, p, s.proj[buffer ^ 1], place);
        }
        end_of_fetch();
        if (chunk < chunks) {
            wait_for_fetch<1>();
            int steps = min(CHUNK, p.last - next - CHUNK);
            unsigned row = (unsigned)here * (4 * ROW);
            prepare(p, s, buffer, step_bias);
            float state[16];
            load_tile(state, s.border[0], p.lane);
            if (start) {  // it was kept by a scan of the segment from zero; what came before it adds the rest
                LOAD4(steps_before, s.walked + p.cg * 4);
                float first[16];
                load_tile(first, start + p.number() * TILE, p.lane);
#pragma unroll
                for (int e = 0; e < 16; e++) state[e] += first[e] * exp2_(steps_before[e / 4] * rate[e]);
                store_tile(s.border[0], state, p.lane);
            }
#pragma unroll 1
            for (int sub = 1; sub < CHUNK / SUB; sub++) {
#pragma unroll
                for (int i = 0; i < SUB; i++) {
                    int t = (sub - 1) * SUB + i;
                    advance<false>(state, rate, s.bc + t * 32 + p.sg * 4, s.dt + t * 32 + p.cg * 4, s.u + t * 32 + p.cg * 4, nullptr, nullptr);
                }
                store_tile(s.border[sub], state, p.lane);
            }
#pragma unroll 1
            for (int sub = CHUNK / SUB - 1; sub >= 0; sub--) {
                float before[SUB][16], decay[SUB][16], raw[SUB], own_dx[SUB];
                load_tile(state, s.border[sub], p.lane);
#pragma unroll
                for (int i = 0; i < SUB; i++) {
                    int t = sub * SUB + i;
                    advance<true>(state, rate, s.bc + t * 32 + p.sg * 4, s.dt + t * 32 + p.cg * 4, s.u + t * 32 + p.cg * 4, before[i], decay[i]);
                }
#pragma unroll
                for (int i = SUB - 1; i >= 0; i--) {
                    int t = sub * SUB + i;
                    LOAD4(B, s.bc + t * 32 + p.sg * 4);
                    LOAD4(C, s.bc + t * 32 + 16 + p.sg * 4);
                    LOAD4(dt, s.dt + t * 32 + p.cg * 4);
                    LOAD4(u, s.u + t * 32 + p.cg * 4);
                    float dy[4];
                    load_pack<4>(dy, s.grad[buffer] + t * 32 + p.cg * 4);
                    if (i == 0) load_tile(before[0], s.border[sub], p.lane);  // again, to spare the registers
                    float dbc[8] = {}, du[4] = {}, dstep[4] = {};
#pragma unroll
                    for (int e = 0; e < 16; e++) {
                        int j = e / 4, n = e % 4;
                        float dh = g[e] + C[n] * dy[j];
                        dbc[n] += dh * u[j];
                        dbc[4 + n] += dy[j] * state[e];
                        du[j] += dh * B[n];
                        g[e] = dh * decay[i][e];
                        float turn = g[e] * before[i][e];
                        dstep[j] += turn * rate[e];
                        drate[e] += turn * dt[j];
                        state[e] = before[i][e];
                    }
                    float own_du = over_states(du, p.sg), own_dstep = over_states(dstep, p.sg) * LN2;
                    float own_dbc = over_channels(dbc, p.cg);
                    unsigned at = __shfl_sync(FULL, row, t);
                    if (t < steps && target >= 0) store(out + at + target, own_dbc);
                    float own_x = value(s.x[buffer][t * 32 + p.own]), own_dt = s.dt[t * 32 + p.own];
                    float own_dy = value(s.grad[buffer][t * 32 + p.own]);
                    raw[i] = (own_x * own_du + own_dstep) * sigmoid_of_step(own_dt);
                    own_dx[i] = skip * own_dy + own_dt * own_du;
                    dskip += own_dy * own_x;
                    dshift += raw[i];
                }
                __syncwarp();
#pragma unroll
                for (int i = 0; i < SUB; i++) {
                    int t = sub * SUB + i;
                    s.dt[t * 32 + p.own] = raw[i];  // what was there has served
                    store(s.x[buffer] + t * 32 + p.own, own_dx[i]);
                }
            }
            __syncwarp();
            write_rows(m, p, dx, s.x[buffer], here, steps);
            // the low-rank step's gradient: four lanes share a step's channels; each starts at another channel, so that no
            // two read one bank of shared memory
            float raws[8];
            int t = p.lane % 8, quarter = p.lane / 8;
#pragma unroll
            for (int i = 0; i < 8; i++) raws[i] = s.dt[t * 32 + quarter * 8 + (i + t) % 8];
#pragma unroll SOME_RANKS
            for (int r = 0; r < RANK; r++) {
                float sum = 0.f;
#pragma unroll
                for (int i = 0; i < 8; i++) sum += raws[i] * s.weight[r * 32 + quarter * 8 + (i + t) % 8];
                sum += __shfl_xor_sync(FULL, sum, 8);
                sum += __shfl_xor_sync(FULL, sum, 16);
                if (quarter == 0 && t < steps) store(out + row + r, sum);
            }
#pragma unroll
            for (int i = 0; i < 8; i++) raws[i] = s.dt[i * 32 + p.lane];
#pragma unroll SOME_RANKS
            for (int r = 0; r < RANK; r++) {
                float sum = s.dweight[r * 32 + p.lane];
#pragma unroll
                for (int i = 0; i < 8; i++) sum += raws[i] * s.low[r * CHUNK + i];
                s.dweight[r * 32 + p.lane] = sum;
            }
        }
        if (chunk > 0) {  // the state before the next chunk, now that the place where it goes is free
            if (start) fetch<4>(s.walked + p.lane, walked + (long)(next / CHUNK) * 32 + p.lane, true);
#pragma unroll
            for (int j = 0; j < 4; j++)
                fetch<16>(s.border[0] + (j * 32 + p.lane) * 4, kept + (long)(next / CHUNK) * TILE + (j * 32 + p.lane) * 4, true);
        }
        end_of_fetch();
    }
    sums += ((long)blockIdx.z * 4 + p.k) * d * SUMS;
#pragma unroll
    for (int e = 0; e < 16; e++) {
        int c = p.c0 + p.cg * 4 + e / 4, n = p.sg * 4 + e % 4;
        if (c < d && n < STATES) sums[c * SUMS + n] = drate[e];
    }
    if (p.c0 + p.lane < d)
        for (int r = 0; r < RANK; r++) sums[(p.c0 + p.lane) * SUMS + STATES + r] = s.dweight[r * 32 + p.lane];
    if (there) {
        sums[(p.c0 + p.own) * SUMS + STATES + RANK] = dshift;
        sums[(p.c0 + p.own) * SUMS + STATES + RANK + 1] = dskip;
    }
}

// bytes of shared memory that a block needs, for the kernels in the order of `medmamba.ops.cuda_module.SCAN`
extern "C" __device__ const int shared_bytes[7] = {sizeof(Pipeline), sizeof(Pipeline), sizeof(Pipeline), sizeof(Pipeline), sizeof(Chunk), 0, sizeof(BackwardChunk)};
