// What an update changes in one linear layer, in the form that is cheapest to apply to the
// layer's input. Internal to libs/learning.
//
//   rows      whole rows of the weight: those units that change at all
//   sparse    single weights
//   low rank  left * right; f32 only, where the update equals the product to kLowRankUnitsMax
//
// The first two are the update itself, so that sums with them are exact where f64 is. A low rank
// is never exact: clipping, weighting and rounding to the grid make a matrix of rank 8 one of full
// rank, whose far singular values are rounding noise below half a unit.
#pragma once

#include <cstdint>
#include <vector>

#include "libs/learning/grid.h"
#include "libs/learning/model.h"

namespace rochdale::learning {

inline constexpr int kLowRankMax = 32;
inline constexpr float kLowRankUnitsMax = 4;  // of 2^-20: what f32 keeps of a sum of inputs, too

template <typename Real>
struct LayerDelta {
  enum class Form { kNone, kRows, kSparse, kLowRank };

  Form form = Form::kNone;
  std::vector<int> units;    // outputs whose weights or bias change, ascending
  std::vector<Real> bias;    // of each of these units
  std::vector<int64_t> begin;  // sparse: weights of units[u] are begin[u] .. begin[u + 1] - 1
  std::vector<int> input;
  std::vector<Real> value;
  int rank = 0;              // low rank
  std::vector<Real> left;    // [units x rank]
  std::vector<Real> right;   // [rank x inputs]
  int64_t cost = 0;          // multiply-adds for one row of data, as dense ones

  bool empty() const { return form == Form::kNone; }
};

// `update` is the whole flat vector.
template <typename Real>
LayerDelta<Real> DeltaOf(const LinearLayer& layer, GridSpan update);

}  // namespace rochdale::learning
