#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "libs/base/errors.h"
#include "libs/crypto/sha256.h"
#include "libs/learning/model.h"

namespace rochdale::learning {
namespace {

// Adds an error unless low <= value <= high.
void CheckBounds(int64_t value, int64_t low, int64_t high, const std::string& field,
                 FieldErrors& errors) {
  if (value < low || value > high) {
    errors.Add(field, absl::StrCat("must be ", low, " to ", high));
  }
}

// The widths of a chain of linear layers that ends in classes; `inputs` says whether the first is
// the width of a row.
void CheckSizes(const std::vector<int>& sizes, bool inputs, FieldErrors& errors) {
  for (size_t i = 0; i < sizes.size(); ++i) {
    const bool last = i + 1 == sizes.size();
    const int high = last ? kClassesMax : inputs && i == 0 ? kInputsMax : kLayerWidthMax;
    CheckBounds(sizes[i], last ? 2 : 1, high, absl::StrCat("layer_sizes[", i, "]"), errors);
  }
}

void CheckCount(size_t count, size_t low, size_t high, const char* field, FieldErrors& errors) {
  if (count < low || count > high) {
    errors.Add(field, low == high ? absl::StrCat("must have ", low, " sizes")
                                  : absl::StrCat("must have ", low, " to ", high, " sizes"));
  }
}

void CheckConvnet(const ModelSpec& spec, FieldErrors& errors) {
  CheckCount(spec.layer_sizes.size(), 1, kLayersMax - kConvolutionsMax, "layer_sizes", errors);
  CheckCount(spec.image.size(), 3, 3, "image", errors);
  CheckCount(spec.channels.size(), 1, kConvolutionsMax, "channels", errors);
  if (!errors.empty()) return;
  CheckSizes(spec.layer_sizes, false, errors);
  CheckBounds(spec.image[0], 1, kImageChannelsMax, "image[0]", errors);
  CheckBounds(spec.image[1], 2, kImageSideMax, "image[1]", errors);
  CheckBounds(spec.image[2], 2, kImageSideMax, "image[2]", errors);
  for (size_t i = 0; i < spec.channels.size(); ++i) {
    CheckBounds(spec.channels[i], 1, kChannelsMax, absl::StrCat("channels[", i, "]"), errors);
  }
  if (!errors.empty()) return;
  int64_t height = spec.image[1], width = spec.image[2], flat = 0;
  CheckBounds(spec.image[0] * height * width, 1, kInputsMax, "image", errors);
  for (const int channels : spec.channels) {
    CheckBounds(channels * height * width, 1, kFeatureMapMax, "channels", errors);
    height /= 2;
    width /= 2;
    flat = channels * height * width;
  }
  if (height < 1 || width < 1) {
    errors.Add("channels", "must be no more than the image can be halved");
  } else if (flat > kLayerWidthMax) {
    errors.Add("channels", absl::StrCat("must leave at most ", kLayerWidthMax, " values"));
  }
}

void CheckTransformer(const TransformerSpec& spec, FieldErrors& errors) {
  CheckBounds(spec.context, 1, kContextMax, "context", errors);
  CheckBounds(spec.vocabulary, 2, kVocabularyMax, "vocabulary", errors);
  CheckBounds(spec.width, 2, kWidthMax, "width", errors);
  CheckBounds(spec.blocks, 1, kBlocksMax, "blocks", errors);
  CheckBounds(spec.mlp_width, 1, kMlpWidthMax, "mlp_width", errors);
  if (spec.heads < 1 || spec.width % spec.heads != 0) {
    errors.Add("heads", "must divide the width");
  }
}

bool IsModuleName(absl::string_view name) {
  return !name.empty() && name.size() <= kModuleNameMax &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '_';
         });
}

void CheckOneOf(const std::string& value, std::initializer_list<absl::string_view> choices,
                const char* field, FieldErrors& errors) {
  if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
    errors.Add(field, absl::StrCat("must be ", absl::StrJoin(choices, ", ")));
  }
}

void CheckModuleTensors(const std::vector<ModuleTensor>& tensors, FieldErrors& errors) {
  CheckBounds(tensors.size(), 1, kModuleTensorsMax, "parameters", errors);
  int64_t total = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string field = absl::StrCat("parameters[", i, "]");
    if (!IsModuleName(tensors[i].name) || (i > 0 && tensors[i].name <= tensors[i - 1].name)) {
      errors.Add(field, "must have a name of letters, digits, '.' and '_', behind the one before");
    }
    if (tensors[i].shape.size() > kModuleDimensionsMax) errors.Add(field, "has too long a shape");
    int64_t size = 1;
    for (const int64_t extent : tensors[i].shape) {
      const bool fits = extent >= 1 && extent <= kParametersMax / size;
      if (!fits) errors.Add(field, "must have extents of at least 1 and not too many values");
      size *= fits ? extent : 1;
    }
    total = std::min(total + size, kParametersMax + 1);
    if (!errors.empty()) return;  // one is enough of a long list
  }
  if (total > kParametersMax) {
    errors.Add("parameters", absl::StrCat("must have at most ", kParametersMax, " values"));
  }
}

// "torch 1.13" or "torch 2.N", one spelling of each. Which of them computes is for the process to
// say that does (DEVICE_UNFIT).
bool IsTorch(absl::string_view library) {
  int minor = 0;
  return library == "torch 1.13" ||
         (absl::ConsumePrefix(&library, "torch 2.") && absl::SimpleAtoi(library, &minor) &&
          minor >= 0 && minor < 1'000 && library == absl::StrCat(minor));
}

void CheckTorchScript(const TorchScriptSpec& spec, FieldErrors& errors) {
  if (spec.module.IsZero()) errors.Add("module_sha256", "must be the digest of a file");
  CheckBounds(spec.inputs, 1, kInputsMax, "inputs", errors);
  CheckBounds(spec.input_values, 2, 256, "input_values", errors);
  CheckBounds(spec.classes, 2, kClassesMax, "classes", errors);
  CheckModuleTensors(spec.parameters, errors);
  CheckBounds(spec.tolerance_nanonats, 1, kToleranceMax, "tolerance_nanonats", errors);
  // Two losses that are each within the tolerance differ from their true difference by up to twice
  // of it.
  CheckBounds(spec.deadband_nanonats, 2 * spec.tolerance_nanonats, kDeadbandMax,
              "deadband_nanonats", errors);
  if (!IsTorch(spec.library)) errors.Add("library", "must be torch 1.13 or torch 2 with its minor");
  CheckOneOf(spec.precision, {"f64", "f32"}, "precision", errors);
  CheckOneOf(spec.aten_capability, {"default", "avx2", "avx512"}, "aten_capability", errors);
  CheckOneOf(spec.blas_kernel, {"Nehalem", "Haswell", "Zen", "SkylakeX", "MKL"}, "blas_kernel",
             errors);
}

}  // namespace

absl::Status ValidateModelSpec(const ModelSpec& spec) {
  FieldErrors errors;
  switch (spec.kind) {
    case ModelKind::kSoftmaxRegression:
    case ModelKind::kMlp: {
      const bool mlp = spec.kind == ModelKind::kMlp;
      CheckCount(spec.layer_sizes.size(), mlp ? 3 : 2, mlp ? kLayersMax + 1 : 2, "layer_sizes",
                 errors);
      if (errors.empty()) CheckSizes(spec.layer_sizes, true, errors);
      break;
    }
    case ModelKind::kConvnet: CheckConvnet(spec, errors); break;
    case ModelKind::kCharacterTransformer: CheckTransformer(spec.transformer, errors); break;
    case ModelKind::kTorchScript: CheckTorchScript(spec.torchscript, errors); break;
    default: errors.Add("kind", "must name an architecture");
  }
  // Members of other kinds would be lost in the JSON.
  const bool convnet = spec.kind == ModelKind::kConvnet;
  const bool transformer = spec.kind == ModelKind::kCharacterTransformer;
  const bool module = spec.kind == ModelKind::kTorchScript;
  if ((!convnet && !(spec.image.empty() && spec.channels.empty())) ||
      ((transformer || module) && !spec.layer_sizes.empty()) ||
      (!module && spec.torchscript != TorchScriptSpec{}) ||
      (!transformer && spec.transformer != TransformerSpec{})) {
    errors.Add("model", "has members that are none of its kind");
  }
  if (errors.empty() && ParameterCount(spec) > kParametersMax) {
    errors.Add("layer_sizes", absl::StrCat("must have at most ", kParametersMax, " parameters"));
  }
  return errors.ToStatus();
}

}  // namespace rochdale::learning
