// The inner loops of screen.cc, one set per instruction set. All sets give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

namespace rochdale::tensor {

// The bits of 8 - 2^-21, the smallest F32 that rounds to beyond the grid; and of infinity.
inline constexpr uint32_t kBeyondGridBits = 0x40ffffff;
inline constexpr uint32_t kInfinityBits = 0x7f800000;

// What the first loop over a block of the update finds.
struct BlockFront {
  uint32_t max_bits = 0;     // the largest |value| as the bits of an F32
  uint64_t sum_squares = 0;  // of the values rounded to the grid, 2^-40; only below kBeyondGridBits
};

// `count` is a multiple of 16 and at most kScreenBlock in every call. Pointers need no alignment.
struct ScreenKernel {
  absl::string_view name;
  // Also widens the block into `wide`.
  BlockFront (*front)(const float* values, size_t count, double* wide);
  double (*dot)(const double* wide, const float* probe, size_t count);
  double (*dot_wide)(const double* a, const double* b, size_t count);
  void (*widen)(const float* values, size_t count, double* wide);
};

// Those this processor can run, best first; the portable one is always there.
const std::vector<ScreenKernel>& SupportedKernels();

}  // namespace rochdale::tensor
