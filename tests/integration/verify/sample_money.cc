// The money of the sample: revenue, epochs, statements.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "libs/crypto/base64.h"
#include "libs/crypto/canonical.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/merkle.h"
#include "nlohmann/json.hpp"
#include "tests/integration/verify/sample_cooperative.h"

namespace rochdale::verify {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

namespace {

using Json = nlohmann::json;

// Any node of the tree over these leaves, computed anew.
crypto::NodeReader ReaderOf(const std::vector<std::string>& leaves) {
  return [&leaves](int level, uint64_t index) -> absl::StatusOr<crypto::Digest> {
    crypto::Frontier tree;
    for (uint64_t i = index << level; i < (index + 1) << level; ++i) {
      tree.Append(crypto::LeafHash(leaves.at(i)));
    }
    return tree.Root();
  };
}

// Largest remainders, ties to the lower account.
std::vector<int64_t> Shares(int64_t revenue, const std::vector<int64_t>& credits,
                            const std::vector<AccountId>& accounts) {
  absl::int128 sum = 0;
  for (const int64_t credit : credits) sum += credit;
  std::vector<int64_t> shares;
  std::vector<std::pair<absl::int128, size_t>> order;
  int64_t left = revenue;
  for (size_t i = 0; i < credits.size(); ++i) {
    const absl::int128 product = absl::int128(revenue) * credits[i];
    shares.push_back(static_cast<int64_t>(product / sum));
    order.emplace_back(product % sum, i);
    left -= shares.back();
  }
  std::sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : accounts[a.second] < accounts[b.second];
  });
  for (size_t i = 0; left > 0; ++i, --left) ++shares[order[i].second];
  return shares;
}

}  // namespace

void SampleCooperative::PayRevenue(int64_t amount) {
  const Uuid transfer = NewId(absl::StrCat("revenue ", leaves_.size()));
  const Json order = {{"transfers",
                       {{{"transferId", transfer.ToString()},
                         {"debitAccountId", customer_account_.ToString()},
                         {"creditAccountId", pool_account_.ToString()},
                         {"amountMicro", absl::StrCat(amount + (Is(Fault::kOtherOrder) ? 1 : 0))},
                         {"kind", "TRANSFER_KIND_REVENUE"}}}},
                      {"signedTimeUs", absl::StrCat(time_us_)}};
  crypto::EntryBuilder posted = TransferEntry(transfer);
  Append(posted.Cooperative(cooperative_).AuthorisedBy(customer_registered_)
             .Id(tag::kDebitAccount, customer_account_).Id(tag::kCreditAccount, pool_account_)
             .U64(tag::kAmount, static_cast<uint64_t>(amount)).U64(tag::kTransferKind, 13)
             .Id(tag::kPrincipal, customer_)
             .Document(Sign(customer_key_, "rochdale.ledger.v1.TransferOrder", order.dump())));
}

void SampleCooperative::CloseEpoch(int64_t number, int64_t revenue) {
  const EpochId epoch{NewId(absl::StrCat("epoch ", number))};
  struct Payee {
    size_t member;
    int64_t credit = 0;
    std::vector<Credited> lines;
  };
  std::map<PrincipalId, Payee> payees;
  for (const Credited& credited : credits_) {
    Payee& payee = payees[members_[credited.member].principal];
    payee.member = credited.member;
    if (Is(Fault::kCreditLeftOut) && number == 2 && credited.member == 0) continue;
    payee.credit += credited.credit.credit;
    payee.lines.push_back(credited);
  }
  if (Is(Fault::kCreditCountedTwice) && number == 2) {
    Payee& payee = payees[members_[all_credits_[0].member].principal];
    payee.member = all_credits_[0].member;
    payee.credit += all_credits_[0].credit.credit;
    payee.lines.push_back(all_credits_[0]);
  }
  std::vector<int64_t> credits;
  std::vector<AccountId> accounts;
  int64_t sum = 0;
  for (const auto& [principal, payee] : payees) {
    credits.push_back(payee.credit);
    accounts.push_back(AccountId{crypto::DeterministicId("payout/account", principal)});
    sum += payee.credit;
  }
  std::vector<int64_t> shares = Shares(revenue, credits, accounts);
  if (Is(Fault::kWrongShare)) --shares[0], ++shares[1];
  const auto recipients = static_cast<uint64_t>(
      std::count_if(shares.begin(), shares.end(), [](int64_t share) { return share > 0; }));
  EventId closed_event;
  crypto::EntryBuilder closed = Entry(kind::kEpochClosed, &closed_event);
  Append(closed.Cooperative(cooperative_).Subject(epoch).AuthorisedBy(pool_event_)
             .Id(tag::kPool, pool_).I64(tag::kCreditNanoNats, sum)
             .U64(tag::kAmount, static_cast<uint64_t>(revenue))
             .U64(tag::kRecipientCount, recipients)
             .U64(tag::kEpochNumber, static_cast<uint64_t>(number))
             .Document(Sign(founder_, "rochdale.payout.v1.EpochClosing",
                            Json{{"epoch_id", epoch.ToString()}, {"pool_id", pool_.ToString()},
                                 {"first_round", absl::StrCat(number)},
                                 {"last_round", absl::StrCat(number)}}
                                .dump())));
  crypto::Frontier distribution;
  std::vector<std::string> shares_tree;
  std::vector<std::pair<std::string, Json>> issued_files;
  size_t position = 0;
  for (const auto& [principal, payee] : payees) {
    Member& member = members_[payee.member];
    const int64_t share = shares[position];
    const AccountId account = accounts[position];
    member.cumulative += share;
    std::string packed;
    for (const Credited& line : payee.lines) absl::StrAppend(&packed, line.event.value.AsBytes());
    EventId issued_event;
    crypto::EntryBuilder issued = Entry(kind::kStatementIssued, &issued_event);
    Append(issued.Cooperative(cooperative_).AuthorisedBy(closed_event)
               .Subject(crypto::DeterministicId("payout/statement-id", epoch, principal))
               .Id(tag::kPrincipal, principal).Id(tag::kEpoch, epoch)
               .U64(tag::kAmount, static_cast<uint64_t>(share))
               .Bytes(tag::kCreditEntries, packed).Id(tag::kAccount, account)
               .I64(tag::kCreditNanoNats, payee.credit));
    if (number == 1 || !std::any_of(rounds_[0].updates.begin(), rounds_[0].updates.end(),
                                    [&](const auto& u) { return u.principal == principal; })) {
      crypto::EntryBuilder opened = Entry(kind::kAccountOpened, nullptr);
      Append(opened.Subject(account).AuthorisedBy(closed_event).Id(tag::kPrincipal, principal)
                 .U64(tag::kAccountType, 1).Text(tag::kAsset, "token").I64(tag::kFloor, 0));
    }
    const Uuid transfer = crypto::DeterministicId("payout/transfer", epoch, principal, 1);
    const int times = Is(Fault::kPaidTwice) ? 2 : Is(Fault::kPaidNothing) ? 0 : 1;
    for (int i = 0; share > 0 && i < times && (i == 0 || position == 0); ++i) {
      crypto::EntryBuilder paid = TransferEntry(i == 0 ? transfer : NewId("again"));
      Append(paid.Cooperative(cooperative_)
                 .AuthorisedBy(issued_event).Id(tag::kDebitAccount, pool_account_)
                 .Id(tag::kCreditAccount, account)
                 .U64(tag::kAmount, static_cast<uint64_t>(share)).U64(tag::kTransferKind, 3)
                 .Bytes(tag::kReference, absl::StrCat("epoch ", number)));
    }
    crypto::CanonicalWriter leaf;
    leaf.Raw(principal.value.AsBytes()).U64(static_cast<uint64_t>(member.cumulative));
    distribution.Append(crypto::LeafHash(leaf.bytes()));
    shares_tree.push_back(leaf.bytes());
    Json lines = Json::array();
    for (const Credited& c : payee.lines) {
      Json line = {{"round_number", absl::StrCat(c.round_number)},
                   {"update_id", c.update.ToString()},
                   {"outcome", c.applied ? "APPLIED" : "NOT_APPLIED"},
                   {"reason", c.applied ? "" : NotAppliedReason(c.credit)},
                   {"credit_entry", {{"event_id", c.event.ToString()}}},
                   {"decision_entry", {{"event_id", c.decision.ToString()}}}};
      const auto put = [&](const char* field, int64_t value) {
        if (value != 0) line[field] = absl::StrCat(value);
      };
      put("credit_nanonats", c.credit.credit);
      put("estimate_nanonats", c.credit.estimate);
      put("standard_error_nanonats", c.credit.standard_error);
      put("tolerance_nanonats", Is(Fault::kOtherTolerance) ? 1'000 : 0);
      lines.push_back(line);
    }
    Json statement = {
        {"epoch_id", epoch.ToString()}, {"principal_id", principal.ToString()}, {"lines", lines},
        {"credit_sum_nanonats", absl::StrCat(sum)},
        {"revenue_microtokens", absl::StrCat(revenue)}, {"account_id", account.ToString()},
        {"entry", {{"event_id", issued_event.ToString()}}}};
    const auto put = [&](const char* field, int64_t value) {
      if (value != 0) statement[field] = absl::StrCat(value);
    };
    put("credit_nanonats", payee.credit);
    put("payment_microtokens", share + (Is(Fault::kWrongStatement) ? 1 : 0));
    put("distribution_index", static_cast<int64_t>(position));
    put("cumulative_microtokens", member.cumulative);
    if (share > 0) statement["transfer_id"] = transfer.ToString(), statement["paid"] = true;
    issued_files.emplace_back(
        absl::StrCat("statements/", epoch.ToString(), ".", principal.ToString(), ".json"),
        statement);
    ++position;
  }
  for (size_t i = 0; i < issued_files.size(); ++i) {
    Json proof = Json::array();
    const auto hashes = crypto::InclusionProof(i, issued_files.size(), ReaderOf(shares_tree));
    for (const crypto::Digest& hash : hashes.value()) {
      proof.push_back(crypto::Base64Encode(crypto::Base64::kStandard, hash.AsBytes()));
    }
    if (!proof.empty()) issued_files[i].second["distribution_proof"] = proof;
    files_[issued_files[i].first] = issued_files[i].second.dump();
  }
  credits_.clear();
  if (Is(Fault::kNotSettled)) return;
  crypto::EntryBuilder settled = Entry(kind::kEpochSettled, nullptr);
  Append(settled.Cooperative(cooperative_).Subject(epoch).AuthorisedBy(closed_event)
             .U64(tag::kTransferCount, recipients)
             .U64(tag::kAmount, static_cast<uint64_t>(revenue)).Id(tag::kPool, pool_)
             .Digest(tag::kDistributionRoot, distribution.Root()));
}

}  // namespace rochdale::verify
