// The cross-scan for NVIDIA cards, compiled at run time; `medmamba.ops.cuda` sets the macros and launches.
//
//   T       unsigned short for the bits of bfloat16 (BF16) or float16 (FP16), float otherwise
//   RANK    of the step's projection
//   WARPS   of a block; a block scans 32 * WARPS channels of one image in one direction
//   STATES  of a channel, at most 16 (fewer are padded with zeros)
//
// A warp owns 32 channels and 16 states of each; a lane owns a tile of 4 channels (group lane / 4) by 4 states (group
// lane % 4), so that B and C are read once for four channels, dt and dt x once for four states, and sums over states or
// over channels are made in registers first and then over 4 or 8 lanes.

#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f
#define FULL 0xffffffffu
#define CHANNELS (32 * WARPS)
#define ROW (RANK + 2 * STATES)

#if defined(BF16)
typedef unsigned short T;
__device__ __forceinline__ float load(const T* p) { return __uint_as_float((unsigned)*p << 16); }
__device__ __forceinline__ void store(T* p, float v) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(*p) : "f"(v)); }
#elif defined(FP16)
typedef unsigned short T;
__device__ __forceinline__ float load(const T* p) { float v; asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(*p)); return v; }
__device__ __forceinline__ void store(T* p, float v) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(*p) : "f"(v)); }
#else
typedef float T;
__device__ __forceinline__ float load(const T* p) { return *p; }
__device__ __forceinline__ void store(T* p, float v) { *p = v; }
#endif

__device__ __forceinline__ float exp2_(float v) { float r; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v)); return r; }
__device__ __forceinline__ float log2_(float v) { float r; asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v)); return r; }

// log(1 + exp(v)) with a small relative error also where it is tiny
__device__ __forceinline__ float softplus(float v) {
    float e = exp2_(-fabsf(v) * LOG2E);
    float series = e * (1.f - e * (0.5f - e * (0.33333333f - e * (0.25f - e * 0.2f))));
    return fmaxf(v, 0.f) + (e < 0.0625f ? series : LN2 * log2_(1.f + e));
}

// derivative of softplus, 1 - exp(-dt), from its value dt
__device__ __forceinline__ float sigmoid_of_step(float dt) {
    float series = dt * (1.f - dt * (0.5f - dt * (0.16666667f - dt * 0.041666667f)));
    return dt < 0.0625f ? series : 1.f - exp2_(-dt * LOG2E);
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

extern __shared__ float4 shared_memory[];

struct Map {
    const T* x; const T* proj; const float* weight; const float* bias; const float* A; const float* D;
    int h, w, d;
};

// B and C of a chunk, padded to 16 each, and the low-rank step; zeros past the end
__device__ __forceinline__ void stage_proj(const Map& m, float* bc, float* low, const int* places, int steps, int chunk, int k, long image) {
#pragma unroll 4
    for (int i = threadIdx.x; i < chunk * (RANK + 32); i += 32 * WARPS) {
        int t = i / (RANK + 32), column = i % (RANK + 32);
        bool is_low = column < RANK;
        int c = column - RANK;
        int source = is_low ? column : (c < 16 ? RANK + c : RANK + STATES + c - 16);
        bool there = t < steps && (is_low || (c & 15) < STATES);
        float v = 0.f;
        if (there) v = load(m.proj + ((image + places[t]) * 4 + k) * ROW + source);
        if (is_low) low[t * RANK + column] = v;
        else bc[t * 32 + c] = v;
    }
}

// one chunk's steps of a lane's own channel; a step of zero leaves the state as it is
template <int CHUNK>
__device__ __forceinline__ void stage_steps(const Map& m, const float* low, float* sx, float* sdt, float* su, const int* places, int steps, int k, long image, int c) {
    bool there = c < m.d;
    float weight[RANK], bias = there ? m.bias[k * m.d + c] : 0.f;
#pragma unroll
    for (int r = 0; r < RANK; r++) weight[r] = there ? m.weight[(k * m.d + c) * RANK + r] : 0.f;
    int lane = threadIdx.x & 31;
    const T* source = m.x + image * m.d + c;
    float x[CHUNK];
#pragma unroll
    for (int t = 0; t < CHUNK; t++) x[t] = t < steps && there ? load(source + (long)places[t] * m.d) : 0.f;
#pragma unroll
    for (int t = 0; t < CHUNK; t++) {
        float v = bias;
#pragma unroll
        for (int r = 0; r < RANK; r++) v += weight[r] * low[t * RANK + r];
        float dt = t < steps && there ? softplus(v) : 0.f;
        sx[t * 32 + lane] = x[t];
        sdt[t * 32 + lane] = dt;
        su[t * 32 + lane] = dt * x[t];
    }
}

// where a chunk's steps are
__device__ __forceinline__ void stage_places(int* places, int first, int steps, int k, int h, int w) {
    if (threadIdx.x < steps) places[threadIdx.x] = position(first + threadIdx.x, k, h, w);
}

#define LOAD4(name, pointer)                             \
    const float4 name##_four = *(const float4*)(pointer); \
    const float name[4] = {name##_four.x, name##_four.y, name##_four.z, name##_four.w}

__device__ __forceinline__ void load_rates(const Map& m, float* rate, int k, int c0, int sg) {
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int c = c0 + j, n = sg * 4 + i;
            rate[j * 4 + i] = c < m.d && n < STATES ? m.A[(k * m.d + c) * STATES + n] * LOG2E : 0.f;
        }
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
            float a = exp2_(dt[j] * rate[e]);
            if (KEEP) {
                before[e] = state[e];
                decay[e] = a;
            }
            state[e] = a * state[e] + u[j] * B[i];
        }
}

#define FCHUNK 32

// y of every direction (4, b, l, d), or, for the backward, the state at the start of every `every` steps
template <bool KEEP, int CHUNK>
__device__ __forceinline__ void scan(const Map& m, T* y, float* kept) {
    float* bc = (float*)shared_memory;
    int* places = (int*)(bc + CHUNK * 32);
    float* low = bc + CHUNK * 33;
    int warp = threadIdx.x / 32, lane = threadIdx.x & 31, sg = lane & 3, cg = lane >> 2;
    float* sx = low + ((CHUNK * RANK + 3) & ~3) + warp * CHUNK * 96;
    float *sdt = sx + CHUNK * 32, *su = sdt + CHUNK * 32;
    int k = blockIdx.y, l = m.h * m.w, c0 = blockIdx.x * CHANNELS + warp * 32;
    long image = (long)blockIdx.z * l, images = (long)gridDim.z * l;
    int own = own_channel(lane), chunks = (l + CHUNK - 1) / CHUNK;
    float rate[16], state[16] = {};
    load_rates(m, rate, k, c0 + cg * 4, sg);
    bool there = c0 + own < m.d;
    float skip = there ? m.D[k * m.d + c0 + own] : 0.f;
    for (int chunk = 0; chunk < chunks; chunk++) {
        int first = chunk * CHUNK, steps = min(CHUNK, l - first);
        __syncthreads();
        stage_places(places, first, steps, k, m.h, m.w);
        __syncthreads();
        stage_proj(m, bc, low, places, steps, CHUNK, k, image);
        __syncthreads();
        stage_steps<CHUNK>(m, low, sx, sdt, su, places, steps, k, image, c0 + lane);
        __syncwarp();
        if (KEEP) {
            float* slot = kept + ((((long)(blockIdx.z * 4 + k) * gridDim.x + blockIdx.x) * chunks + chunk) * WARPS + warp) * 512 + lane;
#pragma unroll
            for (int i = 0; i < 16; i++) slot[i * 32] = state[i];
            if (chunk == chunks - 1) return;
        }
#pragma unroll 4
        for (int t = 0; t < steps; t++) {
            advance<false>(state, rate, bc + t * 32 + sg * 4, sdt + t * 32 + cg * 4, su + t * 32 + cg * 4, nullptr, nullptr);
            if (!KEEP) {
                LOAD4(C, bc + t * 32 + 16 + sg * 4);
                float sum[4];
#pragma unroll
                for (int j = 0; j < 4; j++)
                    sum[j] = C[0] * state[j * 4] + C[1] * state[j * 4 + 1] + C[2] * state[j * 4 + 2] + C[3] * state[j * 4 + 3];
                float v = over_states(sum, sg) + skip * sx[t * 32 + own];
                if (there) store(y + (k * images + image + places[t]) * m.d + c0 + own, v);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(32 * WARPS)
scan_forward(const T* x, const T* proj, const float* weight, const float* bias, const float* A, const float* D, T* y, int h, int w, int d) {
    scan<false, FCHUNK>({x, proj, weight, bias, A, D, h, w, d}, y, nullptr);
}

#define BCHUNK 8
#define SUB 2

extern "C" __global__ void __launch_bounds__(32 * WARPS)
scan_states(const T* x, const T* proj, const float* weight, const float* bias, const float* A, const float* D, float* kept, int h, int w, int d) {
    scan<true, BCHUNK>({x, proj, weight, bias, A, D, h, w, d}, nullptr, kept);
}

// dx (4, b, l, d); dproj (tiles, b, l, 4, RANK + 2 STATES); sums over an image: dA (b, 4, d, STATES), dweight (b, 4, d, RANK),
// dbias and dD (b, 4, d). The lane's own channel is `own` of its warp in the scan, `lane` while staging.
extern "C" __global__ void __launch_bounds__(32 * WARPS)
scan_backward(const T* grad, const T* x, const T* proj, const float* weight, const float* bias, const float* A, const float* D,
              const float* kept, T* dx, float* dproj, float* dA, float* dweight, float* dbias, float* dD, int h, int w, int d) {
    Map m = {x, proj, weight, bias, A, D, h, w, d};
    float* bc = (float*)shared_memory;
    int* places = (int*)(bc + BCHUNK * 32);
    float* low = bc + BCHUNK * 33;
    int warp = threadIdx.x / 32, lane = threadIdx.x & 31, sg = lane & 3, cg = lane >> 2;
    float* sweight = low + ((BCHUNK * RANK + 3) & ~3);    // (RANK, CHANNELS)
    float* sdweight = sweight + RANK * CHANNELS;           // (RANK, CHANNELS)
    const int PER_WARP = BCHUNK * 128 + (BCHUNK / SUB) * 512;
    float* warps = sdweight + RANK * CHANNELS;
    float* sx = warps + warp * PER_WARP;
    float *sdt = sx + BCHUNK * 32, *su = sdt + BCHUNK * 32, *sdy = su + BCHUNK * 32, *slots = sdy + BCHUNK * 32;
    int k = blockIdx.y, l = h * w, c0 = blockIdx.x * CHANNELS + warp * 32;
    long image = (long)blockIdx.z * l, images = (long)gridDim.z * l;
    int own = own_channel(lane), chunks = (l + BCHUNK - 1) / BCHUNK;
    int value = own_value(cg), column = value < 4 ? sg * 4 + value : 16 + sg * 4 + value - 4;
    bool there = c0 + own < d;
    float skip = there ? D[k * d + c0 + own] : 0.f;
    float rate[16], g[16] = {}, drate[16] = {}, dskip = 0.f, dshift = 0.f;
    load_rates(m, rate, k, c0 + cg * 4, sg);
    for (int i = threadIdx.x; i < RANK * CHANNELS; i += 32 * WARPS) {
        int r = i / CHANNELS, c = blockIdx.x * CHANNELS + i % CHANNELS;
        sweight[i] = c < d ? weight[(k * d + c) * RANK + r] : 0.f;
        sdweight[i] = 0.f;
    }
    for (int chunk = chunks - 1; chunk >= 0; chunk--) {
        int first = chunk * BCHUNK, steps = min(BCHUNK, l - first);
        __syncthreads();
        stage_places(places, first, steps, k, h, w);
        __syncthreads();
        stage_proj(m, bc, low, places, steps, BCHUNK, k, image);
        __syncthreads();
        stage_steps<BCHUNK>(m, low, sx, sdt, su, places, steps, k, image, c0 + lane);
#pragma unroll 8
        for (int t = 0; t < BCHUNK; t++)
            sdy[t * 32 + lane] = t < steps && c0 + lane < d ? load(grad + (image + places[t]) * d + c0 + lane) : 0.f;
        __syncwarp();
        const float* slot = kept + ((((long)(blockIdx.z * 4 + k) * gridDim.x + blockIdx.x) * chunks + chunk) * WARPS + warp) * 512 + lane;
        float state[16];
#pragma unroll
        for (int i = 0; i < 16; i++) state[i] = slot[i * 32];
        for (int sub = 0; sub < BCHUNK / SUB; sub++) {
#pragma unroll
            for (int i = 0; i < 16; i++) slots[(sub * 16 + i) * 32 + lane] = state[i];
            if (sub == BCHUNK / SUB - 1) break;
#pragma unroll
            for (int s = 0; s < SUB; s++) {
                int t = sub * SUB + s;
                advance<false>(state, rate, bc + t * 32 + sg * 4, sdt + t * 32 + cg * 4, su + t * 32 + cg * 4, nullptr, nullptr);
            }
        }
        for (int sub = BCHUNK / SUB - 1; sub >= 0; sub--) {
            if (sub * SUB >= steps) continue;
            float before[SUB][16], decay[SUB][16];
#pragma unroll
            for (int i = 0; i < 16; i++) state[i] = slots[(sub * 16 + i) * 32 + lane];
#pragma unroll
            for (int s = 0; s < SUB; s++) {
                int t = sub * SUB + s;
                advance<true>(state, rate, bc + t * 32 + sg * 4, sdt + t * 32 + cg * 4, su + t * 32 + cg * 4, before[s], decay[s]);
            }
#pragma unroll
            for (int s = SUB - 1; s >= 0; s--) {
                int t = sub * SUB + s;
                LOAD4(B, bc + t * 32 + sg * 4);
                LOAD4(C, bc + t * 32 + 16 + sg * 4);
                LOAD4(dt, sdt + t * 32 + cg * 4);
                LOAD4(u, su + t * 32 + cg * 4);
                LOAD4(dy, sdy + t * 32 + cg * 4);
                float dbc[8] = {}, du[4] = {}, dstep[4] = {};
#pragma unroll
                for (int j = 0; j < 4; j++)
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        int e = j * 4 + i;
                        float dh = g[e] + C[i] * dy[j];
                        dbc[i] += dh * u[j];
                        dbc[4 + i] += dy[j] * state[e];
                        du[j] += dh * B[i];
                        g[e] = dh * decay[s][e];
                        float turn = g[e] * before[s][e];
                        dstep[j] += turn * rate[e];
                        drate[e] += turn * dt[j];
                        state[e] = before[s][e];
                    }
                float own_du = over_states(du, sg), own_dstep = over_states(dstep, sg) * LN2, own_dbc = over_channels(dbc, cg);
                float own_x = sx[t * 32 + own], own_dt = sdt[t * 32 + own], own_dy = sdy[t * 32 + own];
                float raw = (own_x * own_du + own_dstep) * sigmoid_of_step(own_dt);
                dskip += own_dy * own_x;
                dshift += raw;
                __syncwarp();
                sx[t * 32 + own] = raw;      // what was x there has served
                su[t * 32 + column] = own_dbc;  // and dt x
                if (there && t < steps) store(dx + (k * images + image + places[t]) * d + c0 + own, skip * own_dy + own_dt * own_du);
            }
        }
        // the low-rank step's gradient, of this warp's channels: a lane takes one step and every second half of channels;
        // each starts at another channel, so that no two read one bank of shared memory
        __syncwarp();
#pragma unroll 1
        for (int task = lane; task < 2 * BCHUNK; task += 32) {
            int t = task % BCHUNK, half = task / BCHUNK;
            float sums[RANK] = {};
            for (int p = 0; p < 16; p++) {
                int c = half * 16 + ((p + t) & 15);
                float raw = sx[t * 32 + c];
#pragma unroll
                for (int r = 0; r < RANK; r++) sums[r] += raw * sweight[r * CHANNELS + warp * 32 + c];
            }
#pragma unroll
            for (int r = 0; r < RANK; r++) slots[(half * BCHUNK + t) * RANK + r] = sums[r];
        }
        __syncthreads();
        float* out = dproj + ((long)blockIdx.x * images + image) * 4 * ROW;
        for (int i = threadIdx.x; i < steps * (RANK + 32); i += 32 * WARPS) {
            int t = i / (RANK + 32), column = i % (RANK + 32), c = column - RANK;
            float sum = 0.f;
            int target = column;
            if (column < RANK) {
                const float* part = warps + 4 * BCHUNK * 32 + t * RANK + column;
                for (int q = 0; q < WARPS; q++) sum += part[q * PER_WARP] + part[q * PER_WARP + BCHUNK * RANK];
            } else {
                if ((c & 15) >= STATES) continue;
                for (int q = 0; q < WARPS; q++) sum += warps[q * PER_WARP + 2 * BCHUNK * 32 + t * 32 + c];
                target = c < 16 ? RANK + c : RANK + STATES + c - 16;
            }
            out[((long)places[t] * 4 + k) * ROW + target] = sum;
        }
        float raws[BCHUNK];
#pragma unroll
        for (int t = 0; t < BCHUNK; t++) raws[t] = t < steps ? sx[t * 32 + lane] : 0.f;
        for (int r = 0; r < RANK; r++) {
            float sum = sdweight[r * CHANNELS + warp * 32 + lane];
#pragma unroll
            for (int t = 0; t < BCHUNK; t++) sum += raws[t] * low[t * RANK + r];
            sdweight[r * CHANNELS + warp * 32 + lane] = sum;
        }
    }
    long row = (long)(blockIdx.z * 4 + k) * d;
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int c = c0 + cg * 4 + j, n = sg * 4 + i;
            if (c < d && n < STATES) dA[(row + c) * STATES + n] = drate[j * 4 + i];
        }
    if (there) { dbias[row + c0 + own] = dshift; dD[row + c0 + own] = dskip; }
    if (c0 + lane < d)
        for (int r = 0; r < RANK; r++) dweight[(row + c0 + lane) * RANK + r] = sdweight[r * CHANNELS + warp * 32 + lane];
}
