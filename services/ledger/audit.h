// The full audit of a ledger's database: every leaf hashed again and held against tiles, tree state
// and signed tree heads; every row of every other table against what the leaves give
// (libs/replay). Reads only.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/crypto/note.h"
#include "libs/pg/transaction.h"

namespace rochdale::ledger {

struct AuditOptions {
  // Verifies the signatures of tree heads. Nothing: their texts only.
  std::optional<crypto::NoteKey> origin;
  // A checkpoint that was signed (the file `last-checkpoint`), which the log must not be behind.
  std::string last_checkpoint;
  // Told now and then how many entries were read.
  std::function<void(int64_t entries)> progress;
};

struct Audit {
  int64_t entries = 0;
  int64_t transfers = 0;
  int64_t accounts = 0;
  int64_t rows = 0;   // of tables that follow from the log
  int64_t heads = 0;  // signed ones
  // What is wrong, with its place ("leaf_chunks: entry 17 is ..."); the first hundred.
  std::vector<std::string> problems;
  int64_t problem_count = 0;
};

// In one transaction, which must see one state (REPEATABLE READ). An error where the database
// cannot be read; what is wrong with its content is in the result.
absl::StatusOr<Audit> AuditDatabase(pg::Transaction& tx, const AuditOptions& options);

// The rows that follow from the log, as lines of libs/replay/table_rows.h in the order that
// replay::Comparison wants, one call each.
absl::Status ExportTables(pg::Transaction& tx,
                          const std::function<absl::Status(const std::string& line)>& write);

}  // namespace rochdale::ledger
