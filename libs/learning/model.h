// The typed model architectures of a cooperative, their parameters in canonical order, and their
// initial parameters. Pure values; no torch.
//
// Parameters are named as in the state_dict() of a torch module:
//   softmax regression   nn.Sequential(Linear): "0.weight" [out, in], "0.bias" [out]
//   MLP                  nn.Sequential(Linear, ReLU, ..., Linear): "0.weight", "0.bias",
//                        "2.weight", ...: layer l is module 2 l, since a ReLU stands between two
//   convnet              convnet.h
//   character transformer   transformer.h
//   TorchScript module      as its spec lists them: those of named_parameters()
// Canonical order of the flat parameter vector: tensors by name, bytewise, as in libs/tensor/flat.h
// and in a safetensors file ("0.bias", "0.weight", "10.bias", ..., "2.bias", "2.weight", ...);
// each row-major.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/crypto/sha256.h"
#include "libs/tensor/manifest.h"

namespace rochdale::learning {

enum class ModelKind { kSoftmaxRegression, kMlp, kConvnet, kCharacterTransformer, kTorchScript };

// Bounds of every spec; ValidateModelSpec holds to them.
inline constexpr int kLayersMax = 16;             // linear layers
inline constexpr int kInputsMax = 65'536;         // inputs of a row
inline constexpr int kLayerWidthMax = 65'536;     // units of a hidden layer
inline constexpr int kClassesMax = 1'024;         // at least 2
inline constexpr int64_t kParametersMax = 1 << 26;
inline constexpr int kImageChannelsMax = 16;
inline constexpr int kImageSideMax = 256;         // pixels
inline constexpr int kConvolutionsMax = 6;
inline constexpr int kChannelsMax = 512;          // of a convolution
inline constexpr int kFeatureMapMax = 1 << 20;    // values of a row behind a convolution
inline constexpr int kContextMax = 512;           // characters of a row
inline constexpr int kVocabularyMax = 256;        // a character is a byte of a row; at least 2
inline constexpr int kWidthMax = 1'024;           // of a transformer; at least 2
inline constexpr int kBlocksMax = 16;
inline constexpr int kMlpWidthMax = 4'096;        // inside a transformer's block
inline constexpr int kModuleTensorsMax = 512;     // parameters of a module, as tensors
inline constexpr int kModuleDimensionsMax = 8;    // of one of them
inline constexpr int kModuleNameMax = 128;        // bytes of its name: letters, digits, '.', '_'
inline constexpr int64_t kToleranceMax = 1'000'000;    // nano-nats; at least 1
inline constexpr int64_t kDeadbandMax = 1'000'000'000; // nano-nats; at least twice the tolerance

struct TransformerSpec {
  int context = 0;     // characters of a row
  int vocabulary = 0;  // characters are 0 .. vocabulary - 1
  int width = 0;       // of the residual stream
  int heads = 0;       // divides the width
  int blocks = 0;
  int mlp_width = 0;
  friend bool operator==(const TransformerSpec&, const TransformerSpec&) = default;
};

struct ModuleTensor {
  std::string name;            // "net.0.weight"
  std::vector<int64_t> shape;  // {256, 784}; empty for a number
  friend bool operator==(const ModuleTensor&, const ModuleTensor&) = default;
};

// A TorchScript module by its digest, and how it is evaluated (docs/models.md). Its losses are not
// the same integers everywhere; what pins them down as far as that goes is part of the spec.
struct TorchScriptSpec {
  crypto::Digest module;                 // of the file that torch.jit.save wrote
  int inputs = 0;                        // values of a row
  int input_values = 0;                  // a value of a row is 0 .. input_values - 1; 2 to 256
  int classes = 0;
  std::vector<ModuleTensor> parameters;  // by name, bytewise
  std::string library;                   // "torch 1.13" or "torch 2.N"
  std::string precision;                 // "f64" or "f32"
  std::string aten_capability;           // "default", "avx2" or "avx512"
  std::string blas_kernel;               // OpenBLAS: "Nehalem", "Haswell", "Zen", "SkylakeX"; "MKL"
  int64_t tolerance_nanonats = 0;        // of a row's loss, between two right evaluations
  int64_t deadband_nanonats = 0;         // a smaller improvement counts as none
  friend bool operator==(const TorchScriptSpec&, const TorchScriptSpec&) = default;
};

struct ModelSpec {
  ModelKind kind = ModelKind::kMlp;
  // Softmax regression and MLP: inputs, hidden widths..., classes: 784, 256, 128, 10. Exactly two
  // for a softmax regression, at least three for an MLP, whose hidden activations are ReLU.
  // Convnet: hidden widths..., classes, of the linear layers behind the convolutions.
  // Character transformer and TorchScript module: empty.
  std::vector<int> layer_sizes;
  // Convnet only: channels, height and width of a row's image (row-major, a plane for each
  // channel), and the output channels of each convolution.
  std::vector<int> image = {};
  std::vector<int> channels = {};
  TransformerSpec transformer = {};  // character transformer only
  TorchScriptSpec torchscript = {};  // TorchScript module only

  // Whether losses are the same integers everywhere. Of the others `torchscript` says how far apart
  // they may be.
  bool exact() const { return kind != ModelKind::kTorchScript; }
  // Whether two right evaluations of a row may give these losses, nano-nats.
  bool Agree(int64_t loss, int64_t other) const {
    const int64_t apart = loss > other ? loss - other : other - loss;
    return apart <= torchscript.tolerance_nanonats;  // 0 where exact
  }
  int inputs() const;   // values of a row
  int classes() const;
  friend bool operator==(const ModelSpec&, const ModelSpec&) = default;
};

// BAD_REQUEST with every bound that is broken (the field's name as in the JSON).
absl::Status ValidateModelSpec(const ModelSpec& spec);

// One of these, keys in this order, no spaces, so that equal specs have equal bytes (and digests):
//   {"kind":"SOFTMAX_REGRESSION","layer_sizes":[784,10]}
//   {"kind":"MLP","layer_sizes":[784,256,128,10]}
//   {"channels":[8,16],"image":[1,28,28],"kind":"CONVNET","layer_sizes":[64,10]}
//   {"blocks":2,"context":32,"heads":4,"kind":"CHARACTER_TRANSFORMER","mlp_width":256,
//    "vocabulary":64,"width":64}
//   {"aten_capability":"default","blas_kernel":"Haswell","classes":10,"deadband_nanonats":2000,
//    "input_values":256,"inputs":784,"kind":"TORCHSCRIPT","library":"torch 1.13",
//    "module_sha256":hex,"parameters":[{"name":"net.0.bias","shape":[10]},...],
//    "precision":"f64","tolerance_nanonats":1000}
std::string ModelSpecToJson(const ModelSpec& spec);
// Accepts any JSON object with exactly the members of its kind, at most 4,096 bytes (of a module
// 131,072); else BAD_REQUEST.
absl::StatusOr<ModelSpec> ParseModelSpec(absl::string_view json);

// How a parameter starts; see InitialParameters.
enum class Start { kUniform, kOne, kZero };

struct ParameterTensor {
  std::string name;            // "2.weight"
  std::vector<int64_t> shape;  // {128, 256}
  int64_t fan_in = 0;          // of the layer, for its bias, too
  Start start = Start::kUniform;
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
// Of a softmax regression or an MLP, from the input to the logits.
std::vector<LinearLayer> LinearLayers(const ModelSpec& spec);

// What the layouts of models are built from. Sorts by name and sets size and offset.
void SortTensors(std::vector<ParameterTensor>& tensors);
// The layer of the tensors "<name>.weight", whose first extent is its outputs, and "<name>.bias",
// which are there.
LinearLayer FindLayer(const std::vector<ParameterTensor>& tensors, absl::string_view name);

// The manifest of checkpoints (kF32), updates (kF32) and effective updates (kI32) of this model.
tensor::TensorManifest ManifestOf(const ModelSpec& spec, tensor::DType dtype);

// Initial parameters on the grid (units of 2^-20), uniform in +-1/sqrt(fan_in) for weights and
// biases, as nn.Linear starts. Reproducible with integers and SHA-256 alone:
//   key   = SHA-256(seed)                                   (seed: any bytes)
//   block = SHA-256("ROCHDALE-INITv1" || key || k as 8 bytes big-endian), k = 0, 1, ...
//   parameter p of the flat vector takes the 32-bit big-endian word w = block[p / 8] word p % 8
//   B = floor(sqrt(2^40 / fan_in)), integer division and integer square root; fan_in = the layer's
//   inputs, for its bias too (of a convolution 9 times its input channels, of an embedding its
//   width)
//   value = floor(w * (2 B + 1) / 2^32) - B
// Gains of normalisations are 1 and their biases 0 instead; their words are passed over. A module
// brings its own (module_evaluator.h); here they are 0.
std::vector<int32_t> InitialParameters(const ModelSpec& spec, absl::string_view seed);

}  // namespace rochdale::learning
