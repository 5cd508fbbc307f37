#include "libs/learning/torch_models.h"

#include <cmath>
#include <limits>

#include "libs/learning/convnet.h"
#include "libs/learning/transformer.h"

namespace rochdale::learning {
namespace {

constexpr double kEpsilon = 1e-5;  // of nn.LayerNorm

torch::Tensor Part(const torch::Tensor& parameters, int64_t offset,
                   const std::vector<int64_t>& shape) {
  int64_t size = 1;
  for (const int64_t extent : shape) size *= extent;
  return parameters.narrow(0, offset, size).view(shape);
}

torch::Tensor BiasOf(const LinearLayer& layer, const torch::Tensor& parameters) {
  return parameters.narrow(0, layer.bias_offset, layer.outputs);
}

torch::Tensor Linear(const LinearLayer& layer, const torch::Tensor& parameters,
                     const torch::Tensor& x) {
  return torch::linear(x, Part(parameters, layer.weight_offset, {layer.outputs, layer.inputs}),
                       BiasOf(layer, parameters));
}

torch::Tensor Norm(const Normalisation& norm, int64_t width, const torch::Tensor& parameters,
                   const torch::Tensor& x) {
  return torch::layer_norm(x, {width}, parameters.narrow(0, norm.gain_offset, width),
                           parameters.narrow(0, norm.bias_offset, width), kEpsilon);
}

// Causal attention of [rows x context x 3 width].
torch::Tensor Attention(const TransformerSpec& spec, const torch::Tensor& qkv) {
  const int64_t rows = qkv.size(0), head_width = spec.width / spec.heads;
  std::vector<torch::Tensor> parts = qkv.split(spec.width, 2);
  for (torch::Tensor& part : parts) {
    part = part.reshape({rows, spec.context, spec.heads, head_width}).transpose(1, 2);
  }
  const torch::Tensor later =
      torch::ones({spec.context, spec.context}, torch::kBool).triu(1);
  const torch::Tensor scores =
      (parts[0].matmul(parts[1].transpose(2, 3)) / std::sqrt(static_cast<double>(head_width)))
          .masked_fill(later.to(qkv.device()), -std::numeric_limits<float>::infinity());
  return torch::softmax(scores, -1).matmul(parts[2]).transpose(1, 2).reshape(
      {rows, spec.context, spec.width});
}

}  // namespace

torch::Tensor LinearLogits(const std::vector<LinearLayer>& layers, const torch::Tensor& parameters,
                           torch::Tensor pixels) {
  for (size_t l = 0; l < layers.size(); ++l) {
    pixels = Linear(layers[l], parameters, pixels);
    if (l + 1 < layers.size()) pixels = torch::relu(pixels);
  }
  return pixels;
}

torch::Tensor ConvnetLogits(const ModelSpec& spec, const torch::Tensor& parameters,
                            const torch::Tensor& pixels) {
  const ConvnetLayout layout = LayoutOfConvnet(spec);
  torch::Tensor x = pixels.view({-1, spec.image[0], spec.image[1], spec.image[2]});
  for (const Convolution& conv : layout.convolutions) {
    const torch::Tensor weight = Part(parameters, conv.layer.weight_offset,
                                      {conv.layer.outputs, conv.channels, 3, 3});
    x = torch::conv2d(x, weight, BiasOf(conv.layer, parameters), /*stride=*/1, /*padding=*/1);
    x = torch::max_pool2d(torch::relu(x), 2);
  }
  return LinearLogits(layout.linear, parameters, x.flatten(1));
}

torch::Tensor TransformerLogits(const TransformerSpec& spec, const torch::Tensor& parameters,
                                const torch::Tensor& characters) {
  const TransformerLayout layout = LayoutOfTransformer(spec);
  const torch::Tensor token =
      Part(parameters, layout.token_offset, {spec.vocabulary, spec.width});
  const torch::Tensor position =
      Part(parameters, layout.position_offset, {spec.context, spec.width});
  torch::Tensor x = torch::embedding(token, characters) + position;
  for (const TransformerBlock& block : layout.blocks) {
    const torch::Tensor qkv =
        Linear(block.attention_in, parameters, Norm(block.norm1, spec.width, parameters, x));
    x = x + Linear(block.attention_out, parameters, Attention(spec, qkv));
    const torch::Tensor hidden = torch::relu(
        Linear(block.mlp_in, parameters, Norm(block.norm2, spec.width, parameters, x)));
    x = x + Linear(block.mlp_out, parameters, hidden);
  }
  x = Linear(layout.head, parameters, Norm(layout.norm, spec.width, parameters, x));
  return x.reshape({-1, spec.vocabulary});
}

}  // namespace rochdale::learning
