// The log entry of a change, written with the change.
#pragma once

#include "absl/status/status.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_builder.h"
#include "libs/pg/outbox.h"
#include "libs/pg/transaction.h"

namespace rochdale::service {

// Builds the entry and puts it into the outbox of `tx`. ENTRY_INVALID where its fields are not
// those of its kind. The builder may be used once.
inline absl::Status Log(pg::Transaction& tx, crypto::EntryBuilder& builder) {
  ASSIGN_OR_RETURN(const crypto::Entry entry, builder.Build());
  return pg::EnqueueEntry(tx, entry);
}

}  // namespace rochdale::service
