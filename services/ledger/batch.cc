#include "services/ledger/batch.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "services/ledger/transfer_entry.h"

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

// Owner of an account: its cooperative, or a principal.
void NameOwner(const Account& account, crypto::EntryBuilder& builder) {
  if (account.type == AccountType::kSystem) {
    builder.Cooperative({account.owner});
  } else {
    builder.Id(tag::kPrincipal, account.owner);
  }
}

Outcome LinkedFailure(const TransferId& id) {
  Outcome outcome;
  outcome.id = id;
  outcome.result = TransferResult::kLinkedFailed;
  outcome.message = "another transfer of its chain failed";
  return outcome;
}

// An unlimited balance still cannot fall below what 64 bits hold.
int64_t FloorOf(const Account& account) {
  return account.floor.value_or(std::numeric_limits<int64_t>::min());
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

bool Command::ChangesAuthority() const {
  const auto* append = std::get_if<AppendEntries>(&what);
  if (append == nullptr) return false;
  return append->complete_until_us != 0 ||
         std::any_of(append->entries.begin(), append->entries.end(), BearsOnAuthority);
}

EventId OpenedEvent(const AccountId& account) {
  return {crypto::DeterministicId("ledger/account-opened", account)};
}

EventId ExpiredEvent(const TransferId& hold) {
  return {crypto::DeterministicId("ledger/hold-expired", hold)};
}

EventId StartedEvent(const StartLog& start) {
  return {crypto::DeterministicId("ledger/log-started", start.origin,
                                  std::string(start.key.AsBytes()))};
}

void AddNames(const Command& command, Names& names) {
  if (!command.caller.principal.IsZero()) names.principals.push_back(command.caller.principal);
  if (!command.caller.agent.IsZero()) names.agents.push_back(command.caller.agent);
  if (const auto* open = std::get_if<OpenAccounts>(&command.what)) {
    for (const Account& account : open->accounts) names.accounts.push_back(account.id);
  } else if (const auto* change = std::get_if<ChangeAccount>(&command.what)) {
    names.accounts.push_back(change->account);
    names.ids.push_back(change->event_id.value);
  } else if (const auto* post = std::get_if<PostTransfers>(&command.what)) {
    for (const Transfer& transfer : post->transfers) {
      names.accounts.push_back(transfer.debit);
      names.accounts.push_back(transfer.credit);
      names.ids.push_back(EventOf(transfer).value);
      if (!transfer.pending.IsZero()) {
        names.holds.push_back(transfer.pending);
        names.ids.push_back(PostedEvent(transfer.pending).value);
      }
      if (!transfer.corrects.IsZero()) {
        names.corrected.push_back(transfer.corrects);
        names.ids.push_back(PostedEvent(transfer.corrects).value);
      }
    }
  } else if (const auto* append = std::get_if<AppendEntries>(&command.what)) {
    for (const LogEntry& entry : append->entries) names.ids.push_back(entry.event_id.value);
  } else if (const auto* record = std::get_if<RecordBundle>(&command.what)) {
    names.ids.push_back(record->event_id.value);
  }
}

Batch::Batch(Books& books, int64_t now_us) : books_(books), now_us_(now_us) {
  books_.last_us = now_us;
  changes_.posted_us = now_us;
  ExpireDue();
}

absl::StatusOr<Reply> Batch::Decide(const Command& command) {
  RETURN_IF_ERROR(RestsOnTheLog(command));
  return std::visit([&](const auto& what) { return Run(command, what); }, command.what);
}

absl::StatusOr<Reply> Batch::Run(const Command& command, const OpenAccounts& open) {
  IdMap<AccountId, const Account*> earlier;  // in this command
  for (const Account& wanted : open.accounts) {
    const Account* existing = books_.FindAccount(wanted.id);
    const auto twin = earlier.find(wanted.id);
    if (existing == nullptr && twin != earlier.end()) existing = twin->second;
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
    if (books_.FindAccount(wanted.id) == nullptr) Open(command, open, wanted);
    reply.accounts.push_back(*books_.FindAccount(wanted.id));
  }
  return reply;
}

void Batch::Open(const Command& command, const OpenAccounts& open, Account account) {
  account.status = AccountStatus::kOpen;
  account.version = 1;
  account.debits = account.credits = account.held = account.transfers = 0;
  account.last_index = -1;
  account.opened_us = now_us_;
  crypto::EntryBuilder builder(kind::kAccountOpened, OpenedEvent(account.id),
                               absl::FromUnixMicros(now_us_));
  builder.Subject(account.id)
      .AuthorisedBy(open.authorised_by.IsZero() ? books_.RegistrationOf(command.caller)
                                                : open.authorised_by)
      .U64(tag::kAccountType, static_cast<uint64_t>(account.type))
      .Text(tag::kAsset, account.asset)
      .I64(tag::kFloor, FloorOf(account));
  NameOwner(account, builder);
  account.opened_index = AppendOwn(builder);
  changes_.opened.push_back(account);
  books_.accounts[account.id] = std::move(account);
}

absl::StatusOr<Reply> Batch::Run(const Command& command, const ChangeAccount& change) {
  Account* account = books_.FindAccount(change.account);
  if (account == nullptr) return Error("ACCOUNT_NOT_FOUND", "there is no such account");
  Reply reply;
  const bool done = books_.FindId(change.event_id.value) != nullptr;
  const AccountStatus status = change.status.value_or(account->status);
  const std::optional<int64_t> floor = change.floor.has_value() ? change.floor : account->floor;
  if (!done && status != account->status) {
    RETURN_IF_ERROR(MayChangeStatus(command.caller, *account, status));
  }
  if (!done && floor != account->floor && !command.caller.is_service) {
    return Error("PERMISSION_DENIED", "only governance changes a floor");
  }
  if (!done && (status != account->status || floor != account->floor)) {
    account->status = status;
    account->floor = floor;
    account->version += 1;
    crypto::EntryBuilder builder(kind::kAccountChanged, change.event_id,
                                 absl::FromUnixMicros(now_us_));
    builder.Subject(account->id)
        .AuthorisedBy(change.authorised_by.IsZero() ? books_.RegistrationOf(command.caller)
                                                    : change.authorised_by)
        .U64(tag::kVersion, static_cast<uint64_t>(account->version))
        .U64(tag::kStatus, static_cast<uint64_t>(account->status))
        .I64(tag::kFloor, FloorOf(*account));
    NameOwner(*account, builder);
    if (change.order.has_value()) {
      builder.Document(*change.order);
      changes_.documents.push_back(*change.order);
    }
    AppendOwn(builder);
    changed_[account->id] = true;
  }
  reply.accounts.push_back(*account);
  return reply;
}

absl::StatusOr<Reply> Batch::Run(const Command& command, const PostTransfers& post) {
  Reply reply;
  reply.outcomes.resize(post.transfers.size());
  std::optional<OrderTags> order;  // once: its digest costs as much as the order is long
  if (post.order.has_value()) order.emplace(*post.order);
  const size_t before = changes_.entries.size();
  const size_t count = post.transfers.size();
  for (size_t begin = 0; begin < count;) {
    size_t last = begin;
    while (last < count && post.transfers[last].linked) ++last;
    const bool open = last == count;
    const size_t end = open ? count : last + 1;
    if (end - begin == 1 && !open) {
      reply.outcomes[begin] = Post(command, post.transfers[begin], false, begin);
      AppendStaged(command, order, reply.outcomes);
    } else {
      RunChain(command, post, begin, end, open, order, reply.outcomes);
    }
    begin = end;
  }
  if (post.order.has_value() && changes_.entries.size() > before) {
    changes_.documents.push_back(*post.order);
  }
  return reply;
}

void Batch::RunChain(const Command& command, const PostTransfers& post, size_t begin, size_t end,
                     bool open, const std::optional<OrderTags>& order,
                     std::vector<Outcome>& outcomes) {
  in_chain_ = true;
  bool failed = false;
  size_t existing = 0;
  for (size_t i = begin; i < end; ++i) {
    const Transfer& wanted = post.transfers[i];
    if (failed) {
      outcomes[i] = LinkedFailure(wanted.id);
      continue;
    }
    outcomes[i] = Post(command, wanted, open && i + 1 == end, i);
    existing += outcomes[i].result == TransferResult::kExists ? 1 : 0;
    failed = outcomes[i].result != TransferResult::kExists &&
             outcomes[i].result != TransferResult::kPosted;
  }
  failed = failed || (existing > 0 && existing < end - begin);
  if (failed) {
    for (auto undo = undo_.rbegin(); undo != undo_.rend(); ++undo) (*undo)();
    staged_.clear();
    for (size_t i = begin; i < end; ++i) {
      const TransferResult result = outcomes[i].result;
      // A repetition within the chain repeats what did not happen.
      const bool undone = result == TransferResult::kExists &&
                          books_.FindId(EventOf(post.transfers[i]).value) == nullptr;
      if (result != TransferResult::kPosted && !undone) continue;
      outcomes[i] = LinkedFailure(post.transfers[i].id);
    }
  }
  undo_.clear();
  in_chain_ = false;
  AppendStaged(command, order, outcomes);
}

Outcome Batch::Repeated(const IdRecord& record, const Transfer& wanted, const Caller& caller) {
  Outcome outcome;
  outcome.id = wanted.id;
  if (record.known.log_index < 0 && record.posted == nullptr) {
    outcome.result = TransferResult::kIdAlreadyFailed;
    outcome.message = absl::StrCat(
        "it failed before with ", NameOf(static_cast<TransferResult>(record.known.result)));
    return outcome;
  }
  const std::string differs =
      record.posted == nullptr
          ? "meaning"
          : DifferenceOf(*record.posted, wanted, books_.FindHold(wanted.pending), caller);
  if (!differs.empty()) {
    outcome.result = TransferResult::kExistsDifferent;
    outcome.message = absl::StrCat("it was posted with another ", differs);
    return outcome;
  }
  outcome.result = TransferResult::kExists;
  outcome.amount = record.posted->transfer.amount;
  outcome.debit_balance = record.posted->debit_balance;
  outcome.credit_balance = record.posted->credit_balance;
  outcome.log_index = record.posted->log_index;
  return outcome;
}

Batch::Parties Batch::PartiesOf(const Transfer& wanted) {
  Parties parties;
  if (wanted.phase == TransferPhase::kPost || wanted.phase == TransferPhase::kVoid) {
    parties.hold = books_.FindHold(wanted.pending);
  }
  const Hold* hold = parties.hold;
  parties.debit = books_.FindAccount(hold != nullptr ? hold->debit : wanted.debit);
  parties.credit = books_.FindAccount(hold != nullptr ? hold->credit : wanted.credit);
  return parties;
}

Decision Batch::DecideWith(const Transfer& wanted, const Caller& caller,
                           const Parties& parties) {
  const auto spent = [&](const Uuid& key, const std::string& asset, bool in_all) {
    return books_.Spent(key, asset, in_all ? kAllDays : DayOf(now_us_));
  };
  Facts facts{.spent = spent};
  facts.now_us = now_us_;
  facts.authority = &books_.authority;
  facts.debit = parties.debit;
  facts.credit = parties.credit;
  facts.hold = parties.hold;
  if (wanted.phase == TransferPhase::kPost || wanted.phase == TransferPhase::kVoid) {
    const IdRecord* other = books_.FindId(PostedEvent(wanted.pending).value);
    facts.pending_is_other = other != nullptr && other->posted != nullptr;
  }
  if (!wanted.corrects.IsZero()) {
    const IdRecord* record = books_.FindId(PostedEvent(wanted.corrects).value);
    if (record != nullptr) facts.corrected = record->posted.get();
    const auto found = books_.corrections.find(wanted.corrects);
    if (found != books_.corrections.end()) facts.corrected_already = found->second;
  }
  return DecideTransfer(wanted, caller, facts);
}

Outcome Batch::Post(const Command& command, const Transfer& wanted, bool chain_open,
                    size_t place) {
  const Uuid event = EventOf(wanted).value;
  if (const IdRecord* record = books_.FindId(event)) {
    return Repeated(*record, wanted, command.caller);
  }
  Outcome outcome;
  outcome.id = wanted.id;
  if (chain_open) {
    outcome.result = TransferResult::kLinkedChainOpen;
    outcome.message = "the request ends inside the chain";
    return outcome;
  }
  const Parties parties = PartiesOf(wanted);
  Decision decision = DecideWith(wanted, command.caller, parties);
  outcome.result = decision.result;
  outcome.message = std::move(decision.message);
  if (IsPassing(decision.result)) {
    const KnownId burned{-1, static_cast<int>(decision.result)};
    books_.ids[event] = {burned, {}, nullptr};
    changes_.ids.push_back({event, burned});
  }
  if (decision.result != TransferResult::kPosted) return outcome;

  auto posted = std::make_shared<PostedTransfer>();
  posted->transfer = wanted;
  Transfer& transfer = posted->transfer;
  transfer.event_id = {event};
  if (parties.hold != nullptr) {
    transfer.debit = parties.hold->debit;
    transfer.credit = parties.hold->credit;
    transfer.kind = parties.hold->kind;
  }
  if (transfer.balancing) posted->requested = transfer.amount;
  transfer.amount = decision.amount;
  posted->posted_us = now_us_;
  if (transfer.phase == TransferPhase::kPending) {
    posted->expires_us = now_us_ + int64_t{transfer.timeout_s} * 1'000'000;
  }
  if (decision.mandate != nullptr) posted->mandate = decision.mandate->id;
  if (!command.caller.is_service) {
    transfer.authorised_by = decision.mandate != nullptr ? decision.mandate->event_id
                                                         : books_.RegistrationOf(command.caller);
  }
  Apply(transfer, command.caller, decision, parties);
  posted->debit_balance = outcome.debit_balance = parties.debit->balance();
  posted->credit_balance = outcome.credit_balance = parties.credit->balance();
  posted->log_index = -1;
  outcome.amount = transfer.amount;
  if (in_chain_) {  // for what comes after it in the chain
    books_.ids[event] = {{-1, static_cast<int>(TransferResult::kPosted)}, {}, posted};
    undo_.push_back([this, event] { books_.ids.erase(event); });
  }
  staged_.push_back({std::move(posted), parties, place});
  return outcome;
}

void Batch::Apply(const Transfer& transfer, const Caller& caller, const Decision& decision,
                  const Parties& parties) {
  Account& debit = *parties.debit;
  Account& credit = *parties.credit;
  if (in_chain_) {
    undo_.push_back([&debit, &credit, old_debit = debit, old_credit = credit] {
      debit = old_debit;
      credit = old_credit;
    });
  }
  const int64_t amount = decision.amount;
  if (!transfer.corrects.IsZero()) {
    books_.corrections[transfer.corrects] += amount;
    changes_.corrections[transfer.corrects] += amount;
    OnUndo([this, id = transfer.corrects, amount] {
      books_.corrections[id] -= amount;
      changes_.corrections[id] -= amount;
    });
  }
  if (parties.hold != nullptr) {
    const bool posts = transfer.phase == TransferPhase::kPost;
    EndHold(*parties.hold, debit, posts ? HoldState::kPosted : HoldState::kVoided,
            posts ? amount : 0);
    if (!posts) return;
  } else {
    const PrincipalId owner = decision.counts_as_outflow ? caller.principal : PrincipalId{};
    if (!owner.IsZero()) Spend(owner.value, debit.asset, now_us_, amount, false);
    if (decision.mandate != nullptr) {
      Spend(decision.mandate->id.value, debit.asset, now_us_, amount, true);
    }
    if (transfer.phase == TransferPhase::kPending) {
      debit.held += amount;
      Hold hold;
      hold.id = transfer.id;
      hold.debit = transfer.debit;
      hold.credit = transfer.credit;
      hold.amount = amount;
      hold.kind = transfer.kind;
      hold.opened_us = now_us_;
      hold.expires_us = now_us_ + int64_t{transfer.timeout_s} * 1'000'000;
      hold.owner = owner;
      if (decision.mandate != nullptr) hold.mandate = decision.mandate->id;
      books_.holds[hold.id] = hold;
      holds_[hold.id] = hold;
      OnUndo([this, id = hold.id] {
        books_.holds.erase(id);
        holds_.erase(id);
      });
      books_.next_expiry_us =
          std::min(books_.next_expiry_us.value_or(hold.expires_us), hold.expires_us);
      return;
    }
  }
  debit.debits += amount;
  credit.credits += amount;
  debit.transfers += 1;
  credit.transfers += 1;
}

// Frees what was set aside; what was not posted of it counts as never sent.
void Batch::EndHold(Hold& hold, Account& debit, HoldState state, int64_t posted) {
  OnUndo([this, &hold, old = hold, had = holds_.contains(hold.id)] {
    hold = old;
    if (had) holds_[old.id] = old;
    else holds_.erase(old.id);
  });
  debit.held -= hold.amount;
  hold.state = state;
  hold.posted = posted;
  holds_[hold.id] = hold;
  const int64_t back = posted - hold.amount;
  if (back == 0) return;
  if (!hold.owner.IsZero()) Spend(hold.owner.value, debit.asset, hold.opened_us, back, false);
  if (!hold.mandate.IsZero()) Spend(hold.mandate.value, debit.asset, hold.opened_us, back, true);
}

void Batch::Spend(const Uuid& key, const std::string& asset, int64_t opened_us, int64_t amount,
                  bool in_all) {
  const auto add = [&](int32_t day) {
    const SpentKey at{key, asset, day};
    // What was not read yet is read after this batch is committed.
    const bool known = books_.spent_known.contains({key, day});
    settle_first_ = settle_first_ || !known;
    if (known) books_.spent[at] += amount;
    changes_.spent[at] += amount;
    OnUndo([this, at, known, amount] {
      if (known) books_.spent[at] -= amount;
      changes_.spent[at] -= amount;
    });
  };
  add(DayOf(opened_us));
  if (in_all) add(kAllDays);
}

void Batch::AppendStaged(const Command& command, const std::optional<OrderTags>& order,
                         std::vector<Outcome>& outcomes) {
  for (Staged& staged : staged_) {
    PostedTransfer& posted = *staged.posted;
    Account& debit = *staged.parties.debit;
    Account& credit = *staged.parties.credit;
    LogEntry own;
    own.leaf = EncodeTransferEntry(posted, command.caller, CooperativeOf(debit, credit),
                                   order.has_value() ? &*order : nullptr);
    own.event_id = EventOf(posted.transfer);
    own.kind = kind::kTransferPosted;
    own.subject = posted.transfer.id.value;
    own.leaf_hash = crypto::LeafHash(own.leaf);
    posted.log_index =
        Append(std::move(own), static_cast<int>(TransferResult::kPosted), staged.posted);
    outcomes[staged.outcome].log_index = posted.log_index;
    Touch(debit, posted.log_index);
    Touch(credit, posted.log_index);
  }
  staged_.clear();
}

void Batch::ExpireDue() {
  for (const TransferId& id : books_.due) {
    Hold* hold = books_.FindHold(id);
    if (hold == nullptr || hold->state != HoldState::kOpen) continue;
    Account& debit = *books_.FindAccount(hold->debit);
    Account& credit = *books_.FindAccount(hold->credit);
    crypto::EntryBuilder builder(kind::kHoldExpired, ExpiredEvent(id),
                                 absl::FromUnixMicros(now_us_));
    builder.Subject(id)
        .Cooperative(CooperativeOf(debit, credit))
        .AuthorisedBy(PostedEvent(id))
        .Id(tag::kDebitAccount, hold->debit)
        .Id(tag::kCreditAccount, hold->credit)
        .U64(tag::kAmount, static_cast<uint64_t>(hold->amount));
    EndHold(*hold, debit, HoldState::kExpired, 0);
    const int64_t index = AppendOwn(builder);
    Touch(debit, index);
    Touch(credit, index);
  }
  books_.due.clear();
}

absl::StatusOr<Reply> Batch::Run(const Command& command, const AppendEntries& append) {
  IdMap<Uuid, crypto::Digest> earlier;  // in this command
  for (const LogEntry& entry : append.entries) {
    const IdRecord* known = books_.FindId(entry.event_id.value);
    const bool same =
        known != nullptr
            ? known->known.log_index >= 0 && known->leaf_hash == entry.leaf_hash
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
    const IdRecord* known = books_.FindId(entry.event_id.value);
    reply.log_indexes.push_back(known != nullptr ? known->known.log_index : Append(entry));
  }
  if (command.ChangesAuthority()) {
    changes_.authority = true;
    // A clock of governance's that is ahead must not make this knowledge younger than it is.
    changes_.complete_until_us = std::max(changes_.complete_until_us,
                                          std::min(append.complete_until_us, now_us_));
    settle_first_ = true;
  }
  return reply;
}

absl::StatusOr<Reply> Batch::Run(const Command& command, const RecordBundle& record) {
  Reply reply;
  if (const IdRecord* known = books_.FindId(record.event_id.value)) {
    reply.log_indexes.push_back(known->known.log_index);
    return reply;
  }
  crypto::EntryBuilder builder(kind::kBundleSigned, record.event_id,
                               absl::FromUnixMicros(now_us_));
  builder.Subject(record.cooperative)
      .Cooperative(record.cooperative)
      .AuthorisedBy(books_.RegistrationOf(command.caller))
      .Digest(tag::kManifestDigest, record.manifest)
      .U64(tag::kTreeSize, static_cast<uint64_t>(books_.end.size()));
  if (!command.caller.principal.IsZero()) builder.Id(tag::kPrincipal, command.caller.principal);
  if (!command.caller.agent.IsZero()) builder.Id(tag::kAgent, command.caller.agent);
  reply.log_indexes.push_back(AppendOwn(builder));
  return reply;
}

absl::StatusOr<Reply> Batch::Run(const Command&, const StartLog& start) {
  Reply reply;
  reply.log_indexes.push_back(0);
  if (books_.end.size() > 0) return reply;
  crypto::EntryBuilder builder(kind::kLogStarted, StartedEvent(start),
                               absl::FromUnixMicros(now_us_));
  builder.Bytes(tag::kRegisteredKey, start.key.AsBytes()).Text(tag::kOrigin, start.origin);
  AppendOwn(builder);
  return reply;
}

absl::StatusOr<Reply> Batch::Run(const Command&, const Tick&) { return Reply(); }

int64_t Batch::AppendOwn(crypto::EntryBuilder& builder) {
  LogEntry own;
  absl::StatusOr<crypto::Entry> entry = builder.BuildUnencoded();
  absl::StatusOr<std::string> leaf =
      entry.ok() ? crypto::EncodeEntry(*entry) : absl::StatusOr<std::string>(entry.status());
  if (!leaf.ok()) {
    status_.Update(absl::InternalError(absl::StrCat("own entry: ", leaf.status().message())));
    return books_.end.size();
  }
  own.event_id = entry->event_id;
  own.kind = entry->kind;
  own.subject = entry->subject;
  own.leaf_hash = crypto::LeafHash(*leaf);
  own.leaf = *std::move(leaf);
  return Append(std::move(own));
}

int64_t Batch::Append(LogEntry entry, int result, std::shared_ptr<PostedTransfer> posted) {
  entry.index = books_.end.size();
  books_.end.Append(entry.leaf_hash, changes_.tiles);
  const KnownId known{entry.index, result};
  books_.ids[entry.event_id.value] = {known, entry.leaf_hash, std::move(posted)};
  changes_.ids.push_back({entry.event_id.value, known});
  changes_.entries.push_back(std::move(entry));
  return known.log_index;
}

absl::Status Batch::RestsOnTheLog(const Command& command) const {
  if (command.caller.is_service) return absl::OkStatus();
  if (books_.RegistrationOf(command.caller).IsZero()) {
    return RetryableError("UNAVAILABLE", "the caller's registration has not reached the log yet",
                          absl::Milliseconds(200));
  }
  if (!std::holds_alternative<PostTransfers>(command.what)) return absl::OkStatus();
  const absl::Duration age =
      absl::Microseconds(now_us_ - books_.authority.complete_until_us);
  if (age <= books_.authority.parameters.Duration("ledger.authority_age_max_ms")) {
    return absl::OkStatus();
  }
  return RetryableError("AUTHORITY_STALE",
                        "what the ledger knows of KYC levels, mandates and pauses is too old",
                        absl::Seconds(1));
}

void Batch::Touch(Account& account, int64_t index) {
  const auto [place, first] = touched_places_.try_emplace(&account, touched_.size());
  if (first) touched_.emplace_back().account = &account;
  touched_[place->second].indexes.push_back(index);
  account.last_index = index;
}

void Batch::OnUndo(std::function<void()> undo) {
  if (in_chain_) undo_.push_back(std::move(undo));
}

Changes Batch::Finish() {
  // In the order of the indexes that they go into.
  std::sort(touched_.begin(), touched_.end(), [](const auto& a, const auto& b) {
    return a.account->id < b.account->id;
  });
  std::sort(changes_.ids.begin(), changes_.ids.end(),
            [](const UsedId& a, const UsedId& b) { return a.id < b.id; });
  changes_.touched.reserve(touched_.size());
  for (TouchedAccount& touched : touched_) {
    const Account& account = *touched.account;
    changes_.touched.push_back({account.id,
                                {account.debits, account.credits, account.held,
                                 account.transfers, account.last_index},
                                std::move(touched.indexes)});
  }
  for (const auto& [id, hold] : holds_) changes_.holds.push_back(hold);
  for (const auto& [id, changed] : changed_) {
    const auto opened =
        std::find_if(changes_.opened.begin(), changes_.opened.end(),
                     [&](const Account& account) { return account.id == id; });
    // The row of an account opened in this batch is written as the batch leaves it.
    if (opened != changes_.opened.end()) *opened = *books_.FindAccount(id);
    else changes_.changed.push_back(*books_.FindAccount(id));
  }
  absl::erase_if(changes_.corrections, [](const auto& added) { return added.second == 0; });
  changes_.end = books_.end;
  return std::move(changes_);
}

}  // namespace rochdale::ledger
