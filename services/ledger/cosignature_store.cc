#include "services/ledger/cosignature_store.h"

#include <limits>

#include "libs/base/status_macros.h"

namespace rochdale::ledger {

constexpr char kInsertCosignature[] =
    "INSERT INTO cosignatures (size, witness, line) VALUES ($1, $2, $3) "
    "ON CONFLICT (size, witness) DO NOTHING";

absl::Status InsertCosignature(pg::Transaction& tx, int64_t size, const std::string& witness,
                               const std::string& line) {
  return tx.Exec(kInsertCosignature, size, witness, line).status();
}

constexpr char kFindCosignedSize[] =
    "SELECT coalesce(max(size), 0) FROM cosignatures WHERE witness = $1";

absl::StatusOr<int64_t> FindCosignedSize(pg::Transaction& tx, const std::string& witness) {
  ASSIGN_OR_RETURN(const pg::Row row, tx.ExecOne(kFindCosignedSize, witness));
  return row.Get<int64_t>(0);
}

// 128 heads are more than are signed in any patience.
constexpr char kFindCosignedHead[] = R"sql(
WITH heads AS (SELECT size, root, note, signed_us FROM tree_heads ORDER BY size DESC LIMIT 128),
     newest AS (SELECT size, signed_us FROM heads ORDER BY size DESC LIMIT 1)
SELECT h.size, h.root, h.note || coalesce(string_agg(c.line, '' ORDER BY c.witness), '') AS note,
       h.signed_us
FROM newest, heads AS h LEFT JOIN cosignatures AS c ON c.size = h.size
WHERE h.size = newest.size OR (h.size >= $1 AND h.signed_us >= newest.signed_us - $2)
GROUP BY h.size, h.root, h.note, h.signed_us
ORDER BY count(c.size) DESC, h.size DESC LIMIT 1
)sql";

absl::StatusOr<std::optional<TreeHead>> FindCosignedHead(pg::Transaction& tx, int64_t size_min,
                                                         absl::Duration patience) {
  ASSIGN_OR_RETURN(
      const std::optional<pg::Row> row,
      tx.ExecOptional(kFindCosignedHead, size_min, absl::ToInt64Microseconds(patience)));
  if (!row.has_value()) return std::nullopt;
  return TreeHead{row->Get<int64_t>("size"), row->Get<crypto::Digest>("root"),
                  row->Get<std::string>("note"), row->Get<int64_t>("signed_us")};
}

absl::StatusOr<std::optional<TreeHead>> FindNewestHeadWithCosignatures(pg::Transaction& tx) {
  return FindCosignedHead(tx, std::numeric_limits<int64_t>::max(), absl::ZeroDuration());
}

}  // namespace rochdale::ledger
