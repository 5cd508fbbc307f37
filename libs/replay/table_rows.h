// The ledger's tables as far as they follow from its log, row by row, and their text form: JSON
// lines, as `rochdale-ledger-admin export-tables` writes and `rochdale-verify replay --tables`
// reads them. docs/evidence.md, section 7.5, describes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/base/ids.h"

namespace rochdale::replay {

// The first row: the size of the log that the others go with.
struct LogRow {
  int64_t size = 0;
  std::string root;  // hex
};

// An account's totals after a batch, and the entries of the batch that touched it.
struct HistoryRow {
  Uuid account;
  int64_t log_index = 0;  // the last of them
  int64_t debits = 0, credits = 0, held = 0, transfers = 0;
  std::vector<int64_t> indexes;
};

struct AccountRow {
  Uuid id, owner;
  int64_t type = 0;
  std::string asset;
  std::optional<int64_t> floor;
  int64_t status = 0, version = 0, opened_us = 0, opened_index = 0;
};

struct HoldRow {
  Uuid id, debit, credit;
  int64_t amount = 0, kind = 0, opened_us = 0, expires_us = 0, state = 0, posted = 0;
  Uuid owner, mandate;
};

struct CorrectionRow {
  Uuid transfer;
  int64_t corrected = 0;
};

struct SpentRow {
  Uuid key;
  std::string asset;
  int64_t day = 0, amount = 0;
};

// What is known of authority (docs/evidence.md, section 7.4).
struct NetworkRow {
  Uuid network;  // zero: no cooperative was founded
};

struct PrincipalRow {
  Uuid id, registered_by;
  int64_t kyc_level = 0, kyc_expires_us = 0;
  Uuid kyc_event;
};

struct PausedRow {
  Uuid agent;
  int64_t log_index = 0;
};

struct MandateRow {
  Uuid id, event, cooperative, principal, agent;
  int64_t actions = 0, not_before_us = 0, expires_us = 0, budget_day = 0, budget_total = 0;
  std::string counterparties;  // hex of 16 bytes each
  int64_t ended = 0;           // 1: it has
};

struct LeftRow {
  Uuid cooperative, principal;
  int64_t log_index = 0;
};

struct ParameterRow {
  std::string name, value;
  int64_t log_index = 0;
};

using TableRow =
    std::variant<LogRow, HistoryRow, AccountRow, HoldRow, CorrectionRow, SpentRow, NetworkRow,
                 PrincipalRow, PausedRow, MandateRow, LeftRow, ParameterRow>;

// "history of <account> at entry 12": for messages.
std::string NameOf(const TableRow& row);
// One line, without its end: canonical JSON (keys sorted, no spaces).
std::string ToLine(const TableRow& row);
// The strict inverse. INVALID_ARGUMENT.
absl::StatusOr<TableRow> ParseLine(absl::string_view line);

}  // namespace rochdale::replay
