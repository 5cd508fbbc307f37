// Members of evidence as JSON, for those who parse it: evidence of rounds and of A/B tests.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "libs/base/errors.h"

namespace rochdale::attribution {

// Reads members of a JSON value; the first that is missing or of another type is remembered, and
// everything read after it is empty.
class EvidenceReader {
 public:
  explicit EvidenceReader(const nlohmann::json& json) : json_(json) {}

  template <typename T>
  T Typed(const char* key) {  // Id<> and Digest by their text forms
    auto parsed = T::Parse(Text(key));
    if (parsed.ok()) return *parsed;
    Fail(key);
    return T{};
  }
  int64_t Int(const char* key) {
    const nlohmann::json* value = Find(key);
    if (value != nullptr && value->is_number_integer()) return value->get<int64_t>();
    Fail(key);
    return 0;
  }
  bool Bool(const char* key) {
    const nlohmann::json* value = Find(key);
    if (value != nullptr && value->is_boolean()) return value->get<bool>();
    Fail(key);
    return false;
  }
  std::string Text(const char* key) {
    const nlohmann::json* value = Find(key);
    if (value != nullptr && value->is_string()) return value->get<std::string>();
    Fail(key);
    return "";
  }
  const nlohmann::json& Array(const char* key) {
    static const auto* empty = new nlohmann::json(nlohmann::json::array());
    const nlohmann::json* value = Find(key);
    if (value != nullptr && value->is_array()) return *value;
    Fail(key);
    return *empty;
  }
  const nlohmann::json& Member(const char* key) {
    static const auto* empty = new nlohmann::json(nlohmann::json::object());
    const nlohmann::json* value = Find(key);
    if (value != nullptr && value->is_object()) return *value;
    Fail(key);
    return *empty;
  }
  bool Has(const char* key) const { return json_.is_object() && json_.contains(key); }
  void Fail(absl::string_view key) {
    if (status_.ok()) {
      status_ = Error("BAD_REQUEST", absl::StrCat("evidence: ", key, " is missing or malformed"));
    }
  }
  void Also(const EvidenceReader& other) {
    if (status_.ok()) status_ = other.status_;
  }
  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json* Find(const char* key) const {
    return Has(key) ? &json_.at(key) : nullptr;
  }
  const nlohmann::json& json_;
  absl::Status status_;
};

}  // namespace rochdale::attribution
