// Holds, corrections and what was spent, in the database.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "libs/pg/transaction.h"
#include "services/ledger/log_store.h"
#include "services/ledger/model.h"

namespace rochdale::ledger {

absl::StatusOr<std::optional<Hold>> FindHold(pg::Transaction& tx, const TransferId& id);
absl::StatusOr<std::vector<Hold>> FindHolds(pg::Transaction& tx,
                                            const std::vector<TransferId>& ids);
// Open holds on the debit side of the account with an id above `after`, by id.
absl::StatusOr<std::vector<Hold>> ListOpenHolds(pg::Transaction& tx, const AccountId& account,
                                                const TransferId& after, int limit);
// Open holds that expire at or before `now_us`, in the order in which they expire.
absl::StatusOr<std::vector<Hold>> FindDueHolds(pg::Transaction& tx, int64_t now_us, int limit);
// When the next open hold expires after `now_us`; nothing where there is none.
absl::StatusOr<std::optional<int64_t>> FindNextExpiryAfter(pg::Transaction& tx, int64_t now_us);
absl::StatusOr<int64_t> CountOpenHolds(pg::Transaction& tx);
// New ones are inserted; of others state and posted amount are set.
absl::Status SaveHolds(pg::Transaction& tx, const std::vector<Hold>& holds);

// How much of each transfer was corrected, where any was.
absl::StatusOr<IdMap<TransferId, int64_t>> FindCorrections(pg::Transaction& tx,
                                                           const std::vector<TransferId>& ids);
// Adds to what was corrected.
absl::Status AddCorrections(pg::Transaction& tx, const IdMap<TransferId, int64_t>& added);

// What `key` (a principal or a mandate) spent of an asset on a UTC day.
struct SpentKey {
  Uuid key;
  std::string asset;
  int32_t day = 0;  // since 1970-01-01; kAllDays: in all

  auto operator<=>(const SpentKey&) const = default;
};
inline constexpr int32_t kAllDays = -1;
int32_t DayOf(int64_t time_us);
// Everything that any of the keys spent on `day` and in all.
absl::StatusOr<std::map<SpentKey, int64_t>> FindSpent(pg::Transaction& tx,
                                                      const std::vector<Uuid>& keys, int32_t day);
// Adds (or takes back) amounts.
absl::Status AddSpent(pg::Transaction& tx, const std::map<SpentKey, int64_t>& added);

}  // namespace rochdale::ledger
