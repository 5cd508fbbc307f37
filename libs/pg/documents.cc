#include "libs/pg/documents.h"

#include <string>

#include "libs/base/status_macros.h"

namespace rochdale::pg {
namespace {

constexpr char kInsert[] =
    "INSERT INTO documents (document_sha256, type, body, public_key, signature) "
    "VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
constexpr char kFind[] =
    "SELECT type, body, public_key, signature FROM documents "
    "WHERE document_sha256 = $1 ORDER BY public_key LIMIT 1";

}  // namespace

absl::Status StoreDocument(Transaction& tx, const crypto::SignedDocument& document) {
  return tx.Exec(kInsert, crypto::DocumentDigest(document), document.type, Bytes{document.body},
                 document.public_key, document.signature)
      .status();
}

absl::StatusOr<std::optional<crypto::SignedDocument>> FindDocument(Transaction& tx,
                                                                   const crypto::Digest& digest) {
  ASSIGN_OR_RETURN(const std::optional<Row> row, tx.ExecOptional(kFind, digest));
  if (!row) return std::nullopt;
  return crypto::SignedDocument{row->Get<std::string>("type"), row->GetBytes("body"),
                                row->Get<crypto::PublicKey>("public_key"),
                                row->Get<crypto::Signature>("signature")};
}

}  // namespace rochdale::pg
