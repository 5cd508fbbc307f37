#include "libs/learning/exact_evaluation.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/exact_kernels.h"

namespace rochdale::learning {

std::optional<Activations> ExactEvaluation::BaseForward(ExactForward& forward, Activations input,
                                                   int rows, size_t last) {
  const std::vector<LayerNorms> norms = NormsOf(layers_, base_);
  for (size_t l = 0; l < last; ++l) {
    if (!InRange(norms[l], input.largest, input.bits)) {
      Violates(0, l);
      return std::nullopt;
    }
    const LinearLayer& layer = layers_[l];
    double* z = forward.Buffer(l);
    forward.Linear(layer, base_.data() + layer.weight_offset, base_.data() + layer.bias_offset,
                   input.values, rows, z);
    input = forward.Activate(layer, z, rows, z);
  }
  if (last > 0) {  // the buffers are needed for the candidates
    const int64_t size = int64_t{layers_[last].inputs} * rows;
    features_.assign(input.values, input.values + size);
    input.values = features_.data();
  }
  return input;
}

void ExactEvaluation::RunTail(ExactForward& forward, int64_t candidate, size_t from,
                         double* pre_activation, const int32_t* parameters, int64_t first,
                         int rows, Sink sink) {
  double* z = pre_activation;
  for (size_t l = from; l + 1 < layers_.size(); ++l) {
    const Activations input = forward.Activate(layers_[l], z, rows, forward.Buffer(l));
    const LinearLayer& next = layers_[l + 1];
    if (!CandidateInRange(candidate, l + 1, input)) return;
    z = forward.Buffer(l + 1);
    forward.Linear(next, parameters + next.weight_offset, parameters + next.bias_offset,
                   input.values, rows, z);
  }
  sink(candidate, first, rows, z);
}

void ExactEvaluation::RunAlone(ExactForward& forward, int64_t candidate, const Activations& input,
                          int64_t first, int rows, Sink sink) {
  if (!CandidateInRange(candidate, shared_layer_, input)) return;
  const GridVector parameters = CandidateParameters(candidate);
  const LinearLayer& layer = layers_[shared_layer_];
  double* z = forward.Buffer(shared_layer_);
  forward.Linear(layer, parameters.data() + layer.weight_offset,
                 parameters.data() + layer.bias_offset, input.values, rows, z);
  RunTail(forward, candidate, shared_layer_, z, parameters.data(), first, rows, sink);
}

void ExactEvaluation::PushMember(size_t depth, int member, int rows) {
  const Prefix& from = prefixes_[depth];
  Prefix& to = prefixes_[depth + 1];
  kernels::AddReal(from.pre_activation.data(), update_pre_activations_[member].data(),
                   int64_t{layers_[shared_layer_].outputs} * rows, to.pre_activation.data());
  for (size_t l = shared_layer_ + 1; l < layers_.size(); ++l) {
    const LinearLayer& layer = layers_[l];
    const int32_t* update = updates_[member].data();
    kernels::AddUnits(from.tail.data() + layer.weight_offset, update + layer.weight_offset,
                      int64_t{layer.inputs} * layer.outputs, to.tail.data() + layer.weight_offset);
    kernels::AddUnits(from.tail.data() + layer.bias_offset, update + layer.bias_offset,
                      layer.outputs, to.tail.data() + layer.bias_offset);
  }
}

void ExactEvaluation::RunShared(ExactForward& forward, const Activations& input, int64_t first,
                           int rows, Sink sink) {
  const LinearLayer& layer = layers_[shared_layer_];
  auto linear = [&](GridSpan parameters, double* out) {
    forward.Linear(layer, parameters.data() + layer.weight_offset,
                   parameters.data() + layer.bias_offset, input.values, rows, out);
  };
  linear(base_, prefixes_[0].pre_activation.data());
  for (size_t i = 0; i < updates_.size(); ++i) {
    linear(updates_[i], update_pre_activations_[i].data());
  }
  const int64_t outputs = int64_t{layer.outputs} * rows;
  std::vector<int> members, held;  // of the coalition at hand; of the prefixes
  for (int64_t candidate : order_) {
    if (Skips(candidate)) continue;
    if (saturating_[candidate]) {
      RunAlone(forward, candidate, input, first, rows, sink);
      continue;
    }
    members.clear();
    for (int i = static_cast<int>(updates_.size()) - 1; i >= 0; --i) {
      if (masks_[candidate] >> i & 1) members.push_back(i);
    }
    const size_t common =
        std::mismatch(members.begin(), members.end(), held.begin(), held.end()).first -
        members.begin();
    held.resize(common);
    for (size_t depth = common; depth < members.size(); ++depth) {
      PushMember(depth, members[depth], rows);
      held.push_back(members[depth]);
    }
    Prefix& sum = prefixes_[members.size()];
    double* z = sum.pre_activation.data();
    if (shared_layer_ + 1 == layers_.size()) {  // the sink may overwrite what the next one needs
      std::copy(z, z + outputs, forward.Buffer(0));
      z = forward.Buffer(0);
    }
    RunTail(forward, candidate, shared_layer_, z, sum.tail.data(), first, rows, sink);
  }
}

void ExactEvaluation::RunBlock(ExactForward& forward, int64_t first, int rows, Sink sink) {
  const Rows block = rows_.Slice(first, rows);
  Activations input;
  input.largest = kernels::PixelsToFeatures(block.inputs.data(), rows, spec_.inputs(),
                                            pixels_.data());
  input.values = pixels_.data();
  if (shared_layer_ > 0) {
    const auto activations = BaseForward(forward, input, rows, shared_layer_);
    if (!activations) return;
    input = *activations;
  }
  // Sums of parts are exact only where the sum of their absolute values is in range.
  if (!prefixes_.empty() && InRange(bounds_[shared_layer_], input.largest, input.bits)) {
    RunShared(forward, input, first, rows, sink);
    return;
  }
  for (int64_t candidate = 0; candidate < candidates_; ++candidate) {
    if (!Skips(candidate)) RunAlone(forward, candidate, input, first, rows, sink);
  }
}

absl::Status ExactEvaluation::Result() const {
  if (options_.violation != nullptr) *options_.violation = violation_;
  if (!violation_) return absl::OkStatus();
  return Error("EVALUATION_RANGE", absl::StrCat("layer ", violation_->layer, " of candidate ",
                                                violation_->candidate, " leaves the range"));
}

absl::Status ExactEvaluation::RunCoalitions(GridSpan base, absl::Span<const GridSpan> updates,
                                       absl::Span<const uint64_t> masks, Sink sink) {
  base_ = base;
  updates_ = updates;
  masks_ = masks;
  candidates_ = static_cast<int64_t>(masks.size());
  RETURN_IF_ERROR(CheckCoalitions());
  if (masks.empty()) return absl::OkStatus();
  FindSharedLayer();
  FindBounds();
  OrderCoalitions();
  size_t depth_max = 0;
  for (uint64_t mask : masks) {
    depth_max = std::max<size_t>(depth_max, __builtin_popcountll(mask));
  }
  const int64_t width = layers_[shared_layer_].outputs;
  const int block = RowBlock(spec_.inputs() + width * (updates.size() + depth_max + 3));
  ExactForward forward(layers_, block);
  pixels_.resize(int64_t{spec_.inputs()} * block);
  update_pre_activations_.assign(updates.size(), std::vector<double>(width * block));
  prefixes_.resize(depth_max + 1);
  for (Prefix& prefix : prefixes_) {
    prefix.pre_activation.resize(width * block);
    prefix.tail.assign(base.begin(), base.end());
  }
  for (int64_t first = 0; first < rows_.count(); first += block) {
    RunBlock(forward, first, static_cast<int>(std::min<int64_t>(block, rows_.count() - first)),
             sink);
  }
  return Result();
}

absl::Status ExactEvaluation::RunCheckpoints(absl::Span<const GridSpan> candidates, Sink sink) {
  for (size_t c = 0; c < candidates.size(); ++c) {
    RETURN_IF_ERROR(CheckVector(absl::StrCat("candidate ", c), candidates[c]));
  }
  checkpoints_ = candidates;
  candidates_ = static_cast<int64_t>(candidates.size());
  if (candidates.empty()) return absl::OkStatus();
  bounds_.resize(layers_.size());
  for (GridSpan candidate : candidates) {
    const std::vector<LayerNorms> norms = NormsOf(layers_, candidate);
    for (size_t l = 0; l < layers_.size(); ++l) {
      bounds_[l].row_sum_max = std::max(bounds_[l].row_sum_max, norms[l].row_sum_max);
      bounds_[l].bias_max = std::max(bounds_[l].bias_max, norms[l].bias_max);
    }
  }
  const int block = RowBlock(spec_.inputs());
  ExactForward forward(layers_, block);
  pixels_.resize(int64_t{spec_.inputs()} * block);
  for (int64_t first = 0; first < rows_.count(); first += block) {
    RunBlock(forward, first, static_cast<int>(std::min<int64_t>(block, rows_.count() - first)),
             sink);
  }
  return Result();
}

}  // namespace rochdale::learning
