// Base64 in the two forms the project needs, each with one spelling per value.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rochdale::crypto {

enum class Base64 {
  kStandard,  // '+', '/', padded with '=': signed notes
  kUrl,       // '-', '_', never padded: tokens
};

std::string Base64Encode(Base64 form, absl::string_view bytes);

// Strict: INVALID_ARGUMENT for a character outside the alphabet, missing or surplus padding, and
// unused bits that are not zero.
absl::StatusOr<std::string> Base64Decode(Base64 form, absl::string_view text);

}  // namespace rochdale::crypto
