#include "tests/integration/ledger/simulation_stage.h"

#include <stdexcept>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/util/json_util.h"
#include "libs/crypto/entry_builder.h"
#include "libs/crypto/signed_document.h"
#include "libs/rpc/document.h"

namespace rochdale::ledger::testing {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

// A writer that died is given up after so long: whatever it had answered has arrived by then.
constexpr absl::Duration kGrace = absl::Milliseconds(30);
constexpr int64_t kSpend = 1 << 2;  // governance.v1.MANDATE_ACTION_SPEND

std::string WhoCalls(const Asker& asker, const char* service) {
  switch (asker.kind) {
    case Asker::kPerson: return "principal:" + asker.principal;
    case Asker::kAgent: return "agent:" + asker.agent;
    default: return absl::StrCat("service:", service);
  }
}

common::v1::SignedDocument Sign(const std::string& who, const google::protobuf::Message& body) {
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(body, &json).ok()) {
    throw std::runtime_error("an order cannot be written");
  }
  common::v1::SignedDocument out;
  rpc::ToProto(
      crypto::SignDocument(Cast::KeyOf(who), body.GetDescriptor()->full_name(), json).value(), out);
  return out;
}

Uuid IdOf(const std::string& text) { return Uuid::Parse(text).value(); }

}  // namespace

bool Answer::known() const {
  if (ReasonOf(status) == "AUTHORITY_STALE") return true;
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
      return false;
    default:
      return true;
  }
}

struct Stage::Running {
  std::thread thread;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  Answer answer;
};

Stage::Stage(const History& history)
    : clock_(absl::FromUnixMicros(kStartUs)),
      cast_(clock_),
      cooperative_(history.cooperative),
      database_(std::make_unique<TestDatabase>(std::vector<pg::MigrationSet>{Migrations()})) {
  for (size_t i = 0; i < 2; ++i) {
    replicas_[i] = NewReplica(i);
  }
  Setup(history);
}

std::shared_ptr<Replica> Stage::NewReplica(size_t slot) {
  return std::make_shared<Replica>(database_->Options("ledger"),
                                   rochdale::testing::TestCluster().socket_dir(), cast_,
                                   dirs_[slot].path());
}

Stage::~Stage() {
  for (std::shared_ptr<Replica>& replica : replicas_) replica.reset();
  for (std::thread& grave : graves_) grave.join();
}

void Stage::Setup(const History& history) {
  v1::AppendEntriesRequest request;
  request.set_request_id(ids_.New(clock_.Now()).ToString());
  const auto add = [&](uint16_t kind, const std::string& subject,
                       const std::function<void(crypto::EntryBuilder&)>& fill) {
    std::string event = subject;
    event[0] = event[0] == 'f' ? 'e' : 'f';  // another id than the subject's
    request.add_entries(EntryBytes(kind, event, subject, fill));
  };
  add(kind::kCooperativeFounded, history.cooperative,
      [](crypto::EntryBuilder& entry) { entry.U64(tag::kRulesVersion, 1); });
  for (const std::string& person : history.people) {
    cast_.AddPrincipal(person);
    add(kind::kPrincipalRegistered, person, [&](crypto::EntryBuilder& entry) {
      entry.U64(tag::kPrincipalType, 1)
          .Bytes(tag::kRegisteredKey, Cast::KeyOf(person).public_key().AsBytes());
    });
  }
  for (const auto& [agent, principal] : history.agents) cast_.AddAgent(agent, principal);
  request.set_complete_until_us(NowUs());
  v1::AppendEntriesResponse response;
  const absl::Status status =
      Writer()->Call("service:governance", &Stub::AppendEntries, request, &response);
  if (!status.ok()) throw std::runtime_error(status.ToString());
  log_size_ = *response.log_indexes().rbegin() + 1;
}

std::string Stage::EntryBytes(uint16_t kind, const std::string& event, const std::string& subject,
                              const std::function<void(crypto::EntryBuilder&)>& fill) const {
  crypto::EntryBuilder entry(kind, {IdOf(event)}, absl::FromUnixMicros(kStartUs));
  entry.Subject(IdOf(subject)).Cooperative({IdOf(cooperative_)});
  if (crypto::FindKind(kind)->document == crypto::DocumentRule::kRequired) {
    const crypto::KeyPair founder = Cast::KeyOf("founder");
    entry.Document(crypto::SignDocument(founder, "rochdale.governance.v1.Sample", "{}").value());
  }
  fill(entry);
  return entry.BuildBytes().value();
}

std::string Stage::BytesOf(const Fact& fact) const {
  switch (fact.kind) {
    case Fact::kKyc:
      return EntryBytes(kind::kKycAttested, fact.event, fact.principal,
                        [&](crypto::EntryBuilder& entry) {
                          entry.U64(tag::kKycLevel, static_cast<uint64_t>(fact.level))
                              .I64(tag::kExpiresUs, fact.expires_us);
                        });
    case Fact::kMandate:
      return EntryBytes(
          kind::kMandateGranted, fact.event, fact.mandate, [&](crypto::EntryBuilder& entry) {
            entry.Id(tag::kPrincipal, IdOf(fact.principal))
                .Id(tag::kAgent, IdOf(fact.agent))
                .I64(tag::kExpiresUs, fact.expires_us)
                .U64(tag::kActions, kSpend)
                .U64(tag::kBudgetPerDay, static_cast<uint64_t>(fact.budget_day))
                .U64(tag::kBudgetTotal, static_cast<uint64_t>(fact.budget_total));
            std::string named;
            for (const std::string& id : fact.counterparties) {
              named += std::string(IdOf(id).AsBytes());
            }
            if (!named.empty()) entry.Bytes(tag::kCounterparties, named);
          });
    case Fact::kRevoke:
      return EntryBytes(kind::kMandateRevoked, fact.event, fact.mandate,
                        [](crypto::EntryBuilder&) {});
    case Fact::kPause:
      return EntryBytes(kind::kAgentPaused, fact.event, fact.agent,
                        [](crypto::EntryBuilder& entry) { entry.Text(tag::kReason, "SIMULATED"); });
    case Fact::kLimit:
      return EntryBytes(kind::kParameterChanged, fact.event, cooperative_,
                        [&](crypto::EntryBuilder& entry) {
                          entry.U64(tag::kVersion, 1)
                              .Text(tag::kParameter,
                                    absl::StrCat("ledger.kyc_l", fact.level, "_daily_micro"))
                              .Text(tag::kValue, fact.value);
                        });
    case Fact::kResume:
      return EntryBytes(kind::kAgentResumed, fact.event, fact.agent, [](crypto::EntryBuilder&) {});
  }
  return "";
}

std::string Stage::BytesOf(const std::pair<std::string, int>& event) const {
  return EntryBytes(kind::kUpdateExpired, event.first, cooperative_,
                    [&](crypto::EntryBuilder& entry) {
                      Uuid round;
                      round.bytes.fill(static_cast<uint8_t>(event.second + 1));
                      entry.Id(tag::kRound, round);
                    });
}

Answer Stage::Send(Replica& replica, const Step& step) {
  Answer answer;
  const std::string request_id = ids_.New(clock_.Now()).ToString();
  const bool is_service = step.asker.kind == Asker::kService;
  switch (step.kind) {
    case Step::kOpen: {
      v1::OpenAccountsRequest request;
      v1::OpenAccountsResponse response;
      request.set_request_id(request_id);
      request.mutable_authorised_by()->set_event_id("01890000-0000-7000-8000-0000000000aa");
      for (const v1::Account& account : step.accounts) *request.add_accounts() = account;
      answer.status = replica.Call(WhoCalls(step.asker, "payout"), &Stub::OpenAccounts, request,
                                   &response);
      answer.accounts.assign(response.accounts().begin(), response.accounts().end());
      break;
    }
    case Step::kPost: {
      v1::PostTransfersRequest request;
      v1::PostTransfersResponse response;
      request.set_request_id(request_id);
      if (is_service) {
        for (const v1::Transfer& transfer : step.transfers) *request.add_transfers() = transfer;
      } else {
        v1::TransferOrder order;
        for (const v1::Transfer& transfer : step.transfers) *order.add_transfers() = transfer;
        order.set_signed_time_us(NowUs());
        *request.mutable_order() = Sign(
            step.asker.kind == Asker::kPerson ? step.asker.principal : step.asker.agent, order);
      }
      answer.status = replica.Call(WhoCalls(step.asker, "payout"), &Stub::PostTransfers, request,
                                   &response);
      answer.outcomes.assign(response.outcomes().begin(), response.outcomes().end());
      break;
    }
    case Step::kChange: {
      v1::ChangeAccountRequest request;
      v1::ChangeAccountResponse response;
      if (is_service) {
        request = step.change;
        request.mutable_authorised_by()->set_event_id("01890000-0000-7000-8000-0000000000aa");
      } else {
        v1::AccountOrder order;
        order.set_account_id(step.change.account_id());
        order.set_status(step.change.status());
        order.set_signed_time_us(NowUs());
        *request.mutable_order() = Sign(step.asker.principal, order);
      }
      request.set_request_id(request_id);
      answer.status = replica.Call(WhoCalls(step.asker, "governance"), &Stub::ChangeAccount,
                                   request, &response);
      answer.accounts = {response.account()};
      break;
    }
    case Step::kFacts:
    case Step::kEvents: {
      v1::AppendEntriesRequest request;
      v1::AppendEntriesResponse response;
      request.set_request_id(request_id);
      for (const Fact& fact : step.facts) request.add_entries(BytesOf(fact));
      for (const auto& event : step.events) request.add_entries(BytesOf(event));
      answer.status = replica.Call(
          step.kind == Step::kFacts ? "service:governance" : "service:filter",
          &Stub::AppendEntries, request, &response);
      answer.indexes.assign(response.log_indexes().begin(), response.log_indexes().end());
      break;
    }
    case Step::kClock: break;
  }
  return answer;
}

void Stage::Heartbeat() {
  v1::AppendEntriesRequest request;
  request.set_complete_until_us(NowUs());
  for (int attempt = 0; attempt < 200; ++attempt) {
    v1::AppendEntriesResponse response;
    request.set_request_id(ids_.New(clock_.Now()).ToString());
    const absl::Status status =
        Writer()->Call("service:governance", &Stub::AppendEntries, request, &response);
    if (status.ok()) return;
    absl::SleepFor(absl::Milliseconds(20));
  }
  throw std::runtime_error("no heartbeat is taken");
}

void Stage::LookAtHead() {
  v1::GetTreeHeadResponse response;
  const absl::Status status = Writer()->Call("service:payout", &Stub::GetTreeHead,
                                             v1::GetTreeHeadRequest(), &response);
  if (status.ok()) heads_.push_back(response.tree_head());
}

std::string Stage::Faults() const {
  std::string faults;
  for (const std::shared_ptr<Replica>& replica : replicas_) {
    if (replica == nullptr) continue;
    for (const absl::string_view line : absl::StrSplit(replica->log_lines(), '\n')) {
      if (absl::StrContains(line, "SQLSTATE") || absl::StrContains(line, "INTERNAL")) {
        absl::StrAppend(&faults, line, "\n");
      }
    }
  }
  return faults;
}

std::shared_ptr<Replica> Stage::Writer() {
  for (int i = 0; i < 30'000; ++i) {
    for (const std::shared_ptr<Replica>& replica : replicas_) {
      if (replica->Writes()) return replica;
    }
    absl::SleepFor(absl::Milliseconds(1));
  }
  throw std::runtime_error(absl::StrCat("no replica writes\n", replicas_[0]->log_lines(), "\n",
                                        replicas_[1]->log_lines()));
}

void Stage::Arm(Replica& replica, const Step& step) {
  using Then = PgProxy::Then;
  switch (step.fault) {
    case Step::kCrash: replica.proxy().CutAfter(step.after, Then::kForGood); break;
    case Step::kCrashCommit: replica.proxy().LoseAnswerOfCommit(Then::kForGood); break;
    case Step::kCrashUnmade: replica.proxy().CutBeforeCommit(Then::kForGood); break;
    case Step::kCut: replica.proxy().CutAfter(step.after, Then::kOnce); break;
    case Step::kLostAnswer: replica.proxy().LoseAnswerOfCommit(Then::kOnce); break;
    case Step::kHandOver:
    case Step::kNone: break;
  }
}

std::vector<Answer> Stage::PlayOnce(const std::vector<const Step*>& steps) {
  const std::shared_ptr<Replica> writer = Writer();
  if (steps.size() == 1 && steps[0]->fault == Step::kNone) return {Send(*writer, *steps[0])};
  const size_t slot = writer == replicas_[0] ? 0 : 1;
  const Step& first = *steps[0];
  const bool crashes = first.fault == Step::kCrash || first.fault == Step::kCrashCommit ||
                       first.fault == Step::kCrashUnmade;
  const int cuts = writer->proxy().cuts();
  Arm(*writer, first);
  std::vector<std::unique_ptr<Running>> calls;
  for (const Step* step : steps) {
    auto call = std::make_unique<Running>();
    call->thread = std::thread([this, writer, step, running = call.get()] {
      Answer answer = Send(*writer, *step);
      std::lock_guard lock(running->mutex);
      running->answer = std::move(answer);
      running->done = true;
      running->changed.notify_all();
    });
    calls.push_back(std::move(call));
  }
  if (first.fault == Step::kHandOver) {
    absl::SleepFor(absl::Microseconds(200 * first.after));
    writer->Stop();
  }
  std::vector<Answer> answers;
  std::optional<absl::Time> died;
  for (const std::unique_ptr<Running>& call : calls) {
    std::unique_lock lock(call->mutex);
    while (!call->done && !(died.has_value() && absl::Now() > *died + kGrace)) {
      call->changed.wait_for(lock, std::chrono::milliseconds(2));
      if (crashes && !died.has_value() && writer->proxy().cuts() > cuts) died = absl::Now();
    }
    answers.push_back(call->done ? call->answer : Answer());
  }
  if (first.fault == Step::kHandOver || died.has_value()) {
    ++faults_;
    Bury(slot, std::move(calls));
    return answers;
  }
  for (const std::unique_ptr<Running>& call : calls) call->thread.join();
  if (writer->proxy().cuts() > cuts) ++faults_;
  // A crash between the last answer and now is a crash all the same.
  if (crashes && writer->proxy().cuts() > cuts) {
    Bury(slot, {});
  } else {
    writer->proxy().Heal();
  }
  return answers;
}

// Its threads end in their own time; another replica takes its place now.
void Stage::Bury(size_t slot, std::vector<std::unique_ptr<Running>> calls) {
  constexpr size_t kGravesMax = 3;
  if (graves_.size() >= kGravesMax) {
    graves_.front().join();
    graves_.erase(graves_.begin());
  }
  auto dead = std::move(replicas_[slot]);
  auto rest = std::make_shared<std::vector<std::unique_ptr<Running>>>(std::move(calls));
  graves_.emplace_back([dead = std::move(dead), rest]() mutable {
    dead->Stop();
    for (const std::unique_ptr<Running>& call : *rest) call->thread.join();
    dead.reset();
  });
  replicas_[slot] = NewReplica(slot);
}

Answer Stage::PlayAgain(const Step& step, int& attempts) {
  const absl::Time until = absl::Now() + absl::Minutes(1);
  Answer answer;
  while (true) {
    answer = Send(*Writer(), step);
    if (answer.known() || absl::Now() > until) return answer;
    ++attempts;
    absl::SleepFor(absl::Milliseconds(5));
  }
}

}  // namespace rochdale::ledger::testing
