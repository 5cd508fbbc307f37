#include "services/ledger/money_convert.h"

#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/rpc/document.h"
#include "services/ledger/convert.h"

namespace rochdale::ledger {
namespace {

static_assert(static_cast<int>(HoldState::kOpen) == v1::HOLD_STATE_OPEN);
static_assert(static_cast<int>(HoldState::kExpired) == v1::HOLD_STATE_EXPIRED);

absl::StatusOr<ChangeAccount> ParseAccountOrder(const v1::ChangeAccountRequest& request,
                                                const rpc::Identity& identity, absl::Time now) {
  FieldErrors errors;
  Uuid request_id;
  ParseId(request.request_id(), "request_id", errors, request_id);
  if (!request.account_id().empty() || request.status() != v1::ACCOUNT_STATUS_UNSPECIFIED ||
      request.floor_micro() != 0 || request.set_floor() || request.has_authorised_by()) {
    errors.Add("order", "a person's request has its order and nothing else");
  }
  if (!request.has_order()) errors.Add("order", "must be a signed AccountOrder");
  RETURN_IF_ERROR(errors.ToStatus());
  ChangeAccount change;
  ASSIGN_OR_RETURN(change.order, rpc::FromProto(request.order()));
  ASSIGN_OR_RETURN(const v1::AccountOrder order,
                   ParseOwnOrder<v1::AccountOrder>(*change.order, identity, now, errors));
  ParseId(order.account_id(), "order.account_id", errors, change.account.value);
  if (order.status() != v1::ACCOUNT_STATUS_CLOSING && order.status() != v1::ACCOUNT_STATUS_CLOSED) {
    errors.Add("order.status", "must be CLOSING or CLOSED");
  }
  RETURN_IF_ERROR(errors.ToStatus());
  change.status = static_cast<AccountStatus>(order.status());
  change.event_id.value =
      crypto::DeterministicId("ledger/account-changed", identity.ToString(), request_id);
  return change;
}

}  // namespace

absl::StatusOr<ChangeAccount> ParseChangeAccount(const v1::ChangeAccountRequest& request,
                                                 const rpc::Identity& identity, absl::Time now) {
  if (identity.kind != rpc::IdentityKind::kService) {
    return ParseAccountOrder(request, identity, now);
  }
  FieldErrors errors;
  ChangeAccount change;
  Uuid request_id;
  ParseId(request.request_id(), "request_id", errors, request_id);
  ParseId(request.account_id(), "account_id", errors, change.account.value);
  ParseId(request.authorised_by().event_id(), "authorised_by.event_id", errors,
          change.authorised_by.value);
  if (request.has_order()) errors.Add("order", "services name the entry that allowed it");
  if (request.status() < v1::ACCOUNT_STATUS_UNSPECIFIED ||
      request.status() > v1::ACCOUNT_STATUS_CLOSED) {
    errors.Add("status", "must be a status of an account");
  }
  if (request.status() == v1::ACCOUNT_STATUS_UNSPECIFIED && !request.set_floor()) {
    errors.Add("status", "nothing is asked for: neither a status nor a floor");
  }
  if (!request.set_floor() && request.floor_micro() != 0) {
    errors.Add("floor_micro", "counts only where set_floor is set");
  }
  RETURN_IF_ERROR(errors.ToStatus());
  if (request.status() != v1::ACCOUNT_STATUS_UNSPECIFIED) {
    change.status = static_cast<AccountStatus>(request.status());
  }
  if (request.set_floor()) change.floor = request.floor_micro();
  change.event_id.value =
      crypto::DeterministicId("ledger/account-changed", identity.ToString(), request_id);
  return change;
}

absl::StatusOr<ComputeDeposits> ParseComputeDeposits(
    const v1::DepositComputeTimeRequest& request) {
  FieldErrors errors;
  ComputeDeposits wanted;
  Uuid request_id;
  ParseId(request.request_id(), "request_id", errors, request_id);
  ParseId(request.fund_account_id(), "fund_account_id", errors, wanted.fund.value);
  const int count = request.deposits_size();
  if (count < 1 || count > kComputeDepositsMax) {
    errors.Add("deposits", absl::StrCat("must be 1 to ", kComputeDepositsMax));
  }
  for (int i = 0; i < count && i < kComputeDepositsMax; ++i) {
    ItemErrors item("deposits", i, errors);
    ComputeDeposit deposit;
    ParseId(request.deposits(i).metered_event_id(), "metered_event_id", item,
            deposit.metered.value);
    ParseId(request.deposits(i).credit_account_id(), "credit_account_id", item,
            deposit.credit.value);
    wanted.deposits.push_back(deposit);
  }
  RETURN_IF_ERROR(errors.ToStatus());
  return wanted;
}

absl::StatusOr<Conversion> ParseConversion(const v1::ConvertRequest& request,
                                           const rpc::Identity& identity, absl::Time now) {
  FieldErrors errors;
  Uuid request_id;
  ParseId(request.request_id(), "request_id", errors, request_id);
  if (!request.has_order()) errors.Add("order", "must be a signed ConversionOrder");
  RETURN_IF_ERROR(errors.ToStatus());
  Conversion conversion;
  conversion.principal = identity.principal;
  ASSIGN_OR_RETURN(conversion.order, rpc::FromProto(request.order()));
  ASSIGN_OR_RETURN(const v1::ConversionOrder order,
                   ParseOwnOrder<v1::ConversionOrder>(conversion.order, identity, now, errors));
  ParseId(order.conversion_id(), "order.conversion_id", errors, conversion.id);
  ParseId(order.from_account_id(), "order.from_account_id", errors, conversion.from.value);
  ParseId(order.to_account_id(), "order.to_account_id", errors, conversion.to.value);
  if (conversion.from == conversion.to) {
    errors.Add("order.to_account_id", "must be another account than from_account_id");
  }
  if (order.amount_micro() < 1) errors.Add("order.amount_micro", "must be at least 1");
  if (order.receive_min_micro() < 1) errors.Add("order.receive_min_micro", "must be at least 1");
  RETURN_IF_ERROR(errors.ToStatus());
  conversion.amount = order.amount_micro();
  conversion.receive_min = order.receive_min_micro();
  return conversion;
}

absl::StatusOr<BalancePeriod> ParseBalancePeriod(const v1::GetBalanceRequest& request) {
  FieldErrors errors;
  BalancePeriod period;
  ParseId(request.account_id(), "account_id", errors, period.account.value);
  if (request.at_time_us() < 0) errors.Add("at_time_us", "must not be negative");
  if (request.since_time_us() < 0) errors.Add("since_time_us", "must not be negative");
  period.since_us = request.since_time_us();
  // Not the clock's now: the log's time may be ahead of a clock that was set back.
  period.at_us = request.at_time_us() == 0 ? std::numeric_limits<int64_t>::max()
                                           : request.at_time_us();
  if (period.since_us > period.at_us) {
    errors.Add("since_time_us", "must not be after at_time_us");
  }
  RETURN_IF_ERROR(errors.ToStatus());
  return period;
}

void ToProto(const BalanceAt& balance, v1::Balance& out) {
  out.set_balance_micro(balance.balance());
  out.set_held_micro(balance.held);
  out.set_debits_micro(balance.debits);
  out.set_credits_micro(balance.credits);
  out.set_transfer_count(balance.transfers);
  out.set_log_index(balance.log_index);
}

void ToProto(const Hold& hold, const PostedTransfer& posted, v1::Hold& out) {
  ToProto(posted, *out.mutable_transfer());
  out.set_state(static_cast<v1::HoldState>(hold.state));
  out.set_posted_micro(hold.posted);
}

}  // namespace rochdale::ledger
