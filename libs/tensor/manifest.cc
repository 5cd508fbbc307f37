#include "libs/tensor/manifest.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::tensor {
namespace {

constexpr size_t kDifferencesShown = 40;

absl::Status Malformed(absl::string_view defect) { return Error("TENSOR_MALFORMED", defect); }

std::string ShapeText(const TensorSpec& spec) {
  return spec.shape.empty() ? "-" : absl::StrJoin(spec.shape, "x");
}

absl::StatusOr<TensorSpec> ParseLine(absl::string_view line) {
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
  if (words.size() != 3) return Malformed("a manifest line does not have three words");
  TensorSpec spec;
  spec.name = std::string(words[0]);
  const auto dtype = ParseDType(words[1]);
  if (!dtype) return Malformed("a manifest line has an unknown dtype");
  spec.dtype = *dtype;
  if (words[2] != "-") {
    for (absl::string_view extent : absl::StrSplit(words[2], 'x')) {
      int64_t value;
      if (spec.shape.size() == kDimensionsMax || !absl::SimpleAtoi(extent, &value)) {
        return Malformed("a manifest line has a bad shape");
      }
      spec.shape.push_back(value);
    }
  }
  return spec;
}

}  // namespace

absl::StatusOr<TensorManifest> TensorManifest::Create(std::vector<TensorSpec> specs) {
  if (specs.empty()) return Malformed("no tensors");
  if (specs.size() > kTensorsMax) return Malformed("more tensors than the limit");
  uint64_t elements = 0;
  for (const TensorSpec& spec : specs) {
    RETURN_IF_ERROR(ValidateSpec(spec));
    elements += spec.Elements();
  }
  if (elements > kElementsMax) return Malformed("more elements than the limit");
  std::sort(specs.begin(), specs.end(),
            [](const TensorSpec& a, const TensorSpec& b) { return a.name < b.name; });
  for (size_t i = 1; i < specs.size(); ++i) {
    if (specs[i - 1].name == specs[i].name) {
      return Malformed(absl::StrCat("tensor ", specs[i].name, " appears twice"));
    }
  }
  return TensorManifest(std::move(specs));
}

TensorManifest TensorManifest::Of(const SafetensorsView& view) {
  std::vector<TensorSpec> specs;
  for (const SafetensorsView::Tensor& tensor : view.tensors()) specs.push_back(tensor.spec);
  return TensorManifest(std::move(specs));
}

absl::StatusOr<TensorManifest> TensorManifest::Parse(absl::string_view text) {
  if (text.size() > kHeaderBytesMax) return Malformed("the manifest is longer than the limit");
  if (text.empty() || text.back() != '\n') {
    return Malformed("the manifest does not end in a newline");
  }
  std::vector<TensorSpec> specs;
  for (absl::string_view line : absl::StrSplit(text.substr(0, text.size() - 1), '\n')) {
    if (specs.size() == kTensorsMax) return Malformed("more tensors than the limit");
    ASSIGN_OR_RETURN(TensorSpec spec, ParseLine(line));
    specs.push_back(std::move(spec));
  }
  ASSIGN_OR_RETURN(TensorManifest manifest, Create(std::move(specs)));
  if (manifest.CanonicalText() != text) return Malformed("the manifest is not in canonical form");
  return manifest;
}

uint64_t TensorManifest::Elements() const {
  uint64_t elements = 0;
  for (const TensorSpec& spec : specs_) elements += spec.Elements();
  return elements;
}

std::string TensorManifest::CanonicalText() const {
  std::string text;
  for (const TensorSpec& spec : specs_) {
    absl::StrAppend(&text, spec.name, " ", DTypeName(spec.dtype), " ", ShapeText(spec), "\n");
  }
  return text;
}

crypto::Digest TensorManifest::Digest() const { return crypto::Sha256(CanonicalText()); }

TensorManifest TensorManifest::WithDType(DType dtype) const {
  std::vector<TensorSpec> specs = specs_;
  for (TensorSpec& spec : specs) spec.dtype = dtype;
  return TensorManifest(std::move(specs));
}

std::vector<std::string> Differences(const TensorManifest& expected,
                                     const TensorManifest& actual) {
  std::vector<std::string> differences;
  auto a = expected.specs().begin(), a_end = expected.specs().end();
  auto b = actual.specs().begin(), b_end = actual.specs().end();
  while (a != a_end || b != b_end) {
    if (b == b_end || (a != a_end && a->name < b->name)) {
      differences.push_back(absl::StrCat(a->name, " is missing"));
      ++a;
    } else if (a == a_end || b->name < a->name) {
      differences.push_back(absl::StrCat(b->name, " is not a tensor of the model"));
      ++b;
    } else {
      if (a->dtype != b->dtype) {
        differences.push_back(absl::StrCat(a->name, " is ", DTypeName(b->dtype), " instead of ",
                                           DTypeName(a->dtype)));
      }
      if (a->shape != b->shape) {
        differences.push_back(absl::StrCat(a->name, " has shape ", ShapeText(*b), " instead of ",
                                           ShapeText(*a)));
      }
      ++a, ++b;
    }
  }
  return differences;
}

absl::Status CheckSame(const TensorManifest& expected, const TensorManifest& actual) {
  std::vector<std::string> differences = Differences(expected, actual);
  if (differences.empty()) return absl::OkStatus();
  if (differences.size() > kDifferencesShown) {
    const size_t more = differences.size() - kDifferencesShown;
    differences.resize(kDifferencesShown);
    differences.push_back(absl::StrCat("and ", more, " more"));
  }
  return Error("TENSOR_MISMATCH", absl::StrJoin(differences, "; "));
}

}  // namespace rochdale::tensor
