// exp, log and cross-entropy of exact_math.h on torch's tensors: every line below is one IEEE
// operation per element, in the same order, on any device. Internal to libs/learning.
#pragma once

#include <torch/torch.h>

namespace rochdale::learning::device {

// Elementwise, f64; x in -2^19 .. 0.
torch::Tensor Exp(const torch::Tensor& x);
// Elementwise, f64; s in 1 .. 2^32.
torch::Tensor Log(const torch::Tensor& s);
// logits [..., rows, classes] f64, labels [..., rows] i64 of the same leading sizes: losses in
// nano-nats [..., rows], i64.
torch::Tensor CrossEntropyNanonats(const torch::Tensor& logits, const torch::Tensor& labels);

}  // namespace rochdale::learning::device
