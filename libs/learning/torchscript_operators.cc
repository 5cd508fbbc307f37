#include "libs/learning/torchscript_operators.h"

#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/inliner.h>

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::learning {
namespace {

constexpr int kCallDepthMax = 64;
constexpr int64_t kNodesMax = 200'000;

// Left out on purpose, besides what is not arithmetic: dropout and everything else that draws
// random numbers; batch_norm, whose statistics are those of a batch; empty; append and other
// changes of lists.
constexpr absl::string_view kAten =
    // element by element
    "add sub mul div floor_divide floordiv remainder fmod true_divide rsub neg abs sign sgn exp "
    "expm1 "
    "log log1p log2 log10 sqrt rsqrt square pow reciprocal sin cos tan sinh cosh tanh asin acos "
    "atan "
    "atan2 sigmoid log_sigmoid relu relu6 elu selu celu gelu silu mish hardtanh hardsigmoid "
    "hardswish "
    "leaky_relu prelu softplus softshrink hardshrink erf erfc clamp clamp_min clamp_max floor ceil "
    "round trunc frac maximum minimum lerp addcmul addcdiv logaddexp "
    "eq ne lt le gt ge logical_and logical_or logical_not logical_xor isnan isinf isfinite where "
    "masked_fill tril triu "
    // over an axis
    "softmax log_softmax logsumexp sum mean var std amax amin max min argmax argmin cumsum cumprod "
    "prod norm linalg_vector_norm all any topk sort argsort "
    // products
    "matmul mm bmm addmm baddbmm addmv mv dot outer linear bilinear einsum conv1d conv2d conv3d "
    "convolution _convolution embedding one_hot "
    // pooling and normalisation of a row
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d "
    "adaptive_avg_pool2d adaptive_avg_pool3d layer_norm group_norm instance_norm "
    // losses
    "cross_entropy_loss nll_loss nll_loss_nd mse_loss l1_loss smooth_l1_loss huber_loss "
    "binary_cross_entropy binary_cross_entropy_with_logits kl_div "
    // shapes
    "view reshape flatten unflatten transpose t permute movedim squeeze unsqueeze expand expand_as "
    "broadcast_to repeat contiguous clone detach view_as reshape_as gather index index_select take "
    "select slice narrow split split_with_sizes chunk unbind cat concat stack flip roll pad "
    "constant_pad_nd unfold pixel_shuffle diagonal "
    // types, sizes and plain numbers
    "to type_as float double long int bool half Int Float Bool item len size dim numel "
    "is_floating_point ScalarImplicit IntImplicit FloatImplicit Implicit __and__ __or__ __not__ "
    "__xor__ __is__ __isnot__ __getitem__ __contains__ __range_length __derive_index format str "
    "warn ceil floor device "
    // new tensors with known contents
    "zeros ones full zeros_like ones_like full_like new_zeros new_ones new_full arange linspace "
    "eye "
    "scalar_tensor tensor";

constexpr absl::string_view kPrim =
    "Constant ListConstruct ListUnpack TupleConstruct TupleUnpack TupleIndex TupleSlice If Loop "
    "GetAttr NumToTensor ImplicitTensorToNum unchecked_cast unchecked_unwrap_optional "
    "RaiseException "
    "Uninitialized dtype device layout is_cuda is_sparse requires_grad min max abs";

std::set<std::string> Names(absl::string_view space, absl::string_view words) {
  std::set<std::string> names;
  for (const absl::string_view word : absl::StrSplit(words, ' ', absl::SkipEmpty())) {
    names.insert(absl::StrCat(space, "::", word));
  }
  return names;
}

bool IsAllowed(const std::string& name) {
  static const auto* const allowed = [] {
    auto* names = new std::set<std::string>(Names("aten", kAten));
    names->merge(Names("prim", kPrim));
    return names;
  }();
  return allowed->contains(name);
}

absl::Status CheckBlock(const torch::jit::Block* block) {
  for (const torch::jit::Node* node : block->nodes()) {
    const std::string name = node->kind().toQualString();
    const c10::FunctionSchema* schema = node->maybeSchema();
    if (!IsAllowed(name) || (schema != nullptr && schema->is_mutable())) {
      return Error("MODULE_INVALID",
                   absl::StrCat("the module uses ", name.substr(0, 100),
                                schema != nullptr && schema->is_mutable() ? " in place" : "",
                                ", which is not allowed"));
    }
    // nn.ReLU has relu_ in a branch that is taken for nn.ReLU(inplace=True) only.
    const auto condition = node->kind() == c10::prim::If ? torch::jit::toIValue(node->input(0))
                                                         : c10::optional<c10::IValue>();
    for (size_t i = 0; i < node->blocks().size(); ++i) {
      const bool never = condition && condition->isBool() && condition->toBool() == (i != 0);
      if (!never) RETURN_IF_ERROR(CheckBlock(node->blocks()[i]));
    }
  }
  return absl::OkStatus();
}

// Nodes of a block and of what is in it, and of these how many are calls.
struct Size {
  int64_t nodes = 0;
  int64_t calls = 0;
};

void Count(const torch::jit::Block* block, Size& size) {
  for (const torch::jit::Node* node : block->nodes()) {
    ++size.nodes;
    size.calls += node->kind() == c10::prim::CallFunction || node->kind() == c10::prim::CallMethod;
    for (const torch::jit::Block* inner : node->blocks()) Count(inner, size);
  }
}

}  // namespace

absl::Status CheckOperators(const torch::jit::Method& method) {
  const auto graph = method.graph()->copy();
  // Each time goes one call deeper. What is left in the end is an operator that is not allowed.
  for (int depth = 0; depth < kCallDepthMax; ++depth) {
    Size size;
    Count(graph->block(), size);
    if (size.nodes > kNodesMax) return Error("MODULE_INVALID", "the module is too large a program");
    if (size.calls == 0) break;
    torch::jit::Inline(*graph);
  }
  return CheckBlock(graph->block());
}

}  // namespace rochdale::learning
