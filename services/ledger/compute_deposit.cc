#include "services/ledger/compute_deposit.h"

#include <limits>
#include <string>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"
#include "services/ledger/account_store.h"
#include "services/ledger/authority.h"
#include "services/ledger/log_store.h"
#include "services/ledger/transfer_entry.h"

namespace rochdale::ledger {
namespace {

constexpr char kToken[] = "token";
constexpr char kRate[] = "ledger.compute_rate_micro";
// Of one entry: each is an attempt that found the fund empty or an account not open.
constexpr int kAttemptsMax = 100'000;

absl::Status CheckFund(const std::optional<Account>& fund) {
  if (!fund.has_value()) return Error("ACCOUNT_NOT_FOUND", "there is no such fund account");
  FieldErrors errors;
  if (fund->type != AccountType::kSystem || fund->asset != kToken) {
    errors.Add("fund_account_id", "must be a system account of tokens");
  } else if (!fund->floor.has_value()) {
    errors.Add("fund_account_id", "must have a floor: compute time is paid from what is there");
  }
  return errors.ToStatus();
}

// What the entry is worth, if the account is of its provider.
absl::StatusOr<int64_t> AmountOf(const LogEntry& logged, const Account& credit, int64_t rate) {
  ASSIGN_OR_RETURN(const crypto::Entry entry, crypto::DecodeEntry(logged.leaf));
  if (entry.kind != crypto::kind::kComputeMetered) {
    return Error("ENTRY_INVALID", "the entry meters no compute time");
  }
  ASSIGN_OR_RETURN(const Uuid provider, entry.IdAt(crypto::tag::kPrincipal));
  if (credit.type == AccountType::kSystem || credit.owner != provider || credit.asset != kToken) {
    return Error("ENTRY_INVALID", "the account is not one of tokens of the entry's provider");
  }
  ASSIGN_OR_RETURN(const uint64_t gpu_micros, entry.U64(crypto::tag::kGpuMicros));
  return ComputePay(gpu_micros, rate);
}

absl::Status At(size_t i, const absl::Status& status) {
  const std::string reason = ReasonOf(status);
  if (reason.empty()) return status;
  return Error(reason, absl::StrCat("deposits[", i, "]: ", status.message()));
}

// Gives each transfer the id of its first attempt that has not failed for ever, and to one that was
// posted before the amount that it had then.
absl::Status ChooseIds(pg::Transaction& tx, const ComputeDeposits& wanted,
                       std::vector<Transfer>& transfers) {
  std::vector<size_t> open;
  for (size_t i = 0; i < transfers.size(); ++i) open.push_back(i);
  std::vector<std::pair<size_t, int64_t>> posted;
  for (int first = 0, count = 1; !open.empty(); first += count, count *= 2) {
    if (first > kAttemptsMax) {
      return Error("ENTRY_INVALID", absl::StrCat("deposits[", open.front(),
                                                 "]: too many attempts have failed"));
    }
    std::vector<Uuid> ids;
    for (const size_t i : open) {
      for (int attempt = first; attempt < first + count; ++attempt) {
        ids.push_back(PostedEvent(ComputeDepositId(wanted.deposits[i].metered, attempt)).value);
      }
    }
    ASSIGN_OR_RETURN(const auto known, FindIds(tx, ids));
    std::vector<size_t> still_open;
    for (const size_t i : open) {
      bool chosen = false;
      for (int attempt = first; attempt < first + count && !chosen; ++attempt) {
        const TransferId id = ComputeDepositId(wanted.deposits[i].metered, attempt);
        const auto found = known.find(PostedEvent(id).value);
        if (found != known.end() && found->second.log_index < 0) continue;  // burned
        transfers[i].id = id;
        if (found != known.end()) posted.push_back({i, found->second.log_index});
        chosen = true;
      }
      if (!chosen) still_open.push_back(i);
    }
    open = std::move(still_open);
  }
  std::vector<int64_t> indexes;
  for (const auto& [_, index] : posted) indexes.push_back(index);
  ASSIGN_OR_RETURN(const std::vector<LogEntry> entries, FindEntries(tx, indexes));
  IdMap<TransferId, int64_t> amounts;
  for (const LogEntry& entry : entries) {
    ASSIGN_OR_RETURN(const PostedTransfer earlier, ParseTransferEntry(entry));
    amounts[earlier.transfer.id] = earlier.transfer.amount;
  }
  for (const auto& [i, _] : posted) transfers[i].amount = amounts[transfers[i].id];
  return absl::OkStatus();
}

}  // namespace

TransferId ComputeDepositId(const EventId& metered, int attempt) {
  return {crypto::DeterministicId("ledger/compute-deposit", metered, attempt)};
}

absl::StatusOr<int64_t> ComputePay(uint64_t gpu_micros, int64_t rate_micro) {
  const absl::uint128 pay =
      absl::uint128(gpu_micros) * static_cast<uint64_t>(rate_micro) / 1'000'000;
  if (pay > absl::uint128(std::numeric_limits<int64_t>::max())) {
    return Error("ENTRY_INVALID", "what it meters is worth more than an amount can say");
  }
  if (pay == 0) return Error("ENTRY_INVALID", "what it meters is worth less than a micro-token");
  return static_cast<int64_t>(pay);
}

absl::StatusOr<std::vector<Transfer>> PlanComputeDeposits(pg::Transaction& tx,
                                                          const ComputeDeposits& wanted) {
  ASSIGN_OR_RETURN(const Authority authority, FindAuthority(tx, {}, {}));
  const int64_t rate = authority.parameters.Micro(kRate);
  ASSIGN_OR_RETURN(const std::optional<Account> fund, FindAccount(tx, wanted.fund));
  RETURN_IF_ERROR(CheckFund(fund));
  std::vector<Uuid> events;
  std::vector<AccountId> credits;
  for (const ComputeDeposit& deposit : wanted.deposits) {
    events.push_back(deposit.metered.value);
    credits.push_back(deposit.credit);
  }
  ASSIGN_OR_RETURN(const auto known, FindIds(tx, events));
  std::vector<int64_t> indexes;
  for (const auto& [_, id] : known) {
    if (id.log_index >= 0) indexes.push_back(id.log_index);
  }
  ASSIGN_OR_RETURN(std::vector<LogEntry> found, FindEntries(tx, indexes));
  IdMap<EventId, LogEntry> entries;
  for (LogEntry& entry : found) entries[entry.event_id] = std::move(entry);
  ASSIGN_OR_RETURN(const std::vector<Account> existing, FindAccounts(tx, credits));
  IdMap<AccountId, Account> accounts;
  for (const Account& account : existing) accounts[account.id] = account;

  std::vector<Transfer> transfers;
  for (size_t i = 0; i < wanted.deposits.size(); ++i) {
    const ComputeDeposit& deposit = wanted.deposits[i];
    const auto entry = entries.find(deposit.metered);
    if (entry == entries.end()) {
      return At(i, Error("NOT_FOUND", "no entry of the log has this event id"));
    }
    const auto credit = accounts.find(deposit.credit);
    if (credit == accounts.end()) {
      return At(i, Error("ACCOUNT_NOT_FOUND", "there is no such account"));
    }
    const absl::StatusOr<int64_t> amount = AmountOf(entry->second, credit->second, rate);
    if (!amount.ok()) return At(i, amount.status());
    Transfer transfer;
    transfer.debit = wanted.fund;
    transfer.credit = deposit.credit;
    transfer.amount = *amount;
    transfer.kind = TransferKind::kDeposit;
    transfer.authorised_by = deposit.metered;
    transfers.push_back(std::move(transfer));
  }
  RETURN_IF_ERROR(ChooseIds(tx, wanted, transfers));
  return transfers;
}

}  // namespace rochdale::ledger
