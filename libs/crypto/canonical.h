// Canonical bytes: big-endian integers and length-prefixed strings, one way to write and one to
// read them.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace rochdale::crypto {

// True for well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF).
bool IsValidUtf8(absl::string_view text);

// Appends to a string it owns. A string longer than its length prefix can say is a broken
// invariant (crash): callers bound their data first.
class CanonicalWriter {
 public:
  explicit CanonicalWriter(size_t size_hint = 0) { out_.reserve(size_hint); }

  CanonicalWriter& U8(uint8_t value) { return Integer<1>(value); }
  CanonicalWriter& U16(uint16_t value) { return Integer<2>(value); }
  CanonicalWriter& U32(uint32_t value) { return Integer<4>(value); }
  CanonicalWriter& U64(uint64_t value) { return Integer<8>(value); }
  CanonicalWriter& I64(int64_t value) { return Integer<8>(static_cast<uint64_t>(value)); }
  // As they are, without a length: for values of a fixed size.
  CanonicalWriter& Raw(absl::string_view bytes) {
    out_.append(bytes.data(), bytes.size());
    return *this;
  }
  // The length in 2 or 4 bytes, then the bytes.
  CanonicalWriter& Prefixed16(absl::string_view bytes);
  CanonicalWriter& Prefixed32(absl::string_view bytes);

  size_t size() const { return out_.size(); }
  const std::string& bytes() const { return out_; }
  std::string Take() && { return std::move(out_); }

 private:
  template <int kBytes>
  CanonicalWriter& Integer(uint64_t value) {
    char encoded[kBytes];
    for (int i = 0; i < kBytes; ++i) {
      encoded[i] = static_cast<char>(value >> (8 * (kBytes - 1 - i)));
    }
    out_.append(encoded, kBytes);
    return *this;
  }
  std::string out_;
};

// Reads from bytes that must outlive it. The first read beyond the end makes ok() false for good;
// every read after that gives zeros and empty strings, so that a reader may check once at the end.
class CanonicalReader {
 public:
  explicit CanonicalReader(absl::string_view bytes) : rest_(bytes) {}

  uint8_t U8() { return static_cast<uint8_t>(Integer<1>()); }
  uint16_t U16() { return static_cast<uint16_t>(Integer<2>()); }
  uint32_t U32() { return static_cast<uint32_t>(Integer<4>()); }
  uint64_t U64() { return Integer<8>(); }
  int64_t I64() { return static_cast<int64_t>(Integer<8>()); }
  absl::string_view Raw(size_t size);
  absl::string_view Prefixed16() { return Raw(U16()); }
  absl::string_view Prefixed32() { return Raw(U32()); }

  bool ok() const { return ok_; }
  // Everything was there and nothing is left: what a strict decoder asks last.
  bool Finished() const { return ok_ && rest_.empty(); }
  size_t remaining() const { return rest_.size(); }

 private:
  template <int kBytes>
  uint64_t Integer() {
    const absl::string_view raw = Raw(kBytes);
    uint64_t value = 0;
    for (const char c : raw) value = value << 8 | static_cast<uint8_t>(c);
    return value;
  }
  absl::string_view rest_;
  bool ok_ = true;
};

}  // namespace rochdale::crypto
