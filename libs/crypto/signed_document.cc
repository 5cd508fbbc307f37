#include "libs/crypto/signed_document.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/canonical.h"

namespace rochdale::crypto {
namespace {

absl::Status CheckBounds(absl::string_view type, absl::string_view body) {
  const auto allowed = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.';
  };
  if (type.empty() || type.size() > kDocumentTypeMaxChars ||
      !std::all_of(type.begin(), type.end(), allowed)) {
    return Error("DOCUMENT_INVALID",
                 "a document type is a proto name of 1 to 128 letters, digits, '_' and '.'");
  }
  if (body.size() > kDocumentBodyMaxBytes) {
    return Error("DOCUMENT_INVALID", "a document body has at most 256 KiB");
  }
  if (!IsValidUtf8(body)) return Error("DOCUMENT_INVALID", "a document body is UTF-8");
  return absl::OkStatus();
}

}  // namespace

std::string Pae(absl::string_view type, absl::string_view body) {
  return absl::StrCat("ROCHDALEv1 ", type.size(), " ", type, " ", body.size(), " ", body);
}

absl::StatusOr<SignedDocument> SignDocument(const KeyPair& key, absl::string_view type,
                                            absl::string_view body) {
  RETURN_IF_ERROR(CheckBounds(type, body));
  return SignedDocument{std::string(type), std::string(body), key.public_key(),
                        key.Sign(Pae(type, body))};
}

absl::StatusOr<SignedDocument> MakeSignedDocument(absl::string_view type, absl::string_view body,
                                                  absl::string_view public_key,
                                                  absl::string_view signature) {
  RETURN_IF_ERROR(CheckBounds(type, body));
  const auto key = PublicKey::FromBytes(public_key);
  if (!key.ok()) return Error("DOCUMENT_INVALID", key.status().message());
  const auto signed_with = Signature::FromBytes(signature);
  if (!signed_with.ok()) return Error("DOCUMENT_INVALID", signed_with.status().message());
  return SignedDocument{std::string(type), std::string(body), *key, *signed_with};
}

absl::Status VerifyDocument(const SignedDocument& document) {
  RETURN_IF_ERROR(CheckBounds(document.type, document.body));
  if (!Verify(document.public_key, Pae(document.type, document.body), document.signature)) {
    return Error("SIGNATURE_INVALID",
                 "the signature of the document does not verify under its public key");
  }
  return absl::OkStatus();
}

Digest DocumentDigest(const SignedDocument& document) {
  return Sha256(Pae(document.type, document.body));
}

}  // namespace rochdale::crypto
