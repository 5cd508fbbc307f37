// Signed documents, kept by their digest in the service's own append-only table `documents`
// (document_sha256, type, body, public_key, signature).
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/crypto/sha256.h"
#include "libs/crypto/signed_document.h"
#include "libs/pg/transaction.h"

namespace rochdale::pg {

// Once; again changes nothing.
absl::Status StoreDocument(Transaction& tx, const crypto::SignedDocument& document);
// One of its signers' where several signed the same, always the same one.
absl::StatusOr<std::optional<crypto::SignedDocument>> FindDocument(Transaction& tx,
                                                                   const crypto::Digest& digest);

}  // namespace rochdale::pg
