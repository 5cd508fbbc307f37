// Cosignatures of witnesses in the database, beside the tree heads that they sign.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/transaction.h"
#include "services/ledger/model.h"

namespace rochdale::ledger {

// `line`: the signature line of a note, verified. One that is there already stays as it is.
absl::Status InsertCosignature(pg::Transaction& tx, int64_t size, const std::string& witness,
                               const std::string& line);

// The size of the newest tree head that the witness cosigned; 0: none.
absl::StatusOr<int64_t> FindCosignedSize(pg::Transaction& tx, const std::string& witness);

// Of the tree heads that were signed at most `patience` before the newest one and are not below
// `size_min`: the one with the most cosignatures, and the largest of those. Its note carries them.
absl::StatusOr<std::optional<TreeHead>> FindCosignedHead(pg::Transaction& tx, int64_t size_min,
                                                         absl::Duration patience);
// The newest tree head; its note carries the cosignatures that it has.
absl::StatusOr<std::optional<TreeHead>> FindNewestHeadWithCosignatures(pg::Transaction& tx);

}  // namespace rochdale::ledger
