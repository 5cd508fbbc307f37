// What the ledger shows of itself at the end of a history: its accounts and holds, its log, what
// the log replays to, the roots of every head that was ever seen, and an audit of its database.
#include <map>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/note.h"
#include "libs/replay/books.h"
#include "services/ledger/audit.h"
#include "tests/integration/ledger/simulation_stage.h"

namespace rochdale::ledger::testing {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

template <typename Base, typename Request, typename Response>
Response Ask(Stage& stage,
             grpc::Status (Base::*method)(grpc::ClientContext*, const Request&, Response*),
             const std::type_identity_t<Request>& request) {
  Response response;
  absl::Status status;
  for (int attempt = 0; attempt < 20; ++attempt) {
    status = stage.Writer()->Call("service:payout", method, request, &response);
    if (status.ok()) return response;
    absl::SleepFor(absl::Milliseconds(20));
  }
  throw std::runtime_error(
      absl::StrCat(status.ToString(), " for ", request.ShortDebugString()));
}

// Accounts as leaves alone make them.
struct Replayed {
  struct Account {
    int64_t debits = 0, credits = 0, held = 0;
    int status = v1::ACCOUNT_STATUS_OPEN;
    int64_t version = 1, floor = 0;
  };
  struct Hold {
    std::string debit;
    int64_t amount = 0;
  };
  std::map<std::string, Account> accounts;
  std::map<std::string, Hold> open;
  int64_t last_time_us = 0;

  // Empty: the entry fits what came before it.
  std::string Take(const crypto::Entry& entry) {
    if (entry.service == crypto::Service::kLedger) {
      if (entry.time_us < last_time_us) return "its time goes back";
      last_time_us = entry.time_us;
    }
    switch (entry.kind) {
      case kind::kAccountOpened: {
        Account& account = accounts[entry.subject.ToString()];
        account.floor = entry.I64(tag::kFloor).value();
        return "";
      }
      case kind::kAccountChanged: {
        Account& account = accounts[entry.subject.ToString()];
        account.status = static_cast<int>(entry.U64(tag::kStatus).value());
        account.version = static_cast<int64_t>(entry.U64(tag::kVersion).value());
        if (entry.Find(tag::kFloor) != nullptr) account.floor = entry.I64(tag::kFloor).value();
        return "";
      }
      case kind::kHoldExpired: return End(entry.subject.ToString());
      case kind::kTransferPosted: return Transfer(entry);
      default: return "";
    }
  }

 private:
  std::string End(const std::string& id) {
    const auto hold = open.find(id);
    if (hold == open.end()) return "it ends a hold that is not open";
    accounts[hold->second.debit].held -= hold->second.amount;
    open.erase(hold);
    return "";
  }

  std::string Transfer(const crypto::Entry& entry) {
    const auto amount = static_cast<int64_t>(entry.U64(tag::kAmount).value());
    const std::string debit = entry.IdAt(tag::kDebitAccount)->ToString();
    const std::string credit = entry.IdAt(tag::kCreditAccount)->ToString();
    if (!accounts.contains(debit) || !accounts.contains(credit)) return "no such account";
    const uint64_t phase = entry.Find(tag::kPhase) == nullptr ? 0 : entry.U64(tag::kPhase).value();
    if (phase == 1) {
      accounts[debit].held += amount;
      open[entry.subject.ToString()] = {debit, amount};
      return "";
    }
    if (phase > 1) {
      if (std::string wrong = End(entry.IdAt(tag::kPendingTransfer)->ToString()); !wrong.empty()) {
        return wrong;
      }
    }
    if (phase == 3) return "";
    accounts[debit].debits += amount;
    accounts[credit].credits += amount;
    return "";
  }
};

// Reads the whole log; its root at the sizes of the heads, and what it replays to.
std::string ReadLog(Stage& stage, int64_t size, std::map<int64_t, crypto::Digest>& roots,
                    Replayed& replayed) {
  crypto::Frontier frontier;
  replay::Books books;
  int64_t next = 0;
  while (next < size) {
    v1::ListEntriesRequest list;
    list.set_from_index(next);
    list.set_page_size(1'000);
    const v1::ListEntriesResponse page = Ask(stage, &Stub::ListEntries, list);
    if (page.entries().empty()) return absl::StrCat("the log ends at ", next, ", not at ", size);
    for (const v1::LogEntry& logged : page.entries()) {
      if (logged.log_index() != next++) return absl::StrCat("entry ", next - 1, " is missing");
      const auto entry = crypto::DecodeEntry(logged.entry());
      if (!entry.ok()) return absl::StrCat("entry ", next - 1, ": ", entry.status().ToString());
      if (const absl::Status fits = crypto::CheckKind(*entry); !fits.ok()) {
        return absl::StrCat("entry ", next - 1, ": ", fits.ToString());
      }
      if (std::string wrong = replayed.Take(*entry); !wrong.empty()) {
        return absl::StrCat("entry ", next - 1, " of kind ", entry->kind, ": ", wrong);
      }
      if (const absl::Status allowed = books.Apply(*entry); !allowed.ok()) {
        return absl::StrCat("entry ", next - 1, " cannot be replayed: ", allowed.ToString());
      }
      frontier.Append(crypto::LeafHash(logged.entry()));
      if (roots.contains(next)) roots[next] = frontier.Root();
    }
  }
  if (const absl::Status end = books.Close(); !end.ok()) return end.ToString();
  v1::GetEntryRequest beyond;
  beyond.set_log_index(size);
  v1::GetEntryResponse response;
  const absl::Status status =
      stage.Writer()->Call("service:payout", &Stub::GetEntry, beyond, &response);
  return ReasonOf(status) == "LOG_SIZE_UNKNOWN" ? "" : "the log goes on beyond its end";
}

std::string CompareAccount(Stage& stage, const std::string& id, const Auditor::Account& should,
                           const Replayed::Account& replayed) {
  v1::GetAccountRequest get;
  get.set_account_id(id);
  const v1::Account is = Ask(stage, &Stub::GetAccount, get).account();
  const bool same = is.balance_micro() == should.balance() && is.held_micro() == should.held &&
                    is.debits_micro() == should.debits && is.credits_micro() == should.credits &&
                    is.status() == should.status && is.version() == should.version &&
                    (is.unlimited() || is.floor_micro() == should.floor);
  if (!same) {
    return absl::StrCat("account ", is.ShortDebugString(), "\n  should have debits ",
                        should.debits, " credits ", should.credits, " held ", should.held,
                        " status ", should.status, " version ", should.version);
  }
  if (replayed.debits != should.debits || replayed.credits != should.credits ||
      replayed.held != should.held || replayed.status != should.status ||
      replayed.version != should.version ||
      (!is.unlimited() && replayed.floor != should.floor)) {
    return absl::StrCat("account ", id, " replays from the log to debits ", replayed.debits,
                        " credits ", replayed.credits, " held ", replayed.held, " status ",
                        replayed.status, " version ", replayed.version, " floor ", replayed.floor);
  }
  return "";
}

std::string CompareTransfer(Stage& stage, const std::string& id, const Auditor::Posted& should) {
  v1::GetTransferRequest get;
  get.set_transfer_id(id);
  const v1::Transfer is = Ask(stage, &Stub::GetTransfer, get).transfer();
  if (is.debit_account_id() != should.debit || is.credit_account_id() != should.credit ||
      is.amount_micro() != should.outcome.amount_micro() || is.kind() != should.kind ||
      is.log_index() != should.outcome.log_index() || is.phase() != should.asked.phase() ||
      is.linked() != should.asked.linked() || is.corrects() != should.asked.corrects() ||
      is.code() != should.asked.code() || is.reference() != should.asked.reference() ||
      is.pending_id() != should.asked.pending_id() || is.mandate_id() != should.mandate) {
    return absl::StrCat("transfer ", is.ShortDebugString(), "\n  was asked for as ",
                        should.asked.ShortDebugString());
  }
  if (should.state == v1::HOLD_STATE_UNSPECIFIED) return "";
  v1::GetHoldRequest hold;
  hold.set_transfer_id(id);
  const v1::Hold held = Ask(stage, &Stub::GetHold, hold).hold();
  if (held.state() != should.state || held.posted_micro() != should.moved) {
    return absl::StrCat("hold ", held.ShortDebugString(), "\n  should be in state ", should.state,
                        " with ", should.moved, " posted");
  }
  return "";
}

std::string CompareBalance(Stage& stage, const std::string& id, const Auditor::Account& should) {
  v1::GetBalanceRequest get;
  get.set_account_id(id);
  const v1::GetBalanceResponse is = Ask(stage, &Stub::GetBalance, get);
  if (is.balance().balance_micro() == should.balance() &&
      is.balance().held_micro() == should.held &&
      is.balance().debits_micro() == should.debits &&
      is.balance().credits_micro() == should.credits &&
      is.balance().transfer_count() == should.moves &&
      is.period_debits_micro() == should.debits && is.period_credits_micro() == should.credits) {
    return "";
  }
  return absl::StrCat("balances of ", id, ": ", is.ShortDebugString(), "\n  should have debits ",
                      should.debits, " credits ", should.credits, " held ", should.held, " count ",
                      should.moves);
}

std::string AuditTables(Stage& stage) {
  const auto audit = stage.database().ForService("ledger").Transact(
      absl::Minutes(1), [](pg::Transaction& tx) { return AuditDatabase(tx, {}); },
      {.isolation = pg::Isolation::kRepeatableRead});
  if (!audit.ok()) return audit.status().ToString();
  return audit->problems.empty() ? "" : absl::StrCat("audit: ", audit->problems.front());
}

}  // namespace

std::string AuditAtTheEnd(Stage& stage, const History& history, const Auditor& auditor) {
  constexpr size_t kTransfersMax = 100;
  stage.LookAtHead();
  std::map<int64_t, crypto::Digest> roots;
  for (const v1::TreeHead& head : stage.heads()) roots[head.size()] = {};
  Replayed replayed;
  std::string wrong = ReadLog(stage, auditor.log_size(), roots, replayed);
  if (!wrong.empty()) return wrong;
  for (const v1::TreeHead& head : stage.heads()) {
    const crypto::NoteKey log{"test.rochdale.local/log", crypto::NoteAlgorithm::kEd25519,
                              LogKey().public_key()};
    const auto opened = crypto::OpenCheckpoint(head.note(), log);
    if (!opened.ok() || static_cast<int64_t>(opened->size) != head.size() ||
        opened->root != roots[head.size()]) {
      return absl::StrCat("the head of size ", head.size(), " is not that of the log");
    }
  }
  int64_t balances = 0;
  for (const auto& [id, account] : auditor.accounts()) {
    wrong = CompareAccount(stage, id, account, replayed.accounts[id]);
    if (wrong.empty()) wrong = CompareBalance(stage, id, account);
    if (!wrong.empty()) return wrong;
    if (account.opened.asset() == "token") balances += account.balance();
  }
  if (balances != 0) return absl::StrCat("tokens sum up to ", balances);
  size_t looked_at = 0;
  for (const auto& [id, posted] : auditor.posted()) {
    if (++looked_at > kTransfersMax) break;
    if (wrong = CompareTransfer(stage, id, posted); !wrong.empty()) return wrong;
  }
  return AuditTables(stage);
}

}  // namespace rochdale::ledger::testing
