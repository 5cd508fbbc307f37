#include "libs/base/ids.h"

#include <algorithm>

#include "absl/status/status.h"

namespace rochdale {
namespace {

// Of every character its value as a hexadecimal digit; 0x80: none.
constexpr std::array<uint8_t, 256> MakeHexValues() {
  std::array<uint8_t, 256> values{};
  for (size_t c = 0; c < values.size(); ++c) {
    values[c] = c >= '0' && c <= '9'   ? static_cast<uint8_t>(c - '0')
                : c >= 'a' && c <= 'f' ? static_cast<uint8_t>(c - 'a' + 10)
                : c >= 'A' && c <= 'F' ? static_cast<uint8_t>(c - 'A' + 10)
                                       : 0x80;
  }
  return values;
}
constexpr std::array<uint8_t, 256> kHexValues = MakeHexValues();

// Where the digits of each byte stand in the text form.
constexpr std::array<uint8_t, 16> kDigitsAt = {0,  2,  4,  6,  9,  11, 14, 16,
                                               19, 21, 24, 26, 28, 30, 32, 34};

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
  std::string text(36, '-');
  for (size_t i = 0; i < bytes.size(); ++i) {
    text[kDigitsAt[i]] = kHex[bytes[i] >> 4];
    text[kDigitsAt[i] + 1u] = kHex[bytes[i] & 15];
  }
  return text;
}

absl::StatusOr<Uuid> Uuid::Parse(absl::string_view text) {
  if (text.size() != 36) return absl::InvalidArgumentError("an id has 36 characters");
  if (text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-') {
    return absl::InvalidArgumentError("an id has dashes at 8, 13, 18, 23");
  }
  Uuid id;
  uint8_t all = 0;
  for (size_t i = 0; i < id.bytes.size(); ++i) {
    const uint8_t high = kHexValues[static_cast<uint8_t>(text[kDigitsAt[i]])];
    const uint8_t low = kHexValues[static_cast<uint8_t>(text[kDigitsAt[i] + 1u])];
    all |= high | low;
    id.bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  if (all & 0x80) return absl::InvalidArgumentError("an id has hexadecimal digits");
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
