#include "services/payout/settlement.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry_builder.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/obs/log.h"
#include "libs/pg/database.h"
#include "libs/service/log_entry.h"
#include "rochdale/ledger/v1/ledger.pb.h"
#include "services/payout/epoch_store.h"

namespace rochdale::payout {
namespace {

namespace ledger_v1 = ::rochdale::ledger::v1;
namespace tag = crypto::tag;

constexpr int kBatch = 8'190;
constexpr auto kIdle = std::chrono::milliseconds(1'000);  // for epochs of other replicas
constexpr auto kBackoffMin = std::chrono::milliseconds(200);
constexpr auto kBackoffMax = std::chrono::milliseconds(30'000);
constexpr absl::Duration kRelayWait = absl::Seconds(2);
constexpr absl::Duration kDatabase = absl::Seconds(30);

// An account that is open stays as it is, so each request has an id of its own: what is unpaid
// differs from one attempt to the next.
ledger_v1::OpenAccountsRequest AccountsOf(const Epoch& epoch,
                                          const std::vector<Statement>& statements,
                                          const Uuid& request_id) {
  ledger_v1::OpenAccountsRequest request;
  request.set_request_id(request_id.ToString());
  request.mutable_authorised_by()->set_event_id(epoch.closed_event.ToString());
  for (const Statement& s : statements) {
    ledger_v1::Account& account = *request.add_accounts();
    account.set_account_id(s.account.ToString());
    account.set_owner_id(s.principal.ToString());
    account.set_type(ledger_v1::ACCOUNT_TYPE_PERSON);
    account.set_asset("token");
    account.set_label("income");
  }
  return request;
}

}  // namespace

Settlement::Settlement(const service::Environment& env, Sources& sources,
                       rpc::LedgerClient& ledger, pg::OutboxRelay& relay)
    : env_(env), sources_(sources), ledger_(ledger), relay_(relay), thread_([this] { Loop(); }) {}

Settlement::~Settlement() { Stop(); }

void Settlement::Wake() {
  {
    std::lock_guard lock(mutex_);
    woken_ = true;
  }
  changed_.notify_all();
}

void Settlement::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Settlement::Loop() {
  std::string last_error;
  auto backoff = kBackoffMin;
  while (true) {
    const absl::Status status = SettleAll();
    if (!status.ok() && status.message() != last_error) {
      last_error = std::string(status.message());
      env_.logger.Warning("settlement waits", obs::Fields().Text("error", last_error));
    }
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, status.ok() ? kIdle : backoff,
                          [this] { return stopping_ || woken_; })) {
      backoff = kBackoffMin;
    } else {
      backoff = status.ok() ? kBackoffMin : std::min(2 * backoff, kBackoffMax);
    }
    woken_ = false;
    if (stopping_) return;
  }
}

absl::Status Settlement::SettleAll() {
  std::vector<Epoch> waiting, carried;
  RETURN_IF_ERROR(env_.db.Transact(kDatabase, [&](pg::Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(waiting, ListSettling(tx));
    ASSIGN_OR_RETURN(carried, ListToAnnounce(tx));
    return absl::OkStatus();
  }));
  // One pool's trouble is not another's.
  absl::Status first;
  for (const Epoch& epoch : waiting) first.Update(Settle(epoch));
  for (const Epoch& epoch : carried) first.Update(Announce(epoch));
  return first;
}

absl::Status Settlement::Announce(const Epoch& epoch) {
  RETURN_IF_ERROR(sources_.AnnounceSettlement(epoch, epoch.closed_event));
  return env_.db.Transact(kDatabase,
                          [&](pg::Transaction& tx) { return MarkAnnounced(tx, epoch.id); });
}

absl::Status Settlement::Settle(const Epoch& epoch) {
  ASSIGN_OR_RETURN(const std::optional<Pool> pool,
                   env_.db.Transact(kDatabase, [&](pg::Transaction& tx) {
                     return FindPool(tx, epoch.pool);
                   }));
  if (!pool) return absl::InternalError("an epoch without its pool");
  // A transfer names the statement that authorises it: that entry comes first in the log.
  if (!relay_.WaitUntilEmpty(kRelayWait)) {
    return Error("UNAVAILABLE", "the statements have not reached the log yet");
  }
  while (true) {
    ASSIGN_OR_RETURN(const bool more, PayBatch(epoch, *pool));
    if (!more) break;
    std::lock_guard lock(mutex_);
    if (stopping_) return absl::OkStatus();
  }
  return Finish(epoch, *pool);
}

absl::StatusOr<bool> Settlement::PayBatch(const Epoch& epoch, const Pool& pool) {
  ASSIGN_OR_RETURN(const std::vector<Statement> unpaid,
                   env_.db.Transact(kDatabase, [&](pg::Transaction& tx) {
                     return ListUnpaid(tx, epoch.id, kBatch);
                   }));
  if (unpaid.empty()) return false;
  ledger_v1::OpenAccountsResponse opened;
  RETURN_IF_ERROR(ledger_.OpenAccounts(
      AccountsOf(epoch, unpaid, env_.ids.New(env_.clock.Now())), &opened));
  ledger_v1::PostTransfersRequest request;
  request.set_request_id(env_.ids.New(env_.clock.Now()).ToString());
  for (const Statement& s : unpaid) {
    ledger_v1::Transfer& transfer = *request.add_transfers();
    transfer.set_transfer_id(PaymentTransfer(epoch.id, s.principal, s.attempt).ToString());
    transfer.set_debit_account_id(pool.account.ToString());
    transfer.set_credit_account_id(s.account.ToString());
    transfer.set_amount_micro(s.payment);
    transfer.set_kind(ledger_v1::TRANSFER_KIND_REWARD);
    transfer.set_reference(absl::StrCat("epoch ", epoch.number));
    transfer.mutable_authorised_by()->set_event_id(s.event.ToString());
  }
  ledger_v1::PostTransfersResponse posted;
  RETURN_IF_ERROR(ledger_.PostTransfers(request, &posted));
  RETURN_IF_ERROR(Record(epoch, pool, unpaid, posted));
  return true;
}

absl::Status Settlement::Record(const Epoch& epoch, const Pool& pool,
                                const std::vector<Statement>& unpaid,
                                const ledger_v1::PostTransfersResponse& posted) {
  if (posted.outcomes_size() != static_cast<int>(unpaid.size())) {
    return absl::InternalError("the ledger answered another number of transfers");
  }
  std::vector<PrincipalId> paid, again;
  std::string problem;
  TransferId first;
  for (int i = 0; i < posted.outcomes_size(); ++i) {
    const ledger_v1::TransferOutcome& outcome = posted.outcomes(i);
    if (outcome.result() == ledger_v1::TRANSFER_RESULT_POSTED ||
        outcome.result() == ledger_v1::TRANSFER_RESULT_EXISTS) {
      paid.push_back(unpaid[i].principal);
      continue;
    }
    if (problem.empty()) first = PaymentTransfer(epoch.id, unpaid[i].principal, unpaid[i].attempt);
    problem = absl::StrCat(ledger_v1::TransferResult_Name(outcome.result()), " ",
                           outcome.message());
    // An id that moved value once, whatever it was for, is never followed by another payment.
    if (outcome.result() != ledger_v1::TRANSFER_RESULT_EXISTS_DIFFERENT) {
      again.push_back(unpaid[i].principal);
    }
  }
  RETURN_IF_ERROR(env_.db.Transact(kDatabase, [&](pg::Transaction& tx) -> absl::Status {
    RETURN_IF_ERROR(MarkPaid(tx, epoch.id, paid));
    for (const PrincipalId& principal : again) {
      RETURN_IF_ERROR(NextAttempt(tx, epoch.id, principal));
    }
    return absl::OkStatus();
  }));
  if (problem.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(sources_.ReportRefusals(epoch, pool, first));
  return Error("EPOCH_STATE", absl::StrCat(unpaid.size() - paid.size(),
                                           " payments were refused: ", problem));
}

absl::Status Settlement::Finish(const Epoch& epoch, const Pool& pool) {
  const absl::Time now = env_.clock.Now();
  const EventId event{crypto::DeterministicId("payout/settled", epoch.id)};
  // Attribution and filter first: they take it twice, whereas SETTLED is said once and last.
  RETURN_IF_ERROR(sources_.AnnounceSettlement(epoch, event));
  return env_.db.Transact(kDatabase, [&](pg::Transaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const bool first, MarkSettled(tx, epoch.id, now, event));
    if (!first) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::optional<Epoch> settled, FindEpoch(tx, epoch.id));
    if (settled->paid != epoch.revenue) {
      return absl::InternalError("payments do not sum to the epoch's revenue");
    }
    crypto::EntryBuilder entry(crypto::kind::kEpochSettled, event, now);
    return service::Log(tx, entry.Cooperative(pool.cooperative)
                                .Subject(epoch.id)
                                .AuthorisedBy(epoch.closed_event)
                                .U64(tag::kTransferCount, static_cast<uint64_t>(epoch.recipients))
                                .U64(tag::kAmount, static_cast<uint64_t>(epoch.revenue))
                                .Id(tag::kPool, pool.id)
                                .Digest(tag::kDistributionRoot, epoch.distribution_root));
  });
}

}  // namespace rochdale::payout
