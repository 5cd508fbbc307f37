#include "libs/learning/device_networks.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "libs/learning/convnet.h"
#include "libs/learning/device_math.h"
#include "libs/learning/exact_constants.h"
#include "libs/learning/exact_range.h"
#include "libs/learning/transformer.h"

namespace rochdale::learning {
namespace {

constexpr double kParameterUnit = 0x1p-20;
constexpr double kStepsOfOne = 0x1p+16;             // of activations

// To a multiple of 2^-16, half to even. Where a value is too large for that it stays.
torch::Tensor Rounded(const torch::Tensor& values) {
  return values.mul(kStepsOfOne).round_().div_(kStepsOfOne);
}

double LargestOf(const torch::Tensor& values) { return values.abs().max().item<double>(); }

// What both kinds of model are made of.
class Layers {
 public:
  explicit Layers(const torch::Device& device)
      : device_(device), real_(torch::TensorOptions().dtype(torch::kFloat64).device(device)) {}

  void Use(GridSpan units, const torch::Tensor& parameters) {
    units_ = units;
    parameters_ = parameters;
  }
  torch::Tensor Values(int64_t offset, int64_t size) const {
    return parameters_.narrow(0, offset, size).mul(kParameterUnit);
  }
  torch::Tensor Weight(const LinearLayer& layer) const {
    return Values(layer.weight_offset, int64_t{layer.inputs} * layer.outputs)
        .view({layer.outputs, layer.inputs});
  }
  torch::Tensor Bias(const LinearLayer& layer) const {
    return Values(layer.bias_offset, layer.outputs);
  }
  // h: [columns, inputs].
  torch::Tensor Linear(const LinearLayer& layer, const torch::Tensor& h) const {
    return h.matmul(Weight(layer).t()).add_(Bias(layer));
  }
  bool Fits(const LinearLayer& layer, int64_t largest, int bits) const {
    return InRange(NormsOf({layer}, units_).front(), largest, bits);
  }
  torch::Tensor Bytes(Rows rows) const {
    return torch::from_blob(const_cast<uint8_t*>(rows.inputs.data()),
                            {rows.count(), rows.dimension}, torch::kUInt8)
        .to(device_);
  }
  const torch::TensorOptions& real() const { return real_; }

 private:
  const torch::Device device_;
  const torch::TensorOptions real_;
  GridSpan units_;
  torch::Tensor parameters_;
};

class DeviceConvnet final : public DeviceNetwork {
 public:
  DeviceConvnet(const ModelSpec& spec, const torch::Device& device)
      : spec_(spec), layout_(LayoutOfConvnet(spec)), layers_(device) {}

  int64_t BytesOfRow() const override {
    int64_t most = 0;
    for (const Convolution& conv : layout_.convolutions) {
      const int64_t pixels = int64_t{conv.height} * conv.width;
      most = std::max(most, pixels * (2 * conv.layer.inputs + 3 * conv.layer.outputs));
    }
    for (const LinearLayer& layer : layout_.linear) {
      most = std::max(most, int64_t{layer.inputs} + 4 * int64_t{layer.outputs});
    }
    return 8 * (most + 8 * int64_t{spec_.classes()});
  }

  std::optional<LayerViolation> Run(GridSpan units, const torch::Tensor& parameters, Rows rows,
                                    torch::Tensor& logits) override {
    layers_.Use(units, parameters);
    int64_t largest = *std::max_element(rows.inputs.begin(), rows.inputs.end());
    int bits = kInputBits, ordinal = 0;
    torch::Tensor h = layers_.Bytes(rows).to(torch::kFloat64).div_(256).view(
        {rows.count(), spec_.image[0], spec_.image[1], spec_.image[2]});
    for (const Convolution& conv : layout_.convolutions) {
      if (!layers_.Fits(conv.layer, largest, bits)) return LayerViolation{ordinal, conv.layer.name};
      h = Activated(Convolved(conv, h), largest);
      bits = kActivationBits;
      ++ordinal;
    }
    h = h.reshape({rows.count(), -1});
    for (const LinearLayer& layer : layout_.linear) {
      if (!layers_.Fits(layer, largest, bits)) return LayerViolation{ordinal, layer.name};
      h = layers_.Linear(layer, h);
      bits = kActivationBits;
      if (&layer != &layout_.linear.back()) h = Activated(h, largest);
      ++ordinal;
    }
    logits = h;
    return std::nullopt;
  }

 private:
  // The largest of four, then the bias: all is exact.
  torch::Tensor Convolved(const Convolution& conv, const torch::Tensor& h) const {
    const int64_t rows = h.size(0), outputs = conv.layer.outputs;
    const int64_t height = conv.height / 2, width = conv.width / 2;
    return layers_.Weight(conv.layer)
        .matmul(torch::im2col(h, {3, 3}, {1, 1}, {1, 1}, {1, 1}))
        .view({rows, outputs, conv.height, conv.width})
        .narrow(2, 0, 2 * height)
        .narrow(3, 0, 2 * width)
        .reshape({rows, outputs, height, 2, width, 2})
        .amax({3, 5})
        .add_(layers_.Bias(conv.layer).view({outputs, 1, 1}));
  }

  static torch::Tensor Activated(const torch::Tensor& z, int64_t& largest) {
    const torch::Tensor h = Rounded(z.relu());
    largest = static_cast<int64_t>(LargestOf(h) * kStepsOfOne);
    return h;
  }

  const ModelSpec spec_;
  const ConvnetLayout layout_;
  Layers layers_;
};

class DeviceTransformer final : public DeviceNetwork {
 public:
  DeviceTransformer(const ModelSpec& spec, const torch::Device& device)
      : spec_(spec.transformer), layout_(LayoutOfTransformer(spec_)), layers_(device) {}

  int64_t BytesOfRow() const override {
    const int64_t of_character = 12 * int64_t{spec_.width} + 3 * int64_t{spec_.mlp_width} +
                                 8 * int64_t{spec_.vocabulary} +
                                 8 * int64_t{spec_.heads} * spec_.context;
    return 8 * spec_.context * of_character;
  }

  std::optional<LayerViolation> Run(GridSpan units, const torch::Tensor& parameters, Rows rows,
                                    torch::Tensor& logits) override {
    layers_.Use(units, parameters);
    rows_ = rows.count();
    visible_ = torch::ones({spec_.context, spec_.context}, layers_.real()).triu().gt(0);
    width_ = torch::full({1}, spec_.width, layers_.real());
    torch::Tensor x = Embedded(rows);
    for (size_t b = 0; b < layout_.blocks.size(); ++b) {
      checks_.Begin(static_cast<int>(b + 1));
      if (!RunBlock(layout_.blocks[b], x)) return checks_.failed();
    }
    checks_.Begin(static_cast<int>(layout_.blocks.size() + 1));
    torch::Tensor normal;
    Normalised(layout_.norm, x, normal) && RunLinear(layout_.head, normal, logits);
    return checks_.failed();
  }

 private:
  // [rows * context, width]
  torch::Tensor Embedded(Rows rows) const {
    const int64_t width = spec_.width, context = spec_.context;
    const torch::Tensor token =
        layers_.Values(layout_.token_offset, spec_.vocabulary * width).view({-1, width});
    const torch::Tensor position =
        layers_.Values(layout_.position_offset, context * width).view({context, width});
    const torch::Tensor characters = layers_.Bytes(rows).to(torch::kInt64).flatten();
    return Rounded(token.index_select(0, characters).view({rows_, context, width}).add_(position))
        .view({rows_ * context, width});
  }

  bool Normalised(const Normalisation& norm, const torch::Tensor& x, torch::Tensor& out) {
    // Divisors are tensors of the device: by a number torch may multiply with its reciprocal.
    const torch::Tensor centred = x.sub(Rounded(x.sum(-1, /*keepdim=*/true).div(width_)));
    const torch::Tensor squares = centred.mul(centred).sum(-1, /*keepdim=*/true);
    if (!checks_.Pass(LargestOf(squares) < exact::kProductsMax, norm.name)) return false;
    const torch::Tensor deviation = squares.div(width_).add_(exact::kNormEpsilon).sqrt_();
    const torch::Tensor scaled =
        Rounded(centred.div(deviation)).mul_(layers_.Values(norm.gain_offset, spec_.width));
    out = Rounded(scaled.add(layers_.Values(norm.bias_offset, spec_.width)));
    return true;
  }

  bool RunLinear(const LinearLayer& layer, const torch::Tensor& h, torch::Tensor& z) {
    const int64_t largest = static_cast<int64_t>(LargestOf(h) * kStepsOfOne);
    if (!checks_.Pass(layers_.Fits(layer, largest, kActivationBits), layer.name)) return false;
    z = layers_.Linear(layer, h);
    return true;
  }

  // See exact_transformer.cc. `qkv`: [rows, context, 3, width].
  bool AttentionFits(const torch::Tensor& qkv) const {
    const torch::Tensor largest =
        qkv.abs().amax({1, 3}).mul_(kStepsOfOne).to(torch::kInt64).to(torch::kCPU).contiguous();
    const auto at = largest.accessor<int64_t, 2>();
    const __int128 limit = __int128{1} << (21 + 2 * kActivationBits);
    for (int64_t row = 0; row < rows_; ++row) {
      if (__int128{spec_.width / spec_.heads} * at[row][0] * at[row][1] >= limit) return false;
      if ((__int128{spec_.context} * at[row][2] << kActivationBits) >= limit) return false;
    }
    return true;
  }

  // scores[..., u, t] become weights, as CausalSoftmax does it.
  torch::Tensor CausalSoftmax(const torch::Tensor& scores, double scale) const {
    const torch::Tensor hidden = visible_.logical_not();
    const torch::Tensor a = scores.mul(scale);
    const torch::Tensor top = a.masked_fill(hidden, -0x1p+22).amax(-2, /*keepdim=*/true);
    const torch::Tensor e =
        device::Exp(a.sub(top).masked_fill_(hidden, 0.0)).masked_fill_(hidden, 0.0);
    torch::Tensor sum = torch::zeros_like(e.select(-2, 0));
    for (int64_t u = 0; u < e.size(-2); ++u) sum.add_(e.select(-2, u));
    return Rounded(e.div(sum.unsqueeze(-2)));
  }

  bool Attended(const TransformerBlock& block, const torch::Tensor& z, torch::Tensor& out) {
    const int64_t context = spec_.context, heads = spec_.heads, width = spec_.width / heads;
    const torch::Tensor qkv = Rounded(z).view({rows_, context, 3, spec_.width});
    if (!checks_.Pass(AttentionFits(qkv), block.attention)) return false;
    // Of each: [rows, heads, context, width of a head]
    const torch::Tensor parts =
        qkv.view({rows_, context, 3, heads, width}).permute({2, 0, 3, 1, 4});
    const torch::Tensor scores = parts[1].matmul(parts[0].transpose(-1, -2));
    const torch::Tensor weights =
        CausalSoftmax(scores, 1.0 / std::sqrt(static_cast<double>(width)));
    out = Rounded(weights.transpose(-1, -2)
                      .matmul(parts[2])
                      .permute({0, 2, 1, 3})
                      .reshape({rows_ * context, spec_.width}));
    return true;
  }

  bool RunBlock(const TransformerBlock& block, torch::Tensor& x) {
    torch::Tensor h, z;
    if (!Normalised(block.norm1, x, h) || !RunLinear(block.attention_in, h, z) ||
        !Attended(block, z, h) || !RunLinear(block.attention_out, h, z)) {
      return false;
    }
    x = x.add(Rounded(z));
    if (!Normalised(block.norm2, x, h) || !RunLinear(block.mlp_in, h, z)) return false;
    h = Rounded(z.relu_());
    if (!RunLinear(block.mlp_out, h, z)) return false;
    x = x.add(Rounded(z));
    return true;
  }

  const TransformerSpec spec_;
  const TransformerLayout layout_;
  Layers layers_;
  torch::Tensor visible_;  // [u, t]: whether position t sees key u
  torch::Tensor width_;
  int64_t rows_ = 0;
  LayerChecks checks_;
};

}  // namespace

std::unique_ptr<DeviceNetwork> MakeDeviceNetwork(const ModelSpec& spec,
                                                 const torch::Device& device) {
  if (spec.kind == ModelKind::kConvnet) return std::make_unique<DeviceConvnet>(spec, device);
  return std::make_unique<DeviceTransformer>(spec, device);
}

}  // namespace rochdale::learning
