// Text fields of requests and documents as values. A bad one is added to the errors, so that all
// are reported at once, and the zero value is returned.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/base/errors.h"
#include "libs/base/ids.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/sha256.h"

namespace rochdale::rpc {

// A UUID that is not zero; IdType is Uuid or an Id<>.
template <typename IdType>
IdType TakeId(absl::string_view text, absl::string_view field, FieldErrors& errors) {
  auto id = IdType::Parse(text);
  if (!id.ok() || id->IsZero()) {
    errors.Add(field, "must be a UUID");
    return {};
  }
  return *id;
}

inline crypto::Digest TakeDigest(absl::string_view text, absl::string_view field,
                                 FieldErrors& errors) {
  auto digest = crypto::Digest::Parse(text);
  if (!digest.ok()) {
    errors.Add(field, "must be a SHA-256 of 64 lower-case hexadecimal digits");
    return {};
  }
  return *digest;
}

inline crypto::PublicKey TakeKey(absl::string_view text, absl::string_view field,
                                 FieldErrors& errors) {
  auto key = crypto::PublicKey::Parse(text);
  if (!key.ok() || key->IsZero()) {
    errors.Add(field, "must be an Ed25519 public key of 64 lower-case hexadecimal digits");
    return {};
  }
  return *key;
}

// The only field of its request: BAD_REQUEST naming it where it is no id.
template <typename IdType>
absl::StatusOr<IdType> ParseId(absl::string_view text, absl::string_view field) {
  FieldErrors errors;
  const IdType id = TakeId<IdType>(text, field, errors);
  if (absl::Status status = errors.ToStatus(); !status.ok()) return status;
  return id;
}

}  // namespace rochdale::rpc
