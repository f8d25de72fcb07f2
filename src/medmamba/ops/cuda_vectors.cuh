// Four neighbouring values at once.

struct __align__(8) Four16 { T v[4]; };

__device__ __forceinline__ void load_four(float* to, const T* from) {
    if (sizeof(T) == 4) *(float4*)to = *(const float4*)from;
    else {
        Four16 four = *(const Four16*)from;
#pragma unroll
        for (int i = 0; i < 4; i++) to[i] = value(four.v[i]);
    }
}

__device__ __forceinline__ void store_four(T* to, const float* from) {
    if (sizeof(T) == 4) *(float4*)to = *(const float4*)from;
    else {
        Four16 four;
#pragma unroll
        for (int i = 0; i < 4; i++) store(&four.v[i], from[i]);
        *(Four16*)to = four;
    }
}
