// Ids that follow from what they name, so that a repeated step makes the same id again.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/strings/string_view.h"
#include "libs/base/ids.h"
#include "libs/crypto/sha256.h"

namespace rochdale::crypto {

// One part of a deterministic id: text or bytes, an id, a digest, or an integer (8 bytes
// big-endian). A domain always passes the same types in the same order.
class IdPart {
 public:
  IdPart(absl::string_view bytes) : bytes_(bytes) {}                          // NOLINT
  IdPart(const std::string& bytes) : bytes_(bytes) {}                         // NOLINT
  IdPart(const char* text) : bytes_(text) {}                                  // NOLINT
  IdPart(const Uuid& id) : bytes_(id.AsBytes()) {}                            // NOLINT
  IdPart(const Digest& digest) : bytes_(digest.AsBytes()) {}                  // NOLINT
  IdPart(uint64_t number);                                                    // NOLINT
  IdPart(int64_t number) : IdPart(static_cast<uint64_t>(number)) {}           // NOLINT
  IdPart(uint32_t number) : IdPart(static_cast<uint64_t>(number)) {}          // NOLINT
  IdPart(int number) : IdPart(static_cast<uint64_t>(int64_t{number})) {}      // NOLINT
  template <typename Tag>
  IdPart(const Id<Tag>& id) : IdPart(id.value) {}                             // NOLINT

  absl::string_view bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// UUID version 8 of the first 16 bytes of SHA-256 over "ROCHDALEid1", then the domain and every
// part, each with its length as u32. `domain` names the use, for example "payout/transfer".
Uuid DeterministicId(absl::string_view domain, std::initializer_list<IdPart> parts);

template <typename... Parts>
Uuid DeterministicId(absl::string_view domain, const Parts&... parts) {
  return DeterministicId(domain, {IdPart(parts)...});
}

// DeterministicId of `domain` and `id`, but with the first 5 bytes of `id`. Where ids begin with
// their time (RFC 9562, version 7) the derived ones then lie in the order of time as well, to a
// quarter of a second, and an index of them grows at its end instead of everywhere. Whoever chooses
// `id` chooses these 40 bits; the other 82 he cannot.
Uuid DeterministicIdBeside(absl::string_view domain, const Uuid& id);

}  // namespace rochdale::crypto
