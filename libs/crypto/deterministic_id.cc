#include "libs/crypto/deterministic_id.h"

#include <algorithm>
#include <utility>

#include "libs/crypto/canonical.h"

namespace rochdale::crypto {

IdPart::IdPart(uint64_t number) {
  CanonicalWriter writer(8);
  writer.U64(number);
  bytes_ = std::move(writer).Take();
}

Uuid DeterministicId(absl::string_view domain, std::initializer_list<IdPart> parts) {
  CanonicalWriter writer(128);
  writer.Raw("ROCHDALEid1").Prefixed32(domain);
  for (const IdPart& part : parts) writer.Prefixed32(part.bytes());
  const Digest digest = Sha256(writer.bytes());
  Uuid id;
  std::copy_n(digest.bytes.begin(), id.bytes.size(), id.bytes.begin());
  id.bytes[6] = static_cast<uint8_t>(0x80 | (id.bytes[6] & 0x0f));  // version 8
  id.bytes[8] = static_cast<uint8_t>(0x80 | (id.bytes[8] & 0x3f));  // variant of RFC 9562
  return id;
}

Uuid DeterministicIdBeside(absl::string_view domain, const Uuid& id) {
  constexpr size_t kKept = 5;
  Uuid derived = DeterministicId(domain, id);
  std::copy_n(id.bytes.begin(), kKept, derived.bytes.begin());
  return derived;
}

}  // namespace rochdale::crypto
