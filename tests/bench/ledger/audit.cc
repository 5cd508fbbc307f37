#include "tests/bench/ledger/audit.h"

#include <future>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/merkle.h"
#include "libs/rpc/status.h"
#include "tests/bench/ledger/usage.h"

namespace rochdale::bench {
namespace {

namespace v1 = ledger::v1;
namespace tag = crypto::tag;
using Stub = v1::LedgerService::Stub;

constexpr int kPage = 1'000;

void Fail(const std::string& why) { Require(absl::DataLossError(why), "the audit"); }

template <typename Request, typename Response>
Response Ask(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                      Response*),
             const Request& request) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Minutes(1)));
  Response response;
  Require(rpc::FromGrpc((stub.*method)(&context, request, &response)), "the audit");
  return response;
}

struct UuidHash {
  size_t operator()(const Uuid& id) const {
    size_t hash = 0;
    for (const uint8_t byte : id.bytes) hash = hash * 1'000'003 + byte;
    return hash;
  }
};

// What the leaves say, taken in order.
class Replay {
 public:
  explicit Replay(const Journal& journal) : journal_(journal) {
    for (int i = 0; i < journal.clients(); ++i) seen_.emplace_back();
  }

  void Take(const v1::LogEntry& leaf) {
    if (leaf.log_index() != static_cast<int64_t>(tree_.size())) Fail("the log has a gap");
    tree_.Append(crypto::LeafHash(leaf.entry()));
    const auto entry = crypto::DecodeEntry(leaf.entry());
    Require(entry.status(), "decoding a leaf");
    if (entry->kind != crypto::kind::kTransferPosted) return;
    const auto debit = entry->IdAt(tag::kDebitAccount);
    const auto credit = entry->IdAt(tag::kCreditAccount);
    const auto* amount = entry->Find(tag::kAmount);
    Require(debit.status(), "a leaf");
    Require(credit.status(), "a leaf");
    if (amount == nullptr) Fail("a transfer without amount");
    balances_[*debit] -= static_cast<int64_t>(amount->number);
    balances_[*credit] += static_cast<int64_t>(amount->number);
    Mark(entry->subject);
  }

  const crypto::Frontier& tree() const { return tree_; }
  int64_t transfers() const { return transfers_; }
  int64_t BalanceOf(const Uuid& account) const {
    const auto at = balances_.find(account);
    return at == balances_.end() ? 0 : at->second;
  }

  void CheckAcknowledged() const {
    for (size_t client = 0; client < seen_.size(); ++client) {
      for (uint32_t n = 0; journal_.WasSent(static_cast<uint32_t>(client), n); ++n) {
        if (!journal_.WasAcknowledged(static_cast<uint32_t>(client), n)) continue;
        if (n < seen_[client].size() && seen_[client][n]) continue;
        Fail(absl::StrCat("transfer ", n, " of client ", client,
                          " was acknowledged and is not in the log"));
      }
    }
  }

 private:
  void Mark(const Uuid& transfer) {
    uint32_t client = 0, sequence = 0;
    if (!ReadTransferId(transfer, client, sequence)) Fail("a transfer that nobody sent");
    if (!journal_.WasSent(client, sequence)) Fail("a transfer that nobody sent");
    std::vector<bool>& seen = seen_[client];
    if (seen.size() <= sequence) seen.resize(sequence + 1, false);
    if (seen[sequence]) Fail("a transfer is in the log twice");
    seen[sequence] = true;
    ++transfers_;
  }

  const Journal& journal_;
  crypto::Frontier tree_;
  std::unordered_map<Uuid, int64_t, UuidHash> balances_;
  std::vector<std::vector<bool>> seen_;
  int64_t transfers_ = 0;
};

// Asks for the next page while one is read.
void ReadLog(Stub& stub, int64_t size, Replay& replay) {
  const auto page = [&stub](int64_t from) {
    v1::ListEntriesRequest request;
    request.set_from_index(from);
    request.set_page_size(kPage);
    return Ask(stub, &Stub::ListEntries, request);
  };
  auto next = std::async(std::launch::async, page, 0);
  for (int64_t taken = 0; taken < size;) {
    const v1::ListEntriesResponse response = next.get();
    if (response.entries_size() == 0) Fail("the log is shorter than its head");
    const int64_t after = taken + response.entries_size();
    if (after < size) next = std::async(std::launch::async, page, after);
    for (const v1::LogEntry& entry : response.entries()) {
      if (entry.log_index() < size) replay.Take(entry);
    }
    taken = after;
  }
}

void CheckBalances(Stub& stub, const World& world, const Replay& replay) {
  int64_t sum = 0;
  size_t accounts = 0;
  for (const std::string& owner : world.owners()) {
    v1::ListAccountsRequest request;
    request.set_owner_id(owner);
    request.set_page_size(kPage);
    do {
      const v1::ListAccountsResponse response = Ask(stub, &Stub::ListAccounts, request);
      for (const v1::Account& account : response.accounts()) {
        const auto id = Uuid::Parse(account.account_id());
        Require(id.status(), "an account");
        if (account.balance_micro() != replay.BalanceOf(*id)) {
          Fail(absl::StrCat("account ", account.account_id(), " has ", account.balance_micro(),
                            ", its leaves sum to ", replay.BalanceOf(*id)));
        }
        sum += account.balance_micro();
        ++accounts;
      }
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
  }
  if (accounts != world.accounts().size() + world.signers().size()) Fail("accounts are missing");
  if (sum != 0) Fail(absl::StrCat("the balances sum to ", sum));
}

}  // namespace

Audited Audit(LedgerProcess& ledger, const World& world, const Journal& journal) {
  const absl::Time begin = absl::Now();
  const auto anyone = v1::LedgerService::NewStub(ledger.Connect(""));
  const auto payout = v1::LedgerService::NewStub(ledger.Connect("payout"));
  Replay replay(journal);
  // The head is signed about once a second: until it covers what was acknowledged.
  v1::TreeHead head;
  while (true) {
    head = Ask(*anyone, &Stub::GetTreeHead, v1::GetTreeHeadRequest()).tree_head();
    if (head.size() > journal.log_index_max()) break;
    if (absl::Now() > begin + absl::Minutes(1)) Fail("no head is signed");
    absl::SleepFor(absl::Milliseconds(200));
  }
  ReadLog(*anyone, head.size(), replay);
  if (replay.tree().Root().AsBytes() != head.root()) Fail("the tree has another root");
  replay.CheckAcknowledged();
  CheckBalances(*payout, world, replay);
  return {head.size(), replay.transfers(), absl::ToDoubleSeconds(absl::Now() - begin)};
}

}  // namespace rochdale::bench
