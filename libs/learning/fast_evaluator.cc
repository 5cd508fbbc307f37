#include "libs/learning/fast_evaluator.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::learning {
namespace {

constexpr int kRowBlock = 512;

// Losses of the rows from row-major logits.
void CrossEntropy(const float* logits, int classes, absl::Span<const int32_t> labels,
                  float* losses) {
  for (size_t r = 0; r < labels.size(); ++r) {
    const float* z = logits + r * classes;
    const float top = *std::max_element(z, z + classes);
    float sum = 0;
    for (int j = 0; j < classes; ++j) sum += std::exp(z[j] - top);
    losses[r] = std::log(sum) + top - z[labels[r]];
  }
}

// One plain forward pass over the rows; activations are row-major [rows x features].
void Forward(const std::vector<LinearLayer>& layers, const std::vector<float>& parameters,
             const std::vector<float>& pixels, Rows rows, std::vector<float>* buffers,
             float* losses) {
  for (int64_t first = 0; first < rows.count(); first += kRowBlock) {
    const int n = static_cast<int>(std::min<int64_t>(kRowBlock, rows.count() - first));
    const float* input = pixels.data() + first * rows.dimension;
    float* z = nullptr;
    for (size_t l = 0; l < layers.size(); ++l) {
      const LinearLayer& layer = layers[l];
      std::vector<float>& out = buffers[l & 1];
      out.resize(int64_t{n} * layer.outputs);
      z = out.data();
      for (int r = 0; r < n; ++r) {
        std::copy_n(parameters.data() + layer.bias_offset, layer.outputs,
                    z + int64_t{r} * layer.outputs);
      }
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, layer.outputs, layer.inputs, 1.0f,
                  input, layer.inputs, parameters.data() + layer.weight_offset, layer.inputs, 1.0f,
                  z, layer.outputs);
      if (l + 1 < layers.size()) {
        for (float& value : out) value = std::max(value, 0.0f);
      }
      input = z;
    }
    CrossEntropy(z, layers.back().outputs, rows.labels.subspan(first, n), losses + first);
  }
}

}  // namespace

absl::StatusOr<std::vector<float>> FastEvaluateCoalitions(const ModelSpec& spec, GridSpan base,
                                                          absl::Span<const GridSpan> updates,
                                                          absl::Span<const uint64_t> masks,
                                                          Rows rows) {
  RETURN_IF_ERROR(ValidateModelSpec(spec));
  RETURN_IF_ERROR(CheckRows(rows, spec));
  const size_t size = ParameterCount(spec);
  bool fits = base.size() == size && updates.size() <= kUpdatesMax;
  for (GridSpan update : updates) fits = fits && update.size() == size;
  for (uint64_t mask : masks) fits = fits && mask >> updates.size() == 0;
  if (!fits) return Error("BAD_REQUEST", "parameters or masks do not fit the model");

  const std::vector<LinearLayer> layers = LinearLayers(spec);
  std::vector<float> pixels(rows.inputs.size());
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = rows.inputs[i] * 0x1p-8f;
  std::vector<float> losses(masks.size() * rows.count());
  std::vector<float> buffers[2];
  for (size_t c = 0; c < masks.size(); ++c) {
    const std::vector<float> parameters = F32FromGrid(ApplyUpdates(base, updates, masks[c]));
    Forward(layers, parameters, pixels, rows, buffers, losses.data() + c * rows.count());
  }
  return losses;
}

}  // namespace rochdale::learning
