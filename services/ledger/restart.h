// A log that was restored to an earlier point goes on under a new origin, openly: its first entry
// is a statement of what was lost, signed by the operator and by a founder of the network, and the
// entries that were kept follow it unchanged. Nobody who holds a checkpoint of the old origin can
// take the new log for its continuation, and everybody can see what became of it.
//
// Offline: no ledger may be running on the database.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/signed_document.h"
#include "libs/pg/transaction.h"

namespace rochdale::ledger {

inline constexpr char kLogRestartType[] = "rochdale.ledger.v1.LogRestart";

// The body of a LogRestart for the database as it stands. `last_checkpoint`: the bytes of the file
// of that name; empty where it is lost. FAILED_PRECONDITION where the log is empty, has the new
// origin already, or is not behind the checkpoint, so that nothing needs to be restarted.
absl::StatusOr<std::string> PlanRestart(pg::Transaction& tx, const std::string& origin,
                                        const std::string& last_checkpoint,
                                        const std::string& reason, absl::Time now);

struct RestartDone {
  int64_t size = 0;          // entries now: one more than were kept
  std::string archive;       // schema to which the tables of the old log were moved
  bool was_done = false;     // before: nothing was changed
};
// Puts the statement before the log. Both documents have the same body, that of PlanRestart; the
// operator's is signed by the log's key `log_key`, the governor's by the key that signed the
// network's founding. `tx` is of a user who owns the tables. The database is audited before and
// after; nothing is committed where anything is wrong. Repeating it changes nothing.
// FAILED_PRECONDITION, PERMISSION_DENIED, DATA_LOSS.
absl::StatusOr<RestartDone> RestartLog(pg::Transaction& tx, const crypto::PublicKey& log_key,
                                       const crypto::SignedDocument& by_operator,
                                       const crypto::SignedDocument& by_governor, absl::Time now);

}  // namespace rochdale::ledger
