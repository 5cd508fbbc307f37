// Screening an update: everything the rules need from its values, in one pass over memory.
//
// Fixed order of accumulation, so that a result is the same bits on every machine and for every
// number of threads: elements in blocks of 2,048, blocks in chunks of 512. Within a block, lane j
// of 16 sums the products of elements j, j + 16, ... in that order, starting from zero; lanes are
// then combined as (j) + (j + 8), + 4, + 2, + 1. A chunk is the sum of its blocks in order, the
// result the sum of the chunks in order. The product of two F32 is exact in F64, so fused and
// separate multiply-add agree. Dot, Gram and ScreenPass share this order: the same pair gives the
// same number from any of them.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "libs/tensor/flat.h"

namespace rochdale::tensor {

inline constexpr size_t kScreenBlock = 2048;      // elements
inline constexpr size_t kScreenChunkBlocks = 512;

// Norm of one slice, or of the whole vector.
struct ExactNorm {
  // Sum of the squares of the values rounded to the grid (half to even), in units of 2^-40.
  // Values beyond the grid count as the largest grid value. Exact.
  absl::uint128 sum_squares = 0;
  float max_abs = 0;  // of the values as they are
};

struct ScreenResult {
  // No NaN and no infinity. Where false, everything below is zero.
  bool finite = true;
  // Values that round to more than 8 - 2^-20 in magnitude.
  uint64_t beyond_grid = 0;
  ExactNorm norm;
  std::vector<ExactNorm> slices;  // one per slice asked for
  std::vector<double> dots;       // one per probe
};

// `slices` must be contiguous from 0 to delta.size() (as FlatParameters gives them) or empty;
// probes must be as long as delta and finite. INVALID_ARGUMENT otherwise. Reads delta and every
// probe once. `threads` from 1; the result does not depend on it.
absl::StatusOr<ScreenResult> ScreenPass(absl::Span<const float> delta,
                                        absl::Span<const absl::Span<const float>> probes,
                                        absl::Span<const FlatSlice> slices, int threads = 1);

// INVALID_ARGUMENT where lengths differ.
absl::StatusOr<double> Dot(absl::Span<const float> a, absl::Span<const float> b);

// All dots of `vectors` with each other: n x n, row-major, symmetric. INVALID_ARGUMENT where
// lengths differ.
absl::StatusOr<std::vector<double>> Gram(absl::Span<const absl::Span<const float>> vectors,
                                         int threads = 1);

}  // namespace rochdale::tensor
