// A running payout, with attribution, filter, governance and ledger beside it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "rochdale/attribution/v1/attribution.grpc.pb.h"
#include "rochdale/filter/v1/filter.grpc.pb.h"
#include "rochdale/payout/v1/payout.grpc.pb.h"
#include "services/payout/module.h"
#include "tests/support/fake_governance.h"
#include "tests/support/fake_ledger.h"
#include "tests/support/service_fixture.h"

namespace rochdale::payout::testing {

namespace v1 = ::rochdale::payout::v1;
namespace attribution_v1 = ::rochdale::attribution::v1;
namespace filter_v1 = ::rochdale::filter::v1;
namespace ledger_v1 = ::rochdale::ledger::v1;
using Stub = v1::PayoutService::Stub;
using rochdale::testing::Client;
using rochdale::testing::Eventually;
using rochdale::testing::Person;
using rochdale::testing::Sign;

// Called with the rpc's name before and after its effect; what is not OK is the answer.
using Fault = std::function<grpc::Status(const std::string& rpc)>;

class FakeAttribution final : public attribution_v1::AttributionService::Service {
 public:
  rochdale::testing::Hook<Fault> before, after;

  grpc::Status ListRounds(grpc::ServerContext*, const attribution_v1::ListRoundsRequest*,
                          attribution_v1::ListRoundsResponse*) override;
  grpc::Status ListCredits(grpc::ServerContext*, const attribution_v1::ListCreditsRequest*,
                           attribution_v1::ListCreditsResponse*) override;
  grpc::Status RetireRounds(grpc::ServerContext*, const attribution_v1::RetireRoundsRequest*,
                            attribution_v1::RetireRoundsResponse*) override;

  void Put(const attribution_v1::Round& round);
  void Put(const attribution_v1::Credit& credit);
  std::set<std::string> retired();

 private:
  std::mutex mutex_;
  std::map<std::pair<std::string, int64_t>, attribution_v1::Round> rounds_;
  std::map<std::string, std::vector<attribution_v1::Credit>> credits_;  // by round
  std::set<std::string> retired_;
};

class FakeFilter final : public filter_v1::FilterService::Service {
 public:
  rochdale::testing::Hook<Fault> before, after;

  grpc::Status ListUpdates(grpc::ServerContext*, const filter_v1::ListUpdatesRequest*,
                           filter_v1::ListUpdatesResponse*) override;
  grpc::Status RecordOutcomes(grpc::ServerContext*, const filter_v1::RecordOutcomesRequest*,
                              filter_v1::RecordOutcomesResponse*) override;

  void Put(const filter_v1::Update& update);
  filter_v1::UpdateState StateOf(const std::string& round, const std::string& update);

 private:
  std::mutex mutex_;
  std::map<std::string, std::vector<filter_v1::Update>> updates_;  // by round
};

struct World {
  World();
  ~World() { f.Stop(); }
  void Serve();  // again after f.Stop()

  // ---- What the other services say ----
  std::string NewCooperative(const Person& founder);
  struct Part {
    Person person;
    int64_t credit = 0;
    filter_v1::UpdateState state = filter_v1::UPDATE_STATE_APPLIED;
    std::string reason = "";
  };
  int64_t tolerance_nanonats = 0;  // of the credits of later rounds
  // A round of one update per part; the ids of the updates.
  std::vector<std::string> PutRound(
      int64_t number, const std::vector<Part>& parts,
      attribution_v1::RoundState state = attribution_v1::ROUND_STATE_CLOSED);

  // ---- Requests ----
  v1::CreatePoolRequest Creating(const std::string& cooperative, const Person& signer);
  v1::CloseEpochRequest Closing(const v1::Pool& pool, int64_t first, int64_t last,
                                const Person& signer);

  // ---- Steps that must succeed ----
  v1::Pool NewPool(const std::string& cooperative, const Person& signer);
  v1::Epoch Close(int64_t first, int64_t last);
  v1::Epoch EpochOf(const std::string& id);
  bool Settles(const std::string& epoch, absl::Duration timeout = absl::Seconds(20));
  int64_t Income(const Person& person);  // what its account holds
  v1::Statement StatementOf(const std::string& epoch, const Person& person);

  rochdale::testing::FakeGovernance governance;
  rochdale::testing::FakeLedger ledger;
  FakeAttribution attribution;
  FakeFilter filter;
  rochdale::testing::ServiceFixture f;
  Person founder;
  std::string cooperative;
  v1::Pool pool;
};

}  // namespace rochdale::payout::testing
