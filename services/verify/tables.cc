#include "services/verify/tables.h"

#include <fstream>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/merkle.h"
#include "libs/replay/comparison.h"

namespace rochdale::verify {
namespace {

// A row of history of one account that one batch touched 8,190 times at most.
constexpr size_t kLineMax = 1 << 20;

absl::StatusOr<replay::LogRow> FirstRow(std::ifstream& in) {
  std::string line;
  if (!std::getline(in, line)) return absl::NotFoundError("it cannot be read, or is empty");
  ASSIGN_OR_RETURN(const replay::TableRow row, replay::ParseLine(line));
  if (const auto* log = std::get_if<replay::LogRow>(&row)) return *log;
  return absl::InvalidArgumentError("its first line does not say which log it is of");
}

absl::Status IsPrefix(const Log& log, const replay::LogRow& of) {
  if (of.size < 0 || static_cast<size_t>(of.size) > log.entries().size()) {
    return absl::DataLossError(absl::StrCat("it is of ", of.size, " entries, beyond this log"));
  }
  crypto::Frontier tree;
  for (int64_t i = 0; i < of.size; ++i) {
    ASSIGN_OR_RETURN(const std::string leaf, crypto::EncodeEntry(log.at(i)));
    tree.Append(crypto::LeafHash(leaf));
  }
  if (tree.Root().ToString() == of.root) return absl::OkStatus();
  return absl::DataLossError("it is of a log with another root");
}

absl::Status Compare(const Log& log, std::ifstream& in, int64_t& rows) {
  ASSIGN_OR_RETURN(const replay::LogRow of, FirstRow(in));
  RETURN_IF_ERROR(IsPrefix(log, of));
  replay::Comparison comparison;
  const auto advance = [&](int64_t size) -> absl::Status {
    while (comparison.books().entries() < size) {
      RETURN_IF_ERROR(comparison.Next(log.at(comparison.books().entries())));
    }
    return absl::OkStatus();
  };
  for (std::string line; std::getline(in, line);) {
    if (line.size() > kLineMax) return absl::InvalidArgumentError("a line that is too long");
    ASSIGN_OR_RETURN(const replay::TableRow row, replay::ParseLine(line));
    const auto* history = std::get_if<replay::HistoryRow>(&row);
    const int64_t until = history != nullptr && history->log_index < of.size
                              ? history->log_index + 1
                              : of.size;
    RETURN_IF_ERROR(advance(until));
    if (std::holds_alternative<replay::LogRow>(row)) {
      return absl::InvalidArgumentError("it begins twice");
    }
    RETURN_IF_ERROR(comparison.Check(row));
  }
  RETURN_IF_ERROR(advance(of.size));
  RETURN_IF_ERROR(comparison.Finish());
  rows = comparison.rows();
  return absl::OkStatus();
}

}  // namespace

void CheckTables(const Log& log, const std::string& path, Report& report) {
  Check& check = report.Begin("tables");
  std::ifstream in(path, std::ios::binary);
  int64_t rows = 0;
  if (check.Need(Compare(log, in, rows), path)) {
    check.Say(absl::StrCat(rows, " rows are as the log gives them"));
  }
}

}  // namespace rochdale::verify
