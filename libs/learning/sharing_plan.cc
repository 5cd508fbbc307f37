// What the candidates of a SharedEvaluation share, and in which order they are taken.
#include <algorithm>
#include <numeric>
#include <type_traits>

#include "libs/learning/exact_kernels.h"
#include "libs/learning/shared_evaluation.h"

namespace rochdale::learning {
namespace {

constexpr int64_t kBlockBytesMax = int64_t{256} << 20;
constexpr int64_t kKeptBytesMax = int64_t{256} << 20;  // of parameters that are kept as reals
constexpr int64_t kTailBytesMax = int64_t{1} << 30;    // of parameters of partial sums
// Every block reads the candidates' weights again: many rows at a time, but where candidates are
// sums of parts, no more than that the parts stay near the processor.
constexpr int kRowBlock = 1024;
constexpr int kRowBlockMin = 16;
constexpr int kSharedRowBlockMin = 64;
// Of candidates that share nothing, whose products are made at once: the layer's input is prepared
// for each product anew.
constexpr int kChunkUnits = 1024;
constexpr int64_t kPartialBytes = int64_t{3} << 20;
// Taking a layer from the base costs passes over its activations, besides the multiply-adds.
constexpr int64_t kIncrementalGain = 2;

}  // namespace

template <typename Real>
void SharedEvaluation<Real>::FindDeltas() {
  deltas_.resize(updates_.size());
  for (size_t i = 0; i < updates_.size(); ++i) {
    for (const LinearLayer& layer : layers_) {
      deltas_[i].push_back(DeltaOf<Real>(layer, updates_[i]));
    }
  }
}

template <typename Real>
void SharedEvaluation<Real>::FindBounds() {
  saturating_.assign(masks_.size(), false);
  bounds_.resize(layers_.size());
  base_norms_.resize(layers_.size());
  if constexpr (std::is_same_v<Real, float>) {  // nothing is out of range
    int64_t largest = kernels::AbsoluteMax(base_.data(), base_.size());
    for (size_t i = 0; i < updates_.size(); ++i) {
      int64_t of_update = 0;
      for (size_t l = 0; l < layers_.size(); ++l) {
        if (deltas_[i][l].empty()) continue;
        const LinearLayer& layer = layers_[l];
        of_update = std::max<int64_t>(
            {of_update,
             kernels::AbsoluteMax(updates_[i].data() + layer.weight_offset,
                                  int64_t{layer.inputs} * layer.outputs),
             kernels::AbsoluteMax(updates_[i].data() + layer.bias_offset, layer.outputs)});
      }
      largest += of_update;
    }
    if (largest <= kGridMax) return;
  }
  // |base| + the sum of |updates|: at least the absolute parameters of every coalition.
  GridVector reach(base_.size());
  kernels::AccumulateAbsolute(base_.data(), base_.size(), reach.data());
  for (size_t i = 0; i < updates_.size(); ++i) {
    for (size_t l = 0; l < layers_.size(); ++l) {
      if (deltas_[i][l].empty()) continue;
      const LinearLayer& layer = layers_[l];
      kernels::AccumulateAbsolute(updates_[i].data() + layer.weight_offset,
                                  int64_t{layer.inputs} * layer.outputs,
                                  reach.data() + layer.weight_offset);
      kernels::AccumulateAbsolute(updates_[i].data() + layer.bias_offset, layer.outputs,
                                  reach.data() + layer.bias_offset);
    }
  }
  bounds_ = NormsOf(layers_, reach);
  base_norms_ = NormsOf(layers_, base_);
  if (kernels::AbsoluteMax(reach.data(), reach.size()) > kGridMax) FindSaturating();
}

template <typename Real>
void SharedEvaluation<Real>::FindSaturating() {
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

template <typename Real>
void SharedEvaluation<Real>::FindGroups() {
  std::vector<uint64_t> changes(layers_.size());  // which updates change the layer
  for (size_t i = 0; i < updates_.size(); ++i) {
    for (size_t l = 0; l < layers_.size(); ++l) {
      if (!deltas_[i][l].empty()) changes[l] |= uint64_t{1} << i;
    }
  }
  std::vector<int64_t> order(masks_.size());
  std::iota(order.begin(), order.end(), 0);
  // As numbers, neighbours share their high bits; members are pushed from the highest bit down.
  std::stable_sort(order.begin(), order.end(),
                   [this](int64_t a, int64_t b) { return masks_[a] < masks_[b]; });
  groups_.resize(layers_.size() + 1);
  for (size_t l = 0; l < groups_.size(); ++l) groups_[l].layer = l;
  for (const int64_t candidate : order) {
    size_t entry = 0;
    while (entry < layers_.size() && (masks_[candidate] & changes[entry]) == 0) ++entry;
    groups_[entry].candidates.push_back(candidate);
  }
  base_layers_ = 0;
  for (const Group& group : groups_) {
    if (!group.candidates.empty()) base_layers_ = group.layer;
  }
  for (Group& group : groups_) {
    if (!group.candidates.empty() && group.layer < layers_.size()) PlanGroup(group);
  }
}

template <typename Real>
bool SharedEvaluation<Real>::IsIncremental(const Group& group, uint64_t mask) const {
  const size_t next = group.layer + 1;
  if (next == layers_.size()) return false;
  std::vector<bool> changed(layers_[group.layer].outputs);
  int64_t cost = 0;
  for (size_t i = 0; i < updates_.size(); ++i) {
    if (!(mask >> i & 1)) continue;
    for (const int unit : deltas_[i][group.layer].units) changed[unit] = true;
    cost += deltas_[i][next].cost;
  }
  cost += std::count(changed.begin(), changed.end(), true) * layers_[next].outputs;
  return kIncrementalGain * cost < int64_t{layers_[next].inputs} * layers_[next].outputs;
}

template <typename Real>
void SharedEvaluation<Real>::PlanGroup(Group& group) {
  const LinearLayer& layer = layers_[group.layer];
  const int64_t dense = int64_t{layer.inputs} * layer.outputs;
  uint64_t members = 0;
  size_t depth = 0;
  for (const int64_t candidate : group.candidates) {
    members |= masks_[candidate];
    depth = std::max<size_t>(depth, __builtin_popcountll(masks_[candidate]));
  }
  int64_t cost = base_layers_ > group.layer ? 0 : dense, tail = 0;
  for (size_t i = 0; i < updates_.size(); ++i) {
    if (!(members >> i & 1) || deltas_[i][group.layer].empty()) continue;
    group.members.push_back(static_cast<int>(i));
    cost += deltas_[i][group.layer].cost;
  }
  for (size_t l = group.layer + 1; l < layers_.size(); ++l) {
    tail += int64_t{layers_[l].inputs} * layers_[l].outputs;
  }
  group.incremental.assign(group.candidates.size(), false);
  group.shared = cost < dense * static_cast<int64_t>(group.candidates.size()) &&
                 static_cast<int64_t>(depth * tail * sizeof(Real)) <= kTailBytesMax;
  if (!group.shared) return StackUnshared(group);
  base_layers_ = std::max(base_layers_, group.layer + 1);
  for (size_t c = 0; c < group.candidates.size(); ++c) {
    group.incremental[c] = IsIncremental(group, masks_[group.candidates[c]]);
    if (group.incremental[c]) base_layers_ = std::max(base_layers_, group.layer + 2);
  }
  // One product for all is faster than one for each, above all where each has few units.
  std::vector<int> piece;
  for (const int member : group.members) {
    if (deltas_[member][group.layer].form != LayerDelta<Real>::Form::kSparse) {
      piece.push_back(member);
    }
  }
  if (piece.empty()) return;
  const int64_t bytes = StackRows(piece, group.layer) * layer.inputs * sizeof(Real);
  if (bytes <= kKeptBytesMax) {
    group.pieces.push_back(piece);
    Stack(piece, group.layer, group.stacks.emplace_back());
    return;
  }
  for (const int member : piece) group.pieces.push_back({member});
}

template <typename Real>
size_t SharedEvaluation<Real>::ChunkOf(const Group& group) const {
  return std::max(1, kChunkUnits / layers_[group.layer].outputs);
}

template <typename Real>
void SharedEvaluation<Real>::StackUnshared(Group& group) {
  const LinearLayer& layer = layers_[group.layer];
  const int64_t bytes = static_cast<int64_t>(group.candidates.size() * sizeof(Real)) *
                        layer.inputs * layer.outputs;
  if (bytes > kKeptBytesMax) return;
  for (size_t begin = 0; begin < group.candidates.size(); begin += ChunkOf(group)) {
    StackCandidates(group, begin, group.stacks.emplace_back());
  }
}

template <typename Real>
void SharedEvaluation<Real>::StackCandidates(const Group& group, size_t begin,
                                             std::vector<Real>& stack) const {
  const size_t end = std::min(group.candidates.size(), begin + ChunkOf(group));
  const LinearLayer& layer = layers_[group.layer];
  const int64_t size = int64_t{layer.inputs} * layer.outputs;
  stack.resize((end - begin) * (size + layer.outputs));
  Real* weights = stack.data();
  Real* biases = weights + (end - begin) * size;
  for (size_t c = begin; c < end; ++c, weights += size, biases += layer.outputs) {
    LayerParameters(group.candidates[c], layer, weights, biases);
  }
}

template <typename Real>
int64_t SharedEvaluation<Real>::StackRows(const std::vector<int>& piece, size_t layer) const {
  int64_t rows = 0;
  for (const int member : piece) {
    const LayerDelta<Real>& delta = deltas_[member][layer];
    rows += delta.form == LayerDelta<Real>::Form::kLowRank ? delta.rank : delta.units.size();
  }
  return rows;
}

template <typename Real>
void SharedEvaluation<Real>::Stack(const std::vector<int>& piece, size_t layer,
                                   std::vector<Real>& stack) const {
  const int64_t inputs = layers_[layer].inputs;
  stack.resize(StackRows(piece, layer) * inputs);
  Real* to = stack.data();
  for (const int member : piece) {
    const LayerDelta<Real>& delta = deltas_[member][layer];
    if (delta.form == LayerDelta<Real>::Form::kLowRank) {
      to = std::copy(delta.right.begin(), delta.right.end(), to);
      continue;
    }
    const int32_t* weight = updates_[member].data() + layers_[layer].weight_offset;
    for (const int unit : delta.units) {
      kernels::GridToReal(weight + unit * inputs, inputs, to);
      to += inputs;
    }
  }
}

template <typename Real>
int SharedEvaluation<Real>::RowBlock() const {
  int64_t values = spec_.inputs(), partial = 0;
  for (const LinearLayer& layer : layers_) values += 2 * int64_t{layer.outputs};
  for (const Group& group : groups_) {
    if (!group.shared) continue;
    size_t depth = 0;
    for (const int64_t candidate : group.candidates) {
      depth = std::max<size_t>(depth, __builtin_popcountll(masks_[candidate]));
    }
    partial += int64_t{layers_[group.layer].outputs} * (depth + 1);
    for (const int member : group.members) {
      partial += 2 * deltas_[member][group.layer].units.size();
    }
  }
  values += partial;
  const int64_t fits = std::max<int64_t>(kBlockBytesMax / (8 * values), kRowBlockMin);
  const int64_t near = std::max<int64_t>(
      kPartialBytes / (static_cast<int64_t>(sizeof(Real)) * std::max<int64_t>(partial, 1)),
      kSharedRowBlockMin);
  const int64_t wanted =
      options_.row_block > 0 ? options_.row_block : std::min({fits, near, int64_t{kRowBlock}});
  return static_cast<int>(std::min(wanted, rows_.count()));
}

template <typename Real>
void SharedEvaluation<Real>::Reserve(int block) {
  int64_t widest = 0;
  for (const LinearLayer& layer : layers_) widest = std::max<int64_t>(widest, layer.outputs);
  for (auto& buffer : buffers_) buffer.resize(widest * block);
  pixels_.resize(int64_t{spec_.inputs()} * block);
  inputs_.resize(layers_.size());
  tails_.resize(candidates_);
}

#define ROCHDALE_INSTANTIATE(Real)                                                          \
  template void SharedEvaluation<Real>::FindDeltas();                                       \
  template void SharedEvaluation<Real>::FindBounds();                                       \
  template void SharedEvaluation<Real>::FindGroups();                                       \
  template int SharedEvaluation<Real>::RowBlock() const;                                    \
  template size_t SharedEvaluation<Real>::ChunkOf(const Group&) const;                      \
  template void SharedEvaluation<Real>::StackUnshared(Group&);                              \
  template void SharedEvaluation<Real>::StackCandidates(const Group&, size_t,               \
                                                        std::vector<Real>&) const;          \
  template void SharedEvaluation<Real>::Stack(const std::vector<int>&, size_t,              \
                                              std::vector<Real>&) const;                    \
  template int64_t SharedEvaluation<Real>::StackRows(const std::vector<int>&, size_t) const; \
  template void SharedEvaluation<Real>::Reserve(int);
ROCHDALE_INSTANTIATE(float)
ROCHDALE_INSTANTIATE(double)
#undef ROCHDALE_INSTANTIATE

}  // namespace rochdale::learning
