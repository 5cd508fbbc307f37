#include "services/ledger/transfer_entry.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/crypto/canonical.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"

namespace rochdale::ledger {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

EventId PostedEvent(const TransferId& transfer) {
  return {crypto::DeterministicIdBeside("ledger/transfer-posted", transfer.value)};
}

namespace {

// Fields, which must come in the order of their tags.
class Fields {
 public:
  void U64(uint16_t tag, uint64_t value) {
    Head(tag, crypto::FieldType::kU64).U64(value);
  }
  void I64(uint16_t tag, int64_t value) {
    Head(tag, crypto::FieldType::kI64).I64(value);
  }
  void Bytes(uint16_t tag, absl::string_view value) {
    Head(tag, crypto::FieldType::kBytes).Prefixed32(value);
  }
  void Text(uint16_t tag, absl::string_view value) {
    Head(tag, crypto::FieldType::kText).Prefixed32(value);
  }
  void Id(uint16_t tag, const Uuid& id) {
    if (!id.IsZero()) Bytes(tag, id.AsBytes());
  }
  uint16_t count() const { return count_; }
  const std::string& bytes() const { return out_.bytes(); }

 private:
  crypto::CanonicalWriter& Head(uint16_t tag, crypto::FieldType type) {
    ++count_;
    return out_.U16(tag).U8(static_cast<uint8_t>(type));
  }

  crypto::CanonicalWriter out_{256};
  uint16_t count_ = 0;
};

}  // namespace

std::string EncodeTransferEntry(const PostedTransfer& posted, const Caller& caller,
                                CooperativeId cooperative, const OrderTags* order) {
  const Transfer& transfer = posted.transfer;
  Fields fields;
  if (order != nullptr) {
    fields.Text(tag::kDocumentType, order->type);
    fields.Bytes(tag::kDocumentDigest, order->digest.AsBytes());
    fields.Bytes(tag::kPublicKey, order->public_key.AsBytes());
    fields.Bytes(tag::kSignature, order->signature.AsBytes());
  }
  if (!caller.is_service) fields.Id(tag::kPrincipal, caller.principal.value);
  fields.Id(tag::kAgent, caller.agent.value);
  fields.Id(tag::kMandate, posted.mandate.value);
  if (transfer.phase == TransferPhase::kPending) fields.I64(tag::kExpiresUs, posted.expires_us);
  fields.Bytes(tag::kDebitAccount, transfer.debit.value.AsBytes());
  fields.Bytes(tag::kCreditAccount, transfer.credit.value.AsBytes());
  fields.U64(tag::kAmount, static_cast<uint64_t>(transfer.amount));
  fields.U64(tag::kTransferKind, static_cast<uint64_t>(transfer.kind));
  if (!transfer.reference.empty()) fields.Bytes(tag::kReference, transfer.reference);
  fields.Id(tag::kCorrects, transfer.corrects.value);
  fields.Id(tag::kPendingTransfer, transfer.pending.value);
  if (transfer.code != 0) fields.U64(tag::kCode, static_cast<uint64_t>(transfer.code));
  if (transfer.phase != TransferPhase::kSingle) {
    fields.U64(tag::kPhase, static_cast<uint64_t>(transfer.phase));
  }
  if (transfer.linked) fields.U64(tag::kLinked, 1);
  if (transfer.balancing) {
    fields.U64(tag::kRequestedAmount, static_cast<uint64_t>(posted.requested));
  }
  fields.I64(tag::kDebitBalance, posted.debit_balance);
  fields.I64(tag::kCreditBalance, posted.credit_balance);

  crypto::CanonicalWriter out(96 + fields.bytes().size());
  out.U16(crypto::kEntryVersion).Raw(EventOf(transfer).value.AsBytes()).I64(posted.posted_us);
  out.U8(static_cast<uint8_t>(crypto::Service::kLedger)).U16(kind::kTransferPosted);
  out.U8(static_cast<uint8_t>(crypto::ChainLink::kPay)).Raw(cooperative.value.AsBytes());
  out.Raw(transfer.id.value.AsBytes()).Raw(transfer.authorised_by.value.AsBytes());
  out.U16(fields.count()).Raw(fields.bytes());
  return std::move(out).Take();
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
