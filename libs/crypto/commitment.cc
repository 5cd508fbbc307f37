#include "libs/crypto/commitment.h"

#include <algorithm>

#include "absl/status/status.h"

namespace rochdale::crypto {

Salt Salt::Generate(const RandomBytes& random) {
  Salt salt;
  random(salt.bytes.data(), salt.bytes.size());
  return salt;
}

absl::StatusOr<Salt> Salt::FromBytes(absl::string_view raw) {
  if (raw.size() != 32) return absl::InvalidArgumentError("a salt has 32 bytes");
  Salt salt;
  std::copy(raw.begin(), raw.end(), salt.bytes.begin());
  return salt;
}

// Prefix and salt have fixed sizes, so the concatenation is injective.
Digest Commitment(const Salt& salt, absl::string_view value) {
  return Sha256Of3("ROCHDALEcommit1", salt.AsBytes(), value);
}

}  // namespace rochdale::crypto
