#include "services/ledger/transfer_entry.h"

#include "absl/strings/str_cat.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"

namespace rochdale::ledger {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

EventId PostedEvent(const TransferId& transfer) {
  return {crypto::DeterministicId("ledger/transfer-posted", transfer)};
}

crypto::EntryBuilder TransferEntry(const PostedTransfer& posted, const Caller& caller,
                                   CooperativeId cooperative,
                                   const std::optional<crypto::SignedDocument>& order) {
  const Transfer& transfer = posted.transfer;
  crypto::EntryBuilder builder(kind::kTransferPosted, EventOf(transfer),
                               absl::FromUnixMicros(posted.posted_us));
  builder.Subject(transfer.id)
      .Cooperative(cooperative)
      .AuthorisedBy(transfer.authorised_by)
      .Id(tag::kDebitAccount, transfer.debit)
      .Id(tag::kCreditAccount, transfer.credit)
      .U64(tag::kAmount, static_cast<uint64_t>(transfer.amount))
      .U64(tag::kTransferKind, static_cast<uint64_t>(transfer.kind))
      .I64(tag::kDebitBalance, posted.debit_balance)
      .I64(tag::kCreditBalance, posted.credit_balance);
  if (!transfer.reference.empty()) builder.Bytes(tag::kReference, transfer.reference);
  if (transfer.code != 0) builder.U64(tag::kCode, static_cast<uint64_t>(transfer.code));
  if (transfer.phase != TransferPhase::kSingle) {
    builder.U64(tag::kPhase, static_cast<uint64_t>(transfer.phase));
  }
  if (transfer.phase == TransferPhase::kPending) builder.I64(tag::kExpiresUs, posted.expires_us);
  if (!transfer.pending.IsZero()) builder.Id(tag::kPendingTransfer, transfer.pending);
  if (transfer.linked) builder.U64(tag::kLinked, 1);
  if (transfer.balancing) {
    builder.U64(tag::kRequestedAmount, static_cast<uint64_t>(posted.requested));
  }
  if (!transfer.corrects.IsZero()) builder.Id(tag::kCorrects, transfer.corrects);
  if (!posted.mandate.IsZero()) builder.Id(tag::kMandate, posted.mandate);
  if (!caller.is_service) builder.Id(tag::kPrincipal, caller.principal);
  if (!caller.agent.IsZero()) builder.Id(tag::kAgent, caller.agent);
  if (order.has_value()) builder.Document(*order);
  return builder;
}

namespace {

int64_t NumberOr(const crypto::Entry& entry, uint16_t tag, int64_t fallback) {
  const crypto::Field* field = entry.Find(tag);
  return field == nullptr ? fallback : static_cast<int64_t>(field->number);
}

Uuid IdOrZero(const crypto::Entry& entry, uint16_t tag) {
  const absl::StatusOr<Uuid> id = entry.IdAt(tag);
  return id.ok() ? *id : Uuid();
}

}  // namespace

absl::StatusOr<PostedTransfer> ParseTransferEntry(const LogEntry& logged) {
  const absl::StatusOr<crypto::Entry> entry = crypto::DecodeEntry(logged.leaf);
  if (!entry.ok() || entry->kind != kind::kTransferPosted) {
    return absl::DataLossError(absl::StrCat("entry ", logged.index, " is no transfer"));
  }
  PostedTransfer posted;
  Transfer& transfer = posted.transfer;
  transfer.id = {entry->subject};
  transfer.event_id = entry->event_id;
  transfer.debit = {IdOrZero(*entry, tag::kDebitAccount)};
  transfer.credit = {IdOrZero(*entry, tag::kCreditAccount)};
  transfer.amount = NumberOr(*entry, tag::kAmount, 0);
  transfer.kind = static_cast<TransferKind>(NumberOr(*entry, tag::kTransferKind, 0));
  transfer.code = static_cast<int32_t>(NumberOr(*entry, tag::kCode, 0));
  const absl::StatusOr<absl::string_view> reference = entry->Bytes(tag::kReference);
  if (reference.ok()) transfer.reference = std::string(*reference);
  transfer.authorised_by = entry->authorised_by;
  transfer.phase = static_cast<TransferPhase>(NumberOr(*entry, tag::kPhase, 0));
  transfer.pending = {IdOrZero(*entry, tag::kPendingTransfer)};
  transfer.linked = entry->Find(tag::kLinked) != nullptr;
  transfer.balancing = entry->Find(tag::kRequestedAmount) != nullptr;
  transfer.corrects = {IdOrZero(*entry, tag::kCorrects)};
  posted.requested = NumberOr(*entry, tag::kRequestedAmount, 0);
  posted.expires_us = NumberOr(*entry, tag::kExpiresUs, 0);
  posted.mandate = {IdOrZero(*entry, tag::kMandate)};
  posted.debit_balance = NumberOr(*entry, tag::kDebitBalance, 0);
  posted.credit_balance = NumberOr(*entry, tag::kCreditBalance, 0);
  posted.posted_us = entry->time_us;
  posted.log_index = logged.index;
  if (transfer.phase == TransferPhase::kPending) {
    transfer.timeout_s = static_cast<int32_t>((posted.expires_us - posted.posted_us) / 1'000'000);
  }
  return posted;
}

}  // namespace rochdale::ledger
