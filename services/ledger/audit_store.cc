#include "services/ledger/audit_store.h"

#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "services/ledger/rules.h"

namespace rochdale::ledger {
namespace {

using crypto::Digest;
using replay::TableRow;

std::vector<int64_t> SplitIndexes(const std::string& bytes) {
  std::vector<int64_t> indexes;
  for (size_t at = 0; at + 8 <= bytes.size(); at += 8) {
    uint64_t value = 0;
    for (size_t i = 0; i < 8; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
    indexes.push_back(static_cast<int64_t>(value));
  }
  // Bytes left over cannot be an index; they make the row differ.
  if (bytes.size() % 8 != 0) indexes.push_back(-1);
  return indexes;
}

Chunk ToChunk(const pg::Row& row) {
  return {row.Get<int64_t>(0), row.Get<int32_t>(1), row.Get<int64_t>(2), row.GetBytes(3)};
}
TreeHead ToHead(const pg::Row& row) {
  return {row.Get<int64_t>(0), row.Get<Digest>(1), row.Get<std::string>(2), row.Get<int64_t>(3)};
}
StoredDocument ToDocument(const pg::Row& row) {
  return {row.Get<Digest>(0),
          {row.Get<std::string>(1), row.GetBytes(2), row.Get<crypto::PublicKey>(3),
           row.Get<crypto::Signature>(4)}};
}
TableRow ToHistory(const pg::Row& row) {
  return replay::HistoryRow{row.Get<Uuid>(0),    row.Get<int64_t>(1), row.Get<int64_t>(2),
                            row.Get<int64_t>(3), row.Get<int64_t>(4), row.Get<int64_t>(5),
                            SplitIndexes(row.GetBytes(6))};
}
TableRow ToAccount(const pg::Row& row) {
  return replay::AccountRow{row.Get<Uuid>(0),
                            row.Get<Uuid>(1),
                            row.Get<int32_t>(2),
                            row.Get<std::string>(3),
                            row.Get<std::optional<int64_t>>(4),
                            row.Get<int32_t>(5),
                            row.Get<int64_t>(6),
                            row.Get<int64_t>(7),
                            row.Get<int64_t>(8)};
}
TableRow ToHold(const pg::Row& row) {
  return replay::HoldRow{row.Get<Uuid>(0),    row.Get<Uuid>(1),    row.Get<Uuid>(2),
                         row.Get<int64_t>(3), row.Get<int32_t>(4), row.Get<int64_t>(5),
                         row.Get<int64_t>(6), row.Get<int32_t>(7), row.Get<int64_t>(8),
                         row.Get<Uuid>(9),    row.Get<Uuid>(10)};
}
TableRow ToCorrection(const pg::Row& row) {
  return replay::CorrectionRow{row.Get<Uuid>(0), row.Get<int64_t>(1)};
}
TableRow ToSpent(const pg::Row& row) {
  return replay::SpentRow{row.Get<Uuid>(0), row.Get<std::string>(1), row.Get<int32_t>(2),
                          row.Get<int64_t>(3)};
}

TableRow ToNetwork(const pg::Row& row) { return replay::NetworkRow{row.Get<Uuid>(0)}; }
TableRow ToPrincipal(const pg::Row& row) {
  return replay::PrincipalRow{row.Get<Uuid>(0), row.Get<Uuid>(1), row.Get<int32_t>(2),
                              row.Get<int64_t>(3), row.Get<Uuid>(4)};
}
TableRow ToPaused(const pg::Row& row) {
  return replay::PausedRow{row.Get<Uuid>(0), row.Get<int64_t>(1)};
}
TableRow ToMandateRow(const pg::Row& row) {
  return replay::MandateRow{row.Get<Uuid>(0),    row.Get<Uuid>(1),    row.Get<Uuid>(2),
                            row.Get<Uuid>(3),    row.Get<Uuid>(4),    row.Get<int64_t>(5),
                            row.Get<int64_t>(6), row.Get<int64_t>(7), row.Get<int64_t>(8),
                            row.Get<int64_t>(9), absl::BytesToHexString(row.GetBytes(10)),
                            row.Get<bool>(11) ? 1 : 0};
}
TableRow ToLeft(const pg::Row& row) {
  return replay::LeftRow{row.Get<Uuid>(0), row.Get<Uuid>(1), row.Get<int64_t>(2)};
}
TableRow ToParameter(const pg::Row& row) {
  return replay::ParameterRow{row.Get<std::string>(0), row.Get<std::string>(1),
                              row.Get<int64_t>(2)};
}

constexpr Table<TableRow> kStateTables[] = {
    {"audit_accounts",
     "SELECT id, owner, type, asset, floor, status, version, opened_us, opened_index FROM "
     "accounts ORDER BY id",
     ToAccount},
    {"audit_holds",
     "SELECT id, debit, credit, amount, kind, opened_us, expires_us, state, posted, owner, "
     "mandate FROM holds ORDER BY id",
     ToHold},
    {"audit_corrections",
     "SELECT transfer, corrected FROM corrections ORDER BY transfer",
     ToCorrection},
    {"audit_spent", "SELECT key, asset, day, amount FROM spent ORDER BY key, asset, day", ToSpent},
    {"audit_network", "SELECT network FROM authority_state", ToNetwork},
    {"audit_principals",
     "SELECT principal, registered_by, kyc_level, kyc_expires_us, kyc_event FROM "
     "authority_principals ORDER BY principal",
     ToPrincipal},
    {"audit_paused",
     "SELECT agent, log_index FROM authority_paused_agents ORDER BY agent",
     ToPaused},
    {"audit_mandates",
     "SELECT mandate, event_id, cooperative, principal, agent, actions, not_before_us, "
     "expires_us, budget_day, budget_total, counterparties, revoked FROM authority_mandates ORDER "
     "BY mandate",
     ToMandateRow},
    {"audit_left",
     "SELECT cooperative, principal, log_index FROM authority_left ORDER BY cooperative, principal",
     ToLeft},
    {"audit_parameters",
     "SELECT name, value, log_index FROM authority_parameters ORDER BY name",
     ToParameter},
};

}  // namespace

const Table<Chunk> kLeafChunks = {
    "audit_chunks",
    "SELECT first_index, count, posted_us, leaves FROM leaf_chunks ORDER BY first_index",
    ToChunk};
const Table<TreeHead> kTreeHeads = {
    "audit_heads",
    "SELECT size, root, note, signed_us FROM tree_heads ORDER BY size",
    ToHead};
const Table<StoredDocument> kDocuments = {
    "audit_documents",
    "SELECT document_sha256, type, body, public_key, signature FROM documents ORDER BY "
    "document_sha256",
    ToDocument};
const Table<TableRow> kHistory = {
    "audit_history",
    "SELECT account, log_index, debits, credits, held, transfers, indexes FROM account_history "
    "ORDER BY log_index, account",
    ToHistory};

absl::Span<const Table<TableRow>> StateTables() { return kStateTables; }

template <typename Row>
absl::StatusOr<Reader<Row>> Reader<Row>::Open(pg::Transaction& tx, const Table<Row>& table) {
  static constexpr char kOpen[] = "SELECT 1 FROM pg_cursors WHERE name = $1";
  ASSIGN_OR_RETURN(const pg::Rows open, tx.Exec(kOpen, table.cursor));
  if (!open.empty()) RETURN_IF_ERROR(tx.ExecScript(absl::StrCat("CLOSE ", table.cursor)));
  RETURN_IF_ERROR(tx.ExecScript(
      absl::StrCat("DECLARE ", table.cursor, " NO SCROLL CURSOR FOR ", table.query)));
  return Reader(tx, table);
}

template <typename Row>
Reader<Row>::Reader(pg::Transaction& tx, const Table<Row>& table)
    : tx_(&tx), fetch_(absl::StrCat("FETCH FORWARD 500 FROM ", table.cursor)),
      convert_(table.convert) {}

template <typename Row>
absl::StatusOr<std::optional<Row>> Reader<Row>::Next() {
  if (!rows_ || at_ == rows_->size()) {
    ASSIGN_OR_RETURN(rows_, tx_->Exec(fetch_));
    at_ = 0;
    if (rows_->empty()) return std::nullopt;
  }
  return convert_((*rows_)[at_++]);
}

template class Reader<Chunk>;
template class Reader<TreeHead>;
template class Reader<StoredDocument>;
template class Reader<TableRow>;

constexpr char kFindTile[] = "SELECT hashes, root FROM tiles WHERE level = $1 AND index = $2";

absl::StatusOr<std::optional<Tile>> FindTile(pg::Transaction& tx, int level, int64_t index) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kFindTile, level, index));
  if (!row) return std::nullopt;
  Tile tile{level, index, {}, row->Get<Digest>(1)};
  const std::string bytes = row->GetBytes(0);
  for (size_t at = 0; at + 32 <= bytes.size(); at += 32) {
    tile.hashes.push_back(*Digest::FromBytes(absl::string_view(bytes).substr(at, 32)));
  }
  return tile;
}

constexpr char kCountTiles[] = "SELECT count(*) FROM tiles";
constexpr char kCountSubjectRows[] = "SELECT count(*) FROM entry_subjects";
constexpr char kCountIds[] =
    "SELECT log_index >= 0, result, count(*) FROM event_ids GROUP BY 1, 2";

absl::StatusOr<Counts> CountRows(pg::Transaction& tx) {
  Counts counts;
  ASSIGN_OR_RETURN(const pg::Row tiles, tx.ExecOne(kCountTiles));
  counts.tiles = tiles.Get<int64_t>(0);
  ASSIGN_OR_RETURN(const pg::Row subjects, tx.ExecOne(kCountSubjectRows));
  counts.subjects = subjects.Get<int64_t>(0);
  ASSIGN_OR_RETURN(const pg::Rows ids, tx.Exec(kCountIds));
  for (const pg::Row& row : ids) {
    const int32_t result = row.Get<int32_t>(1);
    const bool burned = result > 0 && result < kTransferResults &&
                        IsPassing(static_cast<TransferResult>(result));
    if (row.Get<bool>(0)) {
      counts.logged_ids += row.Get<int64_t>(2);
    } else if (!burned) {
      counts.wrong_ids += row.Get<int64_t>(2);
    }
  }
  return counts;
}

constexpr char kCountSubjects[] =
    "SELECT count(*) FROM unnest($1::uuid[], $2::bigint[], $3::integer[]) AS n (s, i, k) "
    "JOIN entry_subjects AS e ON e.subject = n.s AND e.log_index = n.i AND e.kind = n.k";

absl::StatusOr<int64_t> CountSubjects(pg::Transaction& tx, const std::vector<Uuid>& subjects,
                                      const std::vector<int64_t>& indexes,
                                      const std::vector<int32_t>& kinds) {
  ASSIGN_OR_RETURN(const pg::Row row, tx.ExecOne(kCountSubjects, subjects, indexes, kinds));
  return row.Get<int64_t>(0);
}

}  // namespace rochdale::ledger
