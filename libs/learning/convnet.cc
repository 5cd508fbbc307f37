#include "libs/learning/convnet.h"

#include "absl/strings/str_cat.h"

namespace rochdale::learning {
namespace {

std::string ConvolutionName(size_t b) { return absl::StrCat(3 * b); }
std::string LinearName(const ModelSpec& spec, size_t l) {
  return absl::StrCat(3 * spec.channels.size() + 1 + 2 * l);
}

}  // namespace

std::vector<ParameterTensor> ConvnetTensors(const ModelSpec& spec) {
  std::vector<ParameterTensor> tensors;
  int64_t channels = spec.image[0], height = spec.image[1], width = spec.image[2];
  for (size_t b = 0; b < spec.channels.size(); ++b) {
    const std::string name = ConvolutionName(b);
    const int64_t out = spec.channels[b];
    tensors.push_back({absl::StrCat(name, ".weight"), {out, channels, 3, 3}, 9 * channels});
    tensors.push_back({absl::StrCat(name, ".bias"), {out}, 9 * channels});
    channels = out;
    height /= 2;
    width /= 2;
  }
  int64_t inputs = channels * height * width;
  for (size_t l = 0; l < spec.layer_sizes.size(); ++l) {
    const std::string name = LinearName(spec, l);
    const int64_t out = spec.layer_sizes[l];
    tensors.push_back({absl::StrCat(name, ".weight"), {out, inputs}, inputs});
    tensors.push_back({absl::StrCat(name, ".bias"), {out}, inputs});
    inputs = out;
  }
  SortTensors(tensors);
  return tensors;
}

ConvnetLayout LayoutOfConvnet(const ModelSpec& spec) {
  const std::vector<ParameterTensor> tensors = ConvnetTensors(spec);
  ConvnetLayout layout;
  int channels = spec.image[0], height = spec.image[1], width = spec.image[2];
  for (size_t b = 0; b < spec.channels.size(); ++b) {
    layout.convolutions.push_back(
        {FindLayer(tensors, ConvolutionName(b)), channels, height, width});
    channels = spec.channels[b];
    height /= 2;
    width /= 2;
  }
  for (size_t l = 0; l < spec.layer_sizes.size(); ++l) {
    layout.linear.push_back(FindLayer(tensors, LinearName(spec, l)));
  }
  return layout;
}

}  // namespace rochdale::learning
