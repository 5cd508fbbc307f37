// The models that are no chain of linear layers on a device of torch: exact_convnet.cc and
// exact_transformer.cc once more, with the same roundings, checks and, where an order matters (sums
// of exponentials), the same order. Internal to libs/learning.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "libs/learning/dataset.h"
#include "libs/learning/exact_network.h"
#include "libs/learning/grid.h"
#include "libs/learning/model.h"

namespace rochdale::learning {

class DeviceNetwork {
 public:
  virtual ~DeviceNetwork() = default;

  // What a row of a block takes of the device's memory, at most.
  virtual int64_t BytesOfRow() const = 0;
  // Logits [columns, classes] of a candidate, f64; a column is a row, or a character of a row. Or
  // the first check that failed. `units`: the candidate's, which `parameters` holds as f64 whole
  // numbers on the device.
  virtual std::optional<LayerViolation> Run(GridSpan units, const torch::Tensor& parameters,
                                            Rows rows, torch::Tensor& logits) = 0;
};

// Of a convnet or a character transformer.
std::unique_ptr<DeviceNetwork> MakeDeviceNetwork(const ModelSpec& spec,
                                                 const torch::Device& device);

}  // namespace rochdale::learning
