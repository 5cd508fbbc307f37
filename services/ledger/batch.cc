#include "services/ledger/batch.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "services/ledger/rules.h"

namespace rochdale::ledger {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

namespace {

// The cooperative that a transfer belongs to: the owner of its system account, where it has one.
CooperativeId CooperativeOf(const Account& debit, const Account& credit) {
  if (debit.type == AccountType::kSystem) return {debit.owner};
  if (credit.type == AccountType::kSystem) return {credit.owner};
  return {};
}

absl::string_view WordOf(TransferResult result) {
  switch (result) {
    case TransferResult::kDebitAccountNotFound: return "DEBIT_ACCOUNT_NOT_FOUND";
    case TransferResult::kCreditAccountNotFound: return "CREDIT_ACCOUNT_NOT_FOUND";
    case TransferResult::kDebitAccountNotOpen: return "DEBIT_ACCOUNT_NOT_OPEN";
    case TransferResult::kCreditAccountNotOpen: return "CREDIT_ACCOUNT_NOT_OPEN";
    case TransferResult::kInsufficientFunds: return "INSUFFICIENT_FUNDS";
    default: return "OVERFLOW";
  }
}

}  // namespace

int Command::items() const {
  if (const auto* open = std::get_if<OpenAccounts>(&what)) {
    return static_cast<int>(open->accounts.size());
  }
  if (const auto* post = std::get_if<PostTransfers>(&what)) {
    return static_cast<int>(post->transfers.size());
  }
  if (const auto* append = std::get_if<AppendEntries>(&what)) {
    return static_cast<int>(append->entries.size());
  }
  return 1;
}

EventId OpenedEvent(const AccountId& account) {
  return {crypto::DeterministicId("ledger/account-opened", account)};
}

EventId PostedEvent(const TransferId& transfer) {
  return {crypto::DeterministicId("ledger/transfer-posted", transfer)};
}

EventId StartedEvent(const StartLog& start) {
  return {crypto::DeterministicId("ledger/log-started", start.origin,
                                  std::string(start.key.AsBytes()))};
}

void Names::Add(const Command& command) {
  if (!command.caller.principal.IsZero()) principals.insert(command.caller.principal.value);
  if (const auto* open = std::get_if<OpenAccounts>(&command.what)) {
    for (const Account& account : open->accounts) accounts.insert(account.id);
  } else if (const auto* post = std::get_if<PostTransfers>(&command.what)) {
    for (const Transfer& transfer : post->transfers) {
      accounts.insert(transfer.debit);
      accounts.insert(transfer.credit);
      transfers.insert(transfer.id);
    }
  } else if (const auto* append = std::get_if<AppendEntries>(&command.what)) {
    for (const LogEntry& entry : append->entries) events.insert(entry.event_id.value);
  } else if (const auto* record = std::get_if<RecordBundle>(&command.what)) {
    events.insert(record->event_id.value);
  }
}

Batch::Batch(Known known, TreeEnd end) : known_(std::move(known)), end_(std::move(end)) {}

absl::StatusOr<Reply> Batch::Decide(const Command& command) {
  RETURN_IF_ERROR(RestsOnTheLog(command.caller));
  return std::visit([&](const auto& what) { return Run(command, what); }, command.what);
}

absl::StatusOr<Reply> Batch::Run(const Command& command, const OpenAccounts& open) {
  IdMap<AccountId, const Account*> earlier;  // in this command
  for (const Account& wanted : open.accounts) {
    const auto known = known_.accounts.find(wanted.id);
    const auto twin = earlier.find(wanted.id);
    const Account* existing = known != known_.accounts.end() ? &known->second
                              : twin != earlier.end()        ? twin->second
                                                             : nullptr;
    if (existing == nullptr) {
      RETURN_IF_ERROR(MayOpen(command.caller, wanted));
      earlier[wanted.id] = &wanted;
    } else if (const std::string differs = DifferenceOf(*existing, wanted); !differs.empty()) {
      return Error("ALREADY_EXISTS", absl::StrCat("account ", wanted.id.ToString(),
                                                  " exists with another ", differs));
    }
  }
  Reply reply;
  for (const Account& wanted : open.accounts) {
    if (!known_.accounts.contains(wanted.id)) Open(command, open, wanted);
    reply.accounts.push_back(known_.accounts[wanted.id]);
  }
  return reply;
}

void Batch::Open(const Command& command, const OpenAccounts& open, Account account) {
  account.status = AccountStatus::kOpen;
  account.balance = account.held = 0;
  account.opened_us = absl::ToUnixMicros(command.now);
  crypto::EntryBuilder builder(kind::kAccountOpened, OpenedEvent(account.id), command.now);
  builder.Subject(account.id)
      .AuthorisedBy(open.authorised_by.IsZero() ? RegistrationOf(command.caller)
                                                : open.authorised_by)
      .U64(tag::kAccountType, static_cast<uint64_t>(account.type))
      .Text(tag::kAsset, account.asset)
      // An unlimited balance still cannot fall below what 64 bits hold.
      .I64(tag::kFloor, account.floor.value_or(std::numeric_limits<int64_t>::min()));
  if (account.type == AccountType::kSystem) {
    builder.Cooperative({account.owner});
  } else {
    builder.Id(tag::kPrincipal, account.owner);
  }
  account.opened_index = AppendOwn(builder);
  opened_.push_back(account.id);
  opened_set_.insert(account.id);
  known_.accounts[account.id] = std::move(account);
}

absl::StatusOr<Reply> Batch::Run(const Command& command, const PostTransfers& post) {
  Reply reply;
  reply.outcomes.reserve(post.transfers.size());
  const size_t before = transfers_.size();
  for (const Transfer& wanted : post.transfers) {
    reply.outcomes.push_back(Post(command, post, wanted));
  }
  if (post.order.has_value() && transfers_.size() > before) documents_.push_back(*post.order);
  return reply;
}

Outcome Batch::Post(const Command& command, const PostTransfers& post, const Transfer& wanted) {
  Outcome outcome;
  outcome.id = wanted.id;
  if (const auto found = known_.transfers.find(wanted.id); found != known_.transfers.end()) {
    const PostedTransfer& posted = found->second;
    const std::string differs = DifferenceOf(posted.transfer, wanted, command.caller);
    if (!differs.empty()) {
      outcome.result = TransferResult::kExistsDifferent;
      outcome.message = absl::StrCat("it was posted with another ", differs);
      return outcome;
    }
    outcome.result = TransferResult::kExists;
    outcome.debit_balance = posted.debit_balance;
    outcome.credit_balance = posted.credit_balance;
    outcome.log_index = posted.log_index;
    return outcome;
  }
  if (const auto found = known_.burned.find(wanted.id); found != known_.burned.end()) {
    outcome.result = TransferResult::kIdAlreadyFailed;
    outcome.message = absl::StrCat("it failed before with ", WordOf(found->second));
    return outcome;
  }
  const auto debit = known_.accounts.find(wanted.debit);
  const auto credit = known_.accounts.find(wanted.credit);
  Decision decision = DecideTransfer(
      wanted, debit == known_.accounts.end() ? nullptr : &debit->second,
      credit == known_.accounts.end() ? nullptr : &credit->second, command.caller);
  outcome.result = decision.result;
  outcome.message = std::move(decision.message);
  if (IsPassing(decision.result)) {
    known_.burned[wanted.id] = decision.result;
    burned_.push_back({wanted.id, decision.result, absl::ToUnixMicros(command.now)});
  }
  if (decision.result != TransferResult::kPosted) return outcome;

  debit->second.balance -= wanted.amount;
  credit->second.balance += wanted.amount;
  MarkMoved(wanted.debit);
  MarkMoved(wanted.credit);
  PostedTransfer posted{wanted, debit->second.balance, credit->second.balance,
                        absl::ToUnixMicros(command.now), end_.size()};
  if (!command.caller.is_service) posted.transfer.authorised_by = RegistrationOf(command.caller);
  outcome.debit_balance = posted.debit_balance;
  outcome.credit_balance = posted.credit_balance;
  outcome.log_index = posted.log_index;
  Write(command, post, std::move(posted), debit->second, credit->second);
  return outcome;
}

void Batch::Write(const Command& command, const PostTransfers& post, PostedTransfer posted,
                  const Account& debit, const Account& credit) {
  const Transfer& transfer = posted.transfer;
  crypto::EntryBuilder builder(kind::kTransferPosted, PostedEvent(transfer.id), command.now);
  builder.Subject(transfer.id)
      .Cooperative(CooperativeOf(debit, credit))
      .AuthorisedBy(transfer.authorised_by)
      .Id(tag::kDebitAccount, transfer.debit)
      .Id(tag::kCreditAccount, transfer.credit)
      .U64(tag::kAmount, static_cast<uint64_t>(transfer.amount))
      .U64(tag::kTransferKind, static_cast<uint64_t>(transfer.kind));
  if (!transfer.reference.empty()) builder.Bytes(tag::kReference, transfer.reference);
  if (!command.caller.is_service) builder.Id(tag::kPrincipal, command.caller.principal);
  if (post.order.has_value()) builder.Document(*post.order);
  AppendOwn(builder);
  known_.transfers[transfer.id] = posted;
  transfers_.push_back(std::move(posted));
}

absl::StatusOr<Reply> Batch::Run(const Command&, const AppendEntries& append) {
  IdMap<Uuid, crypto::Digest> earlier;  // in this command
  for (const LogEntry& entry : append.entries) {
    const auto known = known_.events.find(entry.event_id.value);
    const bool same =
        known != known_.events.end()
            ? known->second.leaf_hash == entry.leaf_hash
            : earlier.emplace(entry.event_id.value, entry.leaf_hash).first->second ==
                  entry.leaf_hash;
    if (!same) {
      return Error("REQUEST_ID_REUSED", absl::StrCat("event ", entry.event_id.ToString(),
                                                     " is in the log with other content"));
    }
  }
  Reply reply;
  reply.log_indexes.reserve(append.entries.size());
  for (const LogEntry& entry : append.entries) {
    const auto known = known_.events.find(entry.event_id.value);
    reply.log_indexes.push_back(known != known_.events.end() ? known->second.index
                                                             : Append(entry));
  }
  return reply;
}

absl::StatusOr<Reply> Batch::Run(const Command& command, const RecordBundle& record) {
  Reply reply;
  if (const auto known = known_.events.find(record.event_id.value); known != known_.events.end()) {
    reply.log_indexes.push_back(known->second.index);
    return reply;
  }
  crypto::EntryBuilder builder(kind::kBundleSigned, record.event_id, command.now);
  builder.Subject(record.cooperative)
      .Cooperative(record.cooperative)
      .AuthorisedBy(RegistrationOf(command.caller))
      .Digest(tag::kManifestDigest, record.manifest)
      .U64(tag::kTreeSize, static_cast<uint64_t>(end_.size()));
  if (!command.caller.principal.IsZero()) builder.Id(tag::kPrincipal, command.caller.principal);
  if (!command.caller.agent.IsZero()) builder.Id(tag::kAgent, command.caller.agent);
  reply.log_indexes.push_back(AppendOwn(builder));
  return reply;
}

absl::StatusOr<Reply> Batch::Run(const Command& command, const StartLog& start) {
  Reply reply;
  reply.log_indexes.push_back(0);
  if (end_.size() > 0) return reply;
  crypto::EntryBuilder builder(kind::kLogStarted, StartedEvent(start), command.now);
  builder.Bytes(tag::kRegisteredKey, start.key.AsBytes()).Text(tag::kOrigin, start.origin);
  AppendOwn(builder);
  return reply;
}

int64_t Batch::AppendOwn(crypto::EntryBuilder& builder) {
  LogEntry own;
  absl::StatusOr<crypto::Entry> entry = builder.Build();
  absl::StatusOr<std::string> leaf =
      entry.ok() ? crypto::EncodeEntry(*entry) : absl::StatusOr<std::string>(entry.status());
  if (!leaf.ok()) {
    status_.Update(absl::InternalError(absl::StrCat("own entry: ", leaf.status().message())));
    return end_.size();
  }
  own.event_id = entry->event_id;
  own.kind = entry->kind;
  own.subject = entry->subject;
  own.leaf_hash = crypto::LeafHash(*leaf);
  own.leaf = *std::move(leaf);
  return Append(std::move(own));
}

int64_t Batch::Append(LogEntry entry) {
  entry.index = end_.size();
  end_.Append(entry.leaf_hash, tiles_);
  known_.events[entry.event_id.value] = {entry.index, entry.leaf_hash};
  entries_.push_back(std::move(entry));
  return entries_.back().index;
}

EventId Batch::RegistrationOf(const Caller& caller) const {
  const auto found = known_.registrations.find(caller.principal.value);
  return found == known_.registrations.end() ? EventId() : found->second;
}

absl::Status Batch::RestsOnTheLog(const Caller& caller) const {
  if (caller.is_service || !RegistrationOf(caller).IsZero()) return absl::OkStatus();
  return RetryableError("UNAVAILABLE", "the caller's registration has not reached the log yet",
                        absl::Milliseconds(200));
}

void Batch::MarkMoved(const AccountId& id) {
  // The row of an account opened in this batch is written with its last balance.
  if (opened_set_.contains(id)) return;
  if (moved_set_.insert(id).second) moved_.push_back(id);
}

std::vector<const Account*> Batch::AccountsOf(const std::vector<AccountId>& ids) const {
  std::vector<const Account*> accounts;
  accounts.reserve(ids.size());
  for (const AccountId& id : ids) accounts.push_back(&known_.accounts.at(id));
  return accounts;
}

}  // namespace rochdale::ledger
