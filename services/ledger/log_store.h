// The log in the database: entries, tiles, tree state, signed tree heads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "libs/pg/transaction.h"
#include "services/ledger/model.h"
#include "services/ledger/tree.h"

namespace rochdale::ledger {

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

absl::Status InsertEntries(pg::Transaction& tx, const std::vector<LogEntry>& entries);
// Signed documents that entries name; those that are there already stay as they are.
absl::Status InsertDocuments(pg::Transaction& tx,
                             const std::vector<crypto::SignedDocument>& documents);
absl::StatusOr<std::optional<crypto::SignedDocument>> FindDocument(pg::Transaction& tx,
                                                                   const crypto::Digest& digest);
absl::Status InsertTiles(pg::Transaction& tx, const std::vector<Tile>& tiles);

struct KnownEvent {
  int64_t index = 0;
  crypto::Digest leaf_hash;
};
// Those of the events that are in the log.
absl::StatusOr<std::unordered_map<Uuid, KnownEvent, absl::Hash<Uuid>>> FindEvents(
    pg::Transaction& tx, const std::vector<Uuid>& event_ids);

// The first PRINCIPAL_REGISTERED entry about each, where there is one.
absl::StatusOr<std::unordered_map<Uuid, EventId, absl::Hash<Uuid>>> FindRegistrations(
    pg::Transaction& tx, const std::vector<Uuid>& principals);

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
