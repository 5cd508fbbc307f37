#include "libs/learning/layer_delta.h"

#include <algorithm>
#include <type_traits>

#include "libs/learning/exact_kernels.h"
#include "libs/learning/low_rank.h"

namespace rochdale::learning {
namespace {

constexpr int64_t kSparseCost = 3;  // of a single weight beside one within a matrix product
constexpr double kUnit = 0x1p-20;

template <typename Real>
void TakeSparse(const LinearLayer& layer, GridSpan update, LayerDelta<Real>& delta) {
  delta.form = LayerDelta<Real>::Form::kSparse;
  delta.begin.push_back(0);
  for (const int unit : delta.units) {
    const int32_t* row = update.data() + layer.weight_offset + int64_t{unit} * layer.inputs;
    for (int i = 0; i < layer.inputs; ++i) {
      if (row[i] == 0) continue;
      delta.input.push_back(i);
      delta.value.push_back(static_cast<Real>(row[i] * kUnit));
    }
    delta.begin.push_back(static_cast<int64_t>(delta.input.size()));
  }
}

void TakeLowRank(const LinearLayer& layer, GridSpan update, LayerDelta<float>& delta) {
  // Factors must save at least two thirds of the work, and are searched for where it is much.
  const int units = static_cast<int>(delta.units.size());
  const int rank_max = static_cast<int>(
      std::min<int64_t>(kLowRankMax, delta.cost / (3 * (int64_t{units} + layer.inputs))));
  if (rank_max < 1) return;
  std::vector<float> matrix(delta.cost);
  for (int u = 0; u < units; ++u) {
    const int64_t at = layer.weight_offset + int64_t{delta.units[u]} * layer.inputs;
    kernels::GridToReal(update.data() + at, layer.inputs,
                        matrix.data() + int64_t{u} * layer.inputs);
  }
  auto found = FindLowRank(matrix.data(), units, layer.inputs, rank_max,
                           static_cast<float>(kLowRankUnitsMax * kUnit));
  if (!found) return;
  delta.form = LayerDelta<float>::Form::kLowRank;
  delta.rank = found->rank;
  delta.left = std::move(found->left);
  delta.right = std::move(found->right);
  delta.cost = delta.rank * (int64_t{units} + layer.inputs);
}

}  // namespace

template <typename Real>
LayerDelta<Real> DeltaOf(const LinearLayer& layer, GridSpan update) {
  LayerDelta<Real> delta;
  int64_t weights = 0;
  for (int j = 0; j < layer.outputs; ++j) {
    const int64_t changed = kernels::CountNonZero(
        update.data() + layer.weight_offset + int64_t{j} * layer.inputs, layer.inputs);
    const int32_t bias = update[layer.bias_offset + j];
    if (changed == 0 && bias == 0) continue;
    weights += changed;
    delta.units.push_back(j);
    delta.bias.push_back(static_cast<Real>(bias * kUnit));
  }
  if (delta.units.empty()) return delta;
  delta.form = LayerDelta<Real>::Form::kRows;
  delta.cost = static_cast<int64_t>(delta.units.size()) * layer.inputs;
  if (kSparseCost * weights < delta.cost) {
    TakeSparse(layer, update, delta);
    delta.cost = kSparseCost * weights + 1;
  } else if constexpr (std::is_same_v<Real, float>) {
    TakeLowRank(layer, update, delta);
  }
  return delta;
}

template LayerDelta<float> DeltaOf<float>(const LinearLayer&, GridSpan);
template LayerDelta<double> DeltaOf<double>(const LinearLayer&, GridSpan);

}  // namespace rochdale::learning
