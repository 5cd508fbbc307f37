// The models as torch computes them, from a flat parameter vector. Internal to
// rochdale_learning_torch.
#pragma once

#include <torch/torch.h>

#include <vector>

#include "libs/learning/model.h"

namespace rochdale::learning {

// Logits [rows x classes] of pixels [rows x inputs], already p / 256.
torch::Tensor LinearLogits(const std::vector<LinearLayer>& layers, const torch::Tensor& parameters,
                           torch::Tensor pixels);
torch::Tensor ConvnetLogits(const ModelSpec& spec, const torch::Tensor& parameters,
                            const torch::Tensor& pixels);
// Logits [rows * context x vocabulary] of characters [rows x context] (int64).
torch::Tensor TransformerLogits(const TransformerSpec& spec, const torch::Tensor& parameters,
                                const torch::Tensor& characters);

}  // namespace rochdale::learning
