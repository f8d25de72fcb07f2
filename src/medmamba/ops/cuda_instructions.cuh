// What the kernels need of the card's own instructions. The tests put another file in its place, and so run the kernels
// without a card.
//
//   BF16, FP16, FP32  one of them: the type T of the maps

#if defined(BF16)
typedef unsigned short T;
__device__ __forceinline__ float value(T v) { return __uint_as_float((unsigned)v << 16); }
__device__ __forceinline__ void store(T* p, float v) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(*p) : "f"(v)); }
#elif defined(FP16)
typedef unsigned short T;
__device__ __forceinline__ float value(T bits) { float v; asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits)); return v; }
__device__ __forceinline__ void store(T* p, float v) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(*p) : "f"(v)); }
#else
typedef float T;
__device__ __forceinline__ float value(T v) { return v; }
__device__ __forceinline__ void store(T* p, float v) { *p = v; }
#endif

__device__ __forceinline__ float exp2_(float v) { float r; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v)); return r; }

// the same where it stands, and once: the compiler does not move it into a branch or compute it again to save a register
__device__ __forceinline__ float exp2_here(float v) { float r; asm volatile("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v)); return r; }

__device__ __forceinline__ float reciprocal(float v) { float r; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v)); return r; }

// copy to shared memory in the background; zeros where nothing is there
template <int BYTES>
__device__ __forceinline__ void fetch(void* to, const void* from, bool there) {
    if (BYTES == 2) *(unsigned short*)to = there ? *(const unsigned short*)from : (unsigned short)0;
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from),
                     "n"(BYTES < 4 ? 4 : BYTES), "r"(there ? BYTES : 0) : "memory");
}
__device__ __forceinline__ void end_of_fetch() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// of all but the LEFT ones that were begun last
template <int LEFT>
__device__ __forceinline__ void wait_for_fetch() { asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory"); __syncwarp(); }
