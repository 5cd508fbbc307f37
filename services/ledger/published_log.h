// What of the log is shown to the public: the newest signed tree head, and the tiles, entries and
// receipts that it covers. Never anything that is not under a signature yet.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/base/ids.h"
#include "libs/crypto/tile.h"
#include "libs/pg/database.h"
#include "services/ledger/model.h"

namespace rochdale::ledger {

// Which entry: by event id where that is not zero, else by index.
struct EntryName {
  EventId event_id;
  int64_t index = 0;
};

struct Receipt {
  int64_t index = 0;
  std::string text;  // crypto/tlog_proof.h; its extra line holds the entry's canonical bytes
};

// Thread-safe. Every call is a read of a few statements, until `deadline` (system clock).
class PublishedLog {
 public:
  // `db` outlives it.
  explicit PublishedLog(pg::Database& db) : db_(db) {}

  // Nothing where none was signed yet.
  absl::StatusOr<std::optional<TreeHead>> Head(absl::Time deadline) const;

  // The bytes of a hash tile or entry bundle, in any width up to that of the newest signed tree.
  // NOT_FOUND beyond it.
  absl::StatusOr<std::string> TileFile(const crypto::Tile& tile, absl::Time deadline) const;

  // NOT_FOUND where the log has no such entry; LOG_SIZE_UNKNOWN where it is not under a signed tree
  // head yet.
  absl::StatusOr<Receipt> ReceiptOf(const EntryName& name, absl::Time deadline) const;

 private:
  pg::Database& db_;
};

}  // namespace rochdale::ledger
