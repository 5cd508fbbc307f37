// Rounds, their updates, credits and exceptions in the database.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/pg/transaction.h"
#include "services/attribution/records.h"

namespace rochdale::attribution {

absl::Status InsertRound(pg::Transaction& tx, const RoundRecord& round);
absl::StatusOr<std::optional<RoundRecord>> FindRound(pg::Transaction& tx, const RoundId& round);
// The newest that agents may know of (announced or ended).
absl::StatusOr<std::optional<RoundRecord>> FindNewestRound(pg::Transaction& tx,
                                                           const CooperativeId& cooperative);
absl::StatusOr<std::optional<RoundRecord>> FindActiveRound(pg::Transaction& tx,
                                                           const CooperativeId& cooperative);
absl::StatusOr<std::vector<RoundRecord>> ListRounds(pg::Transaction& tx,
                                                    const CooperativeId& cooperative,
                                                    int64_t after_number, int limit);
absl::StatusOr<int64_t> LastRoundNumber(pg::Transaction& tx, const CooperativeId& cooperative);

// What the engine has to do: rounds under way, and ended ones that the filter has not heard of.
absl::StatusOr<std::vector<RoundId>> ListOpenWork(pg::Transaction& tx, int limit);

// Everything but evidence, where the state is still `from`; false (nothing changed) where not.
absl::StatusOr<bool> UpdateRound(pg::Transaction& tx, const RoundRecord& round, RoundState from);
absl::Status SetFilterTold(pg::Transaction& tx, const RoundId& round);
// The losses of a round whose model is a module (evidence.h).
absl::Status SetLosses(pg::Transaction& tx, const RoundId& round, const crypto::Digest& sha256);
absl::Status SetEvidence(pg::Transaction& tx, const RoundId& round, absl::string_view body,
                         const crypto::Digest& sha256);
absl::StatusOr<std::optional<std::string>> FindEvidence(pg::Transaction& tx, const RoundId& round);

struct ProbeGradientRecord {
  ProbeId probe;
  crypto::Digest sha256;
};
absl::Status InsertGradient(pg::Transaction& tx, const RoundId& round,
                            const ProbeGradientRecord& gradient);
absl::StatusOr<std::vector<ProbeGradientRecord>> ListGradients(pg::Transaction& tx,
                                                               const RoundId& round);

absl::Status InsertRoundUpdate(pg::Transaction& tx, const RoundId& round,
                               const RoundUpdate& update);
absl::Status SetDecision(pg::Transaction& tx, const UpdateId& update, bool admitted,
                         const std::optional<EventId>& event, bool publishable);
absl::Status SetRemoved(pg::Transaction& tx, const UpdateId& update, absl::string_view reason);
// In order of commitment.
absl::StatusOr<std::vector<RoundUpdate>> ListRoundUpdates(pg::Transaction& tx,
                                                          const RoundId& round);
absl::Status InsertNeededProbe(pg::Transaction& tx, const RoundId& round,
                               const NeededProbe& needed);
absl::StatusOr<std::vector<NeededProbe>> ListNeededProbes(pg::Transaction& tx,
                                                          const RoundId& round);
absl::Status InsertNeededBound(pg::Transaction& tx, const RoundId& round,
                               const NeededBound& bound);
// By probe.
absl::StatusOr<std::vector<NeededBound>> ListNeededBounds(pg::Transaction& tx,
                                                          const RoundId& round);

// Rows of the cooperative that are never drawn again, with the rounds that drew them.
struct RetiredRows {
  std::set<int64_t> rows;
  std::vector<RoundId> rounds;  // by id
};
absl::StatusOr<RetiredRows> FindRetiredRows(pg::Transaction& tx, const CooperativeId& cooperative);
absl::Status InsertRetiredRound(pg::Transaction& tx, const RoundId& round, const RoundId& retired);
absl::StatusOr<std::vector<RoundId>> ListRetiredRounds(pg::Transaction& tx, const RoundId& round);
// The number of rows retired now; 0 where they were already or there is no such ended round.
absl::StatusOr<int64_t> RetireRound(pg::Transaction& tx, const RoundId& round, int64_t now_us);

absl::Status InsertCredit(pg::Transaction& tx, const CreditRecord& credit);
// What every principal earned in rounds with smaller numbers than `before`, nano-nats.
absl::StatusOr<std::map<PrincipalId, int64_t>> SumCredits(pg::Transaction& tx,
                                                          const CooperativeId& cooperative,
                                                          int64_t before);
struct CreditQuery {
  CooperativeId cooperative;
  std::optional<RoundId> round;
  std::optional<PrincipalId> principal;
  std::optional<UpdateId> after;
  int limit = 50;
};
absl::StatusOr<std::vector<CreditRecord>> ListCredits(pg::Transaction& tx,
                                                      const CreditQuery& query);

// What may be published: rows of a retired round, or an effective update of a closed round whose
// contributors all consented. The cooperative it belongs to; nothing where it may not be.
absl::StatusOr<std::optional<CooperativeId>> FindPublishable(pg::Transaction& tx,
                                                             const crypto::Digest& sha256);

// OK where it was raised already.
absl::Status InsertException(pg::Transaction& tx, const ExceptionRecord& exception);
absl::StatusOr<std::vector<ExceptionRecord>> ListUnsentExceptions(pg::Transaction& tx, int limit);
absl::Status SetExceptionSent(pg::Transaction& tx, const ExceptionId& exception);

}  // namespace rochdale::attribution
