#include "libs/learning/exact_forward.h"

#include <cblas.h>

#include <algorithm>

#include "libs/learning/exact_kernels.h"

namespace rochdale::learning {

ExactForward::ExactForward(const std::vector<LinearLayer>& layers, int rows_max) {
  int64_t widest = 0, largest_weight = 0;
  for (const LinearLayer& layer : layers) {
    widest = std::max<int64_t>(widest, layer.outputs);
    largest_weight = std::max(largest_weight, int64_t{layer.inputs} * layer.outputs);
  }
  weight_.resize(largest_weight);
  for (auto& buffer : buffers_) buffer.resize(widest * rows_max);
}

void ExactForward::Linear(const LinearLayer& layer, const int32_t* weight, const int32_t* bias,
                          const double* input, int rows, double* pre_activation) {
  kernels::GridToReal(weight, int64_t{layer.inputs} * layer.outputs, weight_.data());
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, layer.outputs, rows, layer.inputs, 1.0,
              weight_.data(), layer.inputs, input, rows, 0.0, pre_activation, rows);
  for (int64_t j = 0; j < layer.outputs; ++j) {
    kernels::AddBias(bias[j] * 0x1p-20, rows, pre_activation + j * rows);
  }
}

Activations ExactForward::Activate(const LinearLayer& layer, const double* pre_activation,
                                   int rows, double* out) {
  Activations result;
  const double largest =
      kernels::Activate(pre_activation, nullptr, layer.outputs, rows, out);
  result.values = out;
  result.largest = static_cast<int64_t>(largest * (1 << kActivationBits));
  result.bits = kActivationBits;
  return result;
}

}  // namespace rochdale::learning
