#include "libs/crypto/base64.h"

#include <cstdint>

#include "absl/status/status.h"

namespace rochdale::crypto {
namespace {

constexpr char kStandardDigits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr char kUrlDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int ValueOf(Base64 form, char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == (form == Base64::kUrl ? '-' : '+')) return 62;
  if (c == (form == Base64::kUrl ? '_' : '/')) return 63;
  return -1;
}

}  // namespace

std::string Base64Encode(Base64 form, absl::string_view bytes) {
  const char* digits = form == Base64::kUrl ? kUrlDigits : kStandardDigits;
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  uint32_t bits = 0;
  int pending = 0;
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<uint8_t>(c);
    for (pending += 8; pending >= 6;) {
      pending -= 6;
      text.push_back(digits[bits >> pending & 63]);
    }
  }
  if (pending > 0) text.push_back(digits[bits << (6 - pending) & 63]);
  while (form == Base64::kStandard && text.size() % 4 != 0) text.push_back('=');
  return text;
}

absl::StatusOr<std::string> Base64Decode(Base64 form, absl::string_view text) {
  if (form == Base64::kStandard) {
    if (text.size() % 4 != 0) return absl::InvalidArgumentError("base64 is not padded");
    for (int i = 0; i < 2 && !text.empty() && text.back() == '='; ++i) text.remove_suffix(1);
  }
  if (text.size() % 4 == 1) return absl::InvalidArgumentError("base64 is cut off");
  std::string bytes;
  bytes.reserve(text.size() * 3 / 4);
  uint32_t bits = 0;
  int pending = 0;
  for (const char c : text) {
    const int value = ValueOf(form, c);
    if (value < 0) return absl::InvalidArgumentError("not a base64 digit");
    bits = bits << 6 | static_cast<uint32_t>(value);
    pending += 6;
    if (pending < 8) continue;
    pending -= 8;
    bytes.push_back(static_cast<char>(bits >> pending & 0xff));
  }
  if ((bits & ((1u << pending) - 1)) != 0) {
    return absl::InvalidArgumentError("base64 has unused bits that are not zero");
  }
  return bytes;
}

}  // namespace rochdale::crypto
