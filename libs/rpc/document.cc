#include "libs/rpc/document.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "rochdale/common/v1/common.pb.h"

namespace rochdale::rpc {
namespace {

constexpr size_t kDepthMax = 32;

// "request_id" and "requestId" name the same field.
std::string CamelCase(absl::string_view name) {
  std::string camel;
  bool upper = false;
  for (const char c : name) {
    if (c == '_') {
      upper = true;
      continue;
    }
    camel.push_back(upper ? absl::ascii_toupper(c) : c);
    upper = false;
  }
  return camel;
}

// Walks a text as RFC 8259 has it, more strictly than the proto parser: what was signed must mean
// the same to every reader, so a field that stands twice is refused, in either spelling.
class StrictReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::string problem;

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return Push(); }
  bool end_object() override { return Pop(); }
  bool start_array(size_t) override { return Push(); }
  bool end_array() override { return Pop(); }
  bool key(string_t& name) override {
    if (keys_.back().insert(CamelCase(name)).second) return true;
    problem = absl::StrCat("the field ", name.substr(0, 64), " stands twice");
    return false;
  }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    problem = absl::StrCat("not JSON at byte ", position);
    return false;
  }

 private:
  bool Push() {
    keys_.emplace_back();
    if (keys_.size() <= kDepthMax) return true;
    problem = "nested too deeply";
    return false;
  }
  bool Pop() {
    keys_.pop_back();
    return true;
  }
  std::vector<std::set<std::string>> keys_;
};

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using nlohmann::json;

bool IsInteger(const json& value) {
  if (value.is_number_integer()) return true;
  if (!value.is_string()) return false;
  const std::string& text = value.get_ref<const std::string&>();
  int64_t signed_value;
  uint64_t unsigned_value;
  return (absl::SimpleAtoi(text, &signed_value) && absl::StrCat(signed_value) == text) ||
         (absl::SimpleAtoi(text, &unsigned_value) && absl::StrCat(unsigned_value) == text);
}

std::string FindProblem(const json& object, const Descriptor& type);

// What is wrong with one value of a field, or "". The proto parser is more generous: it takes a
// scalar for a list of one, 1.0 for 1, "true" for true, null for anything.
std::string FindValueProblem(const json& value, const FieldDescriptor& field) {
  bool fits = true;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE: return FindProblem(value, *field.message_type());
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64: fits = IsInteger(value); break;
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT: fits = value.is_number() || value.is_string(); break;
    case FieldDescriptor::CPPTYPE_BOOL: fits = value.is_boolean(); break;
    case FieldDescriptor::CPPTYPE_ENUM:
      fits = value.is_string() || value.is_number_integer();
      break;
    case FieldDescriptor::CPPTYPE_STRING: fits = value.is_string(); break;
  }
  return fits ? "" : absl::StrCat("the field ", field.name(), " has a value of another type");
}

std::string FindProblem(const json& object, const Descriptor& type) {
  // Timestamp, Duration and the like have forms of their own, which the parser checks.
  if (type.file()->package() == "google.protobuf") return "";
  if (!object.is_object()) return absl::StrCat("a ", type.name(), " must be an object");
  for (const auto& [name, value] : object.items()) {
    const FieldDescriptor* field = type.FindFieldByName(name);
    if (field == nullptr) field = type.FindFieldByCamelcaseName(name);
    if (field == nullptr) return absl::StrCat("unknown field ", name.substr(0, 64));
    const bool is_list = field->is_repeated() && !field->is_map();
    if (is_list ? !value.is_array() : (field->is_map() && !value.is_object())) {
      return absl::StrCat("the field ", field->name(), " must be ", is_list ? "a list" : "a map");
    }
    const FieldDescriptor& one = field->is_map() ? *field->message_type()->map_value() : *field;
    if (!field->is_repeated()) {
      if (std::string problem = FindValueProblem(value, one); !problem.empty()) return problem;
      continue;
    }
    for (const json& item : value) {
      if (std::string problem = FindValueProblem(item, one); !problem.empty()) return problem;
    }
  }
  return "";
}

// What makes `body` ambiguous or another message than `type`, or "".
std::string FindBodyProblem(const std::string& body, const Descriptor& type) {
  StrictReader reader;
  if (!json::sax_parse(body, &reader)) return reader.problem;
  const json parsed = json::parse(body, nullptr, /*allow_exceptions=*/false);
  return parsed.is_discarded() ? "not JSON" : FindProblem(parsed, type);
}

}  // namespace

absl::StatusOr<crypto::SignedDocument> FromProto(const common::v1::SignedDocument& document) {
  return crypto::MakeSignedDocument(document.type(), document.body(), document.public_key(),
                                    document.signature());
}

void ToProto(const crypto::SignedDocument& document, common::v1::SignedDocument& out) {
  out.set_type(document.type);
  out.set_body(document.body);
  out.set_public_key(std::string(document.public_key.AsBytes()));
  out.set_signature(std::string(document.signature.AsBytes()));
}

absl::Status ParseDocumentInto(const crypto::SignedDocument& document,
                               google::protobuf::Message& out) {
  const std::string& expected = out.GetDescriptor()->full_name();
  if (document.type != expected) {
    return Error("DOCUMENT_INVALID", absl::StrCat("the document must be a ", expected));
  }
  RETURN_IF_ERROR(crypto::VerifyDocument(document));
  if (const std::string problem = FindBodyProblem(document.body, *out.GetDescriptor());
      !problem.empty()) {
    return Error("DOCUMENT_INVALID", absl::StrCat(expected, ": ", problem));
  }
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = false;
  out.Clear();
  const auto parsed =
      google::protobuf::util::JsonStringToMessage(document.body, &out, options);
  if (!parsed.ok()) {
    const auto message = parsed.message();
    return Error("DOCUMENT_INVALID",
                 absl::StrCat(expected, ": ",
                              absl::string_view(message.data(), message.size()).substr(0, 300)));
  }
  return absl::OkStatus();
}

}  // namespace rochdale::rpc
