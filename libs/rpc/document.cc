#include "libs/rpc/document.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/inlined_vector.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "rochdale/common/v1/common.pb.h"

namespace rochdale::rpc {
namespace {

constexpr size_t kDepthMax = 32;

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using nlohmann::json;

bool IsIntegerText(const std::string& text) {
  int64_t signed_value;
  uint64_t unsigned_value;
  return (absl::SimpleAtoi(text, &signed_value) && absl::StrCat(signed_value) == text) ||
         (absl::SimpleAtoi(text, &unsigned_value) && absl::StrCat(unsigned_value) == text);
}

// Walks a text as RFC 8259 has it, beside the type that it must be, in one pass and more strictly
// than the proto parser, which takes a scalar for a list of one, 1.0 for 1, "true" for true, null
// for anything. What was signed must mean the same to every reader, so a field that stands twice is
// refused, in either spelling.
class StrictReader final : public nlohmann::json_sax<json> {
 public:
  explicit StrictReader(const Descriptor& type) : type_(type) {}

  std::string problem;  // the first one

  bool null() override { return Scalar(Kind::kNull); }
  bool boolean(bool) override { return Scalar(Kind::kBool); }
  bool number_integer(number_integer_t) override { return Scalar(Kind::kInteger); }
  bool number_unsigned(number_unsigned_t) override { return Scalar(Kind::kInteger); }
  bool number_float(number_float_t, const string_t&) override { return Scalar(Kind::kFraction); }
  bool string(string_t& text) override { return Scalar(Kind::kText, &text); }
  bool binary(binary_t&) override { return false; }

  bool start_object(size_t) override {
    Frame frame;
    if (frames_.empty()) {
      frame.type = &type_;
    } else if (Frame& outer = frames_.back(); outer.free) {
      frame.free = true;
    } else if (outer.field == nullptr) {
      return false;  // cannot be: an object's values follow their keys
    } else if (outer.field->is_map() && !outer.is_map) {
      frame.is_map = true;
      frame.field = outer.field->message_type()->map_value();
    } else if (outer.field->is_repeated() && !outer.is_list && !outer.is_map) {
      return NoList(*outer.field);
    } else if (outer.field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      return WrongType(*outer.field);
    } else {
      frame.type = outer.field->message_type();
    }
    if (frame.type != nullptr && HasOwnForm(*frame.type)) frame.free = true;
    return Push(std::move(frame));
  }
  bool end_object() override { return Pop(); }

  bool start_array(size_t) override {
    if (frames_.empty()) return NoObject(type_);
    const Frame& outer = frames_.back();
    Frame frame;
    frame.is_list = true;
    frame.free = outer.free || HasOwnForm(*outer.field);
    frame.field = outer.field;
    if (!frame.free) {
      const bool wanted =
          frame.field->is_repeated() && !frame.field->is_map() && !outer.is_list && !outer.is_map;
      if (!wanted && frame.field->is_map()) return NoList(*frame.field);
      if (!wanted) return WrongType(*frame.field);
    }
    return Push(std::move(frame));
  }
  bool end_array() override { return Pop(); }

  bool key(string_t& name) override {
    Frame& frame = frames_.back();
    if (frame.type == nullptr || frame.free) {
      if (frame.names.insert(name).second) return true;
      return Twice(name);
    }
    const FieldDescriptor* field = frame.type->FindFieldByName(name);
    if (field == nullptr) field = frame.type->FindFieldByCamelcaseName(name);
    if (field == nullptr) return Problem(absl::StrCat("unknown field ", name.substr(0, 64)));
    frame.field = field;
    if (absl::c_linear_search(frame.seen, field)) return Twice(name);
    frame.seen.push_back(field);
    return true;
  }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Problem(absl::StrCat("not JSON at byte ", position));
  }

 private:
  enum class Kind { kNull, kBool, kInteger, kFraction, kText };

  // An object or list that is open.
  struct Frame {
    const Descriptor* type = nullptr;        // of an object that is a message
    const FieldDescriptor* field = nullptr;  // that the next value is of, or an item of
    bool is_list = false;
    bool is_map = false;
    bool free = false;  // of a form of its own
    absl::InlinedVector<const FieldDescriptor*, 16> seen;
    std::set<std::string> names;  // where the keys are no fields
  };

  bool Scalar(Kind kind, const std::string* text = nullptr) {
    if (frames_.empty()) return NoObject(type_);
    const Frame& frame = frames_.back();
    if (frame.free) return true;
    const FieldDescriptor& field = *frame.field;
    if (!frame.is_list && !frame.is_map && field.is_repeated()) return NoList(field);
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      return HasOwnForm(*field.message_type()) || NoObject(*field.message_type());
    }
    return Fits(kind, text, field) || WrongType(field);
  }

  // Timestamp, Duration and the like, whose forms the parser checks.
  static bool HasOwnForm(const Descriptor& type) {
    return type.file()->package() == "google.protobuf";
  }
  static bool HasOwnForm(const FieldDescriptor& field) {
    return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field.is_repeated() &&
           HasOwnForm(*field.message_type());
  }

  static bool Fits(Kind kind, const std::string* text, const FieldDescriptor& field) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
      case FieldDescriptor::CPPTYPE_INT64:
      case FieldDescriptor::CPPTYPE_UINT32:
      case FieldDescriptor::CPPTYPE_UINT64:
        return kind == Kind::kInteger || (text != nullptr && IsIntegerText(*text));
      case FieldDescriptor::CPPTYPE_DOUBLE:
      case FieldDescriptor::CPPTYPE_FLOAT:
        return kind == Kind::kInteger || kind == Kind::kFraction || kind == Kind::kText;
      case FieldDescriptor::CPPTYPE_BOOL: return kind == Kind::kBool;
      case FieldDescriptor::CPPTYPE_ENUM: return kind == Kind::kText || kind == Kind::kInteger;
      case FieldDescriptor::CPPTYPE_STRING: return kind == Kind::kText;
      case FieldDescriptor::CPPTYPE_MESSAGE: break;
    }
    return false;
  }

  bool Push(Frame frame) {
    frames_.push_back(std::move(frame));
    return frames_.size() <= kDepthMax || Problem("nested too deeply");
  }
  bool Pop() {
    frames_.pop_back();
    return true;
  }

  bool Problem(std::string what) {
    if (problem.empty()) problem = std::move(what);
    return false;
  }
  bool Twice(absl::string_view name) {
    return Problem(absl::StrCat("the field ", name.substr(0, 64), " stands twice"));
  }
  bool NoObject(const Descriptor& type) {
    return Problem(absl::StrCat("a ", type.name(), " must be an object"));
  }
  bool NoList(const FieldDescriptor& field) {
    return Problem(absl::StrCat("the field ", field.name(), " must be ",
                                field.is_map() ? "a map" : "a list"));
  }
  bool WrongType(const FieldDescriptor& field) {
    return Problem(absl::StrCat("the field ", field.name(), " has a value of another type"));
  }

  const Descriptor& type_;
  std::vector<Frame> frames_;
};

// What makes `body` ambiguous or another message than `type`, or "".
std::string FindBodyProblem(const std::string& body, const Descriptor& type) {
  StrictReader reader(type);
  if (json::sax_parse(body, &reader)) return "";
  return reader.problem.empty() ? "not JSON" : reader.problem;
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
