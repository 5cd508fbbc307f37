// The steps of a SharedEvaluation: products, activations, parameters of one candidate, range.
#include <cblas.h>

#include <algorithm>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/learning/exact_kernels.h"
#include "libs/learning/shared_evaluation.h"

namespace rochdale::learning {
namespace {

constexpr int64_t kKeptBytesMax = int64_t{256} << 20;  // of candidates' parameters as reals

// Weights and biases.
int64_t SizeOf(const LinearLayer& layer) {
  return (int64_t{layer.inputs} + 1) * layer.outputs;
}

// c[m x n] = a[m x k] b[k x n] + beta c; b_transposed: b is [n x k].
void Gemm(const double* a, int m, int k, const double* b, bool b_transposed, int n, double beta,
          double* c) {
  cblas_dgemm(CblasRowMajor, CblasNoTrans, b_transposed ? CblasTrans : CblasNoTrans, m, n, k, 1.0,
              a, k, b, b_transposed ? k : n, beta, c, n);
}

void Gemm(const float* a, int m, int k, const float* b, bool b_transposed, int n, float beta,
          float* c) {
  cblas_sgemm(CblasRowMajor, CblasNoTrans, b_transposed ? CblasTrans : CblasNoTrans, m, n, k, 1.0f,
              a, k, b, b_transposed ? k : n, beta, c, n);
}

}  // namespace

template <typename Real>
void SharedEvaluation<Real>::Multiply(const Real* weight, int units, int inputs,
                                      const Input& input, int rows, Real* out) {
  Gemm(weight, units, inputs, input.values, input.row_major, rows, 0, out);
}

template <typename Real>
void SharedEvaluation<Real>::MultiplyAdd(const Real* weight, int units, int inputs,
                                         const Real* input, int rows, Real* out) {
  Gemm(weight, units, inputs, input, false, rows, 1, out);
}

template <typename Real>
void SharedEvaluation<Real>::AddBiases(const Real* bias, int units, int rows, Real* z) {
  for (int64_t j = 0; j < units; ++j) {
    if (bias[j] != 0) kernels::AddBias(bias[j], rows, z + j * rows);
  }
}

template <typename Real>
typename SharedEvaluation<Real>::Input SharedEvaluation<Real>::Activate(size_t layer,
                                                                        const Real* z,
                                                                        const Real* bias, int rows,
                                                                        Real* out) {
  const double largest = kernels::Activate(z, bias, layers_[layer].outputs, rows, out);
  return {out, static_cast<int64_t>(largest * (1 << kActivationBits)), kActivationBits, false};
}

template <typename Real>
const Real* SharedEvaluation<Real>::FeatureMajor(const Input& input, int inputs, int rows) {
  if (!input.row_major) return input.values;
  if (transposed_.empty()) {
    transposed_.resize(int64_t{inputs} * rows);
    kernels::Transpose(input.values, rows, inputs, transposed_.data());
  }
  return transposed_.data();
}

template <typename Real>
void SharedEvaluation<Real>::ApplyDelta(int member, size_t layer, const Input& input, int rows,
                                        Real* out) {
  const LayerDelta<Real>& delta = deltas_[member][layer];
  if (delta.form != LayerDelta<Real>::Form::kSparse) {
    const int stacked = static_cast<int>(StackRows({member}, layer));
    Stack({member}, layer, scratch_weight_);
    low_rank_.resize(int64_t{stacked} * rows);
    Multiply(scratch_weight_.data(), stacked, layers_[layer].inputs, input, rows,
             low_rank_.data());
    FinishDelta(member, layer, low_rank_.data(), rows, out);
    return;
  }
  const Real* features = FeatureMajor(input, layers_[layer].inputs, rows);
  for (size_t u = 0; u < delta.units.size(); ++u) {
    Real* row = out + static_cast<int64_t>(u) * rows;
    std::fill_n(row, rows, delta.bias[u]);
    for (int64_t i = delta.begin[u]; i < delta.begin[u + 1]; ++i) {
      kernels::AddScaled(delta.value[i], features + int64_t{delta.input[i]} * rows, rows, row);
    }
  }
}

template <typename Real>
int64_t SharedEvaluation<Real>::FinishDelta(int member, size_t layer, const Real* product,
                                            int rows, Real* out) {
  const LayerDelta<Real>& delta = deltas_[member][layer];
  const int units = static_cast<int>(delta.units.size());
  int64_t stacked = units;
  if (delta.form == LayerDelta<Real>::Form::kLowRank) {
    stacked = delta.rank;
    Gemm(delta.left.data(), units, delta.rank, product, false, rows, 0, out);
  } else {
    std::copy_n(product, int64_t{units} * rows, out);
  }
  AddBiases(delta.bias.data(), units, rows, out);
  return stacked;
}

template <typename Real>
std::vector<typename SharedEvaluation<Real>::Parameters> SharedEvaluation<Real>::ParametersAt(
    const Real* flat) const {
  std::vector<Parameters> parameters;
  for (const LinearLayer& layer : layers_) {
    parameters.push_back({flat + layer.weight_offset, flat + layer.bias_offset});
  }
  return parameters;
}

template <typename Real>
GridVector SharedEvaluation<Real>::CandidateParameters(int64_t candidate) const {
  if (!checkpoints_.empty()) {
    return GridVector(checkpoints_[candidate].begin(), checkpoints_[candidate].end());
  }
  return ApplyUpdates(base_, updates_, masks_[candidate]);
}

template <typename Real>
void SharedEvaluation<Real>::LayerParameters(int64_t candidate, const LinearLayer& layer,
                                             Real* weight, Real* bias) const {
  auto convert = [&](int64_t offset, int64_t size, Real* out) {
    if (!checkpoints_.empty()) {
      kernels::GridToReal(checkpoints_[candidate].data() + offset, size, out);
      return;
    }
    std::vector<GridSpan> parts;
    for (const GridSpan update : updates_) parts.push_back(update.subspan(offset, size));
    const GridVector sum = ApplyUpdates(base_.subspan(offset, size), parts, masks_[candidate]);
    kernels::GridToReal(sum.data(), size, out);
  };
  convert(layer.weight_offset, int64_t{layer.inputs} * layer.outputs, weight);
  convert(layer.bias_offset, layer.outputs, bias);
}

template <typename Real>
std::vector<typename SharedEvaluation<Real>::Parameters> SharedEvaluation<Real>::TailOf(
    int64_t candidate, size_t from) {
  if (checkpoints_.empty()) {
    bool changes = false;
    for (size_t i = 0; i < updates_.size(); ++i) {
      if (!(masks_[candidate] >> i & 1)) continue;
      for (size_t l = from; l < layers_.size(); ++l) changes = changes || !deltas_[i][l].empty();
    }
    if (!changes) return base_parameters_;
  }
  int64_t size = 0;
  for (size_t l = from; l < layers_.size(); ++l) size += SizeOf(layers_[l]);
  const bool keep = candidates_ * size * static_cast<int64_t>(sizeof(Real)) <= kKeptBytesMax;
  Tail& tail = keep ? tails_[candidate] : tail_;
  const bool known = keep && !tail.real.empty() && tail.from <= from;
  if (!known) {
    tail.from = from;
    tail.real.resize(size);
  }
  std::vector<Parameters> parameters(layers_.size());
  Real* at = tail.real.data();
  for (size_t l = tail.from; l < layers_.size(); at += SizeOf(layers_[l++])) {
    Real* bias = at + SizeOf(layers_[l]) - layers_[l].outputs;
    if (!known) LayerParameters(candidate, layers_[l], at, bias);
    parameters[l] = {at, bias};
  }
  return parameters;
}

template <typename Real>
const std::vector<LayerNorms>& SharedEvaluation<Real>::CandidateNorms(int64_t candidate) {
  auto [at, added] = norms_.try_emplace(candidate);
  if (added) at->second = NormsOf(layers_, CandidateParameters(candidate));
  return at->second;
}

template <typename Real>
bool SharedEvaluation<Real>::BoundHolds(const LayerNorms& norms, int64_t largest, int bits) {
  if constexpr (std::is_same_v<Real, float>) return true;
  return InRange(norms, largest, bits);
}

template <typename Real>
bool SharedEvaluation<Real>::CandidateInRange(int64_t candidate, size_t layer,
                                              const Input& input) {
  if (BoundHolds(bounds_[layer], input.largest, input.bits)) return true;
  if (InRange(CandidateNorms(candidate)[layer], input.largest, input.bits)) return true;
  Violates(candidate, layer);
  return false;
}

template <typename Real>
void SharedEvaluation<Real>::Violates(int64_t candidate, size_t layer) {
  const bool lower = !violation_ || candidate < violation_->candidate ||
                     (candidate == violation_->candidate && layer < violation_layer_);
  if (!lower) return;
  violation_ = RangeViolation{candidate, layers_[layer].name};
  violation_layer_ = layer;
}

template <typename Real>
absl::Status SharedEvaluation<Real>::Result() const {
  if (options_.violation != nullptr) *options_.violation = violation_;
  if (!violation_) return absl::OkStatus();
  return Error("EVALUATION_RANGE", absl::StrCat("layer ", violation_->layer, " of candidate ",
                                                violation_->candidate, " leaves the range"));
}

template class SharedEvaluation<float>;
template class SharedEvaluation<double>;

}  // namespace rochdale::learning
