#include "tests/support/cooperative/training.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace rochdale::simulated {
namespace {

// One batch through the model and back; parameters change in place.
class Step {
 public:
  Step(const learning::ModelSpec& spec, int batch)
      : layers_(learning::LinearLayers(spec)), batch_(batch) {
    activations_.resize(layers_.size() + 1);
    gradients_.resize(layers_.size() + 1);
    activations_[0].resize(static_cast<size_t>(batch) * spec.inputs());
    for (size_t l = 0; l < layers_.size(); ++l) {
      const size_t size = static_cast<size_t>(batch) * layers_[l].outputs;
      activations_[l + 1].resize(size);
      gradients_[l + 1].resize(size);
    }
  }

  float* input() { return activations_[0].data(); }

  void Take(const std::vector<int32_t>& labels, float rate, float* parameters) {
    for (size_t l = 0; l < layers_.size(); ++l) Forward(l, parameters);
    LossGradient(labels);
    for (size_t l = layers_.size(); l-- > 0;) Backward(l, rate, parameters);
  }

 private:
  void Forward(size_t l, const float* parameters) {
    const learning::LinearLayer& layer = layers_[l];
    std::vector<float>& out = activations_[l + 1];
    for (int r = 0; r < batch_; ++r) {
      std::copy_n(parameters + layer.bias_offset, layer.outputs, out.data() + r * layer.outputs);
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, batch_, layer.outputs, layer.inputs, 1,
                activations_[l].data(), layer.inputs, parameters + layer.weight_offset,
                layer.inputs, 1, out.data(), layer.outputs);
    if (l + 1 == layers_.size()) return;
    for (float& value : out) value = std::max(value, 0.0f);
  }

  void LossGradient(const std::vector<int32_t>& labels) {
    const int classes = layers_.back().outputs;
    std::vector<float>& gradient = gradients_.back();
    for (int r = 0; r < batch_; ++r) {
      const float* z = activations_.back().data() + r * classes;
      float* g = gradient.data() + r * classes;
      const float top = *std::max_element(z, z + classes);
      float sum = 0;
      for (int c = 0; c < classes; ++c) sum += g[c] = std::exp(z[c] - top);
      for (int c = 0; c < classes; ++c) g[c] = (g[c] / sum - (c == labels[r])) / batch_;
    }
  }

  void Backward(size_t l, float rate, float* parameters) {
    const learning::LinearLayer& layer = layers_[l];
    const float* gradient = gradients_[l + 1].data();
    float* weight = parameters + layer.weight_offset;
    if (l > 0) {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, batch_, layer.inputs, layer.outputs, 1,
                  gradient, layer.outputs, weight, layer.inputs, 0, gradients_[l].data(),
                  layer.inputs);
      for (size_t i = 0; i < gradients_[l].size(); ++i) {
        if (activations_[l][i] <= 0) gradients_[l][i] = 0;
      }
    }
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, layer.outputs, layer.inputs, batch_, -rate,
                gradient, layer.outputs, activations_[l].data(), layer.inputs, 1, weight,
                layer.inputs);
    for (int r = 0; r < batch_; ++r) {
      cblas_saxpy(layer.outputs, -rate, gradient + r * layer.outputs, 1,
                  parameters + layer.bias_offset, 1);
    }
  }

  const std::vector<learning::LinearLayer> layers_;
  const int batch_;
  std::vector<std::vector<float>> activations_;
  std::vector<std::vector<float>> gradients_;
};

}  // namespace

Delta Train(const learning::ModelSpec& spec, learning::GridSpan base, learning::Rows rows,
            const Training& training, int round, uint64_t seed) {
  std::mt19937_64 random(seed);
  const std::vector<float> start = learning::F32FromGrid(base);
  std::vector<float> parameters = start;
  const int batch = static_cast<int>(std::min<int64_t>(training.batch_rows, rows.count()));
  const float rate =
      static_cast<float>(training.learning_rate / (1 + training.decay * round));
  Step step(spec, batch);
  std::vector<float> inputs(rows.inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i] = rows.inputs[i] * 0x1p-8f;
  std::vector<int64_t> order(rows.count());
  for (int64_t i = 0; i < rows.count(); ++i) order[i] = i;
  std::vector<int32_t> labels(batch);
  for (int epoch = 0; epoch < training.epochs; ++epoch) {
    std::shuffle(order.begin(), order.end(), random);
    for (int64_t first = 0; first + batch <= rows.count(); first += batch) {
      for (int r = 0; r < batch; ++r) {
        const int64_t row = order[first + r];
        std::copy_n(inputs.data() + row * rows.dimension, rows.dimension,
                    step.input() + int64_t{r} * rows.dimension);
        labels[r] = rows.labels[row];
      }
      step.Take(labels, rate, parameters.data());
    }
  }
  return Plus(std::move(parameters), start, -1);
}

double Norm(const Delta& delta) { return std::sqrt(cblas_dsdot(delta.size(), delta.data(), 1,
                                                               delta.data(), 1)); }

double Cosine(const Delta& a, const Delta& b) {
  const double lengths = Norm(a) * Norm(b);
  return lengths > 0 ? cblas_dsdot(a.size(), a.data(), 1, b.data(), 1) / lengths : 0;
}

Delta Scaled(Delta delta, double factor) {
  cblas_sscal(delta.size(), static_cast<float>(factor), delta.data(), 1);
  return delta;
}

Delta Plus(Delta a, const Delta& b, double factor) {
  cblas_saxpy(a.size(), static_cast<float>(factor), b.data(), 1, a.data(), 1);
  return a;
}

Delta Mean(absl::Span<const Delta> deltas) {
  Delta sum(deltas.front().size(), 0.0f);
  for (const Delta& delta : deltas) sum = Plus(std::move(sum), delta);
  return Scaled(std::move(sum), 1.0 / static_cast<double>(deltas.size()));
}

Delta Noise(size_t size, double norm, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  Delta noise(size);
  for (float& value : noise) value = normal(random);
  const double length = Norm(noise);
  return Scaled(std::move(noise), norm / length);
}

}  // namespace rochdale::simulated
