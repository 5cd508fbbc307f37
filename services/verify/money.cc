#include "services/verify/money.h"

#include <limits>
#include <set>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "libs/base/amount.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"
#include "services/verify/json.h"
#include "services/verify/proto_json.h"

namespace rochdale::verify {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

using crypto::Entry;

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::min();
constexpr uint64_t kOpen = 1, kClosing = 3;
constexpr uint64_t kSystem = 4;
constexpr const char* kKindNames[] = {"",       "DEPOSIT", "TRADE",   "REWARD",   "SPEND",
                                      "FEE",    "ESCROW",  "RELEASE", "REFUND",   "EMISSION",
                                      "SLASH",  "BURN",    "MINT",    "REVENUE"};

absl::Status Wrong(absl::string_view what) { return absl::DataLossError(what); }

Uuid IdOr(const Entry& entry, uint16_t tag) { return entry.IdAt(tag).value_or(Uuid{}); }

absl::Status Open(const Entry& entry, Accounts& accounts) {
  ReplayedAccount account;
  ASSIGN_OR_RETURN(const absl::string_view asset, entry.Text(tag::kAsset));
  account.asset = std::string(asset);
  ASSIGN_OR_RETURN(account.floor, entry.I64(tag::kFloor));
  ASSIGN_OR_RETURN(account.type, entry.U64(tag::kAccountType));
  account.owner = IdOr(entry, tag::kPrincipal);
  if (account.type < 1 || account.type > kSystem) return Wrong("no account is of this type");
  if ((account.type == kSystem) != account.owner.IsZero()) {
    return Wrong("a system account has no principal, and every other has one");
  }
  if (account.type != kSystem && account.floor == kUnlimited) {
    return Wrong("only a system account is unlimited");
  }
  if (!accounts.emplace(entry.subject, account).second) return Wrong("it was opened before");
  return absl::OkStatus();
}

absl::Status Change(const Entry& entry, Accounts& accounts) {
  const auto found = accounts.find(entry.subject);
  if (found == accounts.end()) return Wrong("it was not opened");
  ASSIGN_OR_RETURN(found->second.status, entry.U64(tag::kStatus));
  if (entry.Find(tag::kFloor) != nullptr) {
    ASSIGN_OR_RETURN(found->second.floor, entry.I64(tag::kFloor));
  }
  return absl::OkStatus();
}

// Who may let this account be debited by this transfer.
absl::Status CheckAllowed(const Log& log, const Entry& entry, const ReplayedAccount& debit,
                          uint64_t transfer_kind) {
  const Entry* author = log.Find(entry.authorised_by);
  if (author == nullptr) return Wrong("nothing allowed it");
  if (debit.type != kSystem) {
    if (IdOr(entry, tag::kPrincipal) != debit.owner ||
        author->kind != kind::kPrincipalRegistered || author->subject != debit.owner) {
      return Wrong("its order is not of the owner of the account that it debits");
    }
  }
  if (debit.floor == kUnlimited && transfer_kind != kMintKind) {
    return Wrong("an unlimited account is there to mint from");
  }
  if (transfer_kind == kMintKind && author->kind != kind::kCooperativeFounded) {
    return Wrong("tokens are made by a founding only");
  }
  if (transfer_kind == kRewardKind && author->kind != kind::kStatementIssued) {
    return Wrong("a reward is allowed by a statement only");
  }
  return absl::OkStatus();
}

absl::Status Post(const Log& log, const Entry& entry, Accounts& accounts) {
  if (entry.Find(tag::kPendingTransfer) != nullptr) {
    return Wrong("holds are not known to this program");
  }
  ASSIGN_OR_RETURN(const uint64_t amount, entry.U64(tag::kAmount));
  ASSIGN_OR_RETURN(const uint64_t transfer_kind, entry.U64(tag::kTransferKind));
  if (amount == 0 || amount >> 63 != 0) return Wrong("its amount is out of bounds");
  if (transfer_kind < 1 || transfer_kind > kLastTransferKind) {
    return Wrong("it is of no known kind");
  }
  const Uuid debit_id = IdOr(entry, tag::kDebitAccount);
  const Uuid credit_id = IdOr(entry, tag::kCreditAccount);
  if (debit_id == credit_id) return Wrong("it debits and credits one account");
  const auto debit = accounts.find(debit_id), credit = accounts.find(credit_id);
  if (debit == accounts.end() || credit == accounts.end()) {
    return Wrong("one of its accounts was not opened before");
  }
  ReplayedAccount& from = debit->second;
  ReplayedAccount& to = credit->second;
  if (from.asset != to.asset) return Wrong("its accounts are of different assets");
  if (from.status != kOpen && from.status != kClosing) {
    return Wrong("the account it debits is shut");
  }
  if (to.status != kOpen) return Wrong("the account it credits is shut");
  RETURN_IF_ERROR(CheckAllowed(log, entry, from, transfer_kind));
  const int64_t value = static_cast<int64_t>(amount);
  ASSIGN_OR_RETURN(const int64_t left, CheckedSub(from.balance, value));
  ASSIGN_OR_RETURN(const int64_t grown, CheckedAdd(to.balance, value));
  if (from.floor != kUnlimited && left < from.floor) {
    return Wrong(absl::StrCat("the balance ", from.balance, " falls below the floor ", from.floor));
  }
  from.balance = left;
  to.balance = grown;
  return absl::OkStatus();
}

// Whether the signed order has this transfer. (The signature itself is verified with documents.)
absl::Status CheckOrder(const Entry& entry, const Documents& documents) {
  const auto digest = entry.DigestAt(tag::kDocumentDigest);
  if (!digest.ok()) return absl::OkStatus();
  const auto found = documents.find(*digest);
  if (found == documents.end()) return absl::OkStatus();
  if (found->second.type != "rochdale.ledger.v1.TransferOrder") {
    return Wrong("the document that it names is no TransferOrder");
  }
  ASSIGN_OR_RETURN(const nlohmann::json order, ParseObject(found->second.body));
  const uint64_t kind_number = entry.U64(tag::kTransferKind).value_or(0);
  for (const nlohmann::json& transfer : ProtoList(order, "transfers")) {
    if (ProtoText(transfer, "transfer_id") != entry.subject.ToString()) continue;
    const std::string kind_text = ProtoText(transfer, "kind");
    const bool same =
        ProtoText(transfer, "debit_account_id") == IdOr(entry, tag::kDebitAccount).ToString() &&
        ProtoText(transfer, "credit_account_id") == IdOr(entry, tag::kCreditAccount).ToString() &&
        ProtoInt(transfer, "amount_micro") ==
            static_cast<int64_t>(entry.U64(tag::kAmount).value_or(0)) &&
        kind_number <= kLastTransferKind &&
        (kind_text == absl::StrCat("TRANSFER_KIND_", kKindNames[kind_number]) ||
         kind_text == absl::StrCat(kind_number));
    return same ? absl::OkStatus() : Wrong("it is not as its signed order says");
  }
  return Wrong("its signed order has no such transfer");
}

}  // namespace

Accounts CheckTransfers(const Log& log, const Documents& documents, Report& report) {
  Check& check = report.Begin("transfers");
  Accounts accounts;
  std::set<Uuid> posted;
  for (const Entry& entry : log.entries()) {
    absl::Status status;
    if (entry.kind == kind::kAccountOpened) status = Open(entry, accounts);
    if (entry.kind == kind::kAccountChanged) status = Change(entry, accounts);
    if (entry.kind == kind::kTransferPosted) {
      check.Need(posted.insert(entry.subject).second, NameOf(log, entry),
                 "its transfer was posted before");
      status = Post(log, entry, accounts);
      if (status.ok()) status = CheckOrder(entry, documents);
    }
    check.Need(status, NameOf(log, entry));
  }
  std::map<std::string, absl::int128> sums;
  for (const auto& [id, account] : accounts) sums[account.asset] += account.balance;
  for (const auto& [asset, sum] : sums) {
    check.Need(sum == 0, asset, "debits do not equal credits");
  }
  check.Say(absl::StrCat(posted.size(), " transfers between ", accounts.size(),
                         " accounts: debits equal credits, no balance below its floor"));
  return accounts;
}

}  // namespace rochdale::verify
