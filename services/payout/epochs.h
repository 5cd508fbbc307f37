// Closing an epoch: from what was contributed to statements with exact payments. Pure.
#pragma once

#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "services/payout/domain.h"
#include "services/payout/sources.h"

namespace rochdale::payout {

// Statements of all who contributed, by principal id, with payments that sum to `revenue` (or all
// 0 where nobody has credit). `before` is what each received from the pool so far. The event ids of
// the statements follow from the epoch and the principal.
absl::StatusOr<std::vector<Statement>> MakeStatements(
    const EpochId& epoch, MicroTokens revenue, const std::vector<Contribution>& contributions,
    const std::map<PrincipalId, MicroTokens>& before);

crypto::Digest DistributionRootOf(const std::vector<Statement>& statements);

}  // namespace rochdale::payout
