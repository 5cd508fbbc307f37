#include "services/payout/sources.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "grpcpp/channel.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/governance_client.h"
#include "rochdale/attribution/v1/attribution.grpc.pb.h"
#include "rochdale/filter/v1/filter.grpc.pb.h"
#include "rochdale/governance/v1/governance.pb.h"
#include "rochdale/ledger/v1/ledger.grpc.pb.h"

namespace rochdale::payout {
namespace {

namespace attribution_v1 = ::rochdale::attribution::v1;
namespace filter_v1 = ::rochdale::filter::v1;
namespace ledger_v1 = ::rochdale::ledger::v1;

using Attribution = attribution_v1::AttributionService::Stub;
using Filter = filter_v1::FilterService::Stub;
using Ledger = ledger_v1::LedgerService::Stub;

constexpr int kPageSize = 1'000;
constexpr int kPagesMax = 1'000;
constexpr int64_t kRoundsMax = 1'000;  // of one epoch

// Calls `method` page by page and hands every response to `take`.
template <typename Stub, typename Base, typename Request, typename Response, typename Take>
absl::Status ForEachPage(const rpc::Outgoing& outgoing, Stub& stub,
                         grpc::Status (Base::*method)(grpc::ClientContext*, const Request&,
                                                      Response*),
                         Request request, Take take) {
  request.set_page_size(kPageSize);
  for (int page = 0; page < kPagesMax; ++page) {
    Response response;
    RETURN_IF_ERROR(outgoing.Invoke(stub, method, request, &response));
    RETURN_IF_ERROR(take(response));
    if (response.next_page_token().empty()) return absl::OkStatus();
    request.set_page_token(response.next_page_token());
  }
  return Error("OVERLOADED", "an epoch has more entries than one settlement may read");
}

absl::StatusOr<std::optional<EventId>> OptionalEvent(const std::string& text) {
  if (text.empty()) return std::nullopt;
  ASSIGN_OR_RETURN(const EventId id, EventId::Parse(text));
  return id;
}

bool IsFinal(const attribution_v1::Round& round) {
  return round.state() == attribution_v1::ROUND_STATE_CLOSED ||
         round.state() == attribution_v1::ROUND_STATE_ABANDONED;
}

bool MayHaveCredit(filter_v1::UpdateState state) {
  switch (state) {
    case filter_v1::UPDATE_STATE_ADMITTED:
    case filter_v1::UPDATE_STATE_PROJECTED:
    case filter_v1::UPDATE_STATE_EVALUATED:
    case filter_v1::UPDATE_STATE_APPLIED:
    case filter_v1::UPDATE_STATE_NOT_APPLIED:
    case filter_v1::UPDATE_STATE_SETTLED:
      return true;
    default:
      return false;
  }
}

// APPLIED, NOT_APPLIED, REJECTED, EXPIRED...: the state's word without its prefix.
std::string OutcomeOf(const filter_v1::Update& update, const attribution_v1::Credit* credit) {
  if (credit != nullptr) return credit->applied() ? "APPLIED" : "NOT_APPLIED";
  const std::string name = filter_v1::UpdateState_Name(update.state());
  return name.substr(std::string("UPDATE_STATE_").size());
}

}  // namespace

struct Sources::Stubs {
  Stubs(const service::Environment& env)
      : attribution(env.channel("attribution")),
        filter(env.channel("filter")),
        ledger(env.channel("ledger")),
        governance(env.channel("governance"), env.outgoing, env.clock) {}
  Attribution attribution;
  Filter filter;
  Ledger ledger;
  rpc::GovernanceClient governance;
};

Sources::Sources(const service::Environment& env) : env_(env) {}
Sources::~Sources() = default;

absl::StatusOr<Sources::Stubs*> Sources::Ready() {
  std::lock_guard lock(mutex_);
  if (!stubs_) {
    for (const char* name : {"attribution", "filter", "ledger", "governance"}) {
      if (env_.channel(name) == nullptr) {
        return RetryableError("UNAVAILABLE", "the service is starting", absl::Milliseconds(200));
      }
    }
    stubs_ = std::make_unique<Stubs>(env_);
  }
  return stubs_.get();
}

absl::Status Sources::RequireFounder(const CooperativeId& cooperative,
                                     const crypto::PublicKey& key) {
  ASSIGN_OR_RETURN(Stubs * stubs, Ready());
  return stubs->governance.RequireFounder(cooperative, key);
}

absl::StatusOr<EpochFacts> Sources::ReadRounds(const CooperativeId& cooperative, int64_t first,
                                               int64_t last) {
  ASSIGN_OR_RETURN(Stubs * stubs, Ready());
  if (last - first >= kRoundsMax) {
    return Error("EPOCH_STATE", "an epoch covers at most 1,000 rounds");
  }
  EpochFacts facts;
  std::vector<attribution_v1::Round> rounds;
  attribution_v1::ListRoundsRequest list;
  list.set_cooperative_id(cooperative.ToString());
  RETURN_IF_ERROR(ForEachPage(env_.outgoing, stubs->attribution, &Attribution::ListRounds, list,
                              [&](const attribution_v1::ListRoundsResponse& response) {
                                for (const auto& round : response.rounds()) {
                                  if (round.number() >= first && round.number() <= last) {
                                    rounds.push_back(round);
                                  }
                                }
                                return absl::OkStatus();
                              }));
  std::sort(rounds.begin(), rounds.end(),
            [](const auto& a, const auto& b) { return a.number() < b.number(); });
  if (static_cast<int64_t>(rounds.size()) != last - first + 1) {
    return Error("ROUNDS_UNSETTLED", "not all of these rounds exist");
  }
  std::map<PrincipalId, Contribution> by_principal;
  for (const attribution_v1::Round& round : rounds) {
    if (!IsFinal(round)) {
      return Error("ROUNDS_UNSETTLED", absl::StrCat("round ", round.number(), " is not closed"));
    }
    ASSIGN_OR_RETURN(const Uuid round_id, Uuid::Parse(round.round_id()));
    facts.rounds.push_back(round_id);

    std::map<std::string, attribution_v1::Credit> credits;
    attribution_v1::ListCreditsRequest wanted;
    wanted.set_cooperative_id(cooperative.ToString());
    wanted.set_round_id(round.round_id());
    RETURN_IF_ERROR(ForEachPage(env_.outgoing, stubs->attribution, &Attribution::ListCredits,
                                wanted, [&](const attribution_v1::ListCreditsResponse& response) {
                                  for (const auto& credit : response.credits()) {
                                    credits[credit.update_id()] = credit;
                                  }
                                  return absl::OkStatus();
                                }));
    filter_v1::ListUpdatesRequest updates;
    updates.set_round_id(round.round_id());
    RETURN_IF_ERROR(ForEachPage(
        env_.outgoing, stubs->filter, &Filter::ListUpdates, updates,
        [&](const filter_v1::ListUpdatesResponse& response) -> absl::Status {
          for (const filter_v1::Update& update : response.updates()) {
            const auto found = credits.find(update.update_id());
            const attribution_v1::Credit* credit =
                found == credits.end() ? nullptr : &found->second;
            StatementLine line;
            line.round_number = round.number();
            ASSIGN_OR_RETURN(line.update, UpdateId::Parse(update.update_id()));
            line.outcome = OutcomeOf(update, credit);
            line.reason = update.reason();
            ASSIGN_OR_RETURN(line.decision_event,
                             OptionalEvent(update.decision_entry().event_id()));
            if (credit != nullptr) {
              // I1 holds here too: a credit for a refused update would be a fault upstream.
              if (!MayHaveCredit(update.state())) {
                return absl::InternalError("a refused update has a credit");
              }
              if (credit->principal_id() != update.principal_id()) {
                return absl::InternalError("a credit is another principal's than its update");
              }
              line.credit = credit->credit_nanonats();
              line.estimate = credit->estimate_nanonats();
              line.standard_error = credit->standard_error_nanonats();
              line.tolerance = credit->tolerance_nanonats();
              line.deadband = credit->deadband_nanonats();
              ASSIGN_OR_RETURN(line.credit_event, OptionalEvent(credit->entry().event_id()));
            }
            ASSIGN_OR_RETURN(const PrincipalId principal,
                             PrincipalId::Parse(update.principal_id()));
            Contribution& contribution = by_principal[principal];
            contribution.principal = principal;
            ASSIGN_OR_RETURN(contribution.credit, CheckedAdd(contribution.credit, line.credit));
            contribution.lines.push_back(std::move(line));
            if (credit != nullptr) credits.erase(found);
          }
          return absl::OkStatus();
        }));
    if (!credits.empty()) return absl::InternalError("a credit is for an unknown update");
  }
  for (auto& [principal, contribution] : by_principal) {
    facts.contributions.push_back(std::move(contribution));
  }
  return facts;
}

absl::StatusOr<MicroTokens> Sources::Balance(const AccountId& account) {
  ASSIGN_OR_RETURN(Stubs * stubs, Ready());
  ledger_v1::GetAccountRequest request;
  request.set_account_id(account.ToString());
  ledger_v1::GetAccountResponse response;
  RETURN_IF_ERROR(env_.outgoing.Invoke(stubs->ledger, &Ledger::GetAccount, request, &response));
  return CheckedSub(response.account().balance_micro(), response.account().held_micro());
}

absl::StatusOr<int64_t> Sources::ReserveBasisPoints(const CooperativeId& cooperative) {
  ASSIGN_OR_RETURN(Stubs * stubs, Ready());
  ASSIGN_OR_RETURN(const config::ParameterSet set, stubs->governance.Parameters(cooperative));
  return set.BasisPoints("payout.reserve_bp");
}

absl::Status Sources::ReportRefusals(const Epoch& epoch, const Pool& pool,
                                     const TransferId& first) {
  ASSIGN_OR_RETURN(Stubs * stubs, Ready());
  governance::v1::GovernanceException exception;
  exception.set_exception_id(crypto::DeterministicId("payout/refused", epoch.id).ToString());
  exception.set_cooperative_id(pool.cooperative.ToString());
  exception.set_kind(governance::v1::EXCEPTION_KIND_PAYOUT);
  exception.set_subject_id(first.ToString());
  exception.set_description(absl::StrCat("The ledger refuses payments of epoch ", epoch.number,
                                         "; payout goes on trying."));
  const absl::Status raised = stubs->governance.RaiseException(exception);
  // Reported before, of another transfer first.
  return ReasonOf(raised) == "REQUEST_ID_REUSED" ? absl::OkStatus() : raised;
}

absl::Status Sources::AnnounceSettlement(const Epoch& epoch, const EventId& settlement) {
  ASSIGN_OR_RETURN(Stubs * stubs, Ready());
  attribution_v1::RetireRoundsRequest retire;
  retire.set_request_id(crypto::DeterministicId("payout/retire", epoch.id).ToString());
  for (const Uuid& round : epoch.rounds) retire.add_round_ids(round.ToString());
  retire.mutable_authorised_by()->set_event_id(settlement.ToString());
  attribution_v1::RetireRoundsResponse retired;
  RETURN_IF_ERROR(
      env_.outgoing.Invoke(stubs->attribution, &Attribution::RetireRounds, retire, &retired));
  for (const Uuid& round : epoch.rounds) {
    filter_v1::RecordOutcomesRequest record;
    record.set_request_id(crypto::DeterministicId("payout/outcomes", epoch.id, round).ToString());
    record.set_round_id(round.ToString());
    filter_v1::ListUpdatesRequest updates;
    updates.set_round_id(round.ToString());
    RETURN_IF_ERROR(ForEachPage(env_.outgoing, stubs->filter, &Filter::ListUpdates, updates,
                                [&](const filter_v1::ListUpdatesResponse& response) {
                                  for (const filter_v1::Update& update : response.updates()) {
                                    if (update.state() != filter_v1::UPDATE_STATE_APPLIED &&
                                        update.state() != filter_v1::UPDATE_STATE_NOT_APPLIED) {
                                      continue;
                                    }
                                    auto& outcome = *record.add_outcomes();
                                    outcome.set_update_id(update.update_id());
                                    outcome.set_state(filter_v1::UPDATE_STATE_SETTLED);
                                    outcome.set_reason(update.reason());
                                  }
                                  return absl::OkStatus();
                                }));
    if (record.outcomes_size() == 0) continue;
    filter_v1::RecordOutcomesResponse recorded;
    RETURN_IF_ERROR(
        env_.outgoing.Invoke(stubs->filter, &Filter::RecordOutcomes, record, &recorded));
  }
  return absl::OkStatus();
}

}  // namespace rochdale::payout
