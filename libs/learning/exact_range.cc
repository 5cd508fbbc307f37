#include "libs/learning/exact_range.h"

#include <algorithm>

#include "libs/learning/exact_kernels.h"

namespace rochdale::learning {

std::vector<LayerNorms> NormsOf(const std::vector<LinearLayer>& layers, GridSpan parameters) {
  std::vector<LayerNorms> norms;
  for (const LinearLayer& layer : layers) {
    LayerNorms norm;
    for (int64_t j = 0; j < layer.outputs; ++j) {
      const int32_t* row = parameters.data() + layer.weight_offset + j * layer.inputs;
      norm.row_sum_max = std::max(norm.row_sum_max, kernels::AbsoluteSum(row, layer.inputs));
    }
    norm.bias_max = kernels::AbsoluteMax(parameters.data() + layer.bias_offset, layer.outputs);
    norms.push_back(norm);
  }
  return norms;
}

bool InRange(const LayerNorms& norms, int64_t input_max, int input_bits) {
  constexpr int kRangeBits = 17;
  const __int128 reach = static_cast<__int128>(norms.row_sum_max) * input_max +
                         (static_cast<__int128>(norms.bias_max) << input_bits);
  return reach < static_cast<__int128>(1) << (kRangeBits + kParameterBits + input_bits);
}

}  // namespace rochdale::learning
