#include "libs/learning/low_rank.h"

#include <algorithm>
#include <cmath>

#include "libs/learning/exact_kernels.h"

namespace rochdale::learning {
namespace {

constexpr int kProbe = 64;  // rows and columns of the block that is tried first

// Cross approximation: takes the largest element's column and row out of the matrix, again and
// again, until nothing above the tolerance is left.
std::optional<LowRank> CrossApproximation(std::vector<float> rest, int rows, int columns,
                                          int rank_max, float tolerance) {
  std::vector<std::vector<float>> lefts;
  LowRank found;
  while (true) {
    const int64_t at = kernels::LargestAt(rest.data(), static_cast<int64_t>(rest.size()));
    const float pivot = rest[at];
    if (std::abs(pivot) <= tolerance) break;
    if (found.rank == rank_max) return std::nullopt;
    ++found.rank;
    const float* row = rest.data() + at / columns * columns;
    std::vector<float> left(rows), right(row, row + columns);
    for (int i = 0; i < rows; ++i) left[i] = rest[int64_t{i} * columns + at % columns] / pivot;
    for (int i = 0; i < rows; ++i) {
      kernels::AddScaled(-left[i], right.data(), columns, rest.data() + int64_t{i} * columns);
    }
    lefts.push_back(std::move(left));
    found.right.insert(found.right.end(), right.begin(), right.end());
  }
  found.left.resize(int64_t{rows} * found.rank);
  for (int i = 0; i < rows; ++i) {
    for (int k = 0; k < found.rank; ++k) found.left[int64_t{i} * found.rank + k] = lefts[k][i];
  }
  return found;
}

}  // namespace

std::optional<LowRank> FindLowRank(const float* matrix, int rows, int columns, int rank_max,
                                   float tolerance) {
  const int probe_rows = std::min(rows, kProbe), probe_columns = std::min(columns, kProbe);
  if (probe_rows > rank_max && probe_columns > rank_max) {
    // Spread over the matrix: the edges of pictures, for one, never change.
    std::vector<float> probe;
    for (int i = 0; i < probe_rows; ++i) {
      const float* row = matrix + int64_t{i} * rows / probe_rows * columns;
      for (int j = 0; j < probe_columns; ++j) {
        probe.push_back(row[int64_t{j} * columns / probe_columns]);
      }
    }
    if (!CrossApproximation(std::move(probe), probe_rows, probe_columns, rank_max, tolerance)) {
      return std::nullopt;
    }
  }
  return CrossApproximation(std::vector<float>(matrix, matrix + int64_t{rows} * columns), rows,
                            columns, rank_max, tolerance);
}

}  // namespace rochdale::learning
