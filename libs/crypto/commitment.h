// Salted commitments: how personal or private values enter the log without being told.
#pragma once

#include <array>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/sha256.h"

namespace rochdale::crypto {

// 32 random bytes, one for each commitment, kept with the value and shown to open it.
struct Salt {
  std::array<uint8_t, 32> bytes{};

  static Salt Generate(const RandomBytes& random);
  // INVALID_ARGUMENT unless `raw` has 32 bytes.
  static absl::StatusOr<Salt> FromBytes(absl::string_view raw);
  absl::string_view AsBytes() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  auto operator<=>(const Salt&) const = default;
};

// SHA-256("ROCHDALEcommit1" | salt | value). Hiding while the salt is secret, binding always.
Digest Commitment(const Salt& salt, absl::string_view value);

}  // namespace rochdale::crypto
