#include "tests/integration/payout/world.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/payout/domain.h"
#include "services/payout/migrations.h"

namespace rochdale::payout::testing {
namespace {

grpc::Status Ask(const rochdale::testing::Hook<Fault>& hook, const std::string& rpc) {
  const Fault fault = hook.Get();
  return fault ? fault(rpc) : grpc::Status::OK;
}

// One page of `all` from the position that the token names.
template <typename T, typename Add, typename Response>
void Page(const std::vector<T>& all, int page_size, const std::string& token, Add add,
          Response* response) {
  size_t at = 0;
  if (!token.empty() && !absl::SimpleAtoi(token, &at)) return;
  const size_t end = std::min(all.size(), at + page_size);
  for (; at < end; ++at) *add() = all[at];
  if (at < all.size()) response->set_next_page_token(absl::StrCat(at));
}

}  // namespace

grpc::Status FakeAttribution::ListRounds(grpc::ServerContext*,
                                         const attribution_v1::ListRoundsRequest* request,
                                         attribution_v1::ListRoundsResponse* response) {
  std::lock_guard lock(mutex_);
  std::vector<attribution_v1::Round> rounds;
  for (const auto& [key, round] : rounds_) {
    if (key.first == request->cooperative_id()) rounds.push_back(round);
  }
  // Small pages, newest first: payout must put them in order.
  std::reverse(rounds.begin(), rounds.end());
  Page(rounds, 2, request->page_token(), [&] { return response->add_rounds(); }, response);
  return grpc::Status::OK;
}

grpc::Status FakeAttribution::ListCredits(grpc::ServerContext*,
                                          const attribution_v1::ListCreditsRequest* request,
                                          attribution_v1::ListCreditsResponse* response) {
  std::lock_guard lock(mutex_);
  Page(credits_[request->round_id()], request->page_size(), request->page_token(),
       [&] { return response->add_credits(); }, response);
  return grpc::Status::OK;
}

grpc::Status FakeAttribution::RetireRounds(grpc::ServerContext*,
                                           const attribution_v1::RetireRoundsRequest* request,
                                           attribution_v1::RetireRoundsResponse*) {
  if (grpc::Status status = Ask(before, "RetireRounds"); !status.ok()) return status;
  {
    std::lock_guard lock(mutex_);
    retired_.insert(request->round_ids().begin(), request->round_ids().end());
  }
  return Ask(after, "RetireRounds");
}

void FakeAttribution::Put(const attribution_v1::Round& round) {
  std::lock_guard lock(mutex_);
  rounds_[{round.cooperative_id(), round.number()}] = round;
}

void FakeAttribution::Put(const attribution_v1::Credit& credit) {
  std::lock_guard lock(mutex_);
  credits_[credit.round_id()].push_back(credit);
}

std::set<std::string> FakeAttribution::retired() {
  std::lock_guard lock(mutex_);
  return retired_;
}

grpc::Status FakeFilter::ListUpdates(grpc::ServerContext*,
                                     const filter_v1::ListUpdatesRequest* request,
                                     filter_v1::ListUpdatesResponse* response) {
  std::lock_guard lock(mutex_);
  Page(updates_[request->round_id()], request->page_size(), request->page_token(),
       [&] { return response->add_updates(); }, response);
  return grpc::Status::OK;
}

grpc::Status FakeFilter::RecordOutcomes(grpc::ServerContext*,
                                        const filter_v1::RecordOutcomesRequest* request,
                                        filter_v1::RecordOutcomesResponse*) {
  if (grpc::Status status = Ask(before, "RecordOutcomes"); !status.ok()) return status;
  {
    std::lock_guard lock(mutex_);
    for (const filter_v1::UpdateOutcome& outcome : request->outcomes()) {
      for (filter_v1::Update& update : updates_[request->round_id()]) {
        if (update.update_id() == outcome.update_id()) update.set_state(outcome.state());
      }
    }
  }
  return Ask(after, "RecordOutcomes");
}

void FakeFilter::Put(const filter_v1::Update& update) {
  std::lock_guard lock(mutex_);
  updates_[update.round_id()].push_back(update);
}

filter_v1::UpdateState FakeFilter::StateOf(const std::string& round, const std::string& id) {
  std::lock_guard lock(mutex_);
  for (const filter_v1::Update& update : updates_[round]) {
    if (update.update_id() == id) return update.state();
  }
  return filter_v1::UPDATE_STATE_UNSPECIFIED;
}

World::World() : f("payout", {Migrations()}), founder(f.NewPerson()) {
  f.AddFake("governance", &governance);
  f.AddFake("ledger", &ledger);
  f.AddFake("attribution", &attribution);
  f.AddFake("filter", &filter);
  Serve();
  cooperative = NewCooperative(founder);
  pool = NewPool(cooperative, founder);
}

void World::Serve() { f.Serve(PayoutModule::Make(f.environment())); }

std::string World::NewCooperative(const Person& of) {
  governance::v1::Cooperative made;
  made.set_cooperative_id(f.NewId());
  made.add_founder_public_keys(of.key.public_key().ToString());
  governance.SetCooperative(made);
  return made.cooperative_id();
}

std::vector<std::string> World::PutRound(int64_t number, const std::vector<Part>& parts,
                                         attribution_v1::RoundState state) {
  attribution_v1::Round round;
  round.set_round_id(f.NewId());
  round.set_cooperative_id(cooperative);
  round.set_number(number);
  round.set_state(state);
  attribution.Put(round);
  std::vector<std::string> ids;
  for (const Part& part : parts) {
    filter_v1::Update update;
    update.set_update_id(f.NewId());
    update.set_round_id(round.round_id());
    update.set_principal_id(part.person.id.ToString());
    update.set_state(part.state);
    update.set_reason(part.reason);
    update.mutable_decision_entry()->set_event_id(f.NewId());
    filter.Put(update);
    ids.push_back(update.update_id());
    if (part.state != filter_v1::UPDATE_STATE_APPLIED &&
        part.state != filter_v1::UPDATE_STATE_NOT_APPLIED && part.credit == 0) {
      continue;
    }
    attribution_v1::Credit credit;
    credit.set_update_id(update.update_id());
    credit.set_round_id(round.round_id());
    credit.set_round_number(number);
    credit.set_principal_id(update.principal_id());
    credit.set_credit_nanonats(part.credit);
    credit.set_estimate_nanonats(part.credit + 5);
    credit.set_standard_error_nanonats(2);
    credit.set_tolerance_nanonats(tolerance_nanonats);
    credit.set_deadband_nanonats(3 * tolerance_nanonats);
    credit.set_applied(part.state == filter_v1::UPDATE_STATE_APPLIED);
    credit.mutable_entry()->set_event_id(f.NewId());
    attribution.Put(credit);
  }
  return ids;
}

v1::CreatePoolRequest World::Creating(const std::string& of, const Person& signer) {
  v1::PoolCreation creation;
  creation.set_pool_id(f.NewId());
  creation.set_cooperative_id(of);
  v1::CreatePoolRequest request;
  request.set_request_id(f.NewId());
  *request.mutable_creation() = Sign(signer.key, creation);
  return request;
}

v1::CloseEpochRequest World::Closing(const v1::Pool& of, int64_t first, int64_t last,
                                     const Person& signer) {
  v1::EpochClosing closing;
  closing.set_epoch_id(f.NewId());
  closing.set_pool_id(of.pool_id());
  closing.set_first_round(first);
  closing.set_last_round(last);
  v1::CloseEpochRequest request;
  request.set_request_id(f.NewId());
  *request.mutable_closing() = Sign(signer.key, closing);
  return request;
}

v1::Pool World::NewPool(const std::string& of, const Person& signer) {
  return f.As<Stub>(signer).Ok(&Stub::CreatePool, Creating(of, signer)).pool();
}

v1::Epoch World::Close(int64_t first, int64_t last) {
  return f.As<Stub>(founder)
      .Ok(&Stub::CloseEpoch, Closing(pool, first, last, founder))
      .epoch();
}

v1::Epoch World::EpochOf(const std::string& id) {
  v1::GetEpochRequest request;
  request.set_epoch_id(id);
  return f.Anonymous<Stub>().Ok(&Stub::GetEpoch, request).epoch();
}

bool World::Settles(const std::string& epoch, absl::Duration timeout) {
  return Eventually([&] { return EpochOf(epoch).state() == v1::EPOCH_STATE_SETTLED; }, timeout);
}

int64_t World::Income(const Person& person) {
  return ledger.Balance(PaymentAccount(person.id).ToString());
}

v1::Statement World::StatementOf(const std::string& epoch, const Person& person) {
  v1::GetStatementRequest request;
  request.set_epoch_id(epoch);
  return f.As<Stub>(person).Ok(&Stub::GetStatement, request).statement();
}

}  // namespace rochdale::payout::testing
