// A depthwise 3 x 3 convolution with SiLU, forward and backward, compiled at run time behind `cuda_instructions.cuh` and
// `cuda_common.cuh`; `medmamba.ops.cuda_conv` launches.
//
// A thread owns two channels and walks along strips of a row with a window of 3 x 3 positions in registers. A step loads
// the three positions of a new column, one step before it needs them. Positions of the map lie `stride` elements apart, so
// that it may be part of a wider one. Weights are (9, d), so that the channels of neighbouring threads lie side by side.

__device__ __forceinline__ float sigmoid(float v) { return reciprocal(1.f + exp2_(-v * LOG2E)); }

struct Sizes { int h, w, d, stride, strip; };  // strip: positions that a thread does in a row

struct Column { float v[3][2]; };  // rows, channels

// a strip of a row, and the two channels from c on
struct Place {
    int c, first, last;
    long cell;  // of the first position of the row
    const T* rows[3];  // null where a row lies outside

    __device__ __forceinline__ Place(const T* map, const Sizes& s, int c_, long strip) {
        int strips = (s.w + s.strip - 1) / s.strip, row = (int)(strip / strips % s.h);
        c = c_, first = (int)(strip % strips) * s.strip, last = min(s.w, first + s.strip), cell = strip / strips * s.w;
#pragma unroll
        for (int i = 0; i < 3; i++) {
            int y = row + i - 1;
            rows[i] = y >= 0 && y < s.h ? map + (cell + (long)(i - 1) * s.w) * s.stride + c : nullptr;
        }
    }
    __device__ __forceinline__ Column column(int x, const Sizes& s) const {
        Column column = {};
#pragma unroll
        for (int i = 0; i < 3; i++)
            if (rows[i] && x >= 0 && x < s.w) load_pack<2>(column.v[i], rows[i] + (long)x * s.stride);
        return column;
    }
};

// what a thread sees: the columns left, in the middle, right, and the one that comes next
struct Window {
    Column columns[4];
    __device__ __forceinline__ Window(const Place& p, const Sizes& s) {
#pragma unroll
        for (int i = 1; i < 4; i++) columns[i] = p.column(p.first + i - 2, s);
    }
    // to the middle `at`
    __device__ __forceinline__ void move(const Place& p, const Sizes& s, int at) {
#pragma unroll
        for (int i = 0; i < 3; i++) columns[i] = columns[i + 1];
        columns[3] = p.column(at + 2, s);
    }
    __device__ __forceinline__ float at(int i, int c) const { return columns[i % 3].v[i / 3][c]; }
};

struct Filter {
    float k[9][2], bias[2];
    __device__ __forceinline__ Filter(const float* weight, const float* bias_, int c, int d, bool adjoint) {
#pragma unroll
        for (int i = 0; i < 9; i++)
#pragma unroll
            for (int j = 0; j < 2; j++) k[i][j] = weight[(adjoint ? 8 - i : i) * d + c + j];
#pragma unroll
        for (int j = 0; j < 2; j++) bias[j] = adjoint ? 0.f : bias_[c + j];
    }
    // before SiLU
    __device__ __forceinline__ float operator()(const Window& window, int c) const {
        float sum = bias[c];
#pragma unroll
        for (int i = 0; i < 9; i++) sum += k[i][c] * window.at(i, c);
        return sum;
    }
};

// y of a map of `strips` strips; with `adjoint` what the transposed convolution gives, without bias and SiLU
extern "C" __global__ void conv_forward(const T* __restrict__ x, const float* __restrict__ weight, const float* __restrict__ bias, T* __restrict__ y, int strips, int adjoint, int h, int w, int d, int stride, int strip) {
    Sizes s = {h, w, d, stride, strip};
    long thread = (long)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread / (d / 2) >= strips) return;
    Place p(x, s, (int)(thread % (d / 2)) * 2, thread / (d / 2));
    Filter filter(weight, bias, p.c, d, adjoint);
    Window window(p, s);
#pragma unroll 4
    for (int at = p.first; at < p.last; at++) {
        window.move(p, s, at);
        float out[2];
#pragma unroll
        for (int c = 0; c < 2; c++) {
            out[c] = filter(window, c);
            if (!adjoint) out[c] *= sigmoid(out[c]);
        }
        store_pack<2>(y + (p.cell + at) * d + p.c, out);
    }
}

// the gradient before SiLU, (b, h, w, d), and each thread's part of the gradients of weight and bias, (rows, 9 + 1, d); a thread
// takes every strip whose number leaves its row as the remainder
extern "C" __global__ void conv_gradients(const T* __restrict__ grad, const T* __restrict__ x, const float* __restrict__ weight, const float* __restrict__ bias, T* __restrict__ before, float* __restrict__ sums, int rows, int strips, int h, int w, int d, int stride, int strip) {
    Sizes s = {h, w, d, stride, strip};
    long thread = (long)blockIdx.x * blockDim.x + threadIdx.x;
    int own = (int)(thread / (d / 2)), c0 = (int)(thread % (d / 2)) * 2;
    if (own >= rows) return;
    Filter filter(weight, bias, c0, d, false);
    float sum[9][2] = {}, shift[2] = {};
    for (int number = own; number < strips; number += rows) {
        Place p(x, s, c0, number);
        Window window(p, s);
        const T* grads = grad + p.cell * d + c0;
        float next[2], dy[2];
        load_pack<2>(next, grads + (long)p.first * d);
#pragma unroll 2
        for (int at = p.first; at < p.last; at++) {
            window.move(p, s, at);
            dy[0] = next[0], dy[1] = next[1];
            if (at + 1 < p.last) load_pack<2>(next, grads + (long)(at + 1) * d);
#pragma unroll
            for (int c = 0; c < 2; c++) {
                float out = filter(window, c), gate = sigmoid(out);
                dy[c] *= gate * (1.f + out * (1.f - gate));
                shift[c] += dy[c];
#pragma unroll
                for (int i = 0; i < 9; i++) sum[i][c] += dy[c] * window.at(i, c);
            }
            store_pack<2>(before + (p.cell + at) * d + c0, dy);
        }
    }
#pragma unroll
    for (int c = 0; c < 2; c++) {
#pragma unroll
        for (int i = 0; i < 9; i++) sums[((long)own * 10 + i) * d + c0 + c] = sum[i][c];
        sums[((long)own * 10 + 9) * d + c0 + c] = shift[c];
    }
}

extern "C" __device__ const int shared_bytes[2] = {0, 0};
