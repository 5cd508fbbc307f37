#include "services/ledger/convert.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/rpc/document.h"
#include "services/ledger/transfer_entry.h"

namespace rochdale::ledger {
namespace {

constexpr absl::Duration kOrderAgeMax = absl::Minutes(15);
constexpr size_t kAssetMax = 16;
constexpr size_t kLabelMax = 64;
constexpr int kTimeoutMax = 31'536'000;  // seconds: a year

static_assert(static_cast<int>(AccountType::kSystem) == v1::ACCOUNT_TYPE_SYSTEM);
static_assert(static_cast<int>(AccountStatus::kClosed) == v1::ACCOUNT_STATUS_CLOSED);
static_assert(static_cast<int>(TransferKind::kDeposit) == v1::TRANSFER_KIND_DEPOSIT);
static_assert(static_cast<int>(TransferKind::kMint) == v1::TRANSFER_KIND_MINT);
static_assert(static_cast<int>(TransferKind::kRevenue) == v1::TRANSFER_KIND_REVENUE);
static_assert(static_cast<int>(TransferResult::kPosted) == v1::TRANSFER_RESULT_POSTED);
static_assert(static_cast<int>(TransferResult::kOverflow) == v1::TRANSFER_RESULT_OVERFLOW);
static_assert(kTransferResults == v1::TransferResult_ARRAYSIZE);
static_assert(static_cast<int>(TransferResult::kLinkedFailed) ==
              v1::TRANSFER_RESULT_LINKED_FAILED);
static_assert(static_cast<int>(TransferResult::kAgentPaused) == v1::TRANSFER_RESULT_AGENT_PAUSED);
static_assert(static_cast<int>(TransferPhase::kVoid) == v1::TRANSFER_PHASE_VOID);
static_assert(static_cast<int>(HoldState::kExpired) == v1::HOLD_STATE_EXPIRED);

bool IsAsset(absl::string_view text) {
  return !text.empty() && text.size() <= kAssetMax &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-';
         });
}

bool IsLabel(absl::string_view text) {
  return text.size() <= kLabelMax && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '.' || c == '_' ||
                  c == '-';
         });
}

bool IsReference(absl::string_view text) {
  return text.size() <= kReferenceMax &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return absl::ascii_isprint(c); });
}

// Ids that services derive (libs/crypto/deterministic_id.h) can be foreseen, so nobody else may
// take one first.
bool IsDerived(const Uuid& id) { return id.bytes[6] >> 4 == 8; }

bool IsKept(const Caller& caller, const Uuid& id) { return !caller.is_service && IsDerived(id); }
constexpr char kIdKept[] = "ids of version 8 are kept for the services; use a random one";

constexpr char kIdWanted[] = "must be a UUID other than zero";

bool TakeId(absl::string_view text, Uuid& id) {
  const absl::StatusOr<Uuid> parsed = Uuid::Parse(text);
  if (!parsed.ok() || parsed->IsZero()) return false;
  id = *parsed;
  return true;
}

void CheckCount(int count, int max, absl::string_view field, FieldErrors& errors) {
  if (count < 1 || count > max) errors.Add(field, absl::StrCat("must be 1 to ", max));
}

Account ParseAccount(const v1::Account& wire, const Caller& caller, ItemErrors errors) {
  Account account;
  ParseId(wire.account_id(), "account_id", errors, account.id.value);
  ParseId(wire.owner_id(), "owner_id", errors, account.owner);
  if (IsKept(caller, account.id.value)) errors.Add("account_id", kIdKept);
  if (wire.type() < v1::ACCOUNT_TYPE_PERSON || wire.type() > v1::ACCOUNT_TYPE_SYSTEM) {
    errors.Add("type", "must be a type of account");
  }
  if (!IsAsset(wire.asset())) errors.Add("asset", "must be 1 to 16 of a-z, 0-9 and -");
  if (!IsLabel(wire.label())) errors.Add("label", "must be at most 64 of a-z, 0-9 and ._-");
  account.type = static_cast<AccountType>(wire.type());
  account.asset = wire.asset();
  account.label = wire.label();
  account.floor = wire.unlimited() ? std::nullopt : std::optional<int64_t>(wire.floor_micro());
  return account;
}

// How the transfer moves: at once, as a hold, or ending one.
void ParsePhase(const v1::Transfer& wire, ItemErrors& errors, Transfer& transfer) {
  if (wire.phase() < v1::TRANSFER_PHASE_UNSPECIFIED || wire.phase() > v1::TRANSFER_PHASE_VOID) {
    errors.Add("phase", "must be a phase of a transfer");
    return;
  }
  transfer.phase = static_cast<TransferPhase>(wire.phase());
  const bool ends =
      transfer.phase == TransferPhase::kPost || transfer.phase == TransferPhase::kVoid;
  const auto parse_account = [&](absl::string_view text, absl::string_view field, Uuid& id) {
    if (!ends || !text.empty()) ParseId(text, field, errors, id);
  };
  parse_account(wire.debit_account_id(), "debit_account_id", transfer.debit.value);
  parse_account(wire.credit_account_id(), "credit_account_id", transfer.credit.value);
  if (wire.amount_micro() < (ends ? 0 : 1)) {
    errors.Add("amount_micro", ends ? "must be at least 0" : "must be at least 1");
  }
  const int kind_min = ends ? v1::TRANSFER_KIND_UNSPECIFIED : v1::TRANSFER_KIND_DEPOSIT;
  if (wire.kind() < kind_min || wire.kind() > v1::TRANSFER_KIND_REVENUE) {
    errors.Add("kind", "must be a kind of transfer");
  }
  if (ends) {
    ParseId(wire.pending_id(), "pending_id", errors, transfer.pending.value);
  } else if (!wire.pending_id().empty()) {
    errors.Add("pending_id", "is for POST and VOID only");
  }
  const bool holds = transfer.phase == TransferPhase::kPending;
  if (holds ? wire.timeout_s() < 1 || wire.timeout_s() > kTimeoutMax : wire.timeout_s() != 0) {
    errors.Add("timeout_s", holds ? absl::StrCat("must be 1 to ", kTimeoutMax)
                                  : "is for PENDING only");
  }
  if (wire.balancing() && ends) errors.Add("balancing", "is not for POST and VOID");
  if (wire.corrects().empty()) return;
  ParseId(wire.corrects(), "corrects", errors, transfer.corrects.value);
  if (wire.balancing() || wire.phase() != 0) {
    errors.Add("corrects", "is for transfers that move their amount at once");
  }
}

Transfer ParseTransfer(const v1::Transfer& wire, const Caller& caller, ItemErrors errors) {
  Transfer transfer;
  ParseId(wire.transfer_id(), "transfer_id", errors, transfer.id.value);
  transfer.event_id = PostedEvent(transfer.id);
  if (IsKept(caller, transfer.id.value)) errors.Add("transfer_id", kIdKept);
  ParsePhase(wire, errors, transfer);
  if (wire.code() > 65'535) errors.Add("code", "must be 0 to 65535");
  if (!IsReference(wire.reference())) {
    errors.Add("reference", "must be at most 64 printable ASCII characters");
  }
  if (caller.is_service) {
    ParseId(wire.authorised_by().event_id(), "authorised_by.event_id", errors,
                transfer.authorised_by.value);
  } else if (wire.has_authorised_by()) {
    errors.Add("authorised_by", "is the server's to set");
  }
  if (!caller.is_service && (wire.posted_time_us() != 0 || wire.log_index() != 0 ||
                             wire.requested_micro() != 0 || wire.expires_time_us() != 0 ||
                             !wire.mandate_id().empty())) {
    errors.Add("has values that are the server's to set");
  }
  transfer.amount = wire.amount_micro();
  transfer.kind = static_cast<TransferKind>(wire.kind());
  transfer.code = static_cast<int32_t>(wire.code());
  transfer.reference = wire.reference();
  transfer.timeout_s = wire.timeout_s();
  transfer.linked = wire.linked();
  transfer.balancing = wire.balancing();
  return transfer;
}

template <typename List>
std::vector<Transfer> ParseTransfers(const List& list, const std::string& field,
                                     const Caller& caller, FieldErrors& errors) {
  CheckCount(list.size(), kItemsMax, field, errors);
  std::vector<Transfer> transfers;
  transfers.reserve(list.size());
  for (int i = 0; i < list.size() && i < kItemsMax; ++i) {
    transfers.push_back(ParseTransfer(list[i], caller, ItemErrors(field, i, errors)));
  }
  return transfers;
}

absl::StatusOr<PostTransfers> ParseOrder(const v1::PostTransfersRequest& request,
                                         const rpc::Identity& identity, absl::Time now) {
  FieldErrors errors;
  Uuid request_id;
  ParseId(request.request_id(), "request_id", errors, request_id);
  if (request.transfers_size() > 0) errors.Add("transfers", "only services send them unsigned");
  if (!request.has_order()) errors.Add("order", "must be a signed TransferOrder");
  RETURN_IF_ERROR(errors.ToStatus());
  PostTransfers post;
  ASSIGN_OR_RETURN(post.order, rpc::FromProto(request.order()));
  ASSIGN_OR_RETURN(const v1::TransferOrder order,
                   ParseOwnOrder<v1::TransferOrder>(*post.order, identity, now, errors));
  post.transfers = ParseTransfers(order.transfers(), "order.transfers", CallerOf(identity), errors);
  RETURN_IF_ERROR(errors.ToStatus());
  return post;
}

absl::StatusOr<LogEntry> ParseEntry(const std::string& leaf, const Caller& caller) {
  ASSIGN_OR_RETURN(const crypto::Entry entry, crypto::DecodeEntry(leaf));
  RETURN_IF_ERROR(crypto::CheckKind(entry));
  if (crypto::ServiceName(entry.service) != absl::AsciiStrToUpper(caller.service)) {
    return Error("ENTRY_INVALID", absl::StrCat("it is an entry of ",
                                               crypto::ServiceName(entry.service), ", not of ",
                                               caller.service));
  }
  LogEntry parsed;
  parsed.event_id = entry.event_id;
  parsed.kind = entry.kind;
  parsed.subject = entry.subject;
  parsed.leaf = leaf;
  parsed.leaf_hash = crypto::LeafHash(leaf);
  return parsed;
}

}  // namespace

Caller CallerOf(const rpc::Identity& identity) {
  Caller caller;
  caller.is_service = identity.kind == rpc::IdentityKind::kService;
  caller.service = identity.service;
  caller.principal = identity.principal;
  caller.agent = identity.agent;
  return caller;
}

void ParseId(absl::string_view text, absl::string_view field, FieldErrors& errors, Uuid& id) {
  if (!TakeId(text, id)) errors.Add(field, kIdWanted);
}

void ItemErrors::Add(absl::string_view field, absl::string_view description) {
  errors_.Add(absl::StrCat(list_, "[", index_, "].", field), description);
}

void ItemErrors::Add(absl::string_view description) {
  errors_.Add(absl::StrCat(list_, "[", index_, "]"), description);
}

void ParseId(absl::string_view text, absl::string_view field, ItemErrors& errors, Uuid& id) {
  if (!TakeId(text, id)) errors.Add(field, kIdWanted);
}

absl::Status CheckOwn(const crypto::SignedDocument& document, const rpc::Identity& identity) {
  if (document.public_key == identity.public_key) return absl::OkStatus();
  return Error("SIGNATURE_INVALID", "the order is signed by another key than the call");
}

void CheckSignedTime(int64_t signed_time_us, absl::Time now, FieldErrors& errors) {
  const absl::Duration age = now - absl::FromUnixMicros(signed_time_us);
  if (age > kOrderAgeMax || age < -kOrderAgeMax) {
    errors.Add("order.signed_time_us", "must be within 15 minutes of the server's clock");
  }
}

absl::StatusOr<Uuid> ParseOnlyId(absl::string_view text, absl::string_view field) {
  FieldErrors errors;
  Uuid id;
  ParseId(text, field, errors, id);
  RETURN_IF_ERROR(errors.ToStatus());
  return id;
}

absl::StatusOr<OpenAccounts> ParseOpenAccounts(const v1::OpenAccountsRequest& request,
                                               const Caller& caller) {
  FieldErrors errors;
  OpenAccounts open;
  Uuid request_id;
  ParseId(request.request_id(), "request_id", errors, request_id);
  CheckCount(request.accounts_size(), kItemsMax, "accounts", errors);
  for (int i = 0; i < request.accounts_size() && i < kItemsMax; ++i) {
    open.accounts.push_back(
        ParseAccount(request.accounts(i), caller, ItemErrors("accounts", i, errors)));
  }
  // A principal's account rests on its registration, which the writer finds in the log.
  if (caller.is_service) {
    ParseId(request.authorised_by().event_id(), "authorised_by.event_id", errors,
            open.authorised_by.value);
  }
  RETURN_IF_ERROR(errors.ToStatus());
  return open;
}

absl::StatusOr<PostTransfers> ParsePostTransfers(const v1::PostTransfersRequest& request,
                                                 const rpc::Identity& identity, absl::Time now) {
  if (identity.kind != rpc::IdentityKind::kService) return ParseOrder(request, identity, now);
  FieldErrors errors;
  PostTransfers post;
  Uuid request_id;
  ParseId(request.request_id(), "request_id", errors, request_id);
  if (request.has_order()) errors.Add("order", "services send transfers");
  post.transfers = ParseTransfers(request.transfers(), "transfers", CallerOf(identity), errors);
  RETURN_IF_ERROR(errors.ToStatus());
  return post;
}

absl::StatusOr<AppendEntries> ParseAppendEntries(const v1::AppendEntriesRequest& request,
                                                 const Caller& caller) {
  FieldErrors errors;
  AppendEntries append;
  Uuid request_id;
  ParseId(request.request_id(), "request_id", errors, request_id);
  if (request.complete_until_us() != 0 && caller.service != "governance") {
    errors.Add("complete_until_us", "is governance's to say");
  }
  if (request.complete_until_us() < 0) errors.Add("complete_until_us", "must not be negative");
  if (request.entries_size() > 0 || request.complete_until_us() == 0) {
    CheckCount(request.entries_size(), kAppendMax, "entries", errors);
  }
  RETURN_IF_ERROR(errors.ToStatus());
  append.complete_until_us = request.complete_until_us();
  append.entries.reserve(request.entries_size());
  for (int i = 0; i < request.entries_size(); ++i) {
    absl::StatusOr<LogEntry> entry = ParseEntry(request.entries(i), caller);
    if (!entry.ok()) {
      return Error("ENTRY_INVALID", absl::StrCat("entries[", i, "]: ", entry.status().message()));
    }
    append.entries.push_back(*std::move(entry));
  }
  return append;
}

absl::StatusOr<RecordBundle> ParseSignBundle(const v1::SignBundleRequest& request,
                                             const rpc::Identity& identity) {
  FieldErrors errors;
  RecordBundle record;
  Uuid request_id;
  ParseId(request.request_id(), "request_id", errors, request_id);
  ParseId(request.cooperative_id(), "cooperative_id", errors, record.cooperative.value);
  const auto manifest = crypto::Digest::Parse(request.manifest_sha256());
  if (manifest.ok()) {
    record.manifest = *manifest;
  } else {
    errors.Add("manifest_sha256", "must be 64 lower-case hexadecimal digits");
  }
  RETURN_IF_ERROR(errors.ToStatus());
  record.event_id.value = crypto::DeterministicId("ledger/bundle-signed", identity.ToString(),
                                                  request_id);
  return record;
}

void ToProto(const Account& account, v1::Account& out) {
  out.set_account_id(account.id.ToString());
  out.set_owner_id(account.owner.ToString());
  out.set_type(static_cast<v1::AccountType>(account.type));
  out.set_asset(account.asset);
  out.set_floor_micro(account.floor.value_or(0));
  out.set_unlimited(!account.floor.has_value());
  out.set_label(account.label);
  out.set_status(static_cast<v1::AccountStatus>(account.status));
  out.set_balance_micro(account.balance());
  out.set_held_micro(account.held);
  out.set_opened_time_us(account.opened_us);
  out.set_debits_micro(account.debits);
  out.set_credits_micro(account.credits);
  out.set_version(account.version);
}

void ToProto(const PostedTransfer& posted, v1::Transfer& out) {
  const Transfer& transfer = posted.transfer;
  out.set_transfer_id(transfer.id.ToString());
  out.set_debit_account_id(transfer.debit.ToString());
  out.set_credit_account_id(transfer.credit.ToString());
  out.set_amount_micro(transfer.amount);
  out.set_kind(static_cast<v1::TransferKind>(transfer.kind));
  out.set_code(static_cast<uint32_t>(transfer.code));
  out.set_reference(transfer.reference);
  if (!transfer.authorised_by.IsZero()) {
    out.mutable_authorised_by()->set_event_id(transfer.authorised_by.ToString());
  }
  out.set_posted_time_us(posted.posted_us);
  out.set_log_index(posted.log_index);
  out.set_phase(static_cast<v1::TransferPhase>(transfer.phase));
  if (!transfer.pending.IsZero()) out.set_pending_id(transfer.pending.ToString());
  out.set_timeout_s(transfer.timeout_s);
  out.set_linked(transfer.linked);
  out.set_balancing(transfer.balancing);
  if (!transfer.corrects.IsZero()) out.set_corrects(transfer.corrects.ToString());
  out.set_requested_micro(posted.requested);
  out.set_expires_time_us(posted.expires_us);
  if (!posted.mandate.IsZero()) out.set_mandate_id(posted.mandate.ToString());
}

void ToProto(const Outcome& outcome, v1::TransferOutcome& out) {
  out.set_transfer_id(outcome.id.ToString());
  out.set_result(static_cast<v1::TransferResult>(outcome.result));
  out.set_message(outcome.message);
  out.set_debit_balance_micro(outcome.debit_balance);
  out.set_credit_balance_micro(outcome.credit_balance);
  out.set_log_index(outcome.log_index);
  out.set_amount_micro(outcome.amount);
}

void ToProto(const LogEntry& entry, v1::LogEntry& out) {
  out.set_log_index(entry.index);
  out.set_entry(entry.leaf);
}

void ToProto(const TreeHead& head, v1::TreeHead& out) {
  out.set_size(head.size);
  out.set_root(std::string(head.root.AsBytes()));
  out.set_note(head.note);
  out.set_signed_time_us(head.signed_us);
}

}  // namespace rochdale::ledger
