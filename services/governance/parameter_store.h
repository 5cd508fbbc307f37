// Values of governed parameters with their history, and exceptions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/governance/domain.h"

namespace rochdale::pg {
class Transaction;
}

namespace rochdale::governance {

// NOT_FOUND where there is no such cooperative.
absl::StatusOr<StoredParameters> LoadParameters(pg::Transaction& tx,
                                                const CooperativeId& cooperative);
absl::StatusOr<int64_t> ParametersVersion(pg::Transaction& tx, const CooperativeId& cooperative);
// Moves the set from `expected` to the next version. STALE_VERSION where it stands elsewhere.
absl::StatusOr<int64_t> NextParametersVersion(pg::Transaction& tx,
                                              const CooperativeId& cooperative, int64_t expected);
absl::Status RecordParameter(pg::Transaction& tx, const CooperativeId& cooperative,
                             const ParameterChange& change);
// Newest first: below version `before` (or equal to it and before the name), `name` empty: all.
absl::StatusOr<std::vector<ParameterChange>> ListParameterChanges(
    pg::Transaction& tx, const CooperativeId& cooperative, const std::string& name,
    int64_t before_version, const std::string& after_name, int limit);

// False where an exception with this id exists already.
absl::StatusOr<bool> InsertException(pg::Transaction& tx, const RaisedException& exception);
absl::StatusOr<std::optional<RaisedException>> FindException(pg::Transaction& tx, const Uuid& id);
// Newest first, before (raised, id).
absl::StatusOr<std::vector<RaisedException>> ListExceptions(pg::Transaction& tx,
                                                            const CooperativeId& cooperative,
                                                            absl::Time before_raised,
                                                            const std::string& before_id,
                                                            int limit);

}  // namespace rochdale::governance
