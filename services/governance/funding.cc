#include "services/governance/funding.h"

#include <chrono>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/obs/log.h"
#include "libs/pg/database.h"
#include "rochdale/ledger/v1/ledger.pb.h"
#include "services/governance/cooperative_store.h"

namespace rochdale::governance {
namespace {

namespace ledger_v1 = ::rochdale::ledger::v1;

constexpr auto kPause = std::chrono::milliseconds(200);
constexpr char kAsset[] = "token";

AccountId SupplyAccount(const CooperativeId& cooperative) {
  return AccountId{crypto::DeterministicId("governance/supply", cooperative)};
}

ledger_v1::OpenAccountsRequest AccountsOf(const Cooperative& cooperative) {
  ledger_v1::OpenAccountsRequest request;
  request.set_request_id(
      crypto::DeterministicId("governance/open-pools", cooperative.id).ToString());
  request.mutable_authorised_by()->set_event_id(cooperative.event.ToString());
  ledger_v1::Account& supply = *request.add_accounts();
  supply.set_account_id(SupplyAccount(cooperative.id).ToString());
  supply.set_owner_id(cooperative.id.ToString());
  supply.set_type(ledger_v1::ACCOUNT_TYPE_SYSTEM);
  supply.set_asset(kAsset);
  supply.set_unlimited(true);
  supply.set_label("supply");
  for (const PoolAccount& pool : cooperative.pools) {
    ledger_v1::Account& account = *request.add_accounts();
    account.set_account_id(pool.account.ToString());
    account.set_owner_id(pool.owner.ToString());
    account.set_type(pool.owned_by_principal ? ledger_v1::ACCOUNT_TYPE_ENTERPRISE
                                             : ledger_v1::ACCOUNT_TYPE_SYSTEM);
    account.set_asset(kAsset);
    account.set_label(pool.name);
  }
  return request;
}

ledger_v1::PostTransfersRequest MintOf(const Cooperative& cooperative) {
  ledger_v1::PostTransfersRequest request;
  request.set_request_id(crypto::DeterministicId("governance/mint", cooperative.id).ToString());
  for (const PoolAccount& pool : cooperative.pools) {
    if (pool.amount == 0) continue;
    ledger_v1::Transfer& transfer = *request.add_transfers();
    transfer.set_transfer_id(
        crypto::DeterministicId("governance/mint", cooperative.id, pool.name).ToString());
    transfer.set_debit_account_id(SupplyAccount(cooperative.id).ToString());
    transfer.set_credit_account_id(pool.account.ToString());
    transfer.set_amount_micro(pool.amount);
    transfer.set_kind(ledger_v1::TRANSFER_KIND_MINT);
    transfer.set_reference(absl::StrCat("genesis ", pool.name).substr(0, 64));
    transfer.mutable_authorised_by()->set_event_id(cooperative.event.ToString());
  }
  return request;
}

}  // namespace

GenesisFunding::GenesisFunding(const service::Environment& env, rpc::LedgerClient& ledger)
    : env_(env), ledger_(ledger), thread_([this] { Loop(); }) {}

GenesisFunding::~GenesisFunding() { Stop(); }

void GenesisFunding::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void GenesisFunding::Loop() {
  std::string last_error;
  while (true) {
    if (absl::Status status = FundAll(); !status.ok() && status.message() != last_error) {
      last_error = std::string(status.message());
      env_.logger.Warning("genesis funding waits", obs::Fields().Text("error", last_error));
    }
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, kPause, [this] { return stopping_; })) return;
  }
}

absl::Status GenesisFunding::FundAll() {
  ASSIGN_OR_RETURN(
      const std::vector<Cooperative> waiting,
      env_.db.Transact(absl::Seconds(5),
                       [](pg::Transaction& tx) -> absl::StatusOr<std::vector<Cooperative>> {
                         std::vector<Cooperative> found;
                         ASSIGN_OR_RETURN(const std::vector<CooperativeId> ids, ListUnfunded(tx));
                         for (const CooperativeId& id : ids) {
                           ASSIGN_OR_RETURN(std::optional<Cooperative> one,
                                            FindCooperative(tx, id));
                           if (one) found.push_back(*std::move(one));
                         }
                         return found;
                       }));
  for (const Cooperative& cooperative : waiting) RETURN_IF_ERROR(Fund(cooperative));
  return absl::OkStatus();
}

absl::Status GenesisFunding::Fund(const Cooperative& cooperative) {
  ledger_v1::OpenAccountsResponse opened;
  RETURN_IF_ERROR(ledger_.OpenAccounts(AccountsOf(cooperative), &opened));
  const ledger_v1::PostTransfersRequest mint = MintOf(cooperative);
  if (mint.transfers_size() > 0) {
    ledger_v1::PostTransfersResponse posted;
    RETURN_IF_ERROR(ledger_.PostTransfers(mint, &posted));
    for (const ledger_v1::TransferOutcome& outcome : posted.outcomes()) {
      if (outcome.result() != ledger_v1::TRANSFER_RESULT_POSTED &&
          outcome.result() != ledger_v1::TRANSFER_RESULT_EXISTS) {
        return absl::InternalError(absl::StrCat("the ledger refused to mint: ",
                                                ledger_v1::TransferResult_Name(outcome.result()),
                                                " ", outcome.message()));
      }
    }
  }
  return env_.db.Transact(absl::Seconds(5), [&](pg::Transaction& tx) {
    return MarkFunded(tx, cooperative.id);
  });
}

}  // namespace rochdale::governance
