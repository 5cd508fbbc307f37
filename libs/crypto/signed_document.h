// What people and agents sign: the exact bytes of a document, never a re-encoding of it.
//
// The signature is Ed25519 over the pre-authentication encoding (as DSSE's PAE)
//   "ROCHDALEv1" SP len(type) SP type SP len(body) SP body      lengths in decimal ASCII
// and the document's digest is SHA-256 over the same bytes.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/sha256.h"

namespace rochdale::crypto {

inline constexpr size_t kDocumentTypeMaxChars = 128;
inline constexpr size_t kDocumentBodyMaxBytes = 256 * 1024;

struct SignedDocument {
  std::string type;  // full proto name: letters, digits, '_' and '.', 1 to 128 characters
  std::string body;  // UTF-8 JSON of that proto, at most 256 KiB, as signed
  PublicKey public_key;
  Signature signature;

  bool operator==(const SignedDocument&) const = default;
};

std::string Pae(absl::string_view type, absl::string_view body);

// DOCUMENT_INVALID where type or body are out of bounds.
absl::StatusOr<SignedDocument> SignDocument(const KeyPair& key, absl::string_view type,
                                            absl::string_view body);

// From the fields of a message. DOCUMENT_INVALID where a field has not its size or form; the
// signature is not verified yet.
absl::StatusOr<SignedDocument> MakeSignedDocument(absl::string_view type, absl::string_view body,
                                                  absl::string_view public_key,
                                                  absl::string_view signature);

// OK exactly if type and body are within bounds and the signature is that of the named key.
// DOCUMENT_INVALID or SIGNATURE_INVALID. Says nothing about what the body means or whose key it is.
absl::Status VerifyDocument(const SignedDocument& document);

// SHA-256 of the PAE bytes: the document's name in the log.
Digest DocumentDigest(const SignedDocument& document);

}  // namespace rochdale::crypto
