// The range check of the exact evaluator, in integers (see exact_evaluator.h).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "libs/learning/grid.h"
#include "libs/learning/model.h"

namespace rochdale::learning {

struct LayerNorms {
  int64_t row_sum_max = 0;  // max_j |W_j|_1, units of 2^-20
  int64_t bias_max = 0;     // max_j |b_j|, units of 2^-20
};

// Of every layer.
std::vector<LayerNorms> NormsOf(const std::vector<LinearLayer>& layers, GridSpan parameters);

// row_sum_max * input_max + bias_max < 2^17, where input_max is in units of 2^-input_bits.
bool InRange(const LayerNorms& norms, int64_t input_max, int input_bits);

}  // namespace rochdale::learning
