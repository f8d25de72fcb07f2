// A depthwise 3 x 3 convolution with SiLU, forward and backward, compiled at run time behind `cuda_instructions.cuh` and
// `cuda_vectors.cuh`; `medmamba.ops.cuda_conv` launches.
//
// A thread owns four channels and walks along strips of a row with a window of 3 x 3 positions in registers: a step loads
// three of the nine. Positions of the map lie `stride` elements apart, so that it may be part of a wider one.

#define STRIP 8  // positions

#define LOG2E 1.4426950408889634f

__device__ __forceinline__ float sigmoid(float v) { return reciprocal(1.f + exp2_(-v * LOG2E)); }

// where a thread is: its channels, and a strip of a row
struct Place {
    int groups, group, row, first, last;
    long cell;  // of the first position of the image's row
    __device__ __forceinline__ Place(int thread, int d) { groups = d / 4, group = thread % groups; }
    __device__ __forceinline__ void at(long strip, int h, int w) {
        int strips = (w + STRIP - 1) / STRIP;
        first = (int)(strip % strips) * STRIP, last = min(w, first + STRIP);
        row = (int)(strip / strips % h), cell = strip / strips * w;
    }
};

// the column x of the window around a row
__device__ __forceinline__ void load_column(float column[3][4], const T* map, const Place& p, int x, int h, int w, int stride) {
#pragma unroll
    for (int i = 0; i < 3; i++) {
        int y = p.row + i - 1;
        if (x >= 0 && x < w && y >= 0 && y < h) load_four(column[i], map + (p.cell + (long)(i - 1) * w + x) * stride + p.group * 4);
        else
#pragma unroll
            for (int c = 0; c < 4; c++) column[i][c] = 0.f;
    }
}

__device__ __forceinline__ void load_weights(float k[9][4], const float* weight, int group, bool flip) {
#pragma unroll
    for (int c = 0; c < 4; c++)
#pragma unroll
        for (int i = 0; i < 9; i++) k[i][c] = weight[(group * 4 + c) * 9 + (flip ? 8 - i : i)];
}

// before SiLU, from the columns left, in the middle and right
__device__ __forceinline__ void convolve(float* out, const float window[3][3][4], const float k[9][4], const float* bias) {
#pragma unroll
    for (int c = 0; c < 4; c++) {
        out[c] = bias[c];
#pragma unroll
        for (int i = 0; i < 9; i++) out[c] += k[i][c] * window[i % 3][i / 3][c];
    }
}

__device__ __forceinline__ void shift(float window[3][3][4]) {
#pragma unroll
    for (int i = 0; i < 12; i++) {
        window[0][i / 4][i % 4] = window[1][i / 4][i % 4];
        window[1][i / 4][i % 4] = window[2][i / 4][i % 4];
    }
}

// y of a map of `strips` strips; with `adjoint` what the transposed convolution gives, without bias and SiLU
extern "C" __global__ void conv_forward(const T* x, const float* weight, const float* bias, T* y, int strips, int h, int w, int d, int stride, int adjoint) {
    long thread = (long)blockIdx.x * blockDim.x + threadIdx.x;
    Place p(thread % (d / 4), d);
    if (thread / p.groups >= strips) return;
    p.at(thread / p.groups, h, w);
    float k[9][4], offset[4] = {}, window[3][3][4], out[4];
    load_weights(k, weight, p.group, adjoint);
    if (!adjoint)
#pragma unroll
        for (int c = 0; c < 4; c++) offset[c] = bias[p.group * 4 + c];
    load_column(window[1], x, p, p.first - 1, h, w, stride);
    load_column(window[2], x, p, p.first, h, w, stride);
#pragma unroll 4
    for (int at = p.first; at < p.last; at++) {
        shift(window);
        load_column(window[2], x, p, at + 1, h, w, stride);
        convolve(out, window, k, offset);
        if (!adjoint)
#pragma unroll
            for (int c = 0; c < 4; c++) out[c] *= sigmoid(out[c]);
        store_four(y + (p.cell + at) * d + p.group * 4, out);
    }
}

// the gradient before SiLU, (b, h, w, d), and each thread's part of the gradients of weight, (rows, d, 9), and bias, (rows, d);
// a thread takes every strip whose number leaves its row as the remainder
extern "C" __global__ void conv_gradients(const T* grad, const T* x, const float* weight, const float* bias, T* before, float* dweight, float* dbias, int rows, int strips, int h, int w, int d, int stride) {
    long thread = (long)blockIdx.x * blockDim.x + threadIdx.x;
    Place p(thread % (d / 4), d);
    long own = thread / p.groups;
    if (own >= rows) return;
    float k[9][4], offset[4], window[3][3][4], out[4], dy[4], sum[9][4] = {}, shift_sum[4] = {};
    load_weights(k, weight, p.group, false);
#pragma unroll
    for (int c = 0; c < 4; c++) offset[c] = bias[p.group * 4 + c];
    for (long strip = own; strip < strips; strip += rows) {
        p.at(strip, h, w);
        load_column(window[1], x, p, p.first - 1, h, w, stride);
        load_column(window[2], x, p, p.first, h, w, stride);
#pragma unroll 2
        for (int at = p.first; at < p.last; at++) {
            shift(window);
            load_column(window[2], x, p, at + 1, h, w, stride);
            load_four(dy, grad + (p.cell + at) * d + p.group * 4);
            convolve(out, window, k, offset);
#pragma unroll
            for (int c = 0; c < 4; c++) {
                float gate = sigmoid(out[c]);
                dy[c] *= gate * (1.f + out[c] * (1.f - gate));
                shift_sum[c] += dy[c];
#pragma unroll
                for (int i = 0; i < 9; i++) sum[i][c] += dy[c] * window[i % 3][i / 3][c];
            }
            store_four(before + (p.cell + at) * d + p.group * 4, dy);
        }
    }
#pragma unroll
    for (int c = 0; c < 4; c++) {
        long channel = own * d + p.group * 4 + c;
        dbias[channel] = shift_sum[c];
#pragma unroll
        for (int i = 0; i < 9; i++) dweight[channel * 9 + i] = sum[i][c];
    }
}

extern "C" __device__ const int shared_bytes[2] = {0, 0};
