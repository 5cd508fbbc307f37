#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/rpc/paging.h"
#include "services/ledger/account_store.h"
#include "services/ledger/convert.h"
#include "services/ledger/hold_store.h"
#include "services/ledger/ledger_service.h"
#include "services/ledger/log_store.h"
#include "services/ledger/money_convert.h"
#include "services/ledger/transfer_entry.h"

namespace rochdale::ledger {
namespace {

using rpc::Call;
using Stub = v1::LedgerService::Stub;

constexpr pg::TransactOptions kReadOnly{pg::Isolation::kReadCommitted, /*read_only=*/true};
// Several reads that must be of one moment.
constexpr pg::TransactOptions kOneMoment{pg::Isolation::kRepeatableRead, /*read_only=*/true};

// The PENDING transfers of the holds.
absl::StatusOr<IdMap<TransferId, PostedTransfer>> TransfersOf(pg::Transaction& tx,
                                                              const std::vector<Hold>& holds) {
  std::vector<Uuid> events;
  for (const Hold& hold : holds) events.push_back(PostedEvent(hold.id).value);
  ASSIGN_OR_RETURN(const auto known, FindIds(tx, events));
  std::vector<int64_t> indexes;
  for (const auto& [_, id] : known) indexes.push_back(id.log_index);
  ASSIGN_OR_RETURN(const std::vector<LogEntry> entries, FindEntries(tx, std::move(indexes)));
  IdMap<TransferId, PostedTransfer> transfers;
  for (const LogEntry& entry : entries) {
    ASSIGN_OR_RETURN(PostedTransfer posted, ParseTransferEntry(entry));
    const TransferId id = posted.transfer.id;
    transfers.emplace(id, std::move(posted));
  }
  return transfers;
}

}  // namespace

grpc::Status LedgerService::ChangeAccount(grpc::ServerContext* context,
                                          const v1::ChangeAccountRequest* request,
                                          v1::ChangeAccountResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    if (auto done = forwarding_.Forward(call, &Stub::ChangeAccount, *request, response)) {
      return *std::move(done);
    }
    ASSIGN_OR_RETURN(ledger::ChangeAccount change,
                     ParseChangeAccount(*request, call.identity, call.now));
    ASSIGN_OR_RETURN(const Reply reply, writer_.Submit({CallerOf(call.identity), std::move(change)},
                                                       call.deadline));
    ToProto(reply.accounts.at(0), *response->mutable_account());
    return absl::OkStatus();
  });
}

grpc::Status LedgerService::GetBalance(grpc::ServerContext* context,
                                       const v1::GetBalanceRequest* request,
                                       v1::GetBalanceResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const BalancePeriod period, ParseBalancePeriod(*request));
    BalanceAt at, since;
    RETURN_IF_ERROR(db_.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(const std::optional<Account> account, FindAccount(tx, period.account));
      if (!account.has_value()) return Error("ACCOUNT_NOT_FOUND", "there is no such account");
      ASSIGN_OR_RETURN(at, BalanceAtInstant(tx, period.account, period.at_us));
      if (period.since_us == 0) return absl::OkStatus();
      ASSIGN_OR_RETURN(since, BalanceAtInstant(tx, period.account, period.since_us));
      return absl::OkStatus();
    }, kOneMoment));
    ToProto(at, *response->mutable_balance());
    response->set_period_debits_micro(at.debits - since.debits);
    response->set_period_credits_micro(at.credits - since.credits);
    response->set_period_transfer_count(at.transfers - since.transfers);
    return absl::OkStatus();
  });
}

grpc::Status LedgerService::GetHold(grpc::ServerContext* context,
                                    const v1::GetHoldRequest* request,
                                    v1::GetHoldResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const Uuid id, ParseOnlyId(request->transfer_id(), "transfer_id"));
    return db_.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(const std::optional<Hold> hold, FindHold(tx, TransferId{id}));
      if (!hold.has_value()) return Error("NOT_FOUND", "there is no such hold");
      ASSIGN_OR_RETURN(const auto transfers, TransfersOf(tx, {*hold}));
      ToProto(*hold, transfers.at(hold->id), *response->mutable_hold());
      return absl::OkStatus();
    }, kOneMoment);
  });
}

grpc::Status LedgerService::ListHolds(grpc::ServerContext* context,
                                      const v1::ListHoldsRequest* request,
                                      v1::ListHoldsResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const Uuid account, ParseOnlyId(request->account_id(), "account_id"));
    const std::string binding = absl::StrCat("ListHolds/", account.ToString());
    ASSIGN_OR_RETURN(const rpc::Page page,
                     rpc::ParsePage(request->page_size(), request->page_token(), binding, 1));
    Uuid after;
    if (!page.first()) {
      ASSIGN_OR_RETURN(after, ParseOnlyId(page.after[0], "page_token"));
    }
    return db_.Transact(call.deadline, [&](pg::Transaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(std::vector<Hold> holds, ListOpenHolds(tx, AccountId{account},
                                                              TransferId{after}, page.size + 1));
      if (static_cast<int>(holds.size()) > page.size) {
        holds.resize(page.size);
        response->set_next_page_token(rpc::MakePageToken(binding, {holds.back().id.ToString()}));
      }
      ASSIGN_OR_RETURN(const auto transfers, TransfersOf(tx, holds));
      response->clear_holds();  // of an attempt that was repeated
      for (const Hold& hold : holds) ToProto(hold, transfers.at(hold.id), *response->add_holds());
      return absl::OkStatus();
    }, kOneMoment);
  });
}

grpc::Status LedgerService::DepositComputeTime(grpc::ServerContext* context,
                                               const v1::DepositComputeTimeRequest* request,
                                               v1::DepositComputeTimeResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    if (auto done = forwarding_.Forward(call, &Stub::DepositComputeTime, *request, response)) {
      return *std::move(done);
    }
    ASSIGN_OR_RETURN(const ComputeDeposits wanted, ParseComputeDeposits(*request));
    ledger::PostTransfers post;
    ASSIGN_OR_RETURN(post.transfers, db_.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return PlanComputeDeposits(tx, wanted);
                     }, kOneMoment));
    ASSIGN_OR_RETURN(const Reply reply,
                     writer_.Submit({CallerOf(call.identity), std::move(post)}, call.deadline));
    for (const Outcome& outcome : reply.outcomes) ToProto(outcome, *response->add_outcomes());
    return absl::OkStatus();
  });
}

grpc::Status LedgerService::Convert(grpc::ServerContext* context,
                                    const v1::ConvertRequest* request,
                                    v1::ConvertResponse* response) {
  return rpc::Handle(context, calls_, [&](const Call& call) -> absl::Status {
    if (auto done = forwarding_.Forward(call, &Stub::Convert, *request, response)) {
      return *std::move(done);
    }
    ASSIGN_OR_RETURN(const Conversion conversion,
                     ParseConversion(*request, call.identity, call.now));
    ledger::PostTransfers post;
    ASSIGN_OR_RETURN(post.transfers, db_.Transact(call.deadline, [&](pg::Transaction& tx) {
                       return PlanConversion(tx, conversion);
                     }, kOneMoment));
    post.order = conversion.order;
    Caller caller = CallerOf(call.identity);
    caller.converts = true;
    ASSIGN_OR_RETURN(const Reply reply, writer_.Submit({caller, std::move(post)}, call.deadline));
    for (const Outcome& outcome : reply.outcomes) ToProto(outcome, *response->add_outcomes());
    return absl::OkStatus();
  });
}

}  // namespace rochdale::ledger
