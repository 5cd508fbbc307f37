// Compiled with -O3 -ffp-contract=fast (CMakeLists.txt): contraction changes nothing here, since
// every product below is exact in F64 before it is added.
#include "libs/tensor/screen_kernel.h"

#include <cstring>

namespace rochdale::tensor {
namespace {

#define ROCHDALE_INLINE inline __attribute__((always_inline))

constexpr size_t kLanes = 16;

// W is the number of F64 that one register holds; 16 / W registers hold the 16 lanes.
template <int W>
struct Vector {
  typedef double F64 __attribute__((vector_size(8 * W)));
  typedef float F32 __attribute__((vector_size(4 * W)));
  typedef int32_t I32 __attribute__((vector_size(4 * W)));
};

template <int W>
ROCHDALE_INLINE void LoadF64(const double* from, typename Vector<W>::F64& to) {
  __builtin_memcpy(&to, from, sizeof to);
}

template <int W>
ROCHDALE_INLINE void LoadF64(const float* from, typename Vector<W>::F64& to) {
  typename Vector<W>::F32 narrow;
  __builtin_memcpy(&narrow, from, sizeof narrow);
  to = __builtin_convertvector(narrow, typename Vector<W>::F64);
}

// Lanes to one number: j + (j + 8), then 4, 2, 1.
ROCHDALE_INLINE double Combine(double (&lanes)[kLanes]) {
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

// One block against P others at once. Side by side, since each is a stream from memory: the
// processor fetches streams ahead by itself, but only while they are read in small steps.
template <int W, int P, typename Other>
ROCHDALE_INLINE void DotGroup(const double* wide, const Other* const* others, size_t begin,
                              size_t count, double* sums) {
  constexpr int kRegisters = kLanes / W;
  using F64 = typename Vector<W>::F64;
  F64 partial[P][kRegisters] = {};
  const Other* streams[P];
  for (int p = 0; p < P; ++p) streams[p] = others[p] + begin;
  for (size_t i = 0; i < count; i += kLanes) {
#pragma GCC unroll 8
    for (int r = 0; r < kRegisters; ++r) {
      F64 a;
      LoadF64<W>(wide + i + r * W, a);
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        F64 b;
        LoadF64<W>(streams[p] + i + r * W, b);
        partial[p][r] += a * b;
      }
    }
  }
  for (int p = 0; p < P; ++p) {
    double lanes[kLanes];
    static_assert(sizeof lanes == sizeof partial[p]);
    std::memcpy(lanes, partial[p], sizeof lanes);
    sums[p] += Combine(lanes);
  }
}

// P is how many probes' sums the registers hold.
template <int W, int P>
ROCHDALE_INLINE void DotsBlock(const double* wide, const float* const* probes,
                               size_t probe_count, size_t begin, size_t count, double* sums) {
  size_t k = 0;
  for (; k + P <= probe_count; k += P) {
    DotGroup<W, P>(wide, probes + k, begin, count, sums + k);
  }
  for (; k < probe_count; ++k) DotGroup<W, 1>(wide, probes + k, begin, count, sums + k);
}

template <int W>
ROCHDALE_INLINE BlockFront FrontBlock(const float* values, size_t count, double* wide) {
  constexpr int kRegisters = kLanes / W;
  constexpr double kShift = 6755399441055744.0;  // 1.5 * 2^52: the addition rounds half to even
  using F64 = typename Vector<W>::F64;
  using I32 = typename Vector<W>::I32;
  // At most 128 squares of at most 2^46 per lane: exact in F64.
  F64 sums[kRegisters] = {};
  I32 max_bits[kRegisters] = {};
  for (size_t i = 0; i < count; i += kLanes) {
#pragma GCC unroll 8
    for (int r = 0; r < kRegisters; ++r) {
      I32 bits;
      __builtin_memcpy(&bits, values + i + r * W, sizeof bits);
      bits &= 0x7fffffff;
      max_bits[r] = bits > max_bits[r] ? bits : max_bits[r];
      F64 value;
      LoadF64<W>(values + i + r * W, value);
      __builtin_memcpy(wide + i + r * W, &value, sizeof value);
      const F64 units = (value * 1048576.0 + kShift) - kShift;
      sums[r] += units * units;
    }
  }
  double lanes[kLanes];
  int32_t largest[kLanes];
  std::memcpy(lanes, sums, sizeof lanes);
  std::memcpy(largest, max_bits, sizeof largest);
  BlockFront front;
  for (int32_t bits : largest) {
    if (static_cast<uint32_t>(bits) > front.max_bits) front.max_bits = static_cast<uint32_t>(bits);
  }
  // Beyond the grid the sums are not exact and may not fit an integer.
  if (front.max_bits >= kBeyondGridBits) return front;
  for (double lane : lanes) front.sum_squares += static_cast<uint64_t>(lane);
  return front;
}

template <int W>
ROCHDALE_INLINE void WidenBlock(const float* values, size_t count, double* wide) {
  for (size_t i = 0; i < count; i += W) {
    typename Vector<W>::F64 value;
    LoadF64<W>(values + i, value);
    __builtin_memcpy(wide + i, &value, sizeof value);
  }
}

#define ROCHDALE_KERNEL(NAME, W, P, TARGET)                                                \
  TARGET BlockFront Front_##NAME(const float* values, size_t count, double* wide) {        \
    return FrontBlock<W>(values, count, wide);                                             \
  }                                                                                        \
  TARGET void Dots_##NAME(const double* wide, const float* const* probes,                  \
                          size_t probe_count, size_t begin, size_t count, double* sums) {  \
    DotsBlock<W, P>(wide, probes, probe_count, begin, count, sums);                        \
  }                                                                                        \
  TARGET double DotWide_##NAME(const double* a, const double* b, size_t count) {           \
    double sum = 0;                                                                        \
    DotGroup<W, 1>(a, &b, 0, count, &sum);                                                 \
    return sum;                                                                            \
  }                                                                                        \
  TARGET void Widen_##NAME(const float* values, size_t count, double* wide) {              \
    WidenBlock<W>(values, count, wide);                                                    \
  }                                                                                        \
  constexpr ScreenKernel k_##NAME = {#NAME, Front_##NAME, Dots_##NAME, DotWide_##NAME,     \
                                     Widen_##NAME};

ROCHDALE_KERNEL(portable, 2, 1, )
#if defined(__x86_64__)
ROCHDALE_KERNEL(avx2, 4, 2, __attribute__((target("avx2,fma"))))
ROCHDALE_KERNEL(avx512, 8, 8, __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))))
#endif

#undef ROCHDALE_KERNEL
#undef ROCHDALE_INLINE

}  // namespace

const std::vector<ScreenKernel>& SupportedKernels() {
  static const auto* kernels = [] {
    auto* found = new std::vector<ScreenKernel>;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")) {
      found->push_back(k_avx512);
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found->push_back(k_avx2);
#endif
    found->push_back(k_portable);
    return found;
  }();
  return *kernels;
}

}  // namespace rochdale::tensor
