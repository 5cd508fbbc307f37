// Changes of accounts, balances at an instant, holds as they are shown, deposits of compute time,
// conversions: through the API.
#include <catch2/catch.hpp>
#include <limits>

#include "google/protobuf/util/json_util.h"
#include "libs/crypto/entry_builder.h"
#include "libs/rpc/document.h"
#include "services/ledger/compute_deposit.h"
#include "services/ledger/conversion.h"
#include "tests/integration/ledger/harness.h"

namespace rochdale::ledger::testing {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;
using R = v1::TransferResult;

template <typename Message>
common::v1::SignedDocument Signed(const crypto::KeyPair& key, const Message& message) {
  std::string body;
  if (!google::protobuf::util::MessageToJsonString(message, &body).ok()) {
    throw std::runtime_error("a document cannot be written");
  }
  common::v1::SignedDocument document;
  rpc::ToProto(crypto::SignDocument(key, message.GetDescriptor()->full_name(), body).value(),
               document);
  return document;
}

v1::Account AccountOf(Client& client, const std::string& account) {
  v1::GetAccountRequest request;
  request.set_account_id(account);
  return client.Ok(&Stub::GetAccount, request).account();
}

struct Changing {
  explicit Changing(Ledger& ledger)
      : ledger(ledger), world(ledger), governance(ledger.As("governance")) {}

  v1::ChangeAccountRequest Request(v1::AccountStatus status) {
    v1::ChangeAccountRequest request;
    request.set_request_id(ledger.NewId());
    request.set_account_id(world.of_ann);
    request.set_status(status);
    request.mutable_authorised_by()->set_event_id(ledger.NewId());
    return request;
  }
  v1::ChangeAccountRequest Order(const crypto::KeyPair& key, v1::AccountStatus status,
                                 absl::Duration age = absl::ZeroDuration()) {
    v1::AccountOrder order;
    order.set_account_id(world.of_ann);
    order.set_status(status);
    order.set_signed_time_us(absl::ToUnixMicros(ledger.clock.Now() - age));
    v1::ChangeAccountRequest request;
    request.set_request_id(ledger.NewId());
    *request.mutable_order() = Signed(key, order);
    return request;
  }

  Ledger& ledger;
  World world;
  Client governance;
};

TEST_CASE("governance freezes, reopens and closes; the log says so", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Changing c(ledger);
  c.world.Fund(ledger, 10);
  const v1::ChangeAccountRequest freeze = c.Request(v1::ACCOUNT_STATUS_FROZEN);
  const v1::Account frozen = c.governance.Ok(&Stub::ChangeAccount, freeze).account();
  CHECK(frozen.status() == v1::ACCOUNT_STATUS_FROZEN);
  CHECK(frozen.version() == 2);
  // Again, by the same request and by another one.
  CHECK(c.governance.Ok(&Stub::ChangeAccount, freeze).account().version() == 2);
  CHECK(c.governance.Ok(&Stub::ChangeAccount, c.Request(v1::ACCOUNT_STATUS_FROZEN))
            .account()
            .version() == 2);
  const auto posted = c.world.payout.Ok(
      &Stub::PostTransfers,
      PostingOf(ledger, {TransferOf(ledger, c.world.supply, c.world.of_ann, 5)}));
  CHECK(posted.outcomes(0).result() == v1::TRANSFER_RESULT_CREDIT_ACCOUNT_NOT_OPEN);
  CHECK(c.governance.Ok(&Stub::ChangeAccount, c.Request(v1::ACCOUNT_STATUS_OPEN))
            .account()
            .version() == 3);
  v1::ChangeAccountRequest floor = c.Request(v1::ACCOUNT_STATUS_UNSPECIFIED);
  floor.set_set_floor(true);
  floor.set_floor_micro(-100);
  CHECK(c.governance.Ok(&Stub::ChangeAccount, floor).account().floor_micro() == -100);
  CHECK(c.governance.Ok(&Stub::ChangeAccount, c.Request(v1::ACCOUNT_STATUS_CLOSING))
            .account()
            .status() == v1::ACCOUNT_STATUS_CLOSING);
  // Something is in it.
  CHECK(c.governance.Reason(&Stub::ChangeAccount, c.Request(v1::ACCOUNT_STATUS_CLOSED)) ==
        "ACCOUNT_TRANSITION_INVALID");
  v1::ListEntriesRequest list;
  list.set_subject_id(c.world.of_ann);
  const v1::ListEntriesResponse entries = ledger.Anonymous().Ok(&Stub::ListEntries, list);
  int changes = 0;
  for (const v1::LogEntry& one : entries.entries()) {
    changes += crypto::DecodeEntry(one.entry())->kind == kind::kAccountChanged;
  }
  CHECK(changes == 4);
}

TEST_CASE("an owner closes its empty account by its signature", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Changing c(ledger);
  Client ann = ledger.As(c.world.ann), bob = ledger.As(c.world.bob);
  const crypto::KeyPair& key = c.world.ann.key;
  CHECK(bob.Reason(&Stub::ChangeAccount, c.Order(c.world.bob.key, v1::ACCOUNT_STATUS_CLOSING)) ==
        "PERMISSION_DENIED");
  CHECK(bob.Reason(&Stub::ChangeAccount, c.Order(key, v1::ACCOUNT_STATUS_CLOSING)) ==
        "SIGNATURE_INVALID");
  CHECK(ann.Reason(&Stub::ChangeAccount,
                   c.Order(key, v1::ACCOUNT_STATUS_CLOSING, absl::Minutes(16))) == "BAD_REQUEST");
  CHECK(ann.Reason(&Stub::ChangeAccount, c.Order(key, v1::ACCOUNT_STATUS_FROZEN)) ==
        "BAD_REQUEST");
  CHECK(ann.Reason(&Stub::ChangeAccount, c.Request(v1::ACCOUNT_STATUS_CLOSING)) == "BAD_REQUEST");
  CHECK(ledger.AsAgentOf(c.world.ann)
            .Reason(&Stub::ChangeAccount, c.Order(key, v1::ACCOUNT_STATUS_CLOSING)) ==
        "PERMISSION_DENIED");
  CHECK(ann.Ok(&Stub::ChangeAccount, c.Order(key, v1::ACCOUNT_STATUS_CLOSING))
            .account()
            .status() == v1::ACCOUNT_STATUS_CLOSING);
  CHECK(ann.Ok(&Stub::ChangeAccount, c.Order(key, v1::ACCOUNT_STATUS_CLOSED)).account().status() ==
        v1::ACCOUNT_STATUS_CLOSED);
  CHECK(ann.Reason(&Stub::ChangeAccount, c.Order(key, v1::ACCOUNT_STATUS_CLOSING)) != "OK");
}

TEST_CASE("every bad field of a change is named", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Changing c(ledger);
  v1::ChangeAccountRequest bad;
  bad.set_floor_micro(5);
  const auto refused = c.governance.Call(&Stub::ChangeAccount, bad);
  CHECK(FieldViolationsOf(refused.status()).size() == 5);
  v1::ChangeAccountRequest strange = c.Request(static_cast<v1::AccountStatus>(9));
  CHECK(c.governance.Reason(&Stub::ChangeAccount, strange) == "BAD_REQUEST");
  v1::ChangeAccountRequest unknown = c.Request(v1::ACCOUNT_STATUS_FROZEN);
  unknown.set_account_id(ledger.NewId());
  CHECK(c.governance.Reason(&Stub::ChangeAccount, unknown) == "ACCOUNT_NOT_FOUND");
}

TEST_CASE("a balance at an instant is exact, and so is what moved since", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  std::vector<int64_t> times;
  for (int i = 1; i <= 4; ++i) {
    const v1::Transfer transfer = TransferOf(ledger, world.supply, world.of_ann, i);
    world.payout.Ok(&Stub::PostTransfers, PostingOf(ledger, {transfer}));
    v1::GetTransferRequest get;
    get.set_transfer_id(transfer.transfer_id());
    times.push_back(world.payout.Ok(&Stub::GetTransfer, get).transfer().posted_time_us());
    absl::SleepFor(absl::Milliseconds(3));
  }
  v1::GetBalanceRequest request;
  request.set_account_id(world.of_ann);
  const auto at = [&](int64_t at_us, int64_t since_us) {
    request.set_at_time_us(at_us);
    request.set_since_time_us(since_us);
    return world.payout.Ok(&Stub::GetBalance, request);
  };
  CHECK(at(0, 0).balance().balance_micro() == 10);
  CHECK(at(0, 0).period_transfer_count() == 4);
  CHECK(at(times[1], 0).balance().balance_micro() == 3);
  CHECK(at(times[1] - 1, 0).balance().balance_micro() == 1);
  CHECK(at(times[0] - 1, 0).balance().credits_micro() == 0);
  CHECK(at(times[0] - 1, 0).balance().log_index() == -1);
  const v1::GetBalanceResponse middle = at(times[2], times[0]);
  CHECK(middle.balance().balance_micro() == 6);
  CHECK(middle.period_credits_micro() == 5);
  CHECK(middle.period_debits_micro() == 0);
  CHECK(middle.period_transfer_count() == 2);
  CHECK(at(std::numeric_limits<int64_t>::max(), times[3]).period_transfer_count() == 0);
  request.set_at_time_us(1);
  request.set_since_time_us(2);
  CHECK(world.payout.Reason(&Stub::GetBalance, request) == "BAD_REQUEST");
  request.set_since_time_us(-1);
  CHECK(world.payout.Reason(&Stub::GetBalance, request) == "BAD_REQUEST");
  request.set_since_time_us(0);
  request.set_account_id(ledger.NewId());
  CHECK(world.payout.Reason(&Stub::GetBalance, request) == "ACCOUNT_NOT_FOUND");
}

TEST_CASE("holds are shown with what became of them, open ones by pages", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  world.Fund(ledger, 1'000);
  Client ann = ledger.As(world.ann);
  std::vector<v1::Transfer> holds;
  for (int i = 0; i < 5; ++i) {
    v1::Transfer hold =
        TransferOf(ledger, world.of_ann, world.of_bob, 10 + i, v1::TRANSFER_KIND_SPEND);
    hold.set_phase(v1::TRANSFER_PHASE_PENDING);
    hold.set_timeout_s(600);
    hold.set_reference("seat");
    holds.push_back(hold);
  }
  const auto post = [&](const std::vector<v1::Transfer>& transfers) {
    const auto posted = ann.Ok(&Stub::PostTransfers, OrderOf(ledger, world.ann.key, transfers,
                                                             ledger.clock.Now()));
    for (const auto& outcome : posted.outcomes()) {
      CHECK(outcome.result() == v1::TRANSFER_RESULT_POSTED);
    }
  };
  post(holds);
  v1::Transfer end;
  end.set_transfer_id(ledger.NewId());
  end.set_phase(v1::TRANSFER_PHASE_POST);
  end.set_pending_id(holds[0].transfer_id());
  end.set_amount_micro(4);
  v1::Transfer drop;
  drop.set_transfer_id(ledger.NewId());
  drop.set_phase(v1::TRANSFER_PHASE_VOID);
  drop.set_pending_id(holds[1].transfer_id());
  post({end, drop});

  const auto get = [&](const std::string& id) {
    v1::GetHoldRequest request;
    request.set_transfer_id(id);
    return ann.Call(&Stub::GetHold, request);
  };
  const v1::Hold posted = get(holds[0].transfer_id())->hold();
  CHECK(posted.state() == v1::HOLD_STATE_POSTED);
  CHECK(posted.posted_micro() == 4);
  CHECK(posted.transfer().amount_micro() == 10);
  CHECK(posted.transfer().reference() == "seat");
  CHECK(posted.transfer().phase() == v1::TRANSFER_PHASE_PENDING);
  CHECK(posted.transfer().expires_time_us() ==
        posted.transfer().posted_time_us() + 600'000'000);
  CHECK(get(holds[1].transfer_id())->hold().state() == v1::HOLD_STATE_VOIDED);
  CHECK(get(holds[2].transfer_id())->hold().state() == v1::HOLD_STATE_OPEN);
  CHECK(ReasonOf(get(end.transfer_id()).status()) == "NOT_FOUND");
  CHECK(ReasonOf(get("x").status()) == "BAD_REQUEST");

  v1::ListHoldsRequest list;
  list.set_account_id(world.of_ann);
  list.set_page_size(2);
  const v1::ListHoldsResponse first = ann.Ok(&Stub::ListHolds, list);
  REQUIRE(first.holds_size() == 2);
  list.set_page_token(first.next_page_token());
  const v1::ListHoldsResponse second = ann.Ok(&Stub::ListHolds, list);
  REQUIRE(second.holds_size() == 1);
  CHECK(second.next_page_token().empty());
  CHECK(first.holds(0).transfer().transfer_id() < first.holds(1).transfer().transfer_id());
  list.set_account_id(world.of_bob);
  CHECK(ann.Reason(&Stub::ListHolds, list) == "PAGE_TOKEN_INVALID");
  list.clear_page_token();
  CHECK(ann.Ok(&Stub::ListHolds, list).holds_size() == 0);  // the credit side holds nothing
}

TEST_CASE("compute time is paid at the rate, rounded down", "[ledger]") {
  CHECK(ComputePay(1'500'000, 1'000'000).value() == 1'500'000);
  CHECK(ComputePay(1, 1'999'999).value() == 1);
  CHECK(ComputePay(9'000'000'000'000'000'000, 1'000'000).value() == 9'000'000'000'000'000'000);
  CHECK(ReasonOf(ComputePay(0, 1'000'000).status()) == "ENTRY_INVALID");
  CHECK(ReasonOf(ComputePay(1, 999'999).status()) == "ENTRY_INVALID");
  CHECK(ReasonOf(ComputePay(10'000'000'000'000'000'000u, 1'000'000).status()) == "ENTRY_INVALID");
  CHECK(ReasonOf(ComputePay(std::numeric_limits<uint64_t>::max(),
                            std::numeric_limits<int64_t>::max())
                     .status()) == "ENTRY_INVALID");
  CHECK(Converted(10, 1'000'000, 3'000'000).value() == 3);
  CHECK(Converted(std::numeric_limits<int64_t>::max(), 7, 7).value() ==
        std::numeric_limits<int64_t>::max());
  CHECK(ReasonOf(Converted(1, 1, 2).status()) == "BAD_REQUEST");
  CHECK(ReasonOf(Converted(std::numeric_limits<int64_t>::max(), 2, 1).status()) == "BAD_REQUEST");
}

struct Compute {
  explicit Compute(Ledger& ledger)
      : ledger(ledger), world(ledger), attribution(ledger.As("attribution")), fund(NewFund()) {}

  std::string NewFund(bool unlimited = false) {
    const std::string id = ledger.NewId();
    world.payout.Ok(&Stub::OpenAccounts,
                    OpeningOf(ledger, id, ledger.NewId(), v1::ACCOUNT_TYPE_SYSTEM, unlimited));
    return id;
  }
  void Fill(int64_t amount) {
    const auto posted = world.payout.Ok(
        &Stub::PostTransfers, PostingOf(ledger, {TransferOf(ledger, world.supply, fund, amount)}));
    CHECK(posted.outcomes(0).result() == v1::TRANSFER_RESULT_POSTED);
  }
  std::string Meter(const Person& provider, uint64_t gpu_micros) {
    const Uuid event = ledger.ids.New(ledger.clock.Now());
    v1::AppendEntriesRequest request;
    request.set_request_id(ledger.NewId());
    request.add_entries(
        crypto::EntryBuilder(kind::kComputeMetered, {event}, ledger.clock.Now())
            .Subject(ledger.ids.New(ledger.clock.Now()))
            .Id(tag::kPrincipal, provider.id)
            .U64(tag::kGpuMicros, gpu_micros)
            .BuildBytes()
            .value());
    attribution.Ok(&Stub::AppendEntries, request);
    return event.ToString();
  }
  v1::DepositComputeTimeRequest Request(
      const std::vector<std::pair<std::string, std::string>>& deposits) {
    v1::DepositComputeTimeRequest request;
    request.set_request_id(ledger.NewId());
    request.set_fund_account_id(fund);
    for (const auto& [event, account] : deposits) {
      v1::ComputeDeposit& deposit = *request.add_deposits();
      deposit.set_metered_event_id(event);
      deposit.set_credit_account_id(account);
    }
    return request;
  }
  std::string Reason(const v1::DepositComputeTimeRequest& request) {
    return attribution.Reason(&Stub::DepositComputeTime, request);
  }

  Ledger& ledger;
  World world;
  Client attribution;
  std::string fund;
};

TEST_CASE("metered compute time is paid once, from what the fund has", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Compute c(ledger);
  const std::string one = c.Meter(c.world.ann, 2'500'000), two = c.Meter(c.world.bob, 3'000'001);
  const auto request = c.Request({{one, c.world.of_ann}, {two, c.world.of_bob}});
  // The fund is empty: nobody is paid, and nobody is lost.
  for (int i = 0; i < 3; ++i) {
    const auto refused = c.attribution.Ok(&Stub::DepositComputeTime, request);
    CHECK(refused.outcomes(0).result() == v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS);
  }
  c.Fill(4'000'000);
  const auto paid = c.attribution.Ok(&Stub::DepositComputeTime, request);
  REQUIRE(paid.outcomes_size() == 2);
  CHECK(paid.outcomes(0).result() == v1::TRANSFER_RESULT_POSTED);
  CHECK(paid.outcomes(0).amount_micro() == 2'500'000);
  CHECK(paid.outcomes(1).result() == v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS);
  c.Fill(4'000'000);
  const auto again = c.attribution.Ok(&Stub::DepositComputeTime, request);
  CHECK(again.outcomes(0).result() == v1::TRANSFER_RESULT_EXISTS);
  CHECK(again.outcomes(0).transfer_id() == paid.outcomes(0).transfer_id());
  CHECK(again.outcomes(1).result() == v1::TRANSFER_RESULT_POSTED);
  CHECK(again.outcomes(1).amount_micro() == 3'000'001);
  v1::GetTransferRequest get;
  get.set_transfer_id(paid.outcomes(0).transfer_id());
  const v1::Transfer transfer = c.world.payout.Ok(&Stub::GetTransfer, get).transfer();
  CHECK(transfer.kind() == v1::TRANSFER_KIND_DEPOSIT);
  CHECK(transfer.authorised_by().event_id() == one);
  CHECK(AccountOf(c.world.payout, c.fund).balance_micro() == 2'499'999);
}

TEST_CASE("only what was metered for the account's owner is paid", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Compute c(ledger);
  c.Fill(100'000'000);
  const std::string metered = c.Meter(c.world.ann, 1'000'000);
  CHECK(c.Reason(c.Request({{metered, c.world.of_bob}})) == "ENTRY_INVALID");
  CHECK(c.Reason(c.Request({{metered, c.fund}})) == "ENTRY_INVALID");
  CHECK(c.Reason(c.Request({{metered, ledger.NewId()}})) == "ACCOUNT_NOT_FOUND");
  CHECK(c.Reason(c.Request({{ledger.NewId(), c.world.of_ann}})) == "NOT_FOUND");
  const Uuid other = ledger.LogRegistration(ledger.NewPerson());
  CHECK(c.Reason(c.Request({{other.ToString(), c.world.of_ann}})) == "ENTRY_INVALID");
  CHECK(c.Reason(c.Request({})) == "BAD_REQUEST");
  v1::DepositComputeTimeRequest minting = c.Request({{metered, c.world.of_ann}});
  minting.set_fund_account_id(c.world.supply);
  CHECK(c.Reason(minting) == "BAD_REQUEST");
  minting.set_fund_account_id(c.world.of_bob);
  CHECK(c.Reason(minting) == "BAD_REQUEST");
  CHECK(ledger.As("governance").Reason(&Stub::DepositComputeTime,
                                       c.Request({{metered, c.world.of_ann}})) ==
        "PERMISSION_DENIED");
  CHECK(AccountOf(c.world.payout, c.world.of_ann).balance_micro() == 0);
}

struct Exchange {
  explicit Exchange(Ledger& ledger) : ledger(ledger), world(ledger) {
    world.Fund(ledger, 10'000'000);
    gpu_of_ann = Open(world.ann.id.ToString(), v1::ACCOUNT_TYPE_PERSON, "gpu-second", "");
    gpu_supply = Open(ledger.NewId(), v1::ACCOUNT_TYPE_SYSTEM, "gpu-second", "", true);
  }

  std::string Open(const std::string& owner, v1::AccountType type, const std::string& asset,
                   const std::string& label, bool unlimited = false) {
    const std::string id = ledger.NewId();
    v1::OpenAccountsRequest request = OpeningOf(ledger, id, owner, type, unlimited);
    request.mutable_accounts(0)->set_asset(asset);
    request.mutable_accounts(0)->set_label(label);
    world.payout.Ok(&Stub::OpenAccounts, request);
    return id;
  }
  // The network's first cooperative, with its exchange accounts and `gpu_seconds` in one of them.
  void Found(int64_t gpu_seconds) {
    const Uuid network = ledger.ids.New(ledger.clock.Now());
    ledger.Governance(
        {crypto::EntryBuilder(kind::kCooperativeFounded, {ledger.ids.New(ledger.clock.Now())},
                              ledger.clock.Now())
             .Subject(network)
             .Cooperative({network})
             .U64(tag::kRulesVersion, 1)
             .Document(crypto::SignDocument(LogKey(), "test", "{}").value())
             .BuildBytes()
             .value()});
    tokens = Open(network.ToString(), v1::ACCOUNT_TYPE_SYSTEM, "token", "exchange.token");
    gpu = Open(network.ToString(), v1::ACCOUNT_TYPE_SYSTEM, "gpu-second", "exchange.gpu-second");
    if (gpu_seconds == 0) return;
    world.payout.Ok(&Stub::PostTransfers,
                    PostingOf(ledger, {TransferOf(ledger, gpu_supply, gpu, gpu_seconds)}));
  }
  v1::ConversionOrder Order(int64_t amount, int64_t receive_min) {
    v1::ConversionOrder order;
    order.set_conversion_id(ledger.NewId());
    order.set_from_account_id(world.of_ann);
    order.set_to_account_id(gpu_of_ann);
    order.set_amount_micro(amount);
    order.set_receive_min_micro(receive_min);
    order.set_signed_time_us(absl::ToUnixMicros(ledger.clock.Now()));
    return order;
  }
  v1::ConvertRequest Request(const Person& person, const v1::ConversionOrder& order) {
    v1::ConvertRequest request;
    request.set_request_id(ledger.NewId());
    *request.mutable_order() = Signed(person.key, order);
    return request;
  }
  std::string Reason(const Person& person, const v1::ConversionOrder& order) {
    return ledger.As(person).Reason(&Stub::Convert, Request(person, order));
  }

  Ledger& ledger;
  World world;
  std::string gpu_of_ann, gpu_supply, tokens, gpu;
};

TEST_CASE("a conversion moves both ways or not at all", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Exchange e(ledger);
  const v1::ConversionOrder order = e.Order(3'000'000, 2'000'000);
  CHECK(e.Reason(e.world.ann, order) == "NOT_FOUND");
  e.Found(3'500'000);
  Client ann = ledger.As(e.world.ann);
  const auto first = ann.Ok(&Stub::Convert, e.Request(e.world.ann, order));
  REQUIRE(first.outcomes_size() == 2);
  CHECK(first.outcomes(0).result() == v1::TRANSFER_RESULT_POSTED);
  CHECK(first.outcomes(1).result() == v1::TRANSFER_RESULT_POSTED);
  CHECK(first.outcomes(0).amount_micro() == 3'000'000);
  CHECK(first.outcomes(1).amount_micro() == 3'000'000);  // one token a GPU second by default
  const auto again = ann.Ok(&Stub::Convert, e.Request(e.world.ann, order));
  CHECK(again.outcomes(0).result() == v1::TRANSFER_RESULT_EXISTS);
  CHECK(again.outcomes(1).result() == v1::TRANSFER_RESULT_EXISTS);
  v1::ConversionOrder other = order;
  other.set_amount_micro(2'999'999);
  const auto differs = ann.Ok(&Stub::Convert, e.Request(e.world.ann, other));
  CHECK(differs.outcomes(0).result() == v1::TRANSFER_RESULT_EXISTS_DIFFERENT);
  CHECK(AccountOf(ann, e.world.of_ann).balance_micro() == 7'000'000);
  CHECK(AccountOf(ann, e.gpu_of_ann).balance_micro() == 3'000'000);
  CHECK(AccountOf(ann, e.tokens).balance_micro() == 3'000'000);

  // The exchange has 0.5 left.
  const auto dry = ann.Ok(&Stub::Convert, e.Request(e.world.ann, e.Order(1'000'000, 1)));
  CHECK(dry.outcomes(0).result() == v1::TRANSFER_RESULT_LINKED_FAILED);
  CHECK(dry.outcomes(1).result() == v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS);
  // Ann has 7.
  const auto poor = ann.Ok(&Stub::Convert, e.Request(e.world.ann, e.Order(7'000'001, 1)));
  CHECK(poor.outcomes(0).result() == v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS);
  CHECK(AccountOf(ann, e.world.of_ann).balance_micro() == 7'000'000);
}

TEST_CASE("a conversion is the signer's, between its own accounts, at its price", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Exchange e(ledger);
  e.Found(5'000'000);
  CHECK(e.Reason(e.world.ann, e.Order(1'000'000, 1'000'001)) == "RATE_BELOW_MINIMUM");
  CHECK(e.Reason(e.world.bob, e.Order(1'000'000, 1)) == "PERMISSION_DENIED");
  v1::ConversionOrder order = e.Order(1'000'000, 1);
  order.set_to_account_id(e.world.of_bob);
  CHECK(e.Reason(e.world.ann, order) == "PERMISSION_DENIED");
  order.set_to_account_id(e.Open(e.world.ann.id.ToString(), v1::ACCOUNT_TYPE_PERSON, "token", ""));
  CHECK(e.Reason(e.world.ann, order) == "BAD_REQUEST");
  order.set_to_account_id(e.Open(e.world.ann.id.ToString(), v1::ACCOUNT_TYPE_PERSON, "eur", ""));
  CHECK(e.Reason(e.world.ann, order) == "NOT_FOUND");
  order.set_to_account_id(ledger.NewId());
  CHECK(e.Reason(e.world.ann, order) == "ACCOUNT_NOT_FOUND");
  CHECK(e.Reason(e.world.ann, e.Order(0, 0)) == "BAD_REQUEST");
  CHECK(ledger.As(e.world.bob).Reason(&Stub::Convert,
                                      e.Request(e.world.ann, e.Order(1'000'000, 1))) ==
        "SIGNATURE_INVALID");
  order = e.Order(1'000'000, 1);
  order.set_signed_time_us(absl::ToUnixMicros(ledger.clock.Now() - absl::Minutes(16)));
  CHECK(e.Reason(e.world.ann, order) == "BAD_REQUEST");
  v1::ConvertRequest unsigned_request;
  unsigned_request.set_request_id(ledger.NewId());
  CHECK(ledger.As(e.world.ann).Reason(&Stub::Convert, unsigned_request) == "BAD_REQUEST");
  // Nobody but the ledger takes from an exchange account, though Ann asks for it nicely.
  const auto theft = ledger.As(e.world.ann).Ok(
      &Stub::PostTransfers,
      OrderOf(ledger, e.world.ann.key,
              {TransferOf(ledger, e.gpu, e.gpu_of_ann, 1, v1::TRANSFER_KIND_TRADE)},
              ledger.clock.Now()));
  CHECK(theft.outcomes(0).result() == v1::TRANSFER_RESULT_NOT_AUTHORISED);
  CHECK(AccountOf(e.world.payout, e.gpu_of_ann).balance_micro() == 0);
}

}  // namespace
}  // namespace rochdale::ledger::testing
