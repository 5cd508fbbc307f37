#include "services/verify/proto_json.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "services/verify/json.h"

namespace rochdale::verify {
namespace {

using Json = nlohmann::json;

std::string CamelCase(absl::string_view field) {
  std::string name;
  for (size_t i = 0; i < field.size(); ++i) {
    if (field[i] != '_') {
      name.push_back(field[i]);
    } else if (++i < field.size()) {
      name.push_back(absl::ascii_toupper(static_cast<unsigned char>(field[i])));
    }
  }
  return name;
}

const Json* Find(const Json& message, absl::string_view field) {
  if (!message.is_object()) return nullptr;
  for (const std::string& name : {std::string(field), CamelCase(field)}) {
    const auto found = message.find(name);
    if (found != message.end()) return &*found;
  }
  return nullptr;
}

}  // namespace

std::string ProtoText(const Json& message, absl::string_view field) {
  const Json* value = Find(message, field);
  if (value == nullptr) return "";
  if (value->is_string()) return value->get<std::string>();
  if (value->is_number_unsigned()) return absl::StrCat(value->get<uint64_t>());
  if (value->is_number_integer()) return absl::StrCat(value->get<int64_t>());
  return "";
}

int64_t ProtoInt(const Json& message, absl::string_view field) {
  return ParseDecimal(ProtoText(message, field)).value_or(0);
}

bool ProtoBool(const Json& message, absl::string_view field) {
  const Json* value = Find(message, field);
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

const Json& ProtoList(const Json& message, absl::string_view field) {
  static const Json* empty = new Json(Json::array());
  const Json* value = Find(message, field);
  return value != nullptr && value->is_array() ? *value : *empty;
}

const Json& ProtoMessage(const Json& message, absl::string_view field) {
  static const Json* empty = new Json(Json::object());
  const Json* value = Find(message, field);
  return value != nullptr && value->is_object() ? *value : *empty;
}

}  // namespace rochdale::verify
