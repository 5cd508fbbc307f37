#include "libs/tensor/safetensors_header.h"

#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::tensor {
namespace {

absl::Status Malformed(absl::string_view defect) { return Error("TENSOR_MALFORMED", defect); }

// Receives the parser's tokens; every callback returns false at the first defect, which ends the
// parse. The parser itself keeps no tree and does not recurse.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  ParsedHeader header;
  std::string defect;

  bool null() override { return Fail("null is not a value of a header"); }
  bool boolean(bool) override { return Fail("a boolean is not a value of a header"); }
  bool number_integer(number_integer_t) override { return Fail("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return Fail("a number that is not whole or is too large");
  }
  bool binary(binary_t&) override { return Fail("binary value"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (where_ == Where::kShape) {
      if (tensor_.spec.shape.size() == kDimensionsMax) return Fail("too many dimensions");
      if (value > kElementsMax) return Fail("a dimension is out of bounds");
      tensor_.spec.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (where_ == Where::kOffsets) {
      if (offsets_ == 2) return Fail("more than two data_offsets");
      (offsets_++ == 0 ? tensor_.begin : tensor_.end) = value;
      return true;
    }
    return Fail("a number where none belongs");
  }

  bool string(string_t& value) override {
    if (where_ == Where::kMetadata) {
      if (!CountMetadata(value.size())) return false;
      header.metadata[key_] = std::move(value);
      return true;
    }
    if (where_ == Where::kTensor && key_ == "dtype") {
      const auto dtype = ParseDType(value);
      if (!dtype) return Fail("a dtype that is not F32, F64, I32, I64 or U8");
      tensor_.spec.dtype = *dtype;
      return true;
    }
    return Fail("a text where none belongs");
  }

  bool key(string_t& key) override {
    switch (where_) {
      case Where::kTop:
        if (key == "__metadata__") {
          if (std::exchange(has_metadata_, true)) return Fail("__metadata__ appears twice");
        } else {
          if (key.size() > kNameBytesMax) return Fail("a tensor's name is too long");
          if (names_.size() == kTensorsMax) return Fail("more tensors than the limit");
          if (!names_.insert(key).second) return Fail("a tensor appears twice");
        }
        break;
      case Where::kMetadata:
        if (header.metadata.size() == kMetadataEntriesMax) return Fail("too much metadata");
        if (!CountMetadata(key.size())) return false;
        if (!header.metadata.emplace(key, "").second) return Fail("a metadata key appears twice");
        break;
      default:
        if (key != "dtype" && key != "shape" && key != "data_offsets") {
          return Fail("a tensor has an unknown key");
        }
        if (!tensor_keys_.insert(key).second) return Fail("a tensor's key appears twice");
    }
    key_ = std::move(key);
    return true;
  }

  bool start_object(std::size_t) override {
    if (where_ == Where::kOutside) {
      where_ = Where::kTop;
      return true;
    }
    if (where_ != Where::kTop) return Fail("an object where none belongs");
    if (key_ == "__metadata__") {
      where_ = Where::kMetadata;
      return true;
    }
    where_ = Where::kTensor;
    tensor_ = HeaderTensor{};
    tensor_.spec.name = key_;
    tensor_keys_.clear();
    offsets_ = 0;
    return true;
  }

  bool end_object() override {
    if (where_ == Where::kTop) {
      where_ = Where::kOutside;
      return true;
    }
    if (where_ == Where::kTensor) {
      if (tensor_keys_.size() != 3 || offsets_ != 2) {
        return Fail("a tensor lacks a key or an offset");
      }
      header.tensors.push_back(std::move(tensor_));
    }
    where_ = Where::kTop;
    return true;
  }

  bool start_array(std::size_t) override {
    if (where_ != Where::kTensor) return Fail("an array where none belongs");
    if (key_ == "shape") {
      where_ = Where::kShape;
    } else if (key_ == "data_offsets") {
      where_ = Where::kOffsets;
    } else {
      return Fail("an array where none belongs");
    }
    return true;
  }

  bool end_array() override {
    where_ = Where::kTensor;
    return true;
  }

  // The library's text quotes the input; ours does not.
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Fail(absl::StrCat("the header is not JSON at byte ", position));
  }

 private:
  enum class Where { kOutside, kTop, kMetadata, kTensor, kShape, kOffsets };

  bool Fail(absl::string_view what) {
    defect = std::string(what);
    return false;
  }
  bool CountMetadata(size_t bytes) {
    metadata_bytes_ += bytes;
    return metadata_bytes_ <= kMetadataBytesMax || Fail("too much metadata");
  }

  Where where_ = Where::kOutside;
  std::string key_;
  std::set<std::string> names_;
  std::set<std::string> tensor_keys_;
  HeaderTensor tensor_;
  int offsets_ = 0;
  bool has_metadata_ = false;
  size_t metadata_bytes_ = 0;
};

}  // namespace

absl::StatusOr<ParsedHeader> ParseHeader(absl::string_view json) {
  // The format says so, and the library would skip a byte order mark.
  if (json.empty() || json.front() != '{') return Malformed("the header does not begin with {");
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &reader)) {
    return Malformed(reader.defect.empty() ? "the header is not JSON" : reader.defect);
  }
  return std::move(reader.header);
}

absl::Status ValidateMetadata(const Metadata& metadata) {
  size_t bytes = 0;
  for (const auto& [key, value] : metadata) bytes += key.size() + value.size();
  if (metadata.size() > kMetadataEntriesMax || bytes > kMetadataBytesMax) {
    return Malformed("too much metadata");
  }
  for (const auto& [key, value] : metadata) {
    for (const std::string& text : {key, value}) {
      const auto replace = nlohmann::json::error_handler_t::ignore;
      const std::string kept = nlohmann::json(text).dump(-1, ' ', false, replace);
      if (nlohmann::json::parse(kept, nullptr, false) != text) {
        return Malformed("metadata is not UTF-8");
      }
    }
  }
  return absl::OkStatus();
}

std::string MetadataJson(const Metadata& metadata) {
  nlohmann::json object = nlohmann::json::object();
  for (const auto& [key, value] : metadata) object[key] = value;
  return object.dump();
}

}  // namespace rochdale::tensor
