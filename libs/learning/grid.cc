#include "libs/learning/grid.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/learning/exact_kernels.h"
#include "libs/tensor/grid.h"

namespace rochdale::learning {
namespace {

template <typename Real>
absl::StatusOr<GridVector> FromReals(absl::Span<const Real> values) {
  GridVector units(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return Error("TENSOR_NOT_FINITE", absl::StrCat("parameter ", i, " is not finite"));
    }
    units[i] = tensor::RoundToGrid(values[i]);
  }
  return units;
}

}  // namespace

absl::StatusOr<GridVector> GridFromF32(absl::Span<const float> values) {
  return FromReals(values);
}

absl::StatusOr<GridVector> GridFromF64(absl::Span<const double> values) {
  return FromReals(values);
}

std::vector<float> F32FromGrid(GridSpan units) {
  std::vector<float> values(units.size());
  for (size_t i = 0; i < units.size(); ++i) {
    values[i] = static_cast<float>(tensor::FromGrid(units[i]));
  }
  return values;
}

bool OnGrid(absl::Span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float value) {
    return std::isfinite(value) && tensor::FromGrid(tensor::RoundToGrid(value)) == value;
  });
}

int64_t DivideHalfEven(int64_t numerator, int64_t denominator) {
  int64_t quotient = numerator / denominator;
  int64_t rest = numerator % denominator;
  if (rest < 0) {  // floor
    rest += denominator;
    --quotient;
  }
  const int64_t above = denominator - rest;
  if (rest > above || (rest == above && (quotient & 1))) ++quotient;
  return quotient;
}

GridVector WeightUpdate(GridSpan update, int64_t numerator, int64_t denominator) {
  GridVector weighted(update.size());
  for (size_t i = 0; i < update.size(); ++i) {
    weighted[i] = static_cast<int32_t>(DivideHalfEven(update[i] * numerator, denominator));
  }
  return weighted;
}

GridVector ApplyUpdates(GridSpan base, absl::Span<const GridSpan> updates, uint64_t mask) {
  // |sum| <= 64 * 2^23 fits an int32.
  GridVector sum(base.begin(), base.end());
  for (size_t i = 0; i < updates.size(); ++i) {
    if (!(mask >> i & 1)) continue;
    const int32_t* update = updates[i].data();
    for (size_t p = 0; p < sum.size(); ++p) sum[p] += update[p];
  }
  for (int32_t& units : sum) units = std::clamp(units, -kGridMax, kGridMax);
  return sum;
}

absl::Status CheckOnGridBounds(GridSpan units) {
  if (kernels::CountBeyond(units.data(), static_cast<int64_t>(units.size()), kGridMax) == 0) {
    return absl::OkStatus();
  }
  for (size_t i = 0; i < units.size(); ++i) {
    if (units[i] > kGridMax || units[i] < -kGridMax) {
      return Error("TENSOR_NOT_FINITE", absl::StrCat("parameter ", i, " is beyond the grid"));
    }
  }
  return absl::OkStatus();
}

unsigned __int128 SquaredNorm(GridSpan units) {
  unsigned __int128 sum = 0;
  uint64_t part = 0;  // 2^16 squares of at most 2^46 stay below 2^62
  for (size_t i = 0; i < units.size(); ++i) {
    part += static_cast<uint64_t>(int64_t{units[i]} * units[i]);
    if ((i & 0xffff) == 0xffff) {
      sum += part;
      part = 0;
    }
  }
  return sum + part;
}

}  // namespace rochdale::learning
