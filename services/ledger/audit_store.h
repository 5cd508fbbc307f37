// The tables of the ledger read from one end to the other, for the audit and the export.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "libs/crypto/signed_document.h"
#include "libs/pg/transaction.h"
#include "libs/replay/table_rows.h"
#include "services/ledger/model.h"
#include "services/ledger/tree.h"

namespace rochdale::ledger {

// Leaves as they are stored, not yet told apart.
struct Chunk {
  int64_t first_index = 0;
  int64_t count = 0;
  int64_t posted_us = 0;
  std::string leaves;
};

// With the digest that they are stored under.
struct StoredDocument {
  crypto::Digest digest;
  crypto::SignedDocument document;
};

// A table in its order and how a row of it is read. All are constants of the code.
template <typename Row>
struct Table {
  const char* cursor;  // other tables have others
  const char* query;
  Row (*convert)(const pg::Row&);
};

extern const Table<Chunk> kLeafChunks;
extern const Table<TreeHead> kTreeHeads;  // by size
extern const Table<StoredDocument> kDocuments;
extern const Table<replay::TableRow> kHistory;  // by log index and account
// The tables that say how things stand at the end of the log, each by its key, in the order of the
// export.
absl::Span<const Table<replay::TableRow>> StateTables();

// A table, some rows at a time. Nothing after the last row.
template <typename Row>
class Reader {
 public:
  // A reader of this table that was opened before in the transaction ends.
  static absl::StatusOr<Reader> Open(pg::Transaction& tx, const Table<Row>& table);
  absl::StatusOr<std::optional<Row>> Next();

 private:
  Reader(pg::Transaction& tx, const Table<Row>& table);
  pg::Transaction* tx_;
  std::string fetch_;
  Row (*convert_)(const pg::Row&);
  std::optional<pg::Rows> rows_;
  size_t at_ = 0;
};

absl::StatusOr<std::optional<Tile>> FindTile(pg::Transaction& tx, int level, int64_t index);
struct Counts {
  int64_t tiles = 0;
  int64_t logged_ids = 0;  // event_ids that are in the log
  int64_t wrong_ids = 0;   // that are not, for a reason that burns none
  int64_t subjects = 0;
};
absl::StatusOr<Counts> CountRows(pg::Transaction& tx);
// How many of these subjects stand with this kind at these indexes.
absl::StatusOr<int64_t> CountSubjects(pg::Transaction& tx, const std::vector<Uuid>& subjects,
                                      const std::vector<int64_t>& indexes,
                                      const std::vector<int32_t>& kinds);

}  // namespace rochdale::ledger
