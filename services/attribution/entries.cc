#include "services/attribution/entries.h"

#include "libs/base/status_macros.h"
#include "libs/crypto/commitment.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/pg/outbox.h"

namespace rochdale::attribution {
namespace {

namespace tag = crypto::tag;
namespace kind = crypto::kind;

absl::Status Log(pg::Transaction& tx, crypto::EntryBuilder& builder) {
  ASSIGN_OR_RETURN(const crypto::Entry entry, builder.Build());
  return pg::EnqueueEntry(tx, entry);
}

crypto::EntryBuilder OfRound(uint16_t kind, const EventId& event, const RoundRecord& round,
                             absl::Time now) {
  crypto::EntryBuilder builder(kind, event, now);
  builder.Cooperative(round.cooperative).Subject(round.round).AuthorisedBy(round.opened_event);
  return builder;
}

crypto::EntryBuilder OfUpdate(uint16_t kind, absl::string_view what, const RoundRecord& round,
                              const RoundUpdate& update, absl::Time now) {
  crypto::EntryBuilder builder(kind, EventOf(what, update.update.value), now);
  builder.Cooperative(round.cooperative)
      .Subject(update.update)
      .AuthorisedBy(update.decision_event.value_or(round.opened_event))
      .Id(tag::kRound, round.round);
  return builder;
}

crypto::EntryBuilder OfCheckpoint(const CheckpointRecord& checkpoint, const ModelRecord& model,
                                  const EventId& authorised_by, absl::Time now) {
  crypto::EntryBuilder builder(kind::kCheckpointMade, checkpoint.event, now);
  builder.Cooperative(checkpoint.cooperative)
      .Subject(checkpoint.round ? checkpoint.round->value : model.model.value)
      .AuthorisedBy(authorised_by)
      .U64(tag::kVersion, static_cast<uint64_t>(checkpoint.version))
      .Digest(tag::kCheckpointDigest, checkpoint.sha256)
      .Id(tag::kModel, model.model);
  if (checkpoint.parent) builder.Digest(tag::kParentDigest, *checkpoint.parent);
  if (checkpoint.round) builder.Id(tag::kRound, *checkpoint.round);
  return builder;
}

}  // namespace

EventId EventOf(absl::string_view what, const Uuid& subject) {
  return EventId{crypto::DeterministicId("attribution/event", what, subject)};
}

absl::Status LogModelCreated(pg::Transaction& tx, const ModelRecord& model,
                             const crypto::Digest& checkpoint,
                             const crypto::SignedDocument& document, absl::Time now) {
  crypto::EntryBuilder builder(kind::kModelCreated, model.event, now);
  builder.Cooperative(model.cooperative)
      .Subject(model.model)
      .Digest(tag::kModelDigest, crypto::Sha256(learning::ModelSpecToJson(model.spec)))
      .Digest(tag::kCheckpointDigest, checkpoint)
      .Document(document);
  return Log(tx, builder);
}

absl::Status LogModule(pg::Transaction& tx, const ModuleRecord& module, const ModelId& model,
                       const crypto::SignedDocument& document, absl::Time now) {
  crypto::EntryBuilder builder(
      module.withdraws ? kind::kModuleWithdrawn : kind::kModuleRegistered, module.event, now);
  builder.Cooperative(module.cooperative)
      .Subject(model)
      .Digest(tag::kModuleDigest, module.sha256)
      .Document(document);
  return Log(tx, builder);
}

absl::Status LogPoolSealed(pg::Transaction& tx, const PoolRecord& pool, const ModelRecord& model,
                           const crypto::Digest& root, const crypto::SignedDocument& document,
                           absl::Time now) {
  // The split seed is the salt: revealed in evidence, it opens the commitment to the pool's digest
  // and, with the root, fixes which rows are visible.
  ASSIGN_OR_RETURN(const crypto::Salt salt, crypto::Salt::FromBytes(pool.split_seed.AsBytes()));
  crypto::EntryBuilder builder(kind::kValidationPoolSealed, pool.event, now);
  builder.Cooperative(pool.cooperative)
      .Subject(model.model)
      .AuthorisedBy(model.event)
      .Digest(tag::kPoolRoot, root)
      .U64(tag::kRowCount, static_cast<uint64_t>(pool.rows))
      .Digest(tag::kDataCommitment, crypto::Commitment(salt, pool.sha256.AsBytes()))
      .Document(document);
  return Log(tx, builder);
}

absl::Status LogCheckpointMade(pg::Transaction& tx, const CheckpointRecord& checkpoint,
                               const ModelRecord& model, const EventId& authorised_by,
                               absl::Time now) {
  crypto::EntryBuilder builder = OfCheckpoint(checkpoint, model, authorised_by, now);
  return Log(tx, builder);
}

absl::Status LogRolledBack(pg::Transaction& tx, const CheckpointRecord& checkpoint,
                           const ModelRecord& model, const crypto::SignedDocument& rollback,
                           absl::Time now) {
  crypto::EntryBuilder builder = OfCheckpoint(checkpoint, model, model.event, now);
  builder.Document(rollback);
  return Log(tx, builder);
}

absl::Status LogComparisonStarted(pg::Transaction& tx, const ComparisonRecord& comparison,
                                  const ModelRecord& model,
                                  const crypto::SignedDocument& document, absl::Time now) {
  crypto::EntryBuilder builder(kind::kComparisonStarted,
                               EventOf("COMPARISON", comparison.comparison.value), now);
  builder.Cooperative(comparison.cooperative)
      .Subject(comparison.comparison)
      .AuthorisedBy(model.event)
      .Digest(tag::kParentDigest, comparison.a)
      .Digest(tag::kCheckpointDigest, comparison.b)
      .Digest(tag::kSeedCommitment, comparison.seed_sha256)
      .Id(tag::kModel, model.model)
      .Document(document);
  return Log(tx, builder);
}

absl::Status LogComparisonEnded(pg::Transaction& tx, const ComparisonRecord& comparison,
                                const crypto::Digest& seed, absl::Time now) {
  crypto::EntryBuilder builder(kind::kComparisonEnded,
                               EventOf("COMPARED", comparison.comparison.value), now);
  builder.Cooperative(comparison.cooperative)
      .Subject(comparison.comparison)
      .AuthorisedBy(EventOf("COMPARISON", comparison.comparison.value))
      .U64(tag::kStatus, static_cast<uint64_t>(comparison.look.verdict))
      .Bytes(tag::kSeed, seed.AsBytes());
  if (!comparison.evidence_sha256) {
    builder.Text(tag::kReason, comparison.reason);
    return Log(tx, builder);
  }
  builder.Digest(tag::kEvidenceDigest, *comparison.evidence_sha256)
      .U64(tag::kRowCount, static_cast<uint64_t>(comparison.look.rows))
      .I64(tag::kPhiNanoNats, comparison.look.difference)
      .I64(tag::kErrorNanoNats, comparison.look.standard_error);
  return Log(tx, builder);
}

absl::Status LogRoundOpened(pg::Transaction& tx, const RoundRecord& round,
                            const ModelRecord& model, const crypto::SignedDocument& plan,
                            absl::Time now) {
  crypto::EntryBuilder builder(kind::kRoundOpened, round.opened_event, now);
  builder.Cooperative(round.cooperative)
      .Subject(round.round)
      .AuthorisedBy(model.event)
      .Digest(tag::kCheckpointDigest, round.base)
      .Digest(tag::kSeedCommitment, round.seed_sha256)
      .U64(tag::kRoundNumber, static_cast<uint64_t>(round.number))
      .Id(tag::kModel, model.model)
      .Document(plan);
  return Log(tx, builder);
}

absl::Status LogStateChanged(pg::Transaction& tx, const RoundRecord& round, RoundState from,
                             absl::Time now) {
  const EventId event{crypto::DeterministicId("attribution/state", round.round,
                                              static_cast<int>(round.state))};
  crypto::EntryBuilder builder = OfRound(kind::kRoundStateChanged, event, round, now);
  builder.U64(tag::kFromState, static_cast<uint64_t>(from))
      .U64(tag::kToState, static_cast<uint64_t>(round.state));
  return Log(tx, builder);
}

absl::Status LogRoundClosed(pg::Transaction& tx, const RoundRecord& round, absl::Time now) {
  crypto::EntryBuilder builder =
      OfRound(kind::kRoundClosed, round.closed_event.value(), round, now);
  builder.Digest(tag::kCheckpointDigest, round.next.value())
      .U64(tag::kUpdateCount, static_cast<uint64_t>(round.applied.value()))
      .Bytes(tag::kSeed, round.seed.value().AsBytes());
  return Log(tx, builder);
}

absl::Status LogRoundAbandoned(pg::Transaction& tx, const RoundRecord& round, absl::Time now) {
  crypto::EntryBuilder builder(kind::kRoundAbandoned, round.closed_event.value(), now);
  builder.Cooperative(round.cooperative)
      .Subject(round.round)
      .Text(tag::kReason, round.reason)
      .Bytes(tag::kSeed, round.seed.value().AsBytes());
  if (round.opened_us) builder.AuthorisedBy(round.opened_event);
  return Log(tx, builder);
}

absl::Status LogEvidenceMade(pg::Transaction& tx, const RoundRecord& round,
                             const crypto::Digest& evidence, const crypto::Digest& losses_root,
                             absl::Time now) {
  crypto::EntryBuilder builder =
      OfRound(kind::kEvidenceMade, EventOf("EVIDENCE", round.round.value), round, now);
  builder.Digest(tag::kEvidenceDigest, evidence)
      .Digest(tag::kMatrixRoot, losses_root)
      .U64(tag::kRowCount, round.rows.size());
  return Log(tx, builder);
}

absl::Status LogUpdateApplied(pg::Transaction& tx, const RoundRecord& round,
                              const RoundUpdate& update, absl::Time now) {
  crypto::EntryBuilder builder = OfUpdate(kind::kUpdateApplied, "APPLIED", round, update, now);
  builder.Digest(tag::kEffectiveDigest, update.effective.value())
      .Digest(tag::kCheckpointDigest, round.next.value());
  return Log(tx, builder);
}

absl::Status LogUpdateNotApplied(pg::Transaction& tx, const RoundRecord& round,
                                 const RoundUpdate& update, absl::string_view reason,
                                 const CreditRecord* credit, absl::Time now) {
  crypto::EntryBuilder builder =
      OfUpdate(kind::kUpdateNotApplied, "NOT_APPLIED", round, update, now);
  builder.Text(tag::kReason, reason);
  if (credit != nullptr) {
    builder.I64(tag::kPhiNanoNats, credit->estimate)
        .I64(tag::kErrorNanoNats, credit->standard_error);
  }
  return Log(tx, builder);
}

absl::Status LogCreditAssigned(pg::Transaction& tx, const CreditRecord& credit,
                               const std::optional<EventId>& decision,
                               const crypto::Digest& evidence, absl::Time now) {
  crypto::EntryBuilder builder(kind::kCreditAssigned, credit.event, now);
  builder.Cooperative(credit.cooperative)
      .Subject(credit.update)
      .Id(tag::kPrincipal, credit.principal)
      .Id(tag::kRound, credit.round)
      .Digest(tag::kEvidenceDigest, evidence)
      .I64(tag::kCreditNanoNats, credit.credit)
      .I64(tag::kPhiNanoNats, credit.estimate)
      .I64(tag::kErrorNanoNats, credit.standard_error);
  if (decision) builder.AuthorisedBy(*decision);
  return Log(tx, builder);
}

}  // namespace rochdale::attribution
