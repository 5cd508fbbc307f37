#include "libs/pg/value.h"

#include <cmath>
#include <cstdio>

#include "absl/strings/match.h"
#include "libs/base/clock.h"

namespace rochdale::pg {
namespace {

// Whether an array element may stand without quotes.
bool IsPlain(absl::string_view text) {
  if (text.empty() || absl::EqualsIgnoreCase(text, "null")) return false;
  for (const char c : text) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-')) return false;
  }
  return true;
}

}  // namespace

Value::Value(double value) {
  if (std::isnan(value)) {
    text_ = "NaN";
  } else if (std::isinf(value)) {
    text_ = value > 0 ? "Infinity" : "-Infinity";
  } else {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%.17g", value);  // enough to read the same bits back
    text_ = buffer;
  }
}

Value::Value(absl::Time time) : text_(std::to_string(absl::ToUnixMicros(time))) {}

Value::Value(Bytes bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  text_.resize(2 + 2 * bytes.data.size());
  char* out = text_.data();
  *out++ = '\\';
  *out++ = 'x';
  for (const char c : bytes.data) {
    const auto byte = static_cast<unsigned char>(c);
    *out++ = kDigits[byte >> 4];
    *out++ = kDigits[byte & 15];
  }
}

void Value::AppendElement(size_t index, const Value& element) {
  if (index > 0) text_ += ',';
  if (element.null_) {
    text_ += "NULL";
  } else if (IsPlain(element.text_)) {
    text_ += element.text_;
  } else {
    text_ += '"';
    for (const char c : element.text_) {
      if (c == '"' || c == '\\') text_ += '\\';
      text_ += c;
    }
    text_ += '"';
  }
}

}  // namespace rochdale::pg
