// Members of a message in proto3 JSON, which people sign as they like: names of the proto or
// lowerCamelCase, 64-bit integers as numbers or texts, enums by name or number, defaults left out.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace rochdale::verify {

// Empty where the member is absent or of another type. Numbers come as decimal text.
std::string ProtoText(const nlohmann::json& message, absl::string_view field);
// 0 where it is absent or no integer.
int64_t ProtoInt(const nlohmann::json& message, absl::string_view field);
bool ProtoBool(const nlohmann::json& message, absl::string_view field);
// Empty where it is absent or no list (no message).
const nlohmann::json& ProtoList(const nlohmann::json& message, absl::string_view field);
const nlohmann::json& ProtoMessage(const nlohmann::json& message, absl::string_view field);

}  // namespace rochdale::verify
