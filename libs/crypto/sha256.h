// SHA-256 and HMAC-SHA-256 (OpenSSL), and the 32-byte digest they give.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct evp_md_ctx_st;

namespace rochdale::crypto {

// A SHA-256 value. The zero value means "none". Text form: 64 lower-case hexadecimal digits.
struct Digest {
  std::array<uint8_t, 32> bytes{};

  bool IsZero() const;
  std::string ToString() const;
  // INVALID_ARGUMENT for anything that is not exactly the text form (upper case is refused, so
  // that a digest has one spelling).
  static absl::StatusOr<Digest> Parse(absl::string_view text);
  // INVALID_ARGUMENT unless `raw` has 32 bytes.
  static absl::StatusOr<Digest> FromBytes(absl::string_view raw);
  absl::string_view AsBytes() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  auto operator<=>(const Digest&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const Digest& digest) {
    return H::combine(std::move(h), digest.bytes);
  }
};

// Thread-safe.
Digest Sha256(absl::string_view data);
Digest HmacSha256(absl::string_view key, absl::string_view data);

// SHA-256 of a stream. One thread at a time.
class Sha256Hasher {
 public:
  Sha256Hasher();
  ~Sha256Hasher();
  Sha256Hasher(Sha256Hasher&&) noexcept;
  Sha256Hasher& operator=(Sha256Hasher&&) noexcept;

  Sha256Hasher& Update(absl::string_view data);
  // The digest of everything since construction or the last Finish; then starts afresh.
  Digest Finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

// SHA-256(a | b | c), without copying: for domain prefixes and tree nodes. Thread-safe.
Digest Sha256Of3(absl::string_view a, absl::string_view b, absl::string_view c);

// Lower-case hexadecimal and its strict inverse (upper case and odd lengths are
// INVALID_ARGUMENT).
std::string HexEncode(absl::string_view bytes);
absl::StatusOr<std::string> HexDecode(absl::string_view text);

}  // namespace rochdale::crypto
