#include "libs/crypto/canonical.h"

#include <cstdio>
#include <cstdlib>

namespace rochdale::crypto {
namespace {

void RequireFits(size_t size, size_t max) {
  if (size <= max) return;
  std::fprintf(stderr, "%zu bytes do not fit their length prefix\n", size);
  std::abort();
}

bool IsContinuation(uint8_t byte) { return (byte & 0xc0) == 0x80; }

}  // namespace

bool IsValidUtf8(absl::string_view text) {
  // Unicode 15, table 3-7: the second byte of some leads has a narrower range.
  for (size_t i = 0; i < text.size();) {
    const auto at = [&](size_t offset) { return static_cast<uint8_t>(text[i + offset]); };
    const uint8_t lead = at(0);
    size_t length = 0;
    uint8_t low = 0x80, high = 0xbf;
    if (lead < 0x80) {
      ++i;
      continue;
    } else if (lead >= 0xc2 && lead <= 0xdf) {
      length = 2;
    } else if (lead >= 0xe0 && lead <= 0xef) {
      length = 3;
      if (lead == 0xe0) low = 0xa0;
      if (lead == 0xed) high = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
      length = 4;
      if (lead == 0xf0) low = 0x90;
      if (lead == 0xf4) high = 0x8f;
    } else {
      return false;
    }
    if (text.size() - i < length || at(1) < low || at(1) > high) return false;
    for (size_t k = 2; k < length; ++k) {
      if (!IsContinuation(at(k))) return false;
    }
    i += length;
  }
  return true;
}

CanonicalWriter& CanonicalWriter::Prefixed16(absl::string_view bytes) {
  RequireFits(bytes.size(), 0xffff);
  return U16(static_cast<uint16_t>(bytes.size())).Raw(bytes);
}

CanonicalWriter& CanonicalWriter::Prefixed32(absl::string_view bytes) {
  RequireFits(bytes.size(), 0xffffffff);
  return U32(static_cast<uint32_t>(bytes.size())).Raw(bytes);
}

absl::string_view CanonicalReader::Raw(size_t size) {
  if (!ok_ || size > rest_.size()) {
    ok_ = false;
    rest_ = {};
    return {};
  }
  const absl::string_view taken = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return taken;
}

}  // namespace rochdale::crypto
