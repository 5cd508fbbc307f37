#include "services/verify/epochs.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "libs/base/amount.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/canonical.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/merkle.h"
#include "libs/replay/books.h"
#include "services/verify/json.h"
#include "services/verify/proto_json.h"

namespace rochdale::verify {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

using crypto::Entry;

absl::Status Wrong(absl::string_view what) { return absl::DataLossError(what); }

Uuid IdOr(const Entry& entry, uint16_t tag) { return entry.IdAt(tag).value_or(Uuid{}); }

absl::StatusOr<int64_t> MoneyAt(const Entry& entry, uint16_t tag) {
  ASSIGN_OR_RETURN(const uint64_t value, entry.U64(tag));
  if (value >> 63 != 0) return Wrong("an amount beyond 63 bits");
  return static_cast<int64_t>(value);
}

absl::StatusOr<IssuedStatement> ReadStatement(const Log& log, const Entry& entry) {
  IssuedStatement statement;
  statement.entry = &entry;
  statement.principal.value = IdOr(entry, tag::kPrincipal);
  statement.account.value = IdOr(entry, tag::kAccount);
  ASSIGN_OR_RETURN(statement.credit, entry.I64(tag::kCreditNanoNats));
  ASSIGN_OR_RETURN(statement.payment, MoneyAt(entry, tag::kAmount));
  if (statement.account.value !=
      crypto::DeterministicId("payout/account", statement.principal)) {
    return Wrong("its account is not the principal's account for income");
  }
  ASSIGN_OR_RETURN(const absl::string_view packed, entry.Bytes(tag::kCreditEntries));
  int64_t sum = 0;
  for (size_t at = 0; at < packed.size(); at += 16) {
    ASSIGN_OR_RETURN(const Uuid event, Uuid::FromBytes(packed.substr(at, 16)));
    const Entry* credit = log.Find(EventId{event});
    if (credit == nullptr || credit->kind != kind::kCreditAssigned) {
      return Wrong("it counts a credit that the log does not have");
    }
    if (IdOr(*credit, tag::kPrincipal) != statement.principal.value ||
        credit->cooperative != entry.cooperative) {
      return Wrong("it counts a credit of somebody else");
    }
    ASSIGN_OR_RETURN(const int64_t value, credit->I64(tag::kCreditNanoNats));
    if (value < 0) return Wrong("it counts a negative credit");
    ASSIGN_OR_RETURN(sum, CheckedAdd(sum, value));
    statement.credits.push_back(EventId{event});
  }
  if (sum != statement.credit) return Wrong("its credit is not the sum of those it names");
  return statement;
}

// Every epoch of the log with its statements.
Epochs Collect(const Log& log, Check& check) {
  Epochs epochs;
  for (const size_t i : log.OfKind(kind::kEpochClosed)) {
    const Entry& entry = log.at(i);
    ClosedEpoch epoch;
    epoch.closed = &entry;
    epoch.pool = IdOr(entry, tag::kPool);
    epoch.number = static_cast<int64_t>(entry.U64(tag::kEpochNumber).value_or(0));
    check.Need(epochs.emplace(EpochId{entry.subject}, epoch).second, NameOf(log, entry),
               "its epoch was closed before");
  }
  for (const size_t i : log.OfKind(kind::kEpochSettled)) {
    const Entry& entry = log.at(i);
    const auto epoch = epochs.find(EpochId{entry.subject});
    if (epoch == epochs.end() || epoch->second.settled != nullptr) {
      check.Fail(NameOf(log, entry), "its epoch was not closed, or was settled before");
      continue;
    }
    epoch->second.settled = &entry;
  }
  for (const size_t i : log.OfKind(kind::kStatementIssued)) {
    const Entry& entry = log.at(i);
    const auto epoch = epochs.find(EpochId{IdOr(entry, tag::kEpoch)});
    auto statement = ReadStatement(log, entry);
    if (!check.Need(statement.status(), NameOf(log, entry))) continue;
    if (!check.Need(epoch != epochs.end(), NameOf(log, entry), "its epoch was not closed")) {
      continue;
    }
    check.Need(entry.authorised_by == epoch->second.closed->event_id, NameOf(log, entry),
               "another epoch than its own allowed it");
    epoch->second.statements.push_back(*std::move(statement));
  }
  for (auto& [id, epoch] : epochs) {
    std::vector<IssuedStatement>& list = epoch.statements;
    std::sort(list.begin(), list.end(), [](const IssuedStatement& a, const IssuedStatement& b) {
      return a.principal < b.principal;
    });
    for (size_t i = 0; i < list.size(); ++i) {
      list[i].position = static_cast<int64_t>(i);
      check.Need(i == 0 || list[i - 1].principal < list[i].principal, NameOf(log, *list[i].entry),
                 "the principal has two statements of one epoch");
    }
  }
  return epochs;
}

absl::Status CheckShares(const ClosedEpoch& epoch) {
  ASSIGN_OR_RETURN(const int64_t revenue, MoneyAt(*epoch.closed, tag::kAmount));
  ASSIGN_OR_RETURN(const int64_t credit_sum, epoch.closed->I64(tag::kCreditNanoNats));
  std::vector<int64_t> credits;
  std::vector<AccountId> accounts;
  int64_t credit = 0, paid = 0;
  uint64_t recipients = 0;
  for (const IssuedStatement& statement : epoch.statements) {
    credits.push_back(statement.credit);
    accounts.push_back(statement.account);
    ASSIGN_OR_RETURN(credit, CheckedAdd(credit, statement.credit));
    ASSIGN_OR_RETURN(paid, CheckedAdd(paid, statement.payment));
    recipients += statement.payment > 0 ? 1 : 0;
  }
  if (credit != credit_sum) return Wrong("its statements' credits do not sum up to its own");
  if (credit == 0 && revenue != 0) return Wrong("it shares money where nobody has credit");
  if (paid != revenue) {
    return Wrong(absl::StrCat("its statements sum up to ", paid, " micro-tokens, not ", revenue));
  }
  const auto stated = epoch.closed->U64(tag::kRecipientCount);
  if (stated.ok() && *stated != recipients) return Wrong("it has another number of recipients");
  const std::vector<int64_t> shares = LargestRemainderShares(revenue, credits, accounts);
  for (size_t i = 0; i < shares.size(); ++i) {
    if (shares[i] != epoch.statements[i].payment) {
      return Wrong(absl::StrCat("the share of ", epoch.statements[i].principal.ToString(), " is ",
                                shares[i], ", not ", epoch.statements[i].payment));
    }
  }
  return absl::OkStatus();
}

// The rounds that a founder's signature covers, where that document is there.
struct Range {
  int64_t first = 0, last = 0;
};
absl::StatusOr<std::optional<Range>> RoundsOf(const ClosedEpoch& epoch,
                                              const Documents& documents) {
  const auto digest = epoch.closed->DigestAt(tag::kDocumentDigest);
  const auto found = digest.ok() ? documents.find(*digest) : documents.end();
  if (found == documents.end()) return std::nullopt;
  if (found->second.type != "rochdale.payout.v1.EpochClosing") {
    return Wrong("the document that it names is no EpochClosing");
  }
  ASSIGN_OR_RETURN(const nlohmann::json body, ParseObject(found->second.body));
  if (ProtoText(body, "epoch_id") != epoch.closed->subject.ToString() ||
      ProtoText(body, "pool_id") != epoch.pool.ToString()) {
    return Wrong("the document that it names closes another epoch");
  }
  return Range{ProtoInt(body, "first_round"), ProtoInt(body, "last_round")};
}

// Exactly the credits of the rounds that were signed for.
absl::Status CheckCoverage(const Log& log, const ClosedEpoch& epoch, const Range& range,
                           const std::set<EventId>& counted) {
  for (const size_t i : log.OfKind(kind::kCreditAssigned)) {
    const Entry& credit = log.at(i);
    if (credit.cooperative != epoch.closed->cooperative) continue;
    const Entry* opened = log.Only(kind::kRoundOpened, IdOr(credit, tag::kRound));
    if (opened == nullptr) return Wrong(absl::StrCat(NameOf(log, credit), " is of no round"));
    const auto number = static_cast<int64_t>(opened->U64(tag::kRoundNumber).value_or(0));
    const bool covered = number >= range.first && number <= range.last;
    if (covered != counted.contains(credit.event_id)) {
      return Wrong(absl::StrCat(NameOf(log, credit), " of round ", number,
                                covered ? " is not counted" : " is counted, though not covered"));
    }
  }
  return absl::OkStatus();
}

crypto::Digest DistributionRoot(const std::vector<IssuedStatement>& statements) {
  crypto::Frontier tree;
  for (const IssuedStatement& statement : statements) {
    crypto::CanonicalWriter leaf(24);
    leaf.Raw(statement.principal.value.AsBytes())
        .U64(static_cast<uint64_t>(statement.cumulative));
    tree.Append(crypto::LeafHash(leaf.bytes()));
  }
  return tree.Root();
}

absl::Status CheckSettled(const ClosedEpoch& epoch) {
  ASSIGN_OR_RETURN(const int64_t revenue, MoneyAt(*epoch.closed, tag::kAmount));
  if (epoch.settled == nullptr) {
    return revenue == 0 ? absl::OkStatus() : Wrong("it was not settled");
  }
  const auto recipients = static_cast<uint64_t>(
      std::count_if(epoch.statements.begin(), epoch.statements.end(),
                    [](const IssuedStatement& s) { return s.payment > 0; }));
  if (epoch.settled->authorised_by != epoch.closed->event_id ||
      epoch.settled->U64(tag::kAmount).value_or(0) != static_cast<uint64_t>(revenue) ||
      epoch.settled->U64(tag::kTransferCount).value_or(~uint64_t{0}) != recipients) {
    return Wrong("EPOCH_SETTLED says otherwise");
  }
  const auto root = epoch.settled->DigestAt(tag::kDistributionRoot);
  if (root.ok() && *root != epoch.root) return Wrong("its distribution has another root");
  return absl::OkStatus();
}

// Epochs of a pool follow each other; payments add up over them.
void CheckPools(const Log& log, Epochs& epochs, Check& check) {
  std::map<Uuid, std::map<int64_t, ClosedEpoch*>> pools;
  for (auto& [id, epoch] : epochs) {
    check.Need(pools[epoch.pool].emplace(epoch.number, &epoch).second,
               NameOf(log, *epoch.closed), "its number was used before");
    const Entry* pool = log.Only(kind::kPoolCreated, epoch.pool);
    check.Need(pool != nullptr && epoch.closed->authorised_by == pool->event_id,
               NameOf(log, *epoch.closed), "its pool did not allow it");
  }
  for (auto& [pool, by_number] : pools) {
    std::map<PrincipalId, int64_t> so_far;
    int64_t next = 1;
    for (auto& [number, epoch] : by_number) {
      check.Need(number == next++, NameOf(log, *epoch->closed), "an epoch before it is missing");
      for (IssuedStatement& statement : epoch->statements) {
        const auto sum = CheckedAdd(so_far[statement.principal], statement.payment);
        if (!check.Need(sum.status(), NameOf(log, *statement.entry))) continue;
        statement.cumulative = so_far[statement.principal] = *sum;
      }
      epoch->root = DistributionRoot(epoch->statements);
      check.Need(CheckSettled(*epoch), NameOf(log, *epoch->closed));
    }
  }
}

absl::Status CheckPayment(const Log& log, const ClosedEpoch& epoch, IssuedStatement& statement,
                          const std::vector<const Entry*>& rewards) {
  if (rewards.size() != (statement.payment > 0 ? 1u : 0u)) {
    return Wrong(absl::StrCat("it was paid ", rewards.size(), " times"));
  }
  if (rewards.empty()) return absl::OkStatus();
  const Entry& transfer = *rewards.front();
  const Entry* pool = log.Only(kind::kPoolCreated, epoch.pool);
  if (transfer.U64(tag::kAmount).value_or(0) != static_cast<uint64_t>(statement.payment)) {
    return Wrong(absl::StrCat(NameOf(log, transfer), " pays another amount"));
  }
  if (pool == nullptr || IdOr(transfer, tag::kDebitAccount) != IdOr(*pool, tag::kAccount) ||
      IdOr(transfer, tag::kCreditAccount) != statement.account.value) {
    return Wrong(absl::StrCat(NameOf(log, transfer), " moves between other accounts"));
  }
  statement.paid = &transfer;
  return absl::OkStatus();
}

void CheckPayments(const Log& log, Epochs& epochs, Check& check) {
  std::map<EventId, std::vector<const Entry*>> rewards;  // by the statement that allows them
  for (const size_t i : log.OfKind(kind::kTransferPosted)) {
    const Entry& transfer = log.at(i);
    const bool reward = transfer.U64(tag::kTransferKind).value_or(0) == replay::kRewardKind;
    const Entry* author = log.Find(transfer.authorised_by);
    const bool by_statement = author != nullptr && author->kind == kind::kStatementIssued;
    check.Need(reward == by_statement, NameOf(log, transfer),
               "rewards, and only rewards, are allowed by statements");
    if (by_statement) rewards[author->event_id].push_back(&transfer);
  }
  size_t paid = 0;
  for (auto& [id, epoch] : epochs) {
    for (IssuedStatement& statement : epoch.statements) {
      check.Need(CheckPayment(log, epoch, statement, rewards[statement.entry->event_id]),
                 NameOf(log, *statement.entry));
      paid += statement.paid != nullptr ? 1 : 0;
    }
  }
  check.Say(absl::StrCat(paid, " shares paid, each once and exactly"));
}

}  // namespace

std::vector<int64_t> LargestRemainderShares(int64_t revenue, const std::vector<int64_t>& credits,
                                            const std::vector<AccountId>& accounts) {
  absl::uint128 sum = 0;
  for (const int64_t credit : credits) sum += static_cast<uint64_t>(credit);
  std::vector<int64_t> shares(credits.size(), 0);
  if (sum == 0) return shares;
  std::vector<std::pair<absl::uint128, size_t>> remainders;
  int64_t left = revenue;
  for (size_t i = 0; i < credits.size(); ++i) {
    const absl::uint128 product = absl::uint128(static_cast<uint64_t>(revenue)) *
                                  static_cast<uint64_t>(credits[i]);
    shares[i] = static_cast<int64_t>(product / sum);
    left -= shares[i];
    remainders.emplace_back(product % sum, i);
  }
  std::sort(remainders.begin(), remainders.end(), [&](const auto& a, const auto& b) {
    if (a.first != b.first) return a.first > b.first;
    return accounts[a.second] < accounts[b.second];
  });
  for (size_t i = 0; left > 0 && i < remainders.size(); ++i, --left) {
    ++shares[remainders[i].second];
  }
  return shares;
}

Epochs CheckEpochs(const Log& log, const Documents& documents, Report& report) {
  Check& check = report.Begin("epochs");
  Check& payments = report.Begin("payments");
  Epochs epochs = Collect(log, check);
  std::map<EventId, size_t> uses;
  absl::uint128 total = 0;
  for (auto& [id, epoch] : epochs) {
    const std::string where = NameOf(log, *epoch.closed);
    check.Need(CheckShares(epoch), where);
    std::set<EventId> counted;
    for (const IssuedStatement& statement : epoch.statements) {
      for (const EventId& credit : statement.credits) {
        check.Need(++uses[credit] == 1, NameOf(log, *statement.entry),
                   "it counts a credit that was counted before");
        counted.insert(credit);
      }
      total += static_cast<uint64_t>(statement.payment);
    }
    const auto range = RoundsOf(epoch, documents);
    if (check.Need(range.status(), where) && range->has_value()) {
      check.Need(CheckCoverage(log, epoch, **range, counted), where);
    }
  }
  CheckPools(log, epochs, check);
  check.Say(absl::StrCat(epochs.size(), " epochs share ", static_cast<uint64_t>(total),
                         " micro-tokens by ", uses.size(), " credits, to the last one"));
  CheckPayments(log, epochs, payments);
  return epochs;
}

}  // namespace rochdale::verify
