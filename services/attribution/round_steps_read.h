// RoundSteps::Read, for the files that implement its steps.
#pragma once

#include "libs/pg/database.h"
#include "services/attribution/round_steps.h"

namespace rochdale::attribution {

inline constexpr absl::Duration kStepReadTimeout = absl::Seconds(30);

template <typename T>
absl::StatusOr<T> RoundSteps::Read(absl::FunctionRef<absl::StatusOr<T>(pg::Transaction&)> query) {
  return parts_.env.db.Transact(
      kStepReadTimeout, [&](pg::Transaction& tx) -> absl::StatusOr<T> { return query(tx); });
}

}  // namespace rochdale::attribution
