#include "libs/base/ids.h"

#include <algorithm>

#include "absl/status/status.h"

namespace rochdale {
namespace {

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool IsDashPosition(size_t i) { return i == 8 || i == 13 || i == 18 || i == 23; }

// RFC 9562, version 7: 48 bits of milliseconds, then random bits.
Uuid MakeVersion7(absl::Time now, uint64_t random_high, uint64_t random_low) {
  const uint64_t millis = static_cast<uint64_t>(std::max<int64_t>(0, absl::ToUnixMillis(now)));
  Uuid id;
  for (int i = 0; i < 6; ++i) id.bytes[i] = static_cast<uint8_t>(millis >> (8 * (5 - i)));
  id.bytes[6] = static_cast<uint8_t>(0x70 | (random_high & 0x0f));
  id.bytes[7] = static_cast<uint8_t>(random_high >> 8);
  for (int i = 0; i < 8; ++i) id.bytes[8 + i] = static_cast<uint8_t>(random_low >> (8 * i));
  id.bytes[8] = static_cast<uint8_t>(0x80 | (id.bytes[8] & 0x3f));
  return id;
}

}  // namespace

bool Uuid::IsZero() const {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
}

std::string Uuid::ToString() const {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  text.reserve(36);
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (IsDashPosition(text.size())) text.push_back('-');
    text.push_back(kHex[bytes[i] >> 4]);
    text.push_back(kHex[bytes[i] & 15]);
  }
  return text;
}

absl::StatusOr<Uuid> Uuid::Parse(absl::string_view text) {
  if (text.size() != 36) return absl::InvalidArgumentError("an id has 36 characters");
  Uuid id;
  size_t byte = 0;
  for (size_t i = 0; i < text.size();) {
    if (IsDashPosition(i)) {
      if (text[i] != '-') return absl::InvalidArgumentError("an id has dashes at 8, 13, 18, 23");
      ++i;
      continue;
    }
    const int high = HexValue(text[i]), low = HexValue(text[i + 1]);
    if (high < 0 || low < 0) return absl::InvalidArgumentError("an id has hexadecimal digits");
    id.bytes[byte++] = static_cast<uint8_t>(high << 4 | low);
    i += 2;
  }
  return id;
}

absl::StatusOr<Uuid> Uuid::FromBytes(absl::string_view raw) {
  if (raw.size() != 16) return absl::InvalidArgumentError("an id has 16 bytes");
  Uuid id;
  std::copy(raw.begin(), raw.end(), id.bytes.begin());
  return id;
}

RandomIdSource::RandomIdSource() = default;

Uuid RandomIdSource::New(absl::Time now) {
  std::lock_guard lock(mutex_);
  auto word = [&] { return static_cast<uint64_t>(device_()) << 32 | device_(); };
  const uint64_t high = word(), low = word();
  return MakeVersion7(now, high, low);
}

Uuid SeededIdSource::New(absl::Time now) {
  std::lock_guard lock(mutex_);
  const uint64_t high = engine_(), low = engine_();
  return MakeVersion7(now, high, low);
}

}  // namespace rochdale
