// Compiled with -O3 -ffp-contract=fast (CMakeLists.txt): contraction changes nothing here, since
// every product below is exact in F64 before it is added.
#include "libs/tensor/screen_kernel.h"

#include <cstring>

#include "libs/tensor/screen.h"

namespace rochdale::tensor {
namespace {

#define ROCHDALE_INLINE inline __attribute__((always_inline))

constexpr size_t kLanes = 16;

// The next block of each stream is fetched into the second-level cache while this one is
// computed: the processor's own prefetchers lose a stream that is left every 8 KiB. One line of 64
// bytes is 16 values. Fetching past the end does nothing. (Measured: 0.87 of read bandwidth at 8
// probes, against 0.5 without it, and 0.5 to 0.7 with several probes side by side.)
ROCHDALE_INLINE void FetchNextBlock(const float* at) {
  __builtin_prefetch(at + kScreenBlock, 0, 2);
}

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

template <int W, typename Probe>
ROCHDALE_INLINE double DotBlock(const double* wide, const Probe* probe, size_t count) {
  constexpr int kRegisters = kLanes / W;
  using F64 = typename Vector<W>::F64;
  F64 sums[kRegisters] = {};
  for (size_t i = 0; i < count; i += kLanes) {
    if constexpr (sizeof(Probe) == sizeof(float)) FetchNextBlock(probe + i);
#pragma GCC unroll 8
    for (int r = 0; r < kRegisters; ++r) {
      F64 a, b;
      LoadF64<W>(wide + i + r * W, a);
      LoadF64<W>(probe + i + r * W, b);
      sums[r] += a * b;
    }
  }
  double lanes[kLanes];
  static_assert(sizeof lanes == sizeof sums);
  std::memcpy(lanes, sums, sizeof lanes);
  return Combine(lanes);
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
    FetchNextBlock(values + i);
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

#define ROCHDALE_KERNEL(NAME, W, TARGET)                                                   \
  TARGET BlockFront Front_##NAME(const float* values, size_t count, double* wide) {        \
    return FrontBlock<W>(values, count, wide);                                             \
  }                                                                                        \
  TARGET double Dot_##NAME(const double* wide, const float* probe, size_t count) {         \
    return DotBlock<W>(wide, probe, count);                                                \
  }                                                                                        \
  TARGET double DotWide_##NAME(const double* a, const double* b, size_t count) {           \
    return DotBlock<W>(a, b, count);                                                       \
  }                                                                                        \
  TARGET void Widen_##NAME(const float* values, size_t count, double* wide) {              \
    WidenBlock<W>(values, count, wide);                                                    \
  }                                                                                        \
  constexpr ScreenKernel k_##NAME = {#NAME, Front_##NAME, Dot_##NAME, DotWide_##NAME,      \
                                     Widen_##NAME};

ROCHDALE_KERNEL(portable, 2, )
#if defined(__x86_64__)
ROCHDALE_KERNEL(avx2, 4, __attribute__((target("avx2,fma"))))
ROCHDALE_KERNEL(avx512, 8, __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))))
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
