// The forward pass of the exact evaluator over one block of rows. Internal to libs/learning.
//
// Activations are feature-major: feature f of row r is at [f * rows + r].
#pragma once

#include <cstdint>
#include <vector>

#include "libs/learning/exact_range.h"
#include "libs/learning/grid.h"
#include "libs/learning/model.h"

namespace rochdale::learning {

// The activations that enter a layer, and the largest of them for the range check.
struct Activations {
  const double* values = nullptr;
  int64_t largest = 0;  // in units of 2^-bits
  int bits = kInputBits;
};

// Buffers for one candidate and one block; reused from candidate to candidate.
class ExactForward {
 public:
  ExactForward(const std::vector<LinearLayer>& layers, int rows_max);

  // pre_activation[out * rows + r] = sum_in W[out][in] input[in * rows + r] + b[out].
  // `weight` and `bias` are the layer's tensors in grid units.
  void Linear(const LinearLayer& layer, const int32_t* weight, const int32_t* bias,
              const double* input, int rows, double* pre_activation);

  // Activations after the ReLU of `layer`, from its pre-activations (bias included).
  Activations Activate(const LinearLayer& layer, const double* pre_activation, int rows,
                       double* out);

  // A buffer of rows_max times the widest layer; parity 0 or 1 for alternating layers.
  double* Buffer(int parity) { return buffers_[parity & 1].data(); }

 private:
  std::vector<double> weight_;
  std::vector<double> buffers_[2];
};

}  // namespace rochdale::learning
