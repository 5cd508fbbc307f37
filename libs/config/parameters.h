// The catalogue of governed parameters: every number of policy, with its type, bounds, default,
// scope and which way makes it stricter. One table, pure, no I/O.
//
// Governance stores changes and gives them out; a service reads them as a ParameterSet. A value
// travels as text: whole numbers in decimal, "true"/"false", or one word of an enumeration.
// docs/parameters.md is generated from this table.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace rochdale::config {

enum class ParameterType {
  kInt,          // a count or an amount in the unit that the name ends in
  kBasisPoints,  // 1/10,000
  kMicro,        // a ratio in 1/1,000,000, or tokens in micro-tokens
  kDurationMs,   // milliseconds
  kBool,
  kText,         // one word of `choices`
};

// The widest body for which a value is set; a narrower one may only tighten.
enum class ParameterScope { kNetwork, kCooperative, kCommunity };

// Which direction makes a parameter stricter.
enum class Tightening { kNone, kDown, kUp };

struct ParameterInfo {
  std::string name;
  ParameterType type;
  int64_t default_number;    // kBool: 0 or 1; kText: the index in `choices`
  int64_t min, max;          // inclusive; kBool and kText: the range of the above
  ParameterScope scope;
  Tightening tightening;
  std::string help;
  std::vector<std::string> choices;  // kText only
};

absl::string_view ParameterTypeName(ParameterType type);      // "int", "basis_points", ...
absl::string_view ParameterScopeName(ParameterScope scope);   // "network", ...
absl::string_view TighteningName(Tightening tightening);      // "none", "down", "up"

// The table, by name.
const std::vector<ParameterInfo>& Parameters();

// nullptr where no parameter has this name.
const ParameterInfo* FindParameter(absl::string_view name);

// The default as text.
std::string DefaultText(const ParameterInfo& info);

// The value of `text` as the table holds it. PARAMETER_UNKNOWN, or PARAMETER_OUT_OF_BOUNDS where it
// is malformed, not of the type, or outside the bounds.
absl::StatusOr<int64_t> ParseParameter(absl::string_view name, absl::string_view text);
inline absl::Status ValidateParameter(absl::string_view name, absl::string_view text) {
  return ParseParameter(name, text).status();
}

// True where going from `from` to `to` makes the parameter stricter or leaves it equal.
bool Tightens(const ParameterInfo& info, int64_t from, int64_t to);

// A value for every parameter: the defaults, less what was set. A value type.
class ParameterSet {
 public:
  ParameterSet() = default;  // every parameter at its default

  // PARAMETER_UNKNOWN / PARAMETER_OUT_OF_BOUNDS; the set is unchanged then.
  absl::Status Set(absl::string_view name, absl::string_view text);
  // As Set for each; every bad one is named in the message, and the set is unchanged then.
  static absl::StatusOr<ParameterSet> FromTexts(const std::map<std::string, std::string>& texts);

  // Asking for a name that is not in the table, or by another type, is a defect: crash.
  int64_t Int(absl::string_view name) const;          // kInt
  int64_t BasisPoints(absl::string_view name) const;  // kBasisPoints
  int64_t Micro(absl::string_view name) const;        // kMicro
  absl::Duration Duration(absl::string_view name) const;
  bool Bool(absl::string_view name) const;
  const std::string& Text(absl::string_view name) const;
  // Whatever the type, as text.
  std::string AsText(absl::string_view name) const;

  // What differs from the defaults.
  const std::map<std::string, int64_t, std::less<>>& changed() const { return values_; }

 private:
  int64_t Number(absl::string_view name, ParameterType type) const;
  std::map<std::string, int64_t, std::less<>> values_;
};

// Checks that hold between parameters: none is needed by the present table, so any set is OK.
// PARAMETER_OUT_OF_BOUNDS with the rule that is broken.
absl::Status ValidateTogether(const ParameterSet& set);

}  // namespace rochdale::config
