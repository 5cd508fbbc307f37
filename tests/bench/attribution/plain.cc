#include "tests/bench/attribution/plain.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>

namespace rochdale::bench {
namespace {

constexpr int kSize = 1024;
constexpr int kRepeats = 8;
constexpr int kRowBlock = 512;

}  // namespace

double GemmF32() {
  static const std::vector<float> a(kSize * kSize, 0.5f), b(kSize * kSize, 0.25f);
  static std::vector<float> c(kSize * kSize);
  for (int i = 0; i < kRepeats; ++i) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, kSize, kSize, kSize, 1, a.data(), kSize,
                b.data(), kSize, 0, c.data(), kSize);
  }
  return 2.0 * kRepeats * kSize * kSize * kSize;
}

double GemmF64() {
  static const std::vector<double> a(kSize * kSize, 0.5), b(kSize * kSize, 0.25);
  static std::vector<double> c(kSize * kSize);
  for (int i = 0; i < kRepeats; ++i) {
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, kSize, kSize, kSize, 1, a.data(), kSize,
                b.data(), kSize, 0, c.data(), kSize);
  }
  return 2.0 * kRepeats * kSize * kSize * kSize;
}

double PlainF64(const learning::ModelSpec& spec, learning::GridSpan parameters,
                learning::Rows rows) {
  std::vector<double> flat(parameters.size());
  for (size_t i = 0; i < flat.size(); ++i) flat[i] = parameters[i] * 0x1p-20;
  std::vector<double> input, out;
  double sum = 0;
  const auto layers = learning::LinearLayers(spec);
  for (int64_t first = 0; first < rows.count(); first += kRowBlock) {
    const int n = static_cast<int>(std::min<int64_t>(kRowBlock, rows.count() - first));
    const learning::Rows block = rows.Slice(first, n);
    input.resize(block.inputs.size());
    for (size_t i = 0; i < input.size(); ++i) input[i] = block.inputs[i] * 0x1p-8;
    for (size_t l = 0; l < layers.size(); ++l) {
      const learning::LinearLayer& layer = layers[l];
      out.resize(int64_t{n} * layer.outputs);
      for (int r = 0; r < n; ++r) {
        std::copy_n(flat.data() + layer.bias_offset, layer.outputs,
                    out.data() + int64_t{r} * layer.outputs);
      }
      cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, layer.outputs, layer.inputs, 1,
                  input.data(), layer.inputs, flat.data() + layer.weight_offset, layer.inputs, 1,
                  out.data(), layer.outputs);
      if (l + 1 < layers.size()) {
        for (double& value : out) value = std::max(value, 0.0);
      }
      input.swap(out);
    }
    for (int r = 0; r < n; ++r) {
      const double* z = input.data() + int64_t{r} * spec.classes();
      const double top = *std::max_element(z, z + spec.classes());
      double total = 0;
      for (int j = 0; j < spec.classes(); ++j) total += std::exp(z[j] - top);
      sum += std::log(total) + top - z[block.labels[r]];
    }
  }
  return sum;
}

}  // namespace rochdale::bench
