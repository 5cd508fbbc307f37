// JSON of a bundle, strictly: one value per key, bounded depth, and readers that remember the first
// member that is not what it has to be.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace rochdale::verify {

// An object, or INVALID_ARGUMENT: not JSON, not UTF-8, a key twice in one object, more than 64
// levels, numbers beyond 64 bits.
absl::StatusOr<nlohmann::json> ParseObject(absl::string_view text);
// The same, and the text is the canonical form of it (keys sorted, no spaces).
absl::StatusOr<nlohmann::json> ParseCanonicalObject(absl::string_view text);

// Members of an object, which outlives it. After the first failure everything reads as empty.
class Members {
 public:
  explicit Members(const nlohmann::json& object) : object_(object) {}

  bool Has(const char* key) const { return object_.is_object() && object_.contains(key); }
  std::string Text(const char* key);
  int64_t Int(const char* key);
  bool Bool(const char* key);
  const nlohmann::json& Object(const char* key);
  const nlohmann::json& Array(const char* key);
  // A decimal string: 64-bit integers in proto3 JSON, and measures. One spelling.
  int64_t DecimalText(const char* key);
  // Ids and digests by their text forms.
  template <typename T>
  T Typed(const char* key) {
    auto parsed = T::Parse(Text(key));
    if (parsed.ok() && parsed->ToString() == Text(key)) return *parsed;
    Fail(key);
    return T{};
  }

  // INVALID_ARGUMENT naming the first member that failed, or one that nobody asked for.
  absl::Status Done() const;
  // The same without the second.
  const absl::Status& status() const { return status_; }
  void Fail(absl::string_view key);

 private:
  const nlohmann::json* Find(const char* key);

  const nlohmann::json& object_;
  std::set<std::string> asked_;
  absl::Status status_;
};

// A decimal integer with one spelling.
absl::StatusOr<int64_t> ParseDecimal(absl::string_view text);

}  // namespace rochdale::verify
