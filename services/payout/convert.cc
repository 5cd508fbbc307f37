#include "services/payout/convert.h"

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/rpc/document.h"
#include "libs/rpc/fields.h"

namespace rochdale::payout {
namespace {

using rpc::TakeId;

}  // namespace

absl::StatusOr<WantedPool> ParsePoolCreation(const common::v1::SignedDocument& proto) {
  WantedPool wanted;
  ASSIGN_OR_RETURN(wanted.document, rpc::FromProto(proto));
  ASSIGN_OR_RETURN(const v1::PoolCreation body,
                   rpc::ParseDocument<v1::PoolCreation>(wanted.document));
  FieldErrors errors;
  wanted.pool = TakeId<PoolId>(body.pool_id(), "pool_id", errors);
  wanted.cooperative = TakeId<CooperativeId>(body.cooperative_id(), "cooperative_id", errors);
  RETURN_IF_ERROR(errors.ToStatus());
  return wanted;
}

absl::StatusOr<WantedEpoch> ParseEpochClosing(const common::v1::SignedDocument& proto) {
  WantedEpoch wanted;
  ASSIGN_OR_RETURN(wanted.document, rpc::FromProto(proto));
  ASSIGN_OR_RETURN(const v1::EpochClosing body,
                   rpc::ParseDocument<v1::EpochClosing>(wanted.document));
  FieldErrors errors;
  wanted.epoch = TakeId<EpochId>(body.epoch_id(), "epoch_id", errors);
  wanted.pool = TakeId<PoolId>(body.pool_id(), "pool_id", errors);
  if (body.first_round() < 1) errors.Add("first_round", "must be at least 1");
  if (body.last_round() < body.first_round() || body.last_round() - body.first_round() >= 1'000) {
    errors.Add("last_round", "must be first_round to first_round + 999");
  }
  RETURN_IF_ERROR(errors.ToStatus());
  wanted.first_round = body.first_round();
  wanted.last_round = body.last_round();
  return wanted;
}

void ToProto(const Pool& pool, v1::Pool& out) {
  out.set_pool_id(pool.id.ToString());
  out.set_cooperative_id(pool.cooperative.ToString());
  out.set_account_id(pool.account.ToString());
  out.set_epochs(pool.epochs);
  out.mutable_entry()->set_event_id(pool.event.ToString());
}

void ToProto(const Epoch& e, v1::Epoch& out) {
  out.set_epoch_id(e.id.ToString());
  out.set_pool_id(e.pool.ToString());
  out.set_number(e.number);
  out.set_state(static_cast<v1::EpochState>(e.state));
  out.set_first_round(e.first_round);
  out.set_last_round(e.last_round);
  out.set_revenue_microtokens(e.revenue);
  out.set_credit_sum_nanonats(e.credit_sum);
  out.set_paid_microtokens(e.paid);
  out.set_recipients(e.recipients);
  out.set_closed_time_us(absl::ToUnixMicros(e.closed));
  out.set_settled_time_us(absl::ToUnixMicros(e.settled));
  out.mutable_closed_entry()->set_event_id(e.closed_event.ToString());
  if (e.settled_event) out.mutable_settled_entry()->set_event_id(e.settled_event->ToString());
  out.set_distribution_root(e.distribution_root.ToString());
}

void ToProto(const Statement& s, const Epoch& epoch, v1::Statement& out) {
  out.set_epoch_id(s.epoch.ToString());
  out.set_principal_id(s.principal.ToString());
  for (const StatementLine& line : s.lines) {
    v1::StatementLine& l = *out.add_lines();
    l.set_round_number(line.round_number);
    l.set_update_id(line.update.ToString());
    l.set_outcome(line.outcome);
    l.set_reason(line.reason);
    l.set_credit_nanonats(line.credit);
    l.set_estimate_nanonats(line.estimate);
    l.set_standard_error_nanonats(line.standard_error);
    l.set_tolerance_nanonats(line.tolerance);
    l.set_deadband_nanonats(line.deadband);
    if (line.credit_event) l.mutable_credit_entry()->set_event_id(line.credit_event->ToString());
    if (line.decision_event) {
      l.mutable_decision_entry()->set_event_id(line.decision_event->ToString());
    }
  }
  out.set_credit_nanonats(s.credit);
  out.set_credit_sum_nanonats(epoch.credit_sum);
  out.set_revenue_microtokens(epoch.revenue);
  out.set_payment_microtokens(s.payment);
  if (s.payment > 0) {
    out.set_transfer_id(PaymentTransfer(s.epoch, s.principal, s.attempt).ToString());
  }
  out.set_account_id(s.account.ToString());
  out.mutable_entry()->set_event_id(s.event.ToString());
  out.set_paid(s.payment > 0 && s.paid);
  out.set_distribution_index(s.position);
  out.set_cumulative_microtokens(s.cumulative);
}

}  // namespace rochdale::payout
