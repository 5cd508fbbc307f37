#include "libs/replay/books.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/replay/orders.h"

namespace rochdale::replay {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

using absl::int128;
using crypto::Entry;

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::min();

absl::Status Wrong(absl::string_view what) { return absl::DataLossError(what); }

Uuid IdOr(const Entry& entry, uint16_t tag) { return entry.IdAt(tag).value_or(Uuid{}); }

// What the account can give, its holds and its floor aside; nothing: any amount.
std::optional<int128> Available(const Account& account) {
  if (!account.floor) return std::nullopt;
  return int128(account.balance()) - account.held - *account.floor;
}

absl::StatusOr<int64_t> AmountAt(const Entry& entry, uint16_t tag) {
  ASSIGN_OR_RETURN(const uint64_t amount, entry.U64(tag));
  if (amount == 0 || amount > static_cast<uint64_t>(kMost)) {
    return Wrong("its amount is out of bounds");
  }
  return static_cast<int64_t>(amount);
}

absl::Status MayMove(const Account& debit, const Account& credit) {
  if (debit.status != kOpen && debit.status != kClosing) {
    return Wrong("account-status: the account it debits is shut");
  }
  if (credit.status != kOpen) return Wrong("account-status: the account it credits is shut");
  return absl::OkStatus();
}

// Lifetime totals stay within 64 bits, and with them the balances.
absl::Status Fits(const Account& debit, const Account& credit, int64_t amount) {
  if (debit.debits <= kMost - amount && credit.credits <= kMost - amount) {
    return absl::OkStatus();
  }
  return Wrong("an account's total exceeds 64 bits");
}

void MoveValue(Account& debit, Account& credit, int64_t amount) {
  debit.debits += amount;
  credit.credits += amount;
  ++debit.transfers;
  ++credit.transfers;
}

}  // namespace

int32_t DayOf(int64_t time_us) {
  return static_cast<int32_t>(time_us / (int64_t{86'400} * 1'000'000));
}

absl::Status Books::Apply(const Entry& entry) {
  const int64_t index = entries_++;
  touched_.clear();
  const bool own = entry.service == crypto::Service::kLedger;
  if (chain_us_ && (entry.kind != kind::kTransferPosted || entry.time_us != *chain_us_)) {
    chain_us_.reset();
    return Wrong("the transfer before it is linked to one that should stand here");
  }
  if (own && entry.time_us < own_time_us_) {
    return Wrong("it is of an earlier time than the ledger's entry before it");
  }
  if (own) own_time_us_ = entry.time_us;
  switch (entry.kind) {
    case kind::kAccountOpened: {
      RETURN_IF_ERROR(Open(entry));
      accounts_.back().opened_index = index;
      return absl::OkStatus();
    }
    case kind::kAccountChanged: return Change(entry);
    case kind::kTransferPosted: return Move(entry);
    case kind::kHoldExpired: return Expire(entry);
    case kind::kLogStarted:
      // What restarts a log is later than what it goes on with.
      own_time_us_ = 0;
      return absl::OkStatus();
    default: return authority_.Apply(entry, index);
  }
}

absl::Status Books::Open(const Entry& entry) {
  Account account;
  account.id = entry.subject;
  ASSIGN_OR_RETURN(const absl::string_view asset, entry.Text(tag::kAsset));
  account.asset = std::string(asset);
  ASSIGN_OR_RETURN(const int64_t floor, entry.I64(tag::kFloor));
  if (floor != kUnlimited) account.floor = floor;
  ASSIGN_OR_RETURN(account.type, entry.U64(tag::kAccountType));
  if (account.type < 1 || account.type > kSystemType) return Wrong("no account is of this type");
  const Uuid principal = IdOr(entry, tag::kPrincipal);
  if ((account.type == kSystemType) != principal.IsZero()) {
    return Wrong("a system account has no principal, and every other has one");
  }
  account.owner = principal.IsZero() ? entry.cooperative.value : principal;
  if (account.type != kSystemType && !account.floor) {
    return Wrong("only a system account is unlimited");
  }
  account.opened_us = entry.time_us;
  if (!places_.emplace(account.id, static_cast<uint32_t>(accounts_.size())).second) {
    return Wrong("it was opened before");
  }
  accounts_.push_back(std::move(account));
  return absl::OkStatus();
}

absl::Status Books::Change(const Entry& entry) {
  const auto place = places_.find(entry.subject);
  if (place == places_.end()) return Wrong("it was not opened");
  Account& account = accounts_[place->second];
  ASSIGN_OR_RETURN(const uint64_t status, entry.U64(tag::kStatus));
  ASSIGN_OR_RETURN(const uint64_t version, entry.U64(tag::kVersion));
  if (status < kOpen || status > kClosed) return Wrong("no account has this status");
  if (version != static_cast<uint64_t>(account.version) + 1) {
    return Wrong(absl::StrCat("it is change ", version, " of the account, after ",
                              account.version));
  }
  if (account.status == kClosed) return Wrong("a closed account never changes");
  const bool possible = status == account.status ||
                        (account.status == kOpen && status != kClosed) ||
                        (account.status == kFrozen && status != kClosed) ||
                        account.status == kClosing;
  if (!possible) return Wrong("an account is closed only after it was closing");
  if (status == kClosed && (account.balance() != 0 || account.held != 0)) {
    return Wrong("an account is closed with nothing in it and nothing held");
  }
  std::optional<int64_t> floor = account.floor;
  if (entry.Find(tag::kFloor) != nullptr) {
    ASSIGN_OR_RETURN(const int64_t stated, entry.I64(tag::kFloor));
    if (stated == kUnlimited && account.floor) return Wrong("no account becomes unlimited");
    if (stated != kUnlimited) floor = stated;
  }
  RETURN_IF_ERROR(CheckAccountOrder(entry, status, floor != account.floor, account, authority_));
  account.floor = floor;
  account.status = status;
  account.version = static_cast<int64_t>(version);
  return absl::OkStatus();
}

absl::Status Books::Move(const Entry& entry) {
  Transfer transfer;
  ASSIGN_OR_RETURN(transfer.amount, AmountAt(entry, tag::kAmount));
  ASSIGN_OR_RETURN(const uint64_t transfer_kind, entry.U64(tag::kTransferKind));
  if (transfer_kind < 1 || transfer_kind > kLastKind) return Wrong("it is of no known kind");
  transfer.kind = static_cast<uint8_t>(transfer_kind);
  const uint64_t phase = entry.U64(tag::kPhase).value_or(kAtOnce);
  if (phase > kVoid || (phase == kAtOnce) == (entry.Find(tag::kPhase) != nullptr)) {
    return Wrong("it is of no known phase");
  }
  transfer.phase = static_cast<uint8_t>(phase);
  if ((phase == kPost || phase == kVoid) != (entry.Find(tag::kPendingTransfer) != nullptr)) {
    return Wrong("what posts or voids a hold names it, and nothing else does");
  }
  if ((phase == kPending) != (entry.Find(tag::kExpiresUs) != nullptr)) {
    return Wrong("a hold says when it expires, and nothing else does");
  }
  const uint64_t linked = entry.U64(tag::kLinked).value_or(0);
  if (linked > 1 || (linked == 0) == (entry.Find(tag::kLinked) != nullptr)) {
    return Wrong("linked is 1 or absent");
  }
  const uint64_t code = entry.U64(tag::kCode).value_or(0);
  if (code > 65'535 || (code == 0) == (entry.Find(tag::kCode) != nullptr)) {
    return Wrong("a code is 1 to 65,535 or absent");
  }
  const Uuid debit = IdOr(entry, tag::kDebitAccount), credit = IdOr(entry, tag::kCreditAccount);
  if (debit == credit) return Wrong("it debits and credits one account");
  const auto from = places_.find(debit), to = places_.find(credit);
  if (from == places_.end() || to == places_.end()) {
    return Wrong("one of its accounts was not opened before");
  }
  transfer.debit = from->second;
  transfer.credit = to->second;
  if (accounts_[from->second].asset != accounts_[to->second].asset) {
    return Wrong("its accounts are of different assets");
  }
  if (transfers_.contains(entry.subject)) return Wrong("its transfer was posted before");
  if (entry.event_id.value !=
      crypto::DeterministicIdBeside("ledger/transfer-posted", entry.subject)) {
    return Wrong("its event id does not follow from its transfer's");
  }
  RETURN_IF_ERROR(CheckOrder(entry, transfer));
  if (phase == kPost || phase == kVoid) {
    RETURN_IF_ERROR(EndHold(entry, transfer));
  } else {
    RETURN_IF_ERROR(MoveAtOnce(entry, transfer));
  }
  for (const auto& [tag, account] : {std::pair(tag::kDebitBalance, transfer.debit),
                                     std::pair(tag::kCreditBalance, transfer.credit)}) {
    if (entry.Find(tag) == nullptr) continue;
    if (entry.I64(tag).value_or(0) != accounts_[account].balance()) {
      return Wrong(absl::StrCat("it says another balance than ", accounts_[account].balance(),
                                " of ", accounts_[account].id.ToString()));
    }
  }
  if (linked != 0) {
    chain_us_ = entry.time_us;
  } else {
    chain_us_.reset();
  }
  return absl::OkStatus();
}

absl::Status Books::CheckCorrection(const Entry& entry, const Transfer& transfer,
                                    Transfer*& corrected) {
  corrected = nullptr;
  if (entry.Find(tag::kCorrects) == nullptr) return absl::OkStatus();
  const auto found = transfers_.find(IdOr(entry, tag::kCorrects));
  if (found == transfers_.end()) return Wrong("what it corrects was not posted");
  corrected = &found->second;
  if (corrected->correction || (corrected->phase != kAtOnce && corrected->phase != kPost)) {
    return Wrong("what it corrects is a correction itself or moved nothing");
  }
  if (corrected->debit != transfer.credit || corrected->credit != transfer.debit) {
    return Wrong("it does not go back the way of what it corrects");
  }
  if (transfer.amount > corrected->amount - corrected->corrected) {
    return Wrong("all corrections together exceed what they correct");
  }
  return absl::OkStatus();
}

// A transfer that moves value now, or sets it aside.
absl::Status Books::MoveAtOnce(const Entry& entry, Transfer transfer) {
  Account& debit = accounts_[transfer.debit];
  Account& credit = accounts_[transfer.credit];
  Transfer* corrected = nullptr;
  RETURN_IF_ERROR(CheckCorrection(entry, transfer, corrected));
  RETURN_IF_ERROR(MayMove(debit, credit));
  const std::optional<int128> free = Available(debit);
  if (free && *free < transfer.amount) {
    return Wrong(absl::StrCat("floor: the balance ", debit.balance(), " less holds of ", debit.held,
                              " falls below the floor ", *debit.floor));
  }
  if (entry.Find(tag::kRequestedAmount) != nullptr) {
    ASSIGN_OR_RETURN(const int64_t requested, AmountAt(entry, tag::kRequestedAmount));
    const int128 most = free ? std::min(*free, int128(requested)) : int128(requested);
    if (transfer.amount != most) {
      return Wrong(absl::StrCat("it balances: of ", requested, " it should move ",
                                static_cast<int64_t>(most)));
    }
  }
  const Uuid spender = SpenderOf(entry, transfer), mandate = IdOr(entry, tag::kMandate);
  if (transfer.phase == kPending) {
    ASSIGN_OR_RETURN(const int64_t expires, entry.I64(tag::kExpiresUs));
    if (expires <= entry.time_us || expires - entry.time_us > kHoldMaxUs) {
      return Wrong("no hold lasts so long");
    }
    if (debit.held > kMost - transfer.amount) return Wrong("its account's holds exceed 64 bits");
    debit.held += transfer.amount;
    transfer.state = State::kOpen;
    ++open_holds_;
    holds_[entry.subject] = {entry.time_us, expires, 0, spender, mandate};
  } else {
    RETURN_IF_ERROR(Fits(debit, credit, transfer.amount));
    MoveValue(debit, credit, transfer.amount);
  }
  Spend(spender, debit.asset, entry.time_us, transfer.amount, false);
  Spend(mandate, debit.asset, entry.time_us, transfer.amount, true);
  if (corrected != nullptr) {
    corrected->corrected += transfer.amount;
    transfer.correction = true;
  }
  transfers_[entry.subject] = transfer;
  Touch(transfer);
  return absl::OkStatus();
}

absl::Status Books::EndHold(const Entry& entry, Transfer transfer) {
  const Uuid id = IdOr(entry, tag::kPendingTransfer);
  const auto found = transfers_.find(id);
  if (found == transfers_.end() || found->second.phase != kPending) {
    return Wrong("it names no hold");
  }
  const Transfer hold = found->second;
  if (hold.debit != transfer.debit || hold.credit != transfer.credit ||
      hold.kind != transfer.kind) {
    return Wrong("its accounts or kind are not its hold's");
  }
  if (hold.state != State::kOpen) return Wrong("its hold was posted or voided or has expired");
  Hold& about = holds_[id];
  if (entry.Find(tag::kRequestedAmount) != nullptr || entry.Find(tag::kCorrects) != nullptr) {
    return Wrong("what ends a hold neither balances nor corrects");
  }
  Account& debit = accounts_[transfer.debit];
  Account& credit = accounts_[transfer.credit];
  if (transfer.phase == kVoid) {
    if (transfer.amount != hold.amount) return Wrong("its amount is not its hold's");
    Free(id, State::kVoided, 0);
  } else {
    if (transfer.amount > hold.amount) return Wrong("it moves more than its hold set aside");
    RETURN_IF_ERROR(MayMove(debit, credit));
    RETURN_IF_ERROR(Fits(debit, credit, transfer.amount));
    about.posted = transfer.amount;
    Free(id, State::kPosted, transfer.amount);
    MoveValue(debit, credit, transfer.amount);
  }
  transfers_[entry.subject] = transfer;
  Touch(transfer);
  return absl::OkStatus();
}

absl::Status Books::Expire(const Entry& entry) {
  const auto found = transfers_.find(entry.subject);
  if (found == transfers_.end() || found->second.phase != kPending) {
    return Wrong("it names no hold");
  }
  const Transfer hold = found->second;
  ASSIGN_OR_RETURN(const int64_t amount, AmountAt(entry, tag::kAmount));
  if (accounts_[hold.debit].id != IdOr(entry, tag::kDebitAccount) ||
      accounts_[hold.credit].id != IdOr(entry, tag::kCreditAccount) || hold.amount != amount) {
    return Wrong("its accounts or amount are not its hold's");
  }
  if (hold.state != State::kOpen) return Wrong("its hold was posted or voided or has expired");
  if (entry.time_us < holds_[entry.subject].expires_us) return Wrong("its hold lasts longer");
  Free(entry.subject, State::kExpired, 0);
  Touch(hold);
  return absl::OkStatus();
}

// What was set aside is free again; what was not posted of it counts as never sent.
void Books::Free(const Uuid& id, State state, int64_t posted) {
  Transfer& transfer = transfers_[id];
  transfer.state = state;
  Account& debit = accounts_[transfer.debit];
  debit.held -= transfer.amount;
  --open_holds_;
  const Hold& hold = holds_[id];
  const int64_t back = posted - transfer.amount;
  Spend(hold.owner, debit.asset, hold.opened_us, back, false);
  Spend(hold.mandate, debit.asset, hold.opened_us, back, true);
}

void Books::Spend(const Uuid& key, const std::string& asset, int64_t time_us, int64_t amount,
                  bool in_all) {
  if (key.IsZero() || amount == 0) return;
  spent_[{key, asset, DayOf(time_us)}] += amount;
  if (in_all) spent_[{key, asset, kAllDays}] += amount;
}

absl::Status Books::CheckOrder(const Entry& entry, const Transfer& transfer) const {
  const auto spent = [&](const Uuid& key, const std::string& asset, bool in_all) -> int64_t {
    const auto found = spent_.find({key, asset, in_all ? kAllDays : DayOf(entry.time_us)});
    return found == spent_.end() ? 0 : found->second;
  };
  return CheckTransferOrder(entry, transfer.amount, accounts_[transfer.debit],
                            accounts_[transfer.credit], authority_, spent);
}

// An outflow of who ordered it, unless it stays with the same owner.
Uuid Books::SpenderOf(const Entry& entry, const Transfer& transfer) const {
  const Uuid principal = IdOr(entry, tag::kPrincipal);
  const Account& credit = accounts_[transfer.credit];
  const bool own = credit.type != kSystemType && credit.owner == principal;
  return own ? Uuid{} : principal;
}

void Books::Touch(const Transfer& transfer) {
  touched_ = {transfer.debit, transfer.credit};
  for (const uint32_t place : touched_) accounts_[place].last_index = entries_ - 1;
}

absl::Status Books::Close() const {
  if (chain_us_) return Wrong("the log ends within a chain of linked transfers");
  std::map<std::string, int128> sums;
  std::vector<int128> held(accounts_.size());
  for (const Account& account : accounts_) sums[account.asset] += account.balance();
  for (const auto& [asset, sum] : sums) {
    if (sum != 0) return Wrong(absl::StrCat("debits do not equal credits of ", asset));
  }
  for (const auto& [id, transfer] : transfers_) {
    if (transfer.state == State::kOpen) held[transfer.debit] += transfer.amount;
  }
  for (size_t i = 0; i < accounts_.size(); ++i) {
    if (held[i] != accounts_[i].held) {
      return Wrong(absl::StrCat("account ", accounts_[i].id.ToString(),
                                " holds another amount than its holds set aside"));
    }
  }
  return absl::OkStatus();
}

const Account* Books::FindAccount(const Uuid& id) const {
  const auto found = places_.find(id);
  return found == places_.end() ? nullptr : &accounts_[found->second];
}

const Transfer* Books::FindTransfer(const Uuid& id) const {
  const auto found = transfers_.find(id);
  return found == transfers_.end() ? nullptr : &found->second;
}

std::map<std::string, std::string> Books::Sums() const {
  std::map<std::string, int128> sums;
  for (const Account& account : accounts_) sums[account.asset] += account.balance();
  std::map<std::string, std::string> texts;
  for (const auto& [asset, sum] : sums) texts[asset] = absl::StrCat(static_cast<int64_t>(sum));
  return texts;
}

}  // namespace rochdale::replay
