// The ledger's tables against the books that its log gives: the first row that differs is named.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "libs/crypto/entry.h"
#include "libs/replay/books.h"
#include "libs/replay/table_rows.h"

namespace rochdale::replay {

PrincipalRow RowOf(const Uuid& id, const Principal& principal);
MandateRow RowOf(const Uuid& id, const Mandate& mandate);

// Takes entries in order of the log, and between them the rows: those of history in order of their
// log_index, each after the entry at it and before the next one; all others after the last entry.
// DATA_LOSS says what differs.
class Comparison {
 public:
  absl::Status Next(const crypto::Entry& entry);
  absl::Status Check(const TableRow& row);
  // After everything: no row is missing, and Books::Close.
  absl::Status Finish() const;

  const Books& books() const { return books_; }
  int64_t rows() const { return rows_; }

 private:
  absl::Status Is(const LogRow& row) const;
  absl::Status Is(const HistoryRow& row);
  absl::Status Is(const AccountRow& row);
  absl::Status Is(const HoldRow& row);
  absl::Status Is(const CorrectionRow& row);
  absl::Status Is(const SpentRow& row);
  absl::Status Is(const NetworkRow& row);
  absl::Status Is(const PrincipalRow& row);
  absl::Status Is(const PausedRow& row);
  absl::Status Is(const MandateRow& row);
  absl::Status Is(const LeftRow& row);
  absl::Status Is(const ParameterRow& row);
  // The row itself: it was not there before. Otherwise DATA_LOSS.
  template <typename Row>
  absl::Status Once(const Row& row);
  absl::Status FinishAuthority() const;

  Books books_;
  int64_t rows_ = 0;
  // By place in Books::accounts(): entries that touched it since its last row of history.
  std::vector<std::vector<int64_t>> pending_;
  int64_t history_at_ = -1;
  // Seen.
  absl::flat_hash_set<Uuid> accounts_, holds_, corrected_;
  std::map<SpentKey, int64_t> spent_;
  absl::flat_hash_set<std::string> authority_;  // by name of the row
};

}  // namespace rochdale::replay
