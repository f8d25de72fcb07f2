// What all kernels share.

#define LOG2E 1.4426950408889634f  // exp(v) is exp2_(v * LOG2E)

// N neighbouring values at once

template <int N>
struct __align__(N * sizeof(T)) Pack { T v[N]; };

template <int N>
__device__ __forceinline__ void load_pack(float* to, const T* from) {
    Pack<N> pack = *(const Pack<N>*)from;
#pragma unroll
    for (int i = 0; i < N; i++) to[i] = value(pack.v[i]);
}

template <int N>
__device__ __forceinline__ void store_pack(T* to, const float* from) {
    Pack<N> pack;
#pragma unroll
    for (int i = 0; i < N; i++) store(&pack.v[i], from[i]);
    *(Pack<N>*)to = pack;
}
