// The tables of the ledger read from one end to the other, for the audit and the export.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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

// A table in order, some rows at a time; one at once of each name. Nothing after the last row.
template <typename Row>
class Reader {
 public:
  using Convert = Row (*)(const pg::Row&);
  // `name` and `query` are constants of the code.
  // A reader of this name that was opened before in the transaction ends.
  static absl::StatusOr<Reader> Open(pg::Transaction& tx, const char* name, const char* query,
                                     Convert convert);
  absl::StatusOr<std::optional<Row>> Next();

 private:
  Reader(pg::Transaction& tx, std::string fetch, Convert convert)
      : tx_(&tx), fetch_(std::move(fetch)), convert_(convert) {}
  pg::Transaction* tx_;
  std::string fetch_;
  Convert convert_;
  std::optional<pg::Rows> rows_;
  size_t at_ = 0;
};

absl::StatusOr<Reader<Chunk>> ReadChunks(pg::Transaction& tx);
absl::StatusOr<Reader<TreeHead>> ReadTreeHeads(pg::Transaction& tx);  // by size
// With the digest that they are stored under.
struct StoredDocument {
  crypto::Digest digest;
  crypto::SignedDocument document;
};
absl::StatusOr<Reader<StoredDocument>> ReadDocuments(pg::Transaction& tx);
// By log index and account.
absl::StatusOr<Reader<replay::TableRow>> ReadHistory(pg::Transaction& tx);
// Each by its key.
absl::StatusOr<Reader<replay::TableRow>> ReadAccounts(pg::Transaction& tx);
absl::StatusOr<Reader<replay::TableRow>> ReadHolds(pg::Transaction& tx);
absl::StatusOr<Reader<replay::TableRow>> ReadCorrections(pg::Transaction& tx);
absl::StatusOr<Reader<replay::TableRow>> ReadSpent(pg::Transaction& tx);
absl::StatusOr<Reader<replay::TableRow>> ReadNetwork(pg::Transaction& tx);
absl::StatusOr<Reader<replay::TableRow>> ReadPrincipals(pg::Transaction& tx);
absl::StatusOr<Reader<replay::TableRow>> ReadPausedAgents(pg::Transaction& tx);
absl::StatusOr<Reader<replay::TableRow>> ReadMandates(pg::Transaction& tx);
absl::StatusOr<Reader<replay::TableRow>> ReadLeft(pg::Transaction& tx);
absl::StatusOr<Reader<replay::TableRow>> ReadParameters(pg::Transaction& tx);

// The tables that say how things stand at the end of the log, in the order of the export.
inline constexpr absl::StatusOr<Reader<replay::TableRow>> (*kStateTables[])(pg::Transaction& tx) =
    {ReadAccounts,   ReadHolds,        ReadCorrections, ReadSpent, ReadNetwork,
     ReadPrincipals, ReadPausedAgents, ReadMandates,    ReadLeft,  ReadParameters};

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
