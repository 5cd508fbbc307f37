#include "libs/learning/transformer.h"

#include "absl/strings/str_cat.h"

namespace rochdale::learning {
namespace {

std::string BlockName(int block, const char* part) {
  return absl::StrCat("blocks.", block, ".", part);
}

void AddLinear(const std::string& name, int64_t inputs, int64_t outputs,
               std::vector<ParameterTensor>& tensors) {
  tensors.push_back({absl::StrCat(name, ".weight"), {outputs, inputs}, inputs});
  tensors.push_back({absl::StrCat(name, ".bias"), {outputs}, inputs});
}

void AddNormalisation(const std::string& name, int64_t width,
                      std::vector<ParameterTensor>& tensors) {
  tensors.push_back({absl::StrCat(name, ".weight"), {width}, width, Start::kOne});
  tensors.push_back({absl::StrCat(name, ".bias"), {width}, width, Start::kZero});
}

Normalisation FindNormalisation(const std::vector<ParameterTensor>& tensors,
                                const std::string& name) {
  const LinearLayer layer = FindLayer(tensors, name);
  return {layer.weight_offset, layer.bias_offset, name};
}

}  // namespace

std::vector<ParameterTensor> TransformerTensors(const TransformerSpec& spec) {
  std::vector<ParameterTensor> tensors;
  tensors.push_back({"token.weight", {spec.vocabulary, spec.width}, spec.width});
  tensors.push_back({"position.weight", {spec.context, spec.width}, spec.width});
  for (int b = 0; b < spec.blocks; ++b) {
    AddNormalisation(BlockName(b, "norm1"), spec.width, tensors);
    AddLinear(BlockName(b, "attention_in"), spec.width, 3 * spec.width, tensors);
    AddLinear(BlockName(b, "attention_out"), spec.width, spec.width, tensors);
    AddNormalisation(BlockName(b, "norm2"), spec.width, tensors);
    AddLinear(BlockName(b, "mlp_in"), spec.width, spec.mlp_width, tensors);
    AddLinear(BlockName(b, "mlp_out"), spec.mlp_width, spec.width, tensors);
  }
  AddNormalisation("norm", spec.width, tensors);
  AddLinear("head", spec.width, spec.vocabulary, tensors);
  SortTensors(tensors);
  return tensors;
}

TransformerLayout LayoutOfTransformer(const TransformerSpec& spec) {
  const std::vector<ParameterTensor> tensors = TransformerTensors(spec);
  TransformerLayout layout;
  layout.token_offset = FindLayer(tensors, "token").weight_offset;
  layout.position_offset = FindLayer(tensors, "position").weight_offset;
  for (int b = 0; b < spec.blocks; ++b) {
    TransformerBlock block;
    block.norm1 = FindNormalisation(tensors, BlockName(b, "norm1"));
    block.norm2 = FindNormalisation(tensors, BlockName(b, "norm2"));
    block.attention_in = FindLayer(tensors, BlockName(b, "attention_in"));
    block.attention_out = FindLayer(tensors, BlockName(b, "attention_out"));
    block.mlp_in = FindLayer(tensors, BlockName(b, "mlp_in"));
    block.mlp_out = FindLayer(tensors, BlockName(b, "mlp_out"));
    block.attention = BlockName(b, "attention");
    layout.blocks.push_back(std::move(block));
  }
  layout.norm = FindNormalisation(tensors, "norm");
  layout.head = FindLayer(tensors, "head");
  return layout;
}

}  // namespace rochdale::learning
