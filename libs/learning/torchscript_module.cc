#include "libs/learning/torchscript_module.h"

#include <caffe2/serialize/inline_container.h>
#include <cblas.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/runtime/profiling_graph_executor_impl.h>
#include <torch/script.h>
#include <torch/torch.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <sstream>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/sha256.h"
#include "libs/learning/counter_words.h"
#include "libs/learning/torchscript_operators.h"

namespace rochdale::learning {
namespace {

constexpr int64_t kRowBlock = 256;
constexpr int64_t kTriedRows = 33;
constexpr double kNanoNatsMax = 0x1p49;  // of a row, as on the wire (services/attribution)
constexpr absl::string_view kTrialTag = "ROCHDALE-TRIALv1";

absl::Status Invalid(absl::string_view what) { return Error("MODULE_INVALID", what); }

// What torch says of a program that it cannot run, in one line of bounded length.
std::string Why(const std::exception& error) {
  std::string text;
  for (const char c : absl::string_view(error.what()).substr(0, 300)) {
    text.push_back(absl::ascii_isprint(c) ? c : ' ');
  }
  return text;
}

torch::ScalarType TypeOf(const TorchScriptSpec& spec) {
  return spec.precision == "f64" ? torch::kFloat64 : torch::kFloat32;
}

// Objects with __setstate__ run their code while they are loaded, before it can be looked at.
absl::Status CheckSource(absl::string_view bytes) {
  std::istringstream in{std::string(bytes)};
  caffe2::serialize::PyTorchStreamReader reader(&in);
  for (const std::string& name : reader.getAllRecords()) {
    if (!absl::StartsWith(name, "code/")) continue;
    const auto [data, size] = reader.getRecord(name);
    if (absl::StrContains({static_cast<const char*>(data.get()), size}, "__setstate__")) {
      return Invalid("the module has code that runs when it is loaded (__setstate__)");
    }
  }
  return absl::OkStatus();
}

std::string ShapeText(c10::IntArrayRef shape) {
  std::ostringstream text;
  text << shape;
  return text.str();
}

// The module's parameters in the order of the spec.
absl::StatusOr<std::vector<torch::Tensor>> ParametersOf(const torch::jit::Module& module,
                                                        const TorchScriptSpec& spec) {
  std::vector<std::pair<std::string, torch::Tensor>> named;
  std::set<const void*> storages;
  for (const auto& one : module.named_parameters(/*recurse=*/true)) {
    named.emplace_back(one.name, one.value);
    if (!one.value.defined() || one.value.layout() != torch::kStrided ||
        !one.value.is_floating_point() || !one.value.is_contiguous()) {
      return Invalid(absl::StrCat("parameter ", one.name.substr(0, 100), " is not dense floats"));
    }
    if (!storages.insert(one.value.storage().data()).second) {
      return Invalid(absl::StrCat("parameter ", one.name.substr(0, 100), " is another one, too"));
    }
  }
  std::sort(named.begin(), named.end(), [](const auto& a, const auto& b) {
    return a.first < b.first;
  });
  std::vector<torch::Tensor> parameters;
  for (size_t i = 0; i < std::max(named.size(), spec.parameters.size()); ++i) {
    if (i >= named.size()) {
      return Invalid(absl::StrCat("the module has no parameter ", spec.parameters[i].name));
    }
    const auto& [name, value] = named[i];
    if (i >= spec.parameters.size() || name != spec.parameters[i].name) {
      return Invalid(absl::StrCat("the module's parameter number ", i, " by name is ",
                                  name.substr(0, 100), ", not the spec's"));
    }
    if (value.sizes() != c10::IntArrayRef(spec.parameters[i].shape)) {
      return Invalid(absl::StrCat("parameter ", name, " has the shape ",
                                  ShapeText(value.sizes()), ", not the spec's"));
    }
    parameters.push_back(value);
  }
  return parameters;
}

// Of the library that this torch multiplies with: its own MKL, or the OpenBLAS that is linked.
absl::string_view BlasKernel() {
  if (!at::hasMKL()) return openblas_get_corename();
  const char* branch = std::getenv("MKL_CBWR");
  return branch != nullptr && absl::string_view(branch) == "COMPATIBLE" ? "MKL" : "of MKL's choice";
}

absl::Status CheckSignature(const torch::jit::Module& module) {
  const auto method = module.find_method("loss");
  if (!method) return Invalid("the module has no method loss");
  const auto& schema = method->function().getSchema();
  if (schema.arguments().size() != 3) return Invalid("loss must take inputs and targets");
  for (int i = 1; i < 3; ++i) {
    if (!schema.arguments()[i].type()->isSubtypeOf(*c10::TensorType::get())) {
      return Invalid("loss must take two tensors");
    }
  }
  return CheckOperators(*method);
}

}  // namespace

struct TorchScriptModule::Loaded {
  ModelSpec spec;
  torch::jit::Module module;
  std::vector<torch::Tensor> parameters;  // in canonical order
  GridVector initial;

  void Set(GridSpan units) {
    const torch::NoGradGuard no_gradients;
    int64_t offset = 0;
    for (torch::Tensor& parameter : parameters) {
      const auto part = torch::from_blob(const_cast<int32_t*>(units.data()) + offset,
                                         parameter.sizes(), torch::kInt32);
      // Below 2^23 units: exact in f32, too.
      parameter.copy_(part.to(parameter.scalar_type()).mul_(0x1p-20));
      offset += parameter.numel();
    }
  }

  // The module's losses of some rows, as it gives them.
  absl::StatusOr<torch::Tensor> Run(Rows rows) {
    const torch::ScalarType type = TypeOf(spec.torchscript);
    const torch::Tensor inputs =
        torch::from_blob(const_cast<uint8_t*>(rows.inputs.data()), {rows.count(), rows.dimension},
                         torch::kUInt8).to(type).div_(256);
    const torch::Tensor targets =
        torch::from_blob(const_cast<int32_t*>(rows.labels.data()), {rows.count()}, torch::kInt32)
            .to(torch::kInt64);
    const c10::IValue result = module.get_method("loss")({inputs, targets});
    if (!result.isTensor()) return Invalid("loss gives something that is no tensor");
    torch::Tensor losses = result.toTensor();
    if (losses.dim() != 1 || losses.size(0) != rows.count()) {
      return Invalid(absl::StrCat("loss gives the shape ", ShapeText(losses.sizes()), " for ",
                                  rows.count(), " rows: it is not per-sample"));
    }
    if (losses.scalar_type() != type) {
      return Invalid(absl::StrCat("loss computes in ", c10::toString(losses.scalar_type()),
                                  ", not in ", spec.torchscript.precision));
    }
    return losses;
  }

  absl::Status AppendLosses(Rows rows, std::vector<int64_t>& all) {
    const torch::NoGradGuard no_gradients;
    ASSIGN_OR_RETURN(torch::Tensor losses, Run(rows));
    losses = losses.to(torch::kFloat64).contiguous();
    const double* data = losses.data_ptr<double>();
    for (int64_t r = 0; r < rows.count(); ++r) {
      const double nano = std::nearbyint(data[r] * 1e9);
      if (!(nano >= 0 && nano <= kNanoNatsMax)) {
        return Error("EVALUATION_RANGE", "a loss is not finite, negative or too large");
      }
      all.push_back(static_cast<int64_t>(nano));
    }
    return absl::OkStatus();
  }
};

void PinTorch() {
  torch::set_num_threads(1);
  torch::set_num_interop_threads(1);
  openblas_set_num_threads(1);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  // Both choose kernels by themselves.
  at::globalContext().setUserEnabledMkldnn(false);
  torch::jit::getProfilingMode() = false;
  torch::jit::getExecutorMode() = false;
  torch::jit::setGraphExecutorOptimize(false);
}

absl::Status CheckPinned(const TorchScriptSpec& spec) {
  const auto unfit = [](absl::string_view what, absl::string_view here, absl::string_view wanted) {
    return Error("DEVICE_UNFIT", absl::StrCat("modules are evaluated with ", what, " ", here,
                                              " here; the spec says ", wanted));
  };
  const std::string library = absl::StrCat("torch ", TORCH_VERSION_MAJOR, ".", TORCH_VERSION_MINOR);
  if (library != spec.library) return unfit("library", library, spec.library);
  const std::string config = absl::AsciiStrToLower(at::show_config());
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(config, absl::MaxSplits("cpu capability usage: ", 1));
  absl::string_view capability = parts.second.substr(0, parts.second.find('\n'));
  if (capability == "no avx") capability = "default";
  if (capability != spec.aten_capability) {
    return unfit("ATen capability", capability, spec.aten_capability);
  }
  const absl::string_view kernel = BlasKernel();
  if (kernel != spec.blas_kernel) return unfit("BLAS kernel", kernel, spec.blas_kernel);
  if (torch::get_num_threads() != 1) return unfit("threads", "several", "one");
  return absl::OkStatus();
}

TorchScriptModule::TorchScriptModule(std::unique_ptr<Loaded> loaded) : loaded_(std::move(loaded)) {}
TorchScriptModule::TorchScriptModule(TorchScriptModule&&) noexcept = default;
TorchScriptModule& TorchScriptModule::operator=(TorchScriptModule&&) noexcept = default;
TorchScriptModule::~TorchScriptModule() = default;

absl::StatusOr<TorchScriptModule> TorchScriptModule::Load(const ModelSpec& spec,
                                                          absl::string_view bytes) {
  RETURN_IF_ERROR(ValidateModelSpec(spec));
  if (spec.exact()) return Error("BAD_REQUEST", "the spec is not that of a module");
  if (static_cast<int64_t>(bytes.size()) > kModuleBytesMax) {
    return Invalid(absl::StrCat("a module has at most ", kModuleBytesMax, " bytes"));
  }
  if (crypto::Sha256(bytes) != spec.torchscript.module) {
    return Error("MODULE_UNREGISTERED", "the module is not the one that the model names");
  }
  RETURN_IF_ERROR(CheckPinned(spec.torchscript));
  try {
    RETURN_IF_ERROR(CheckSource(bytes));
    std::istringstream in{std::string(bytes)};
    auto loaded = std::make_unique<Loaded>(Loaded{spec, torch::jit::load(in, torch::kCPU), {}, {}});
    loaded->module.eval();
    RETURN_IF_ERROR(CheckSignature(loaded->module));
    ASSIGN_OR_RETURN(loaded->parameters, ParametersOf(loaded->module, spec.torchscript));
    const torch::ScalarType type = TypeOf(spec.torchscript);
    for (torch::Tensor& parameter : loaded->parameters) {
      const torch::NoGradGuard no_gradients;
      const torch::Tensor values = parameter.to(torch::kFloat64).contiguous();
      const auto units = GridFromF64({values.data_ptr<double>(), size_t(values.numel())});
      if (!units.ok()) return Invalid(units.status().message());
      loaded->initial.insert(loaded->initial.end(), units->begin(), units->end());
      parameter.set_data(values.to(type));
      parameter.set_requires_grad(false);
    }
    for (torch::Tensor buffer : loaded->module.buffers(/*recurse=*/true)) {
      if (buffer.is_floating_point()) buffer.set_data(buffer.to(type));
    }
    return TorchScriptModule(std::move(loaded));
  } catch (const std::exception& error) {
    return Invalid(absl::StrCat("the module cannot be loaded: ", Why(error)));
  }
}

absl::StatusOr<GridVector> TorchScriptModule::Parameters() const { return loaded_->initial; }

absl::StatusOr<std::vector<int64_t>> TorchScriptModule::Losses(GridSpan parameters, Rows rows) {
  if (parameters.size() != loaded_->initial.size()) {
    return Error("BAD_REQUEST", "the parameters are not those of the model");
  }
  RETURN_IF_ERROR(CheckRows(rows, loaded_->spec));
  try {
    loaded_->Set(parameters);
    std::vector<int64_t> losses;
    losses.reserve(rows.count());
    for (int64_t first = 0; first < rows.count(); first += kRowBlock) {
      const Rows block = rows.Slice(first, std::min(kRowBlock, rows.count() - first));
      RETURN_IF_ERROR(loaded_->AppendLosses(block, losses));
      std::vector<int64_t> alone;
      RETURN_IF_ERROR(loaded_->AppendLosses(block.Slice(block.count() - 1, 1), alone));
      if (!loaded_->spec.Agree(alone[0], losses.back())) {
        return Invalid(absl::StrCat("row ", losses.size() - 1, " has another loss by itself: the "
                                    "loss is not per-sample"));
      }
    }
    return losses;
  } catch (const std::exception& error) {
    return Invalid(absl::StrCat("loss cannot be evaluated: ", Why(error)));
  }
}

absl::StatusOr<std::vector<float>> TorchScriptModule::Gradient(GridSpan parameters, Rows rows) {
  if (parameters.size() != loaded_->initial.size()) {
    return Error("BAD_REQUEST", "the parameters are not those of the model");
  }
  RETURN_IF_ERROR(CheckRows(rows, loaded_->spec));
  const auto require = [this](bool gradients) {
    for (torch::Tensor& parameter : loaded_->parameters) {
      parameter.mutable_grad() = torch::Tensor();
      parameter.set_requires_grad(gradients);
    }
  };
  try {
    loaded_->Set(parameters);
    require(true);
    for (int64_t first = 0; first < rows.count(); first += kRowBlock) {
      const Rows block = rows.Slice(first, std::min(kRowBlock, rows.count() - first));
      ASSIGN_OR_RETURN(const torch::Tensor losses, loaded_->Run(block));
      (losses.sum() / static_cast<double>(rows.count())).backward();
    }
    std::vector<float> gradient;
    for (const torch::Tensor& parameter : loaded_->parameters) {
      const torch::Tensor of = parameter.grad().defined()
                                   ? parameter.grad().to(torch::kFloat32).contiguous()
                                   : torch::zeros_like(parameter, torch::kFloat32);
      gradient.insert(gradient.end(), of.data_ptr<float>(), of.data_ptr<float>() + of.numel());
    }
    require(false);
    return gradient;
  } catch (const std::exception& error) {
    require(false);
    return Invalid(absl::StrCat("the gradient cannot be computed: ", Why(error)));
  }
}

absl::Status TorchScriptModule::CheckPerSample() {
  const TorchScriptSpec& spec = loaded_->spec.torchscript;
  CounterWords words(kTrialTag, spec.module.ToString());
  // Where a module starts with zeros all rows may have one loss, and nothing would be seen.
  GridVector parameters = loaded_->initial;
  for (int32_t& units : parameters) {
    const int32_t change = static_cast<int32_t>(words.Next() >> 15) - (1 << 16);
    units = std::clamp(units + change, -kGridMax, kGridMax);
  }
  Dataset rows;
  rows.dimension = spec.inputs;
  for (int64_t r = 0; r < kTriedRows; ++r) {
    for (int i = 0; i < spec.inputs; ++i) {
      rows.inputs.push_back(static_cast<uint8_t>(words.Next() % spec.input_values));
    }
    rows.labels.push_back(static_cast<int32_t>(words.Next() % spec.classes));
  }
  try {
    ASSIGN_OR_RETURN(const std::vector<int64_t> together, Losses(parameters, rows));
    std::vector<int64_t> backwards(kTriedRows);
    for (int64_t r = 0; r < kTriedRows; ++r) backwards[r] = kTriedRows - 1 - r;
    ASSIGN_OR_RETURN(std::vector<int64_t> reversed,
                     Losses(parameters, TakeRows(rows, backwards)));
    std::reverse(reversed.begin(), reversed.end());
    std::vector<int64_t> alone, pairs;
    for (int64_t r = 0; r < kTriedRows; ++r) {
      RETURN_IF_ERROR(loaded_->AppendLosses(Rows(rows).Slice(r, 1), alone));
      if (r % 2 == 1) RETURN_IF_ERROR(loaded_->AppendLosses(Rows(rows).Slice(r - 1, 2), pairs));
    }
    pairs.push_back(alone.back());
    for (int64_t r = 0; r < kTriedRows; ++r) {
      const int64_t expected = alone[r];
      if (!loaded_->spec.Agree(expected, together[r]) ||
          !loaded_->spec.Agree(expected, reversed[r]) || !loaded_->spec.Agree(expected, pairs[r])) {
        return Invalid(absl::StrCat("the loss of row ", r, " is ", alone[r], " nano-nats by itself "
                                    "and ", together[r], ", ", pairs[r], " and ", reversed[r],
                                    " among others: it is not per-sample, within the tolerance"));
      }
    }
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return Invalid(absl::StrCat("loss cannot be evaluated: ", Why(error)));
  }
}

}  // namespace rochdale::learning
