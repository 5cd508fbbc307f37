// What of the log is shown to the public: the newest signed tree head, and the tiles, entries and
// receipts that it covers. Never anything that is not under a signature yet.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/base/ids.h"
#include "libs/crypto/note.h"
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

// How long witnesses have before a tree head is shown without them.
inline constexpr absl::Duration kPatience = absl::Seconds(10);

// Thread-safe. Every call is a read of a few statements, until `deadline` (system clock).
class PublishedLog {
 public:
  // `db` outlives it. `witnesses` are asked to cosign tree heads.
  explicit PublishedLog(pg::Database& db, std::vector<crypto::NoteKey> witnesses = {})
      : db_(db), witnesses_(std::move(witnesses)) {}

  const std::vector<crypto::NoteKey>& witnesses() const { return witnesses_; }

  // What is shown as the newest tree head, with its cosignatures in the note: the newest one, or
  // for up to kPatience an older one that more witnesses cosigned; never one older than was shown
  // here before. Nothing where none was signed yet.
  absl::StatusOr<std::optional<TreeHead>> Head(absl::Time deadline) const;

  // The bytes of a hash tile or entry bundle, in any width up to that of the newest signed tree.
  // NOT_FOUND beyond it.
  absl::StatusOr<std::string> TileFile(const crypto::Tile& tile, absl::Time deadline) const;

  // NOT_FOUND where the log has no such entry; LOG_SIZE_UNKNOWN where it is not under a signed tree
  // head yet.
  absl::StatusOr<Receipt> ReceiptOf(const EntryName& name, absl::Time deadline) const;

 private:
  absl::StatusOr<std::optional<TreeHead>> ShownHead(pg::Transaction& tx) const;

  pg::Database& db_;
  const std::vector<crypto::NoteKey> witnesses_;
  mutable std::atomic<int64_t> shown_size_{0};  // the largest
};

}  // namespace rochdale::ledger
