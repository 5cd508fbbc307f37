#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/exact_evaluation.h"
#include "libs/learning/exact_kernels.h"

namespace rochdale::learning {
namespace {

constexpr int64_t kBlockBytesMax = int64_t{256} << 20;
constexpr int kRowBlock = 256;
constexpr int kRowBlockMin = 16;

}  // namespace

absl::Status ExactEvaluation::CheckVector(absl::string_view what, GridSpan vector) const {
  const int64_t size = ParameterCount(spec_);
  if (static_cast<int64_t>(vector.size()) != size) {
    return Error("BAD_REQUEST",
                 absl::StrCat(what, " has ", vector.size(), " parameters, not ", size));
  }
  return CheckOnGridBounds(vector);
}

absl::Status ExactEvaluation::CheckCoalitions() const {
  RETURN_IF_ERROR(CheckVector("the base", base_));
  if (updates_.size() > kUpdatesMax) {
    return Error("BAD_REQUEST", absl::StrCat("more than ", kUpdatesMax, " updates"));
  }
  for (size_t i = 0; i < updates_.size(); ++i) {
    RETURN_IF_ERROR(CheckVector(absl::StrCat("update ", i), updates_[i]));
  }
  for (size_t c = 0; c < masks_.size(); ++c) {
    if (masks_[c] >> updates_.size() != 0) {
      return Error("BAD_REQUEST", absl::StrCat("mask ", c, " names an update that is not there"));
    }
  }
  return absl::OkStatus();
}

void ExactEvaluation::FindSharedLayer() {
  auto changes = [this](const LinearLayer& layer) {
    return std::any_of(updates_.begin(), updates_.end(), [&](GridSpan update) {
      return kernels::AbsoluteMax(update.data() + layer.weight_offset,
                                  int64_t{layer.inputs} * layer.outputs) != 0 ||
             kernels::AbsoluteMax(update.data() + layer.bias_offset, layer.outputs) != 0;
    });
  };
  shared_layer_ = 0;
  while (shared_layer_ + 1 < layers_.size() && !changes(layers_[shared_layer_])) ++shared_layer_;
}

void ExactEvaluation::FindBounds() {
  // |base| + the sum of |updates|: at least the absolute parameters of every coalition.
  GridVector reach(base_.size());
  kernels::AccumulateAbsolute(base_.data(), base_.size(), reach.data());
  for (GridSpan update : updates_) {
    kernels::AccumulateAbsolute(update.data(), update.size(), reach.data());
  }
  bounds_ = NormsOf(layers_, reach);
  saturating_.assign(masks_.size(), false);
  if (kernels::AbsoluteMax(reach.data(), reach.size()) > kGridMax) FindSaturating();
}

void ExactEvaluation::FindSaturating() {
  GridVector sum(base_.size());
  for (size_t c = 0; c < masks_.size(); ++c) {
    std::copy(base_.begin(), base_.end(), sum.begin());
    for (size_t i = 0; i < updates_.size(); ++i) {
      if (masks_[c] >> i & 1) {
        kernels::AddUnits(sum.data(), updates_[i].data(), sum.size(), sum.data());
      }
    }
    saturating_[c] = kernels::AbsoluteMax(sum.data(), sum.size()) > kGridMax;
  }
}

void ExactEvaluation::OrderCoalitions() {
  // As numbers, neighbours share their high bits; members are pushed from the highest bit down.
  order_.resize(masks_.size());
  std::iota(order_.begin(), order_.end(), 0);
  std::stable_sort(order_.begin(), order_.end(),
                   [this](int64_t a, int64_t b) { return masks_[a] < masks_[b]; });
}

int ExactEvaluation::RowBlock(int64_t activations_per_row) const {
  const int64_t wanted = options_.row_block > 0
                             ? options_.row_block
                             : std::clamp<int64_t>(kBlockBytesMax / (8 * activations_per_row),
                                                   kRowBlockMin, kRowBlock);
  return static_cast<int>(std::min(wanted, rows_.count()));
}

GridVector ExactEvaluation::CandidateParameters(int64_t candidate) const {
  if (!checkpoints_.empty()) {
    return GridVector(checkpoints_[candidate].begin(), checkpoints_[candidate].end());
  }
  return ApplyUpdates(base_, updates_, masks_[candidate]);
}

const std::vector<LayerNorms>& ExactEvaluation::CandidateNorms(int64_t candidate) {
  auto [at, added] = norms_.try_emplace(candidate);
  if (added) at->second = NormsOf(layers_, CandidateParameters(candidate));
  return at->second;
}

bool ExactEvaluation::CandidateInRange(int64_t candidate, size_t layer, const Activations& input) {
  if (InRange(bounds_[layer], input.largest, input.bits)) return true;
  if (InRange(CandidateNorms(candidate)[layer], input.largest, input.bits)) return true;
  Violates(candidate, layer);
  return false;
}

void ExactEvaluation::Violates(int64_t candidate, size_t layer) {
  const bool lower = !violation_ || candidate < violation_->candidate ||
                     (candidate == violation_->candidate && layer < violation_layer_);
  if (!lower) return;
  violation_ = RangeViolation{candidate, layers_[layer].name};
  violation_layer_ = layer;
}

}  // namespace rochdale::learning
