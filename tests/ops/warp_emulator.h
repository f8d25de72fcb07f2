// Runs the CUDA kernels on the CPU, in place of `cuda_instructions.cuh`: a lane is a fiber, and the fibers of a warp meet
// where its lanes do. Copies in the background are made when they are waited for and not before; shared memory is NaN at
// first; between two meetings the lanes run one after the other, up or down (`descending`), so that a missing meeting shows.
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct Index { int x, y, z; };

static Index threadIdx, blockIdx, blockDim, gridDim;
static const int MOST = 512;  // threads of a block
static float4 shared_memory[1 << 14];

struct Fiber { ucontext_t context; std::vector<char> stack; std::vector<std::vector<std::function<void()>>> copies; bool done; };
static Fiber fibers[MOST];
static ucontext_t outside;
static double exchanged[MOST];

inline void meet() { swapcontext(&fibers[threadIdx.x].context, &outside); }
inline void __syncwarp() { meet(); }

template <class V>
V exchange(V v, int from) {
    static_assert(sizeof(V) <= sizeof(double));
    std::memcpy(&exchanged[threadIdx.x], &v, sizeof(V));
    meet();
    V found;
    std::memcpy(&found, &exchanged[threadIdx.x / 32 * 32 + from], sizeof(V));
    meet();
    return found;
}
template <class V> V __shfl_sync(unsigned, V v, int from) { return exchange(v, from & 31); }
template <class V> V __shfl_xor_sync(unsigned, V v, int mask) { return exchange(v, (threadIdx.x & 31) ^ mask); }

inline float __uint_as_float(unsigned bits) { float v; std::memcpy(&v, &bits, 4); return v; }
inline unsigned __float_as_uint(float v) { unsigned bits; std::memcpy(&bits, &v, 4); return bits; }
inline int min(int a, int b) { return a < b ? a : b; }

#if defined(BF16)
typedef unsigned short T;
inline float value(T v) { return __uint_as_float((unsigned)v << 16); }
inline void store(T* p, float v) {
    unsigned bits = __float_as_uint(v);
    *p = std::isnan(v) ? 0x7fff : (T)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // to the nearest, ties to even
}
#elif defined(FP16)
typedef unsigned short T;
inline float value(T bits) { _Float16 v; std::memcpy(&v, &bits, 2); return (float)v; }
inline void store(T* p, float v) { _Float16 half = (_Float16)v; std::memcpy(p, &half, 2); }
#else
typedef float T;
inline float value(T v) { return v; }
inline void store(T* p, float v) { *p = v; }
#endif

inline float exp2_(float v) { return std::exp2(v); }
inline float exp2_here(float v) { return std::exp2(v); }
inline float reciprocal(float v) { return 1 / v; }

template <int BYTES>
void fetch(void* to, const void* from, bool there) {
    auto copy = [=] { if (there) std::memcpy(to, from, BYTES); else std::memset(to, 0, BYTES); };
    if ((uintptr_t)to % BYTES || (there && (uintptr_t)from % BYTES)) __builtin_trap();
    if (BYTES == 2) copy();
    else fibers[threadIdx.x].copies.back().push_back(copy);
}
inline void end_of_fetch() { fibers[threadIdx.x].copies.emplace_back(); }
template <int LEFT>
void wait_for_fetch() {
    auto& copies = fibers[threadIdx.x].copies;  // the last one is open; LEFT before it may still be on their way
    for (size_t i = 0; i + LEFT + 1 < copies.size(); i++) {
        for (auto& copy : copies[i]) copy();
        copies[i].clear();
    }
    meet();
}

static std::function<void()> work;
static void lane() {
    work();
    fibers[threadIdx.x].done = true;
    meet();
}

static void run_block(int threads, bool descending) {
    std::memset(shared_memory, 0xff, sizeof(shared_memory));
    for (int i = 0; i < threads; i++) {
        Fiber& fiber = fibers[i];
        fiber.stack.resize(1 << 17);
        fiber.copies.assign(1, {});
        fiber.done = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        makecontext(&fiber.context, lane, 0);
    }
    for (bool going = true; going;) {
        going = false;
        for (int i = 0; i < threads; i++) {
            threadIdx.x = descending ? threads - 1 - i : i;
            if (fibers[threadIdx.x].done) continue;
            swapcontext(&outside, &fibers[threadIdx.x].context);
            going = going || !fibers[threadIdx.x].done;
        }
    }
}

template <class... P, size_t... I>
void launch_(void (*kernel)(P...), void** values, std::index_sequence<I...>, int x, int y, int z, int threads, bool descending) {
    gridDim = {x, y, z}, blockDim = {threads, 1, 1};
    work = [=] { kernel(*(P*)values[I]...); };
    for (blockIdx.z = 0; blockIdx.z < z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < x; blockIdx.x++) run_block(threads, descending);
}
template <class... P>
void launch(void (*kernel)(P...), void** values, int x, int y, int z, int threads, bool descending) {
    launch_(kernel, values, std::index_sequence_for<P...>{}, x, y, z, threads, descending);
}

#define ENTRY(name)                                                                                          \
    extern "C" void launch_##name(void** values, int x, int y, int z, int threads, bool descending) {        \
        launch(name, values, x, y, z, threads, descending);                                                  \
    }
