#include "services/payout/epochs.h"

#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "services/payout/shares.h"

namespace rochdale::payout {

absl::StatusOr<std::vector<Statement>> MakeStatements(
    const EpochId& epoch, MicroTokens revenue, const std::vector<Contribution>& contributions,
    const std::map<PrincipalId, MicroTokens>& before) {
  std::vector<Claim> claims;
  for (const Contribution& c : contributions) {
    claims.push_back({PaymentAccount(c.principal), c.credit});
  }
  ASSIGN_OR_RETURN(const std::vector<MicroTokens> payments, ShareRevenue(revenue, claims));
  std::vector<Statement> statements;
  for (size_t i = 0; i < contributions.size(); ++i) {
    Statement s;
    s.epoch = epoch;
    s.principal = contributions[i].principal;
    s.position = static_cast<int64_t>(i);
    s.credit = contributions[i].credit;
    s.payment = payments[i];
    const auto earlier = before.find(s.principal);
    ASSIGN_OR_RETURN(s.cumulative, CheckedAdd(earlier == before.end() ? 0 : earlier->second,
                                              s.payment));
    s.account = claims[i].account;
    s.paid = s.payment == 0;  // nothing is due
    s.event = EventId{crypto::DeterministicId("payout/statement", epoch, s.principal)};
    s.lines = contributions[i].lines;
    statements.push_back(std::move(s));
  }
  return statements;
}

crypto::Digest DistributionRootOf(const std::vector<Statement>& statements) {
  std::vector<Distribution> leaves;
  for (const Statement& s : statements) leaves.push_back({s.principal, s.cumulative});
  return DistributionRoot(leaves);
}

}  // namespace rochdale::payout
