#include "libs/tensor/grid.h"

#include <cstdio>
#include <cstdlib>

namespace rochdale::tensor {
namespace {

void CheckSameSize(size_t a, size_t b) {
  if (a == b) return;
  std::fprintf(stderr, "grid conversion between vectors of %zu and %zu elements\n", a, b);
  std::abort();
}

}  // namespace

void RoundToGrid(absl::Span<const double> values, absl::Span<int32_t> units) {
  CheckSameSize(values.size(), units.size());
  for (size_t i = 0; i < values.size(); ++i) units[i] = RoundToGrid(values[i]);
}

void RoundToGrid(absl::Span<const float> values, absl::Span<int32_t> units) {
  CheckSameSize(values.size(), units.size());
  for (size_t i = 0; i < values.size(); ++i) units[i] = RoundToGrid(double{values[i]});
}

void FromGrid(absl::Span<const int32_t> units, absl::Span<float> values) {
  CheckSameSize(units.size(), values.size());
  for (size_t i = 0; i < units.size(); ++i) values[i] = static_cast<float>(FromGrid(units[i]));
}

}  // namespace rochdale::tensor
