#include "tests/integration/ledger/scene.h"

#include <catch2/catch.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "google/protobuf/util/json_util.h"
#include "libs/crypto/entry_builder.h"
#include "libs/crypto/signed_document.h"
#include "libs/rpc/document.h"

namespace rochdale::ledger::testing {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

constexpr char kAuthorisation[] = "01890000-0000-7000-8000-0000000000aa";
constexpr int64_t kFarUs = int64_t{4'000'000'000} * 1'000'000;
constexpr int64_t kSpend = 1 << 2;  // governance.v1.MANDATE_ACTION_SPEND

std::vector<std::string> WordsOf(const std::string& line) {
  return absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
}

int64_t NumberOf(const std::string& word) {
  int64_t number = 0;
  if (!absl::SimpleAtoi(word, &number)) throw std::runtime_error("not a number: " + word);
  return number;
}

bool IsService(const std::string& who) { return who == "payout" || who == "governance"; }
bool IsAgent(const std::string& who) { return who == "aide" || who == "bot"; }

crypto::EntryBuilder EntryOf(uint16_t kind, const std::string& event, const std::string& subject,
                             absl::Time now) {
  crypto::EntryBuilder entry(kind, {Uuid::Parse(event).value()}, now);
  entry.Subject(Uuid::Parse(subject).value())
      .Cooperative({Uuid::Parse(Scene::IdOf("cooperative")).value()});
  if (crypto::FindKind(kind)->document == crypto::DocumentRule::kRequired) {
    const crypto::KeyPair founder = Cast::KeyOf("founder");
    entry.Document(crypto::SignDocument(founder, "rochdale.governance.v1.Sample", "{}").value());
  }
  return entry;
}

Uuid Parsed(const std::string& name) { return Uuid::Parse(Scene::IdOf(name)).value(); }

}  // namespace

std::string Scene::IdOf(const std::string& name) {
  Uuid id = Uuid::FromBytes(crypto::Sha256("scene " + name).AsBytes().substr(0, 16)).value();
  id.bytes[6] = static_cast<uint8_t>((id.bytes[6] & 0x0f) | 0x70);  // version 7
  id.bytes[8] = static_cast<uint8_t>((id.bytes[8] & 0x3f) | 0x80);
  return id.ToString();
}

Scene::Scene()
    : clock(absl::FromUnixSeconds(1'800'000'000)), database({Migrations()}), cast(clock) {
  replica = std::make_unique<Replica>(database.Options("ledger"),
                                      rochdale::testing::TestCluster().socket_dir(), cast,
                                      dir.path());
  for (int i = 0; !replica->Writes(); ++i) {
    if (i == 10'000) throw std::runtime_error("the replica does not write");
    absl::SleepFor(absl::Milliseconds(1));
  }
  Setup();
}

void Scene::Setup() {
  auto founded = EntryOf(kind::kCooperativeFounded, NewId(), IdOf("cooperative"), clock.Now());
  founded.U64(tag::kRulesVersion, 1);
  Append("governance", founded.BuildBytes().value());
  for (const char* person : {"Ann", "Bob", "Eve"}) {
    cast.AddPrincipal(IdOf(person));
    auto entry = EntryOf(kind::kPrincipalRegistered, NewId(), IdOf(person), clock.Now());
    entry.U64(tag::kPrincipalType, 1)
        .Bytes(tag::kRegisteredKey, Cast::KeyOf(IdOf(person)).public_key().AsBytes());
    Append("governance", entry.BuildBytes().value());
  }
  cast.AddAgent(IdOf("aide"), IdOf("Ann"));
  cast.AddAgent(IdOf("bot"), IdOf("Bob"));
  Heartbeat();
  v1::OpenAccountsRequest open;
  open.set_request_id(NewId());
  open.mutable_authorised_by()->set_event_id(kAuthorisation);
  const auto add = [&](const std::string& name, const std::string& owner, bool unlimited) {
    v1::Account& account = *open.add_accounts();
    account.set_account_id(IdOf(name));
    account.set_owner_id(IdOf(owner));
    account.set_type(owner == "cooperative" ? v1::ACCOUNT_TYPE_SYSTEM : v1::ACCOUNT_TYPE_PERSON);
    account.set_asset(absl::StrContains(name, "gpu") ? "gpu-second" : "token");
    account.set_unlimited(unlimited);
  };
  add("supply", "cooperative", true);
  add("mint", "cooperative", true);
  add("gpusupply", "cooperative", true);
  for (const char* name : {"pool", "fund", "brim", "gpupool"}) add(name, "cooperative", false);
  for (const char* name : {"ann", "ann2", "anngpu"}) add(name, "Ann", false);
  add("bob", "Bob", false);
  add("eve", "Eve", false);
  v1::OpenAccountsResponse opened;
  REQUIRE(replica->Call("service:payout", &Stub::OpenAccounts, open, &opened).ok());
  Play("kyc Ann 3\nkyc Bob 1\n");
}

void Scene::Append(const std::string& service, const std::string& bytes) {
  v1::AppendEntriesRequest request;
  v1::AppendEntriesResponse response;
  request.set_request_id(NewId());
  request.add_entries(bytes);
  const absl::Status status =
      replica->Call("service:" + service, &Stub::AppendEntries, request, &response);
  INFO(status.ToString());
  REQUIRE(status.ok());
}

void Scene::Heartbeat() {
  v1::AppendEntriesRequest request;
  v1::AppendEntriesResponse response;
  request.set_request_id(NewId());
  request.set_complete_until_us(absl::ToUnixMicros(clock.Now()));
  const absl::Status status =
      replica->Call("service:governance", &Stub::AppendEntries, request, &response);
  INFO(status.ToString());
  REQUIRE(status.ok());
}

void Scene::Play(const std::string& lines) {
  std::vector<std::string> call;
  for (absl::string_view raw : absl::StrSplit(lines, '\n')) {
    const std::string line(absl::StripAsciiWhitespace(raw));
    if (line.empty() || line[0] == '#') continue;
    if (line[0] != '+' && !call.empty()) PlayCall(std::exchange(call, {}));
    if (absl::StrContains(line, " = ")) {
      call.push_back(line);
    } else {
      PlayOther(line);
    }
  }
  if (!call.empty()) PlayCall(call);
}

v1::Transfer Scene::TransferOf(const std::string& who, const std::string& line) const {
  std::vector<std::string> words = WordsOf(line);
  v1::Transfer transfer;
  transfer.set_transfer_id(IdOf("transfer " + words.at(0)));
  transfer.set_kind(IsService(who) ? v1::TRANSFER_KIND_REWARD : v1::TRANSFER_KIND_TRADE);
  bool ends = false;
  for (size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    const size_t arrow = word.find("->");
    const size_t colon = word.find(':');
    const std::string value = colon == std::string::npos ? "" : word.substr(colon + 1);
    if (arrow != std::string::npos) {
      transfer.set_debit_account_id(IdOf(word.substr(0, arrow)));
      transfer.set_credit_account_id(IdOf(word.substr(arrow + 2)));
    } else if (word == "linked") {
      transfer.set_linked(true);
    } else if (word == "balancing") {
      transfer.set_balancing(true);
    } else if (absl::StartsWith(word, "hold:")) {
      transfer.set_phase(v1::TRANSFER_PHASE_PENDING);
      transfer.set_timeout_s(static_cast<int32_t>(NumberOf(value)));
    } else if (absl::StartsWith(word, "post:") || absl::StartsWith(word, "void:")) {
      transfer.set_phase(word[0] == 'p' ? v1::TRANSFER_PHASE_POST : v1::TRANSFER_PHASE_VOID);
      transfer.set_pending_id(IdOf("transfer " + value));
      ends = true;
    } else if (absl::StartsWith(word, "corrects:")) {
      transfer.set_corrects(IdOf("transfer " + value));
    } else if (absl::StartsWith(word, "kind:")) {
      v1::TransferKind kind;
      if (!v1::TransferKind_Parse("TRANSFER_KIND_" + value, &kind)) {
        throw std::runtime_error("not a kind: " + value);
      }
      transfer.set_kind(kind);
    } else if (absl::StartsWith(word, "code:")) {
      transfer.set_code(static_cast<uint32_t>(NumberOf(value)));
    } else if (absl::StartsWith(word, "ref:")) {
      transfer.set_reference(value);
    } else if (absl::StartsWith(word, "id:")) {
      transfer.set_transfer_id(IdOf("transfer " + value));
    } else {
      transfer.set_amount_micro(NumberOf(word));
    }
  }
  if (ends && !absl::StrContains(line, "kind:")) transfer.clear_kind();
  if (IsService(who)) transfer.mutable_authorised_by()->set_event_id(kAuthorisation);
  return transfer;
}

std::vector<v1::TransferOutcome> Scene::Post(const std::string& who,
                                             const std::vector<v1::Transfer>& transfers) {
  v1::PostTransfersRequest request;
  v1::PostTransfersResponse response;
  request.set_request_id(NewId());
  std::string caller = "service:" + who;
  if (IsService(who)) {
    for (const v1::Transfer& transfer : transfers) *request.add_transfers() = transfer;
  } else {
    v1::TransferOrder order;
    for (const v1::Transfer& transfer : transfers) *order.add_transfers() = transfer;
    order.set_signed_time_us(absl::ToUnixMicros(clock.Now()));
    std::string json;
    REQUIRE(google::protobuf::util::MessageToJsonString(order, &json).ok());
    std::string id = IdOf(who);
    if (!IsAgent(who)) {
      std::string name = who;
      name[0] = absl::ascii_toupper(static_cast<unsigned char>(name[0]));
      id = IdOf(name);
    }
    caller = (IsAgent(who) ? "agent:" : "principal:") + id;
    rpc::ToProto(crypto::SignDocument(Cast::KeyOf(id), "rochdale.ledger.v1.TransferOrder", json)
                     .value(),
                 *request.mutable_order());
  }
  const absl::Status status = replica->Call(caller, &Stub::PostTransfers, request, &response);
  INFO(status.ToString());
  REQUIRE(status.ok());
  return {response.outcomes().begin(), response.outcomes().end()};
}

void Scene::PlayCall(const std::vector<std::string>& lines) {
  std::string who;
  std::vector<v1::Transfer> transfers;
  std::vector<std::string> names, expected;
  for (const std::string& line : lines) {
    const std::pair<std::string, std::string> halves =
        absl::StrSplit(line, absl::MaxSplits(" = ", 1));
    absl::string_view asked = halves.first;
    if (!absl::ConsumePrefix(&asked, "+")) {
      const std::pair<std::string, std::string> parts =
          absl::StrSplit(asked, absl::MaxSplits(':', 1));
      who = parts.first;
      transfers.push_back(TransferOf(who, parts.second));
      names.push_back(WordsOf(parts.second).at(0));
    } else {
      transfers.push_back(TransferOf(who, std::string(asked)));
      names.push_back(WordsOf(std::string(asked)).at(0));
    }
    expected.push_back(halves.second);
  }
  const std::vector<v1::TransferOutcome> outcomes = Post(who, transfers);
  REQUIRE(outcomes.size() == lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    const v1::TransferOutcome& outcome = outcomes[i];
    const std::vector<std::string> words = WordsOf(expected[i]);
    INFO("line: " << lines[i] << "\noutcome: " << outcome.ShortDebugString());
    CHECK(v1::TransferResult_Name(outcome.result()) == "TRANSFER_RESULT_" + words.at(0));
    const bool success = outcome.result() == v1::TRANSFER_RESULT_POSTED ||
                         outcome.result() == v1::TRANSFER_RESULT_EXISTS;
    CHECK(outcome.message().empty() == success);
    CHECK(outcome.transfer_id() == transfers[i].transfer_id());
    if (!success) {
      CHECK(outcome.amount_micro() == 0);
      CHECK(outcome.log_index() == 0);
      CHECK(outcome.debit_balance_micro() == 0);
      CHECK(outcome.credit_balance_micro() == 0);
    }
    for (size_t w = 1; w + 1 < words.size(); w += 2) {
      const int64_t number = NumberOf(words[w + 1]);
      if (words[w] == "amount") CHECK(outcome.amount_micro() == number);
      if (words[w] == "debit") CHECK(outcome.debit_balance_micro() == number);
      if (words[w] == "credit") CHECK(outcome.credit_balance_micro() == number);
    }
    if (outcome.result() == v1::TRANSFER_RESULT_POSTED) outcomes_[names[i]] = outcome;
  }
}

v1::Account Scene::AccountOf(const std::string& name) {
  v1::GetAccountRequest request;
  v1::GetAccountResponse response;
  request.set_account_id(IdOf(name));
  REQUIRE(replica->Call("service:payout", &Stub::GetAccount, request, &response).ok());
  return response.account();
}

crypto::Entry Scene::EntryAt(int64_t index) {
  v1::GetEntryRequest request;
  v1::GetEntryResponse response;
  request.set_log_index(index);
  REQUIRE(replica->Call("service:payout", &Stub::GetEntry, request, &response).ok());
  return crypto::DecodeEntry(response.entry().entry()).value();
}

int64_t Scene::LogSize() {
  v1::ListEntriesRequest request;
  v1::ListEntriesResponse response;
  request.set_page_size(1'000);
  int64_t size = 0;
  do {
    request.set_from_index(size);
    REQUIRE(replica->Call("service:payout", &Stub::ListEntries, request, &response).ok());
    size += response.entries_size();
  } while (response.entries_size() > 0);
  return size;
}

void Scene::PlayOther(const std::string& line) {
  INFO("line: " << line);
  const std::vector<std::string> words = WordsOf(line);
  const std::string& what = words.at(0);
  const auto append = [&](uint16_t kind, const std::string& subject,
                          const std::function<void(crypto::EntryBuilder&)>& fill) {
    auto entry = EntryOf(kind, NewId(), IdOf(subject), clock.Now());
    fill(entry);
    Append("governance", entry.BuildBytes().value());
  };
  if (what == "balance") {
    const v1::Account account = AccountOf(words.at(1));
    CHECK(account.balance_micro() == NumberOf(words.at(2)));
    CHECK(account.balance_micro() == account.credits_micro() - account.debits_micro());
    if (words.size() > 4) CHECK(account.held_micro() == NumberOf(words.at(4)));
  } else if (what == "clock") {
    clock.Advance(absl::Seconds(NumberOf(words.at(1))));
    Heartbeat();
  } else if (what == "status" || what == "floor") {
    v1::ChangeAccountRequest request;
    v1::ChangeAccountResponse response;
    request.set_request_id(NewId());
    request.mutable_authorised_by()->set_event_id(kAuthorisation);
    request.set_account_id(IdOf(words.at(1)));
    if (what == "floor") {
      request.set_set_floor(true);
      request.set_floor_micro(NumberOf(words.at(2)));
    } else {
      v1::AccountStatus status;
      REQUIRE(v1::AccountStatus_Parse("ACCOUNT_STATUS_" + words.at(2), &status));
      request.set_status(status);
    }
    const absl::Status status =
        replica->Call("service:governance", &Stub::ChangeAccount, request, &response);
    INFO(status.ToString());
    REQUIRE(status.ok());
  } else if (what == "kyc") {
    append(kind::kKycAttested, words.at(1), [&](crypto::EntryBuilder& entry) {
      entry.U64(tag::kKycLevel, static_cast<uint64_t>(NumberOf(words.at(2))))
          .I64(tag::kExpiresUs, words.size() > 3 ? absl::ToUnixMicros(clock.Now()) +
                                                       NumberOf(words.at(3)) * 1'000'000
                                                 : kFarUs);
    });
  } else if (what == "mandate") {
    append(kind::kMandateGranted, words.at(1), [&](crypto::EntryBuilder& entry) {
      entry.Id(tag::kPrincipal, Parsed(words.at(2) == "aide" ? "Ann" : "Bob"))
          .Id(tag::kAgent, Parsed(words.at(2)))
          .I64(tag::kExpiresUs, kFarUs)
          .U64(tag::kActions, kSpend)
          .U64(tag::kBudgetPerDay, static_cast<uint64_t>(NumberOf(words.at(3))))
          .U64(tag::kBudgetTotal, static_cast<uint64_t>(NumberOf(words.at(4))));
      std::string named;
      for (size_t i = 5; i < words.size(); ++i) named += std::string(Parsed(words[i]).AsBytes());
      if (!named.empty()) entry.Bytes(tag::kCounterparties, named);
    });
  } else if (what == "revoke") {
    append(kind::kMandateRevoked, words.at(1), [](crypto::EntryBuilder&) {});
  } else if (what == "pause") {
    append(kind::kAgentPaused, words.at(1),
           [](crypto::EntryBuilder& entry) { entry.Text(tag::kReason, "SEEN"); });
  } else if (what == "resume") {
    append(kind::kAgentResumed, words.at(1), [](crypto::EntryBuilder&) {});
  } else {
    FAIL("not a line: " << line);
  }
}

}  // namespace rochdale::ledger::testing
