#include "libs/learning/shared_evaluation.h"

#include <algorithm>

#include "libs/base/status_macros.h"
#include "libs/learning/candidate_checks.h"
#include "libs/learning/exact_kernels.h"

namespace rochdale::learning {

template <typename Real>
void SharedEvaluation<Real>::FindBase(Rows block) {
  known_ = cache_ == nullptr || base_layers_ == 0 ? nullptr : cache_->Find(block);
  if (known_ == nullptr) {
    known_ = &own_known_;
    known_->layers = 0;
  }
  known_->z.resize(layers_.size());
  known_->input.resize(layers_.size());
  known_->largest.resize(layers_.size());
  for (size_t l = 1; l < layers_.size() && l <= known_->layers; ++l) {
    inputs_[l] = {known_->input[l].data(), known_->largest[l], kActivationBits, false};
  }
}

// Unless nothing reads them.
template <typename Real>
void SharedEvaluation<Real>::LoadPixels(Rows block) {
  if (groups_.front().candidates.empty() && known_->layers > 0) return;
  const int64_t count = static_cast<int64_t>(block.inputs.size());
  inputs_[0].largest = kernels::PixelsToReal(block.inputs.data(), count, pixels_.data());
  inputs_[0].values = pixels_.data();
  inputs_[0].bits = kInputBits;
  inputs_[0].row_major = true;
  transposed_.clear();
}

template <typename Real>
void SharedEvaluation<Real>::RunBase(int rows) {
  for (size_t l = known_->layers; l < base_layers_; ++l) {
    if (!BoundHolds(base_norms_[l], inputs_[l].largest, inputs_[l].bits)) break;
    const LinearLayer& layer = layers_[l];
    known_->z[l].resize(int64_t{layer.outputs} * rows);
    Real* z = known_->z[l].data();
    Multiply(base_parameters_[l].weight, layer.outputs, layer.inputs, inputs_[l], rows, z);
    AddBiases(base_parameters_[l].bias, layer.outputs, rows, z);
    known_->layers = l + 1;
    if (l + 1 < layers_.size()) {
      known_->input[l + 1].resize(int64_t{layer.outputs} * rows);
      inputs_[l + 1] = Activate(l, z, nullptr, rows, known_->input[l + 1].data());
      known_->largest[l + 1] = inputs_[l + 1].largest;
    }
  }
  base_good_ = std::min(known_->layers, base_layers_);
}

template <typename Real>
void SharedEvaluation<Real>::RunTail(int64_t candidate, size_t from, const Real* z,
                                     const Real* bias, const std::vector<Parameters>& tail,
                                     int64_t first, int rows, Sink sink) {
  int at = z == buffers_[1].data() ? 1 : 0;  // the activations may take the place of z
  for (size_t l = from; l + 1 < layers_.size(); ++l) {
    const Input input = Activate(l, z, bias, rows, buffers_[at].data());
    if (!CandidateInRange(candidate, l + 1, input)) return;
    const LinearLayer& next = layers_[l + 1];
    at = 1 - at;
    Multiply(tail[l + 1].weight, next.outputs, next.inputs, input, rows, buffers_[at].data());
    z = buffers_[at].data();
    bias = tail[l + 1].bias;
  }
  Real* logits = buffers_[at].data();  // the sink may overwrite them
  if (z != logits) std::copy_n(z, int64_t{layers_.back().outputs} * rows, logits);
  if (bias != nullptr) AddBiases(bias, layers_.back().outputs, rows, logits);
  sink(candidate, first, rows, logits);
}

template <typename Real>
void SharedEvaluation<Real>::RunAlone(int64_t candidate, size_t from, const Input& input,
                                      int64_t first, int rows, Sink sink) {
  if (!CandidateInRange(candidate, from, input)) return;
  const std::vector<Parameters> parameters = TailOf(candidate, from);
  const LinearLayer& layer = layers_[from];
  Multiply(parameters[from].weight, layer.outputs, layer.inputs, input, rows, buffers_[0].data());
  RunTail(candidate, from, buffers_[0].data(), parameters[from].bias, parameters, first, rows,
          sink);
}

template <typename Real>
const typename SharedEvaluation<Real>::Prefix& SharedEvaluation<Real>::PushMember(
    size_t depth, int member, size_t layer, int rows) {
  const Prefix& from = prefixes_[depth];
  Prefix& to = prefixes_[depth + 1];
  const LayerDelta<Real>& delta = deltas_[member][layer];
  const int64_t size = int64_t{layers_[layer].outputs} * rows;
  to.z = from.z;
  if (!delta.empty()) {
    to.own_z.resize(size);
    to.z = to.own_z.data();
    const Real* part = delta_z_[member].data();
    if (static_cast<int>(delta.units.size()) == layers_[layer].outputs) {
      kernels::AddReal(from.z, part, size, to.own_z.data());
    } else {
      std::copy(from.z, from.z + size, to.own_z.data());
      for (size_t u = 0; u < delta.units.size(); ++u) {
        Real* row = to.own_z.data() + int64_t{delta.units[u]} * rows;
        kernels::AddReal(row, part + static_cast<int64_t>(u) * rows, rows, row);
      }
    }
  }
  to.tail = from.tail;
  to.own_tail.resize(layers_.size());
  for (size_t l = layer + 1; l < layers_.size(); ++l) {
    if (deltas_[member][l].empty()) continue;
    const LinearLayer& next = layers_[l];
    const int64_t weights = int64_t{next.inputs} * next.outputs;
    to.own_tail[l].resize(weights + next.outputs);
    Real* own = to.own_tail[l].data();
    kernels::AddUnitsToReal(from.tail[l].weight, updates_[member].data() + next.weight_offset,
                            weights, own);
    kernels::AddUnitsToReal(from.tail[l].bias, updates_[member].data() + next.bias_offset,
                            next.outputs, own + weights);
    to.tail[l] = {own, own + weights};
  }
  return to;
}

template <typename Real>
void SharedEvaluation<Real>::RunShared(const Group& group, int64_t first, int rows, Sink sink) {
  const size_t layer = group.layer;
  if (prefixes_.empty()) prefixes_.resize(1);
  prefixes_[0].z = known_->z[layer].data();
  prefixes_[0].tail = base_parameters_;
  std::vector<int> members, held;  // of the coalition at hand; of the prefixes
  for (size_t c = 0; c < group.candidates.size(); ++c) {
    const int64_t candidate = group.candidates[c];
    if (Skips(candidate)) continue;
    if (saturating_[candidate]) {
      RunAlone(candidate, layer, inputs_[layer], first, rows, sink);
      continue;
    }
    if (group.incremental[c] && RunIncremental(group, candidate, first, rows, sink)) continue;
    members.clear();
    for (int i = static_cast<int>(updates_.size()) - 1; i >= 0; --i) {
      if (masks_[candidate] >> i & 1) members.push_back(i);
    }
    if (prefixes_.size() <= members.size()) prefixes_.resize(members.size() + 1);
    const size_t common =
        std::mismatch(members.begin(), members.end(), held.begin(), held.end()).first -
        members.begin();
    held.resize(common);
    for (size_t depth = common; depth < members.size(); ++depth) {
      PushMember(depth, members[depth], layer, rows);
      held.push_back(members[depth]);
    }
    const Prefix& sum = prefixes_[members.size()];
    RunTail(candidate, layer, sum.z, nullptr, sum.tail, first, rows, sink);
  }
}

// z' = z + W_b (a' - a) + W_S a' + b_S at layer + 1, where a' differs from the base's input a on
// few units only. False where these sums might be out of range: then nothing was done.
template <typename Real>
bool SharedEvaluation<Real>::RunIncremental(const Group& group, int64_t candidate, int64_t first,
                                            int rows, Sink sink) {
  const size_t layer = group.layer, next = layer + 1;
  if (base_good_ <= next) return false;
  const LinearLayer& above = layers_[next];
  const uint64_t mask = masks_[candidate];
  std::vector<int> units, place(layers_[layer].outputs, -1);
  for (const int member : group.members) {
    if (!(mask >> member & 1)) continue;
    for (const int unit : deltas_[member][layer].units) place[unit] = 0;
  }
  for (int unit = 0; unit < layers_[layer].outputs; ++unit) {
    if (place[unit] < 0) continue;
    place[unit] = static_cast<int>(units.size());
    units.push_back(unit);
  }
  const int64_t changed = static_cast<int64_t>(units.size());
  std::vector<Real> z(changed * rows);
  for (int64_t u = 0; u < changed; ++u) {
    std::copy_n(known_->z[layer].data() + int64_t{units[u]} * rows, rows, z.data() + u * rows);
  }
  for (const int member : group.members) {
    if (!(mask >> member & 1)) continue;
    const LayerDelta<Real>& delta = deltas_[member][layer];
    for (size_t u = 0; u < delta.units.size(); ++u) {
      Real* row = z.data() + int64_t{place[delta.units[u]]} * rows;
      kernels::AddReal(row, delta_z_[member].data() + static_cast<int64_t>(u) * rows, rows, row);
    }
  }
  const double largest = kernels::Activate(z.data(), nullptr, static_cast<int>(changed), rows,
                                                z.data());
  const int64_t largest_units = std::max(inputs_[next].largest,
                                         static_cast<int64_t>(largest * (1 << kActivationBits)));
  if (!BoundHolds(bounds_[next], inputs_[next].largest + largest_units, kActivationBits)) {
    return false;
  }
  Real* out = buffers_[0].data();
  std::copy_n(known_->z[next].data(), int64_t{above.outputs} * rows, out);
  // The members' own changes of the layer above need its whole input.
  std::vector<Real> whole, part;
  for (size_t i = 0; i < updates_.size(); ++i) {
    const LayerDelta<Real>& delta = deltas_[i][next];
    if (!(mask >> i & 1) || delta.empty()) continue;
    if (whole.empty()) {
      whole.assign(inputs_[next].values, inputs_[next].values + int64_t{above.inputs} * rows);
      for (int64_t u = 0; u < changed; ++u) {
        std::copy_n(z.data() + u * rows, rows, whole.data() + int64_t{units[u]} * rows);
      }
    }
    part.resize(delta.units.size() * rows);
    const Input input{whole.data(), largest_units, kActivationBits, false};
    ApplyDelta(static_cast<int>(i), next, input, rows, part.data());
    for (size_t u = 0; u < delta.units.size(); ++u) {
      Real* row = out + int64_t{delta.units[u]} * rows;
      kernels::AddReal(row, part.data() + static_cast<int64_t>(u) * rows, rows, row);
    }
  }
  scratch_weight_.resize(std::max<size_t>(scratch_weight_.size(), changed * above.outputs));
  for (int64_t j = 0; j < above.outputs; ++j) {
    const Real* row = base_parameters_[next].weight + j * above.inputs;
    for (int64_t u = 0; u < changed; ++u) scratch_weight_[j * changed + u] = row[units[u]];
  }
  for (int64_t u = 0; u < changed; ++u) {
    kernels::SubtractReal(z.data() + u * rows, inputs_[next].values + int64_t{units[u]} * rows,
                          rows, z.data() + u * rows);
  }
  MultiplyAdd(scratch_weight_.data(), above.outputs, static_cast<int>(changed), z.data(), rows,
              out);
  RunTail(candidate, next, out, nullptr, TailOf(candidate, next + 1), first, rows, sink);
  return true;
}

template <typename Real>
void SharedEvaluation<Real>::RunDeltas(const Group& group, const Input& input, int rows) {
  delta_z_.resize(updates_.size());
  const LinearLayer& layer = layers_[group.layer];
  for (const int member : group.members) {
    delta_z_[member].resize(deltas_[member][group.layer].units.size() * rows);
    if (deltas_[member][group.layer].form == LayerDelta<Real>::Form::kSparse) {
      ApplyDelta(member, group.layer, input, rows, delta_z_[member].data());
    }
  }
  for (size_t p = 0; p < group.pieces.size(); ++p) {
    const std::vector<int>& piece = group.pieces[p];
    const Real* stack = scratch_weight_.data();
    if (group.stacks.empty()) {
      Stack(piece, group.layer, scratch_weight_);
      stack = scratch_weight_.data();
    } else {
      stack = group.stacks[p].data();
    }
    const int64_t stacked = StackRows(piece, group.layer);
    piece_z_.resize(std::max<size_t>(piece_z_.size(), stacked * rows));
    Multiply(stack, static_cast<int>(stacked), layer.inputs, input, rows, piece_z_.data());
    const Real* from = piece_z_.data();
    for (const int member : piece) {
      from += FinishDelta(member, group.layer, from, rows, delta_z_[member].data()) * rows;
    }
  }
}

template <typename Real>
void SharedEvaluation<Real>::RunGroup(const Group& group, int64_t first, int rows, Sink sink) {
  const size_t layer = group.layer;
  if (base_good_ < std::min(layer, layers_.size())) {  // the base fails below
    for (const int64_t candidate : group.candidates) Violates(candidate, base_good_);
    return;
  }
  if (layer == layers_.size()) {
    const int64_t outputs = int64_t{layers_.back().outputs} * rows;
    for (const int64_t candidate : group.candidates) {
      if (Skips(candidate)) continue;
      std::copy_n(known_->z.back().data(), outputs, buffers_[0].data());
      sink(candidate, first, rows, buffers_[0].data());
    }
    return;
  }
  // Sums of parts are exact only where the sum of their absolute values is in range.
  if (group.shared && base_good_ > layer &&
      BoundHolds(bounds_[layer], inputs_[layer].largest, inputs_[layer].bits)) {
    RunDeltas(group, inputs_[layer], rows);
    RunShared(group, first, rows, sink);
    return;
  }
  RunUnshared(group, first, rows, sink);
}

template <typename Real>
void SharedEvaluation<Real>::RunUnshared(const Group& group, int64_t first, int rows, Sink sink) {
  const LinearLayer& layer = layers_[group.layer];
  const Input& input = inputs_[group.layer];
  const size_t chunk = ChunkOf(group);
  for (size_t begin = 0; begin < group.candidates.size(); begin += chunk) {
    const size_t end = std::min(group.candidates.size(), begin + chunk);
    const bool kept = !group.shared && !group.stacks.empty();
    if (!kept) StackCandidates(group, begin, scratch_weight_);
    const Real* stack = kept ? group.stacks[begin / chunk].data() : scratch_weight_.data();
    const int units = static_cast<int>(end - begin) * layer.outputs;
    piece_z_.resize(std::max<size_t>(piece_z_.size(), int64_t{units} * rows));
    Multiply(stack, units, layer.inputs, input, rows, piece_z_.data());
    for (size_t c = begin; c < end; ++c) {
      const int64_t candidate = group.candidates[c];
      if (Skips(candidate) || !CandidateInRange(candidate, group.layer, input)) continue;
      const int64_t unit = static_cast<int64_t>(c - begin) * layer.outputs;
      RunTail(candidate, group.layer, piece_z_.data() + unit * rows,
              stack + int64_t{units} * layer.inputs + unit, TailOf(candidate, group.layer + 1),
              first, rows, sink);
    }
  }
}

template <typename Real>
void SharedEvaluation<Real>::RunBlock(int64_t first, int rows, Sink sink) {
  const Rows block = rows_.Slice(first, rows);
  FindBase(block);
  LoadPixels(block);
  RunBase(rows);
  for (const Group& group : groups_) {
    if (!group.candidates.empty()) RunGroup(group, first, rows, sink);
  }
}

template <typename Real>
absl::Status SharedEvaluation<Real>::Run(Sink sink) {
  const int block = RowBlock();
  Reserve(block);
  for (int64_t first = 0; first < rows_.count(); first += block) {
    RunBlock(first, static_cast<int>(std::min<int64_t>(block, rows_.count() - first)), sink);
  }
  return Result();
}

template <typename Real>
absl::Status SharedEvaluation<Real>::RunCoalitions(GridSpan base,
                                                   absl::Span<const GridSpan> updates,
                                                   absl::Span<const uint64_t> masks, Sink sink) {
  RETURN_IF_ERROR(CheckCoalitions(spec_, base, updates, masks));
  base_ = base;
  updates_ = updates;
  masks_ = masks;
  candidates_ = static_cast<int64_t>(masks.size());
  if (masks.empty()) return absl::OkStatus();
  if (cache_ != nullptr) cache_->Use(spec_, base);
  base_real_.resize(base.size());
  kernels::GridToReal(base.data(), static_cast<int64_t>(base.size()), base_real_.data());
  base_parameters_ = ParametersAt(base_real_.data());
  FindDeltas();
  FindBounds();
  FindGroups();
  return Run(sink);
}

template <typename Real>
absl::Status SharedEvaluation<Real>::RunCheckpoints(absl::Span<const GridSpan> candidates,
                                                    Sink sink) {
  RETURN_IF_ERROR(CheckCheckpoints(spec_, candidates));
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
  groups_.resize(1);
  for (int64_t c = 0; c < candidates_; ++c) groups_[0].candidates.push_back(c);
  StackUnshared(groups_[0]);
  return Run(sink);
}

template class SharedEvaluation<float>;
template class SharedEvaluation<double>;

}  // namespace rochdale::learning
