// Finds the low rank of a matrix that somebody rounded to the grid. Internal to libs/learning.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace rochdale::learning {

struct LowRank {
  int rank = 0;
  std::vector<float> left;   // [rows x rank]
  std::vector<float> right;  // [rank x columns]
};

// Factors with |matrix - left * right| <= tolerance in every element (each was checked), of rank
// at most rank_max; none where cross approximation with full pivoting finds none. A small block is
// tried first, since no block of a matrix has a higher rank: what is not of low rank costs little.
// `matrix` is row-major [rows x columns].
std::optional<LowRank> FindLowRank(const float* matrix, int rows, int columns, int rank_max,
                                   float tolerance);

}  // namespace rochdale::learning
