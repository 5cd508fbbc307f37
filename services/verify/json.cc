#include "services/verify/json.h"

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"

namespace rochdale::verify {
namespace {

using Json = nlohmann::json;

constexpr size_t kDepthMax = 64;

absl::Status Malformed(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("malformed JSON: ", why));
}

// Looks at the structure alone. (Keys of one object are kept until it ends.)
class Structure : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  // Integers that do not fit come here, too; they have neither point nor exponent.
  bool number_float(number_float_t, const string_t& text) override {
    if (text.find_first_of(".eE") != text.npos) return true;
    return Stop("a number beyond 64 bits");
  }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return Open(); }
  bool start_array(size_t) override { return Open(); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& key) override {
    return keys_.back().insert(key).second || Stop(absl::StrCat("the key ", key, " twice"));
  }
  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    return Stop(absl::StrCat("at byte ", position));
  }

  const std::string& why() const { return why_; }

 private:
  bool Open() {
    if (keys_.size() == kDepthMax) return Stop("nested too deep");
    keys_.emplace_back();
    return true;
  }
  bool Close() {
    keys_.pop_back();
    return true;
  }
  bool Stop(std::string why) {
    if (why_.empty()) why_ = std::move(why);
    return false;
  }

  std::vector<std::set<std::string>> keys_;
  std::string why_;
};

}  // namespace

absl::StatusOr<Json> ParseObject(absl::string_view text) {
  // The parser would take a zero byte for the end.
  if (text.find('\0') != text.npos) return Malformed("a zero byte");
  Structure structure;
  if (!Json::sax_parse(text.begin(), text.end(), &structure)) return Malformed(structure.why());
  Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Malformed("not an object");
  return json;
}

absl::StatusOr<Json> ParseCanonicalObject(absl::string_view text) {
  ASSIGN_OR_RETURN(Json json, ParseObject(text));
  if (json.dump() != text) return Malformed("not in canonical form");
  return json;
}

absl::StatusOr<int64_t> ParseDecimal(absl::string_view text) {
  int64_t value = 0;
  if (text.size() > 20 || !absl::SimpleAtoi(text, &value) || absl::StrCat(value) != text) {
    return absl::InvalidArgumentError("not a decimal integer");
  }
  return value;
}

const Json* Members::Find(const char* key) {
  asked_.insert(key);
  return Has(key) ? &object_.at(key) : nullptr;
}

std::string Members::Text(const char* key) {
  const Json* value = Find(key);
  if (value != nullptr && value->is_string()) return value->get<std::string>();
  Fail(key);
  return "";
}

int64_t Members::Int(const char* key) {
  const Json* value = Find(key);
  const bool fits = value != nullptr && value->is_number_integer() &&
                    !(value->is_number_unsigned() && value->get<uint64_t>() >> 63 != 0);
  if (fits) return value->get<int64_t>();
  Fail(key);
  return 0;
}

bool Members::Bool(const char* key) {
  const Json* value = Find(key);
  if (value != nullptr && value->is_boolean()) return value->get<bool>();
  Fail(key);
  return false;
}

const Json& Members::Object(const char* key) {
  static const Json* empty = new Json(Json::object());
  const Json* value = Find(key);
  if (value != nullptr && value->is_object()) return *value;
  Fail(key);
  return *empty;
}

const Json& Members::Array(const char* key) {
  static const Json* empty = new Json(Json::array());
  const Json* value = Find(key);
  if (value != nullptr && value->is_array()) return *value;
  Fail(key);
  return *empty;
}

int64_t Members::DecimalText(const char* key) {
  const auto value = ParseDecimal(Text(key));
  if (value.ok()) return *value;
  Fail(key);
  return 0;
}

void Members::Fail(absl::string_view key) {
  if (status_.ok()) {
    status_ = absl::InvalidArgumentError(absl::StrCat(key, " is missing or malformed"));
  }
}

absl::Status Members::Done() const {
  RETURN_IF_ERROR(status_);
  for (const auto& [key, value] : object_.items()) {
    if (!asked_.contains(key)) {
      return absl::InvalidArgumentError(absl::StrCat("unknown member ", key));
    }
  }
  return absl::OkStatus();
}

}  // namespace rochdale::verify
