// The typed model architectures of a cooperative, their parameters in canonical order, and their
// initial parameters. Pure values; no torch.
//
// Parameters are named as in the state_dict() of nn.Sequential(Linear, ReLU, ..., Linear):
// "0.weight" [out, in], "0.bias" [out], "2.weight", ...: layer l is module 2 l, since a ReLU stands
// between two layers. A softmax regression is nn.Sequential(Linear): "0.weight", "0.bias".
// Canonical order of the flat parameter vector: tensors by name, bytewise, as in libs/tensor/flat.h
// and in a safetensors file ("0.bias", "0.weight", "10.bias", ..., "2.bias", "2.weight", ...);
// each row-major.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/tensor/manifest.h"

namespace rochdale::learning {

enum class ModelKind { kSoftmaxRegression, kMlp };

// Bounds of every spec; ValidateModelSpec holds to them.
inline constexpr int kLayersMax = 16;             // linear layers
inline constexpr int kInputsMax = 65'536;         // inputs of a row
inline constexpr int kLayerWidthMax = 65'536;     // units of a hidden layer
inline constexpr int kClassesMax = 1'024;         // at least 2
inline constexpr int64_t kParametersMax = 1 << 26;

struct ModelSpec {
  ModelKind kind = ModelKind::kMlp;
  // Inputs, hidden widths..., classes: 784, 256, 128, 10. Exactly two for a softmax regression,
  // at least three for an MLP, whose hidden activations are ReLU.
  std::vector<int> layer_sizes;

  int inputs() const { return layer_sizes.front(); }
  int classes() const { return layer_sizes.back(); }
  int layers() const { return static_cast<int>(layer_sizes.size()) - 1; }
  friend bool operator==(const ModelSpec&, const ModelSpec&) = default;
};

// BAD_REQUEST with every bound that is broken (field "layer_sizes" or "kind").
absl::Status ValidateModelSpec(const ModelSpec& spec);

// {"kind":"MLP","layer_sizes":[784,256,128,10]} or {"kind":"SOFTMAX_REGRESSION",...}: keys in this
// order, no spaces, so that equal specs have equal bytes (and digests).
std::string ModelSpecToJson(const ModelSpec& spec);
// Accepts any JSON object with exactly these two members; else BAD_REQUEST.
absl::StatusOr<ModelSpec> ParseModelSpec(absl::string_view json);

struct ParameterTensor {
  std::string name;            // "2.weight"
  std::vector<int64_t> shape;  // {128, 256}
  int layer = 0;               // from the input, 0 ..
  int64_t offset = 0;          // of its first element in the flat vector
  int64_t size = 0;            // elements
};

// Every parameter tensor in canonical order; offsets are contiguous from 0. `spec` is valid.
std::vector<ParameterTensor> ParameterTensors(const ModelSpec& spec);
int64_t ParameterCount(const ModelSpec& spec);

// One linear layer: where its weight[out][in] and bias[out] lie in the flat vector.
struct LinearLayer {
  int inputs = 0;
  int outputs = 0;
  int64_t weight_offset = 0;
  int64_t bias_offset = 0;
  std::string name;  // "2": the module; its tensors are "2.weight" and "2.bias"
};
// From the input to the logits.
std::vector<LinearLayer> LinearLayers(const ModelSpec& spec);

// The manifest of checkpoints (kF32), updates (kF32) and effective updates (kI32) of this model.
tensor::TensorManifest ManifestOf(const ModelSpec& spec, tensor::DType dtype);

// Initial parameters on the grid (units of 2^-20), uniform in +-1/sqrt(fan_in) for weights and
// biases, as nn.Linear starts. Reproducible with integers and SHA-256 alone:
//   key   = SHA-256(seed)                                   (seed: any bytes)
//   block = SHA-256("ROCHDALE-INITv1" || key || k as 8 bytes big-endian), k = 0, 1, ...
//   parameter p of the flat vector takes the 32-bit big-endian word w = block[p / 8] word p % 8
//   B = floor(sqrt(2^40 / fan_in)), integer division and integer square root; fan_in = the layer's
//   inputs, for its bias too
//   value = floor(w * (2 B + 1) / 2^32) - B
std::vector<int32_t> InitialParameters(const ModelSpec& spec, absl::string_view seed);

}  // namespace rochdale::learning
