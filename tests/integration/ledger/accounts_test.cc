#include <catch2/catch.hpp>

#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry.h"
#include "tests/integration/ledger/harness.h"

namespace rochdale::ledger::testing {
namespace {

TEST_CASE("accounts are opened once and shown as they stand", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Client payout = ledger.As("payout");
  const std::string id = ledger.NewId(), owner = ledger.NewId();
  v1::OpenAccountsRequest request = OpeningOf(ledger, id, owner, v1::ACCOUNT_TYPE_SYSTEM);
  request.mutable_accounts(0)->set_floor_micro(-500);
  request.mutable_accounts(0)->set_label("pool.main");
  request.mutable_accounts(0)->set_balance_micro(1'000'000);  // not the client's to say
  const v1::Account opened = payout.Ok(&Stub::OpenAccounts, request).accounts(0);
  CHECK(opened.account_id() == id);
  CHECK(opened.balance_micro() == 0);
  CHECK(opened.floor_micro() == -500);
  CHECK(opened.status() == v1::ACCOUNT_STATUS_OPEN);
  CHECK(opened.opened_time_us() > 0);

  // The same again, under whatever request id: as it stands.
  request.set_request_id(ledger.NewId());
  CHECK(payout.Ok(&Stub::OpenAccounts, request).accounts(0).opened_time_us() ==
        opened.opened_time_us());
  request.mutable_accounts(0)->set_label("pool.other");
  CHECK(payout.Reason(&Stub::OpenAccounts, request) == "ALREADY_EXISTS");

  v1::GetAccountRequest get;
  get.set_account_id(id);
  CHECK(payout.Ok(&Stub::GetAccount, get).account().label() == "pool.main");
  get.set_account_id(ledger.NewId());
  CHECK(payout.Reason(&Stub::GetAccount, get) == "ACCOUNT_NOT_FOUND");
  get.set_account_id("pool.main");
  CHECK(payout.Reason(&Stub::GetAccount, get) == "BAD_REQUEST");
  CHECK(ledger.Anonymous().Reason(&Stub::GetAccount, get) == "UNAUTHENTICATED");
}

TEST_CASE("a principal opens plain accounts for itself only", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  const Person ann = ledger.NewPerson(), bob = ledger.NewPerson();
  Client as_ann = ledger.As(ann);
  const auto open = [&](const std::string& id, const std::string& owner, v1::AccountType type,
                        bool unlimited = false) {
    v1::OpenAccountsRequest request = OpeningOf(ledger, id, owner, type, unlimited);
    request.clear_authorised_by();
    return as_ann.Reason(&Stub::OpenAccounts, request);
  };
  CHECK(open(ledger.NewId(), ann.id.ToString(), v1::ACCOUNT_TYPE_PERSON) == "OK");
  CHECK(open(ledger.NewId(), ann.id.ToString(), v1::ACCOUNT_TYPE_ENTERPRISE) == "OK");
  CHECK(open(ledger.NewId(), bob.id.ToString(), v1::ACCOUNT_TYPE_PERSON) == "PERMISSION_DENIED");
  CHECK(open(ledger.NewId(), ann.id.ToString(), v1::ACCOUNT_TYPE_SYSTEM) == "PERMISSION_DENIED");
  CHECK(open(ledger.NewId(), ann.id.ToString(), v1::ACCOUNT_TYPE_PERSON, true) ==
        "PERMISSION_DENIED");
  // An id that a service will derive cannot be taken first.
  const std::string derived = crypto::DeterministicId("payout/pool-account", ann.id).ToString();
  CHECK(open(derived, ann.id.ToString(), v1::ACCOUNT_TYPE_PERSON) == "BAD_REQUEST");
  CHECK(ledger.As("payout").Reason(&Stub::OpenAccounts,
                                   OpeningOf(ledger, derived, ann.id.ToString(),
                                             v1::ACCOUNT_TYPE_PERSON)) == "OK");
  // A service names what authorises it; services without the role may not open at all.
  v1::OpenAccountsRequest bare =
      OpeningOf(ledger, ledger.NewId(), ann.id.ToString(), v1::ACCOUNT_TYPE_PERSON);
  bare.clear_authorised_by();
  CHECK(ledger.As("payout").Reason(&Stub::OpenAccounts, bare) == "BAD_REQUEST");
  CHECK(ledger.As("filter").Reason(&Stub::OpenAccounts, bare) == "PERMISSION_DENIED");
  CHECK(ledger.AsAgentOf(ann).Reason(&Stub::OpenAccounts, bare) == "PERMISSION_DENIED");
}

TEST_CASE("every bad field of an account is named", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  v1::OpenAccountsRequest request;
  v1::Account& account = *request.add_accounts();
  account.set_account_id("00000000-0000-0000-0000-000000000000");
  account.set_owner_id("x");
  account.set_asset("Token!");
  account.set_label("white space");
  const auto refused = ledger.As("payout").Call(&Stub::OpenAccounts, request);
  std::vector<std::string> fields;
  for (const FieldViolation& v : FieldViolationsOf(refused.status())) fields.push_back(v.field);
  CHECK(fields == std::vector<std::string>{"request_id", "accounts[0].account_id",
                                           "accounts[0].owner_id", "accounts[0].type",
                                           "accounts[0].asset", "accounts[0].label",
                                           "authorised_by.event_id"});
  request.Clear();
  request.set_request_id(ledger.NewId());
  CHECK(ledger.As("payout").Reason(&Stub::OpenAccounts, request) == "BAD_REQUEST");
}

TEST_CASE("accounts of an owner come by pages", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Client payout = ledger.As("payout");
  const std::string owner = ledger.NewId();
  std::set<std::string> ids;
  for (int i = 0; i < 7; ++i) {
    const std::string id = ledger.NewId();
    ids.insert(id);
    payout.Ok(&Stub::OpenAccounts, OpeningOf(ledger, id, owner, v1::ACCOUNT_TYPE_PERSON));
  }
  payout.Ok(&Stub::OpenAccounts,
            OpeningOf(ledger, ledger.NewId(), ledger.NewId(), v1::ACCOUNT_TYPE_PERSON));
  std::vector<std::string> seen;
  v1::ListAccountsRequest list;
  list.set_owner_id(owner);
  list.set_page_size(3);
  do {
    const auto page = payout.Ok(&Stub::ListAccounts, list);
    CHECK(page.accounts_size() <= 3);
    for (const v1::Account& account : page.accounts()) seen.push_back(account.account_id());
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  CHECK(seen == std::vector<std::string>(ids.begin(), ids.end()));
  list.set_page_token("x");
  CHECK(payout.Reason(&Stub::ListAccounts, list) == "PAGE_TOKEN_INVALID");
}

}  // namespace
}  // namespace rochdale::ledger::testing
