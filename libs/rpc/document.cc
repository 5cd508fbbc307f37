#include "libs/rpc/document.h"

#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "absl/strings/ascii.h"
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
  StrictReader reader;
  if (!nlohmann::json::sax_parse(document.body, &reader)) {
    return Error("DOCUMENT_INVALID", absl::StrCat(expected, ": ", reader.problem));
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
