#include "libs/learning/base_cache.h"

#include <algorithm>

namespace rochdale::learning {

template <typename Real>
void BaseCache<Real>::Use(const ModelSpec& spec, GridSpan base) {
  if (spec_ == spec && std::equal(base_.begin(), base_.end(), base.begin(), base.end())) return;
  entries_.clear();
  bytes_ = 0;
  spec_ = spec;
  base_.assign(base.begin(), base.end());
  int64_t values = 0;
  for (const LinearLayer& layer : LinearLayers(spec)) {
    values += int64_t{layer.inputs} + layer.outputs;
  }
  bytes_of_row_ = spec.inputs() + static_cast<int64_t>(sizeof(Real)) * (values - spec.inputs());
}

template <typename Real>
BaseActivations<Real>* BaseCache<Real>::Find(Rows rows) {
  for (Entry& entry : entries_) {
    if (std::equal(entry.pixels.begin(), entry.pixels.end(), rows.inputs.begin(),
                   rows.inputs.end())) {
      return &entry.activations;
    }
  }
  const int64_t bytes = rows.count() * bytes_of_row_;
  if (bytes > bytes_max_ - bytes_) return nullptr;
  bytes_ += bytes;
  Entry& entry = entries_.emplace_back();
  entry.pixels.assign(rows.inputs.begin(), rows.inputs.end());
  return &entry.activations;
}

template class BaseCache<float>;
template class BaseCache<double>;

}  // namespace rochdale::learning
