// The log entries of attribution, built and put into the outbox of the transaction that makes the
// change. Event ids follow from what the entry is about, so that a repeated step cannot log twice.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/crypto/entry_builder.h"
#include "libs/crypto/signed_document.h"
#include "libs/pg/transaction.h"
#include "services/attribution/records.h"

namespace rochdale::attribution {

// `what`: a fixed word per kind; `subject`: what the entry is about.
EventId EventOf(absl::string_view what, const Uuid& subject);

absl::Status LogModelCreated(pg::Transaction& tx, const ModelRecord& model,
                             const crypto::Digest& checkpoint,
                             const crypto::SignedDocument& document, absl::Time now);
absl::Status LogModule(pg::Transaction& tx, const ModuleRecord& module, const ModelId& model,
                       const crypto::SignedDocument& document, absl::Time now);
absl::Status LogPoolSealed(pg::Transaction& tx, const PoolRecord& pool, const ModelRecord& model,
                           const crypto::Digest& root, const crypto::SignedDocument& document,
                           absl::Time now);
absl::Status LogCheckpointMade(pg::Transaction& tx, const CheckpointRecord& checkpoint,
                               const ModelRecord& model, const EventId& authorised_by,
                               absl::Time now);
// By a founder's document.
absl::Status LogRolledBack(pg::Transaction& tx, const CheckpointRecord& checkpoint,
                           const ModelRecord& model, const crypto::SignedDocument& rollback,
                           absl::Time now);
// By a founder's document.
absl::Status LogComparisonStarted(pg::Transaction& tx, const ComparisonRecord& comparison,
                                  const ModelRecord& model,
                                  const crypto::SignedDocument& document, absl::Time now);
// `comparison` with its end.
absl::Status LogComparisonEnded(pg::Transaction& tx, const ComparisonRecord& comparison,
                                const crypto::Digest& seed, absl::Time now);
absl::Status LogRoundOpened(pg::Transaction& tx, const RoundRecord& round,
                            const ModelRecord& model, const crypto::SignedDocument& plan,
                            absl::Time now);
absl::Status LogStateChanged(pg::Transaction& tx, const RoundRecord& round, RoundState from,
                             absl::Time now);
// `round` with its seed and, for CLOSED, next checkpoint and counts; its closed_event is the id.
absl::Status LogRoundClosed(pg::Transaction& tx, const RoundRecord& round, absl::Time now);
absl::Status LogRoundAbandoned(pg::Transaction& tx, const RoundRecord& round, absl::Time now);
absl::Status LogEvidenceMade(pg::Transaction& tx, const RoundRecord& round,
                             const crypto::Digest& evidence, const crypto::Digest& losses_root,
                             absl::Time now);
absl::Status LogUpdateApplied(pg::Transaction& tx, const RoundRecord& round,
                              const RoundUpdate& update, absl::Time now);
absl::Status LogUpdateNotApplied(pg::Transaction& tx, const RoundRecord& round,
                                 const RoundUpdate& update, absl::string_view reason,
                                 const CreditRecord* credit, absl::Time now);
absl::Status LogCreditAssigned(pg::Transaction& tx, const CreditRecord& credit,
                               const std::optional<EventId>& decision,
                               const crypto::Digest& evidence, absl::Time now);

}  // namespace rochdale::attribution
