// A/B tests in the database.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/pg/transaction.h"
#include "services/attribution/records.h"

namespace rochdale::attribution {

// ALREADY_EXISTS: this document started one before, or another one of the cooperative is running.
absl::Status InsertComparison(pg::Transaction& tx, const ComparisonRecord& comparison);
absl::StatusOr<std::optional<ComparisonRecord>> FindComparison(pg::Transaction& tx,
                                                               const ComparisonId& id);
// By id, after `after`.
absl::StatusOr<std::vector<ComparisonRecord>> ListComparisons(pg::Transaction& tx,
                                                              const CooperativeId& cooperative,
                                                              const ComparisonId& after,
                                                              int limit);
absl::StatusOr<std::vector<ComparisonRecord>> ListRunningComparisons(pg::Transaction& tx,
                                                                     int limit);
// Its end, with what was found; false where it has ended already. Its runs end with it, and their
// results are deleted. `evidence`: of a test that is done.
absl::StatusOr<bool> EndComparison(pg::Transaction& tx, const ComparisonRecord& comparison,
                                   const std::optional<std::string>& evidence);
absl::StatusOr<std::optional<std::string>> FindComparisonEvidence(pg::Transaction& tx,
                                                                  const ComparisonId& id);

}  // namespace rochdale::attribution
