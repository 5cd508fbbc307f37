// The log in the database: entries, tiles, tree state, signed tree heads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/node_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "libs/pg/transaction.h"
#include "services/ledger/model.h"
#include "services/ledger/tree.h"

namespace rochdale::ledger {

// Values keep their addresses until they are erased.
template <typename Key, typename Value>
using IdMap = absl::node_hash_map<Key, Value>;

struct TreeState {
  int64_t epoch = 0;
  int64_t batch = 0;
  int64_t size = 0;
  std::string frontier;  // crypto::Frontier::Serialise
  crypto::Digest root;
};

absl::StatusOr<TreeState> ReadTreeState(pg::Transaction& tx);

// Takes the tree for the writer of `epoch`, waiting for a transaction of an earlier one that is
// still under way. NOT_LEADER where a later writer has it.
absl::StatusOr<TreeState> TakeTree(pg::Transaction& tx, int64_t epoch);

// `before.batch` -> `before.batch` + 1 with the new end. NOT_LEADER where the row is not as the
// writer left it: what it holds in memory is worth nothing then.
absl::Status AdvanceTree(pg::Transaction& tx, const TreeState& before, const TreeEnd& end);

// The growing end of a tree of `size` leaves.
absl::StatusOr<TreeEnd> ReadTreeEnd(pg::Transaction& tx, int64_t size);

// Reads nodes of the tree of `size` leaves, for roots and proofs, one statement each. `tx` must
// outlive it.
crypto::NodeReader ReadNodes(pg::Transaction& tx, int64_t size);

// The leaves of one batch, in order, and what they are about.
absl::Status InsertEntries(pg::Transaction& tx, const std::vector<LogEntry>& entries,
                           int64_t posted_us);
// Signed documents that entries name; those that are there already stay as they are.
absl::Status InsertDocuments(pg::Transaction& tx,
                             const std::vector<crypto::SignedDocument>& documents);
absl::Status InsertTiles(pg::Transaction& tx, const std::vector<Tile>& tiles);

// What is known of an id: an entry of the log, or a transfer that failed for a passing reason.
struct KnownId {
  int64_t log_index = -1;  // -1: not in the log
  int result = 0;          // number of a TransferResult; 0: an entry that is no transfer
};
// Those of the ids that were ever used.
absl::StatusOr<IdMap<Uuid, KnownId>> FindIds(pg::Transaction& tx, const std::vector<Uuid>& ids);
struct UsedId {
  Uuid id;
  KnownId known;
};
absl::Status InsertIds(pg::Transaction& tx, const std::vector<UsedId>& ids);

// The entries at these indexes, in order of the log; those that there are.
absl::StatusOr<std::vector<LogEntry>> FindEntries(pg::Transaction& tx,
                                                  std::vector<int64_t> indexes);
// When the entry was posted: the time of its batch, unix microseconds.
absl::StatusOr<int64_t> FindPostedTime(pg::Transaction& tx, int64_t index);
// The last entry that was posted at or before this time; -1: none.
absl::StatusOr<int64_t> FindLastIndexAt(pg::Transaction& tx, int64_t at_us);
// When the last batch was posted; 0: never.
absl::StatusOr<int64_t> FindLastPostedTime(pg::Transaction& tx);

absl::StatusOr<std::optional<LogEntry>> FindEntry(pg::Transaction& tx, int64_t index);
absl::StatusOr<std::optional<LogEntry>> FindEntryByEvent(pg::Transaction& tx,
                                                         const EventId& event_id);
// From `from_index` on, in order of the log; `subject` nothing: all.
absl::StatusOr<std::vector<LogEntry>> ListEntries(pg::Transaction& tx,
                                                  const std::optional<Uuid>& subject,
                                                  int64_t from_index, int limit);

// False where there is a head of that size already.
absl::StatusOr<bool> InsertTreeHead(pg::Transaction& tx, const TreeHead& head);
absl::StatusOr<std::optional<TreeHead>> FindNewestTreeHead(pg::Transaction& tx);
absl::StatusOr<std::optional<TreeHead>> FindTreeHead(pg::Transaction& tx, int64_t size);
// Those larger than `after_size`, oldest first.
absl::StatusOr<std::vector<TreeHead>> ListTreeHeads(pg::Transaction& tx, int64_t after_size,
                                                    int limit);

}  // namespace rochdale::ledger
