#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/model.h"

namespace rochdale::learning {
namespace {

using Json = nlohmann::json;

constexpr size_t kSpecBytesMax = 4'096;
constexpr size_t kModuleSpecBytesMax = 131'072;
constexpr size_t kListMax = kLayersMax + 1;

struct KindName {
  ModelKind kind;
  const char* name;
};
constexpr KindName kKinds[] = {{ModelKind::kSoftmaxRegression, "SOFTMAX_REGRESSION"},
                               {ModelKind::kMlp, "MLP"},
                               {ModelKind::kConvnet, "CONVNET"},
                               {ModelKind::kCharacterTransformer, "CHARACTER_TRANSFORMER"},
                               {ModelKind::kTorchScript, "TORCHSCRIPT"}};

std::string List(const std::vector<int>& values) {
  return absl::StrCat("[", absl::StrJoin(values, ","), "]");
}

// Reads the members of an object and counts them, so that others are seen.
class SpecReader {
 public:
  explicit SpecReader(const Json& json) : json_(json) {}

  std::vector<int> Sizes(const char* name) {
    std::vector<int> sizes;
    const Json* list = Member(name);
    if (list == nullptr) return sizes;
    if (!list->is_array() || list->size() > kListMax) {
      errors_.Add(name, absl::StrCat("must be a list of at most ", kListMax));
      return sizes;
    }
    for (const Json& size : *list) sizes.push_back(Whole(name, size));
    return sizes;
  }

  int Size(const char* name) {
    const Json* size = Member(name);
    return size == nullptr ? 0 : Whole(name, *size);
  }

  std::string Text(const char* name) {
    const Json* text = Member(name);
    if (text == nullptr) return "";
    if (text->is_string()) return text->get<std::string>();
    errors_.Add(name, "must be text");
    return "";
  }

  int64_t NanoNats(const char* name) {
    const Json* value = Member(name);
    if (value == nullptr) return 0;
    if (value->is_number_unsigned() && value->get<uint64_t>() <= kDeadbandMax) {
      return value->get<int64_t>();
    }
    errors_.Add(name, absl::StrCat("must be whole, 0 to ", kDeadbandMax));
    return 0;
  }

  crypto::Digest Digest(const char* name) {
    const auto digest = crypto::Digest::Parse(Text(name));
    if (digest.ok()) return *digest;
    errors_.Add(name, "must be a SHA-256 in hexadecimal");
    return {};
  }

  std::vector<ModuleTensor> Tensors(const char* name) {
    std::vector<ModuleTensor> tensors;
    const Json* list = Member(name);
    if (list == nullptr) return tensors;
    if (!list->is_array() || list->size() > kModuleTensorsMax) {
      errors_.Add(name, absl::StrCat("must be a list of at most ", kModuleTensorsMax));
      return tensors;
    }
    for (const Json& one : *list) {
      const bool formed = one.is_object() && one.size() == 2 && one.contains("name") &&
                          one["name"].is_string() && one.contains("shape") &&
                          one["shape"].is_array() && one["shape"].size() <= kModuleDimensionsMax;
      if (!formed) {
        errors_.Add(name, "must be a list of names with their shapes");
        return tensors;
      }
      ModuleTensor& tensor = tensors.emplace_back(ModuleTensor{one["name"].get<std::string>(), {}});
      for (const Json& extent : one["shape"]) tensor.shape.push_back(Extent(name, extent));
    }
    return tensors;
  }

  absl::Status Done() {
    if (errors_.empty() && read_ != json_.size()) {
      errors_.Add("model", "has members that are none of its kind");
    }
    return errors_.ToStatus();
  }

 private:
  const Json* Member(const char* name) {
    const auto found = json_.find(name);
    if (found == json_.end()) {
      errors_.Add(name, "is missing");
      return nullptr;
    }
    ++read_;
    return &*found;
  }

  int Whole(const char* name, const Json& value) {
    if (value.is_number_unsigned() && value.get<uint64_t>() <= kLayerWidthMax) {
      return value.get<int>();
    }
    errors_.Add(name, absl::StrCat("must be whole, 0 to ", kLayerWidthMax));
    return 0;
  }

  int64_t Extent(const char* name, const Json& value) {
    if (value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t{kParametersMax}) {
      return value.get<int64_t>();
    }
    errors_.Add(name, absl::StrCat("must have extents of at most ", kParametersMax));
    return 1;
  }

  const Json& json_;
  size_t read_ = 1;  // the kind
  FieldErrors errors_;
};

absl::Status BadModel(absl::string_view field, absl::string_view message) {
  FieldErrors errors;
  errors.Add(field, message);
  return errors.ToStatus();
}

absl::StatusOr<ModelKind> KindOf(const Json& kind) {
  for (const KindName& known : kKinds) {
    if (kind == known.name) return known.kind;
  }
  return BadModel("kind",
                  "must be SOFTMAX_REGRESSION, MLP, CONVNET, CHARACTER_TRANSFORMER "
                  "or TORCHSCRIPT");
}

// Keys come sorted, as everywhere.
std::string ModuleToJson(const TorchScriptSpec& spec) {
  Json json = {{"aten_capability", spec.aten_capability},
               {"blas_kernel", spec.blas_kernel},
               {"classes", spec.classes},
               {"deadband_nanonats", spec.deadband_nanonats},
               {"input_values", spec.input_values},
               {"inputs", spec.inputs},
               {"kind", "TORCHSCRIPT"},
               {"library", spec.library},
               {"module_sha256", spec.module.ToString()},
               {"parameters", Json::array()},
               {"precision", spec.precision},
               {"tolerance_nanonats", spec.tolerance_nanonats}};
  for (const ModuleTensor& tensor : spec.parameters) {
    json["parameters"].push_back({{"name", tensor.name}, {"shape", tensor.shape}});
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

TorchScriptSpec ReadModule(SpecReader& reader) {
  TorchScriptSpec spec;
  spec.aten_capability = reader.Text("aten_capability");
  spec.blas_kernel = reader.Text("blas_kernel");
  spec.classes = reader.Size("classes");
  spec.deadband_nanonats = reader.NanoNats("deadband_nanonats");
  spec.input_values = reader.Size("input_values");
  spec.inputs = reader.Size("inputs");
  spec.library = reader.Text("library");
  spec.module = reader.Digest("module_sha256");
  spec.parameters = reader.Tensors("parameters");
  spec.precision = reader.Text("precision");
  spec.tolerance_nanonats = reader.NanoNats("tolerance_nanonats");
  return spec;
}

}  // namespace

std::string ModelSpecToJson(const ModelSpec& spec) {
  if (spec.kind == ModelKind::kTorchScript) return ModuleToJson(spec.torchscript);
  std::string kind;
  for (const KindName& known : kKinds) {
    if (known.kind == spec.kind) kind = absl::StrCat("\"kind\":\"", known.name, "\"");
  }
  if (spec.kind == ModelKind::kCharacterTransformer) {
    const TransformerSpec& t = spec.transformer;
    return absl::StrCat("{\"blocks\":", t.blocks, ",\"context\":", t.context,
                        ",\"heads\":", t.heads, ",", kind, ",\"mlp_width\":", t.mlp_width,
                        ",\"vocabulary\":", t.vocabulary, ",\"width\":", t.width, "}");
  }
  const std::string linear = absl::StrCat(kind, ",\"layer_sizes\":", List(spec.layer_sizes), "}");
  if (spec.kind != ModelKind::kConvnet) return absl::StrCat("{", linear);
  return absl::StrCat("{\"channels\":", List(spec.channels), ",\"image\":", List(spec.image), ",",
                      linear);
}

absl::StatusOr<ModelSpec> ParseModelSpec(absl::string_view json) {
  if (json.size() > kModuleSpecBytesMax) {
    return BadModel("model", absl::StrCat("must have at most ", kModuleSpecBytesMax, " bytes"));
  }
  const Json parsed = Json::parse(json.begin(), json.end(), nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object() || !parsed.contains("kind")) {
    return BadModel("model", "must be a JSON object with a kind");
  }
  ModelSpec spec;
  ASSIGN_OR_RETURN(spec.kind, KindOf(parsed["kind"]));
  if (json.size() > kSpecBytesMax && spec.kind != ModelKind::kTorchScript) {
    return BadModel("model", absl::StrCat("must have at most ", kSpecBytesMax, " bytes"));
  }
  SpecReader reader(parsed);
  if (spec.kind == ModelKind::kTorchScript) {
    spec.torchscript = ReadModule(reader);
  } else if (spec.kind == ModelKind::kCharacterTransformer) {
    spec.transformer = {reader.Size("context"), reader.Size("vocabulary"),
                        reader.Size("width"),   reader.Size("heads"),
                        reader.Size("blocks"),  reader.Size("mlp_width")};
  } else {
    spec.layer_sizes = reader.Sizes("layer_sizes");
  }
  if (spec.kind == ModelKind::kConvnet) {
    spec.image = reader.Sizes("image");
    spec.channels = reader.Sizes("channels");
  }
  RETURN_IF_ERROR(reader.Done());
  RETURN_IF_ERROR(ValidateModelSpec(spec));
  return spec;
}

}  // namespace rochdale::learning
