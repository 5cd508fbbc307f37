#include "services/verify/money.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"
#include "services/verify/json.h"
#include "services/verify/proto_json.h"

namespace rochdale::verify {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

using crypto::Entry;

constexpr char kTransferOrder[] = "rochdale.ledger.v1.TransferOrder";
constexpr char kConversionOrder[] = "rochdale.ledger.v1.ConversionOrder";
constexpr const char* kKindNames[] = {"",       "DEPOSIT", "TRADE",   "REWARD",   "SPEND",
                                      "FEE",    "ESCROW",  "RELEASE", "REFUND",   "EMISSION",
                                      "SLASH",  "BURN",    "MINT",    "REVENUE"};
constexpr const char* kPhaseNames[] = {"UNSPECIFIED", "PENDING", "POST", "VOID"};

absl::Status Wrong(absl::string_view what) { return absl::DataLossError(what); }

Uuid IdOr(const Entry& entry, uint16_t tag) { return entry.IdAt(tag).value_or(Uuid{}); }

uint64_t NumberOr(const Entry& entry, uint16_t tag) { return entry.U64(tag).value_or(0); }

absl::Status CheckAllowed(const Log& log, const Entry& entry, const replay::Books& books) {
  const Entry* author = log.Find(entry.authorised_by);
  if (author == nullptr) return Wrong("nothing allowed it");
  const replay::Account& debit = *books.FindAccount(IdOr(entry, tag::kDebitAccount));
  const uint64_t transfer_kind = NumberOr(entry, tag::kTransferKind);
  const uint64_t phase = NumberOr(entry, tag::kPhase);
  const bool takes = phase == replay::kAtOnce || phase == replay::kPending;
  if (takes && !debit.floor && transfer_kind != replay::kMintKind) {
    return Wrong("an unlimited account is there to mint from");
  }
  if (transfer_kind == replay::kMintKind && author->kind != kind::kCooperativeFounded) {
    return Wrong("tokens are made by a founding only");
  }
  if (transfer_kind == replay::kRewardKind && author->kind != kind::kStatementIssued) {
    return Wrong("a reward is allowed by a statement only");
  }
  return absl::OkStatus();
}

std::string ProtoId(const nlohmann::json& message, const char* field) {
  return absl::AsciiStrToLower(ProtoText(message, field));
}

// An account of the body, where it is given: what ends a hold may leave the hold's out.
bool SameId(const nlohmann::json& transfer, const char* field, const Entry& entry, uint16_t tag,
            bool may_be_absent) {
  const std::string text = ProtoId(transfer, field);
  return text == IdOr(entry, tag).ToString() || (may_be_absent && text.empty());
}

bool SameEnum(const std::string& text, absl::string_view prefix, const char* name,
              uint64_t number) {
  return text == absl::StrCat(prefix, name) || text == absl::StrCat(number) ||
         (number == 0 && text.empty());
}

bool SameAmount(const nlohmann::json& transfer, const Entry& entry, uint64_t phase) {
  const int64_t asked = ProtoInt(transfer, "amount_micro");
  const auto moved = static_cast<int64_t>(NumberOr(entry, tag::kAmount));
  if (phase == replay::kVoid || (phase == replay::kPost && asked == 0)) return true;  // the hold's
  const bool balancing = entry.Find(tag::kRequestedAmount) != nullptr;
  if (ProtoBool(transfer, "balancing") != balancing) return false;
  return asked == (balancing ? static_cast<int64_t>(NumberOr(entry, tag::kRequestedAmount))
                             : moved);
}

absl::Status CheckTransferOrder(const nlohmann::json& order, const Entry& entry) {
  const uint64_t kind_number = NumberOr(entry, tag::kTransferKind);
  const uint64_t phase = NumberOr(entry, tag::kPhase);
  const bool ends_hold = phase == replay::kPost || phase == replay::kVoid;
  const auto reference = entry.Bytes(tag::kReference);
  for (const nlohmann::json& transfer : ProtoList(order, "transfers")) {
    if (ProtoId(transfer, "transfer_id") != entry.subject.ToString()) continue;
    const std::string kind_text = ProtoText(transfer, "kind");
    const auto same_or_none = [&](const char* field, uint16_t tag) {
      const std::string text = ProtoId(transfer, field);
      return entry.Find(tag) == nullptr ? text.empty() : text == IdOr(entry, tag).ToString();
    };
    const bool same =
        SameId(transfer, "debit_account_id", entry, tag::kDebitAccount, ends_hold) &&
        SameId(transfer, "credit_account_id", entry, tag::kCreditAccount, ends_hold) &&
        SameAmount(transfer, entry, phase) &&
        SameEnum(ProtoText(transfer, "phase"), "TRANSFER_PHASE_", kPhaseNames[phase], phase) &&
        ((ends_hold && (kind_text.empty() || kind_text == "TRANSFER_KIND_UNSPECIFIED")) ||
         SameEnum(kind_text, "TRANSFER_KIND_", kKindNames[kind_number], kind_number)) &&
        same_or_none("pending_id", tag::kPendingTransfer) &&
        same_or_none("corrects", tag::kCorrects) &&
        ProtoInt(transfer, "code") == static_cast<int64_t>(NumberOr(entry, tag::kCode)) &&
        ProtoText(transfer, "reference") == (reference.ok() ? std::string(*reference) : "") &&
        ProtoBool(transfer, "linked") == (NumberOr(entry, tag::kLinked) == 1) &&
        (phase != replay::kPending ||
         ProtoInt(transfer, "timeout_s") * 1'000'000 ==
             entry.I64(tag::kExpiresUs).value_or(0) - entry.time_us);
    return same ? absl::OkStatus() : Wrong("it is not as its signed order says");
  }
  return Wrong("its signed order has no such transfer");
}

// One of the two legs of a conversion.
absl::Status CheckConversionOrder(const nlohmann::json& order, const Entry& entry) {
  const auto amount = static_cast<int64_t>(NumberOr(entry, tag::kAmount));
  const bool gives = ProtoId(order, "from_account_id") ==
                         IdOr(entry, tag::kDebitAccount).ToString() &&
                     ProtoInt(order, "amount_micro") == amount;
  const bool receives = ProtoId(order, "to_account_id") ==
                            IdOr(entry, tag::kCreditAccount).ToString() &&
                        amount >= ProtoInt(order, "receive_min_micro");
  if (gives != receives) return absl::OkStatus();
  return Wrong("it is not as its signed order says");
}

// Whether the signed order has this transfer. (The signature itself is verified with documents.)
absl::Status CheckOrder(const Entry& entry, const Documents& documents) {
  const auto digest = entry.DigestAt(tag::kDocumentDigest);
  if (!digest.ok()) return absl::OkStatus();
  const auto found = documents.find(*digest);
  if (found == documents.end()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const nlohmann::json order, ParseObject(found->second.body));
  if (found->second.type == kTransferOrder) return CheckTransferOrder(order, entry);
  if (found->second.type == kConversionOrder) return CheckConversionOrder(order, entry);
  return Wrong("the document that it names is no order");
}

}  // namespace

replay::Books CheckTransfers(const Log& log, const Documents& documents, Report& report) {
  Check& check = report.Begin("transfers");
  replay::Books books;
  for (const Entry& entry : log.entries()) {
    absl::Status status = books.Apply(entry);
    if (status.ok() && entry.kind == kind::kTransferPosted) {
      status = CheckAllowed(log, entry, books);
      if (status.ok()) status = CheckOrder(entry, documents);
    }
    check.Need(status, NameOf(log, entry));
  }
  check.Need(books.Close(), "log");
  check.Say(absl::StrCat(books.transfers(), " transfers between ", books.accounts().size(),
                         " accounts, ", books.open_holds(),
                         " holds open: debits equal credits, no balance less holds below its ",
                         "floor"));
  return books;
}

}  // namespace rochdale::verify
