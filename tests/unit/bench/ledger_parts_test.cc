#include <catch2/catch.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "rochdale/ledger/v1/ledger.pb.h"
#include "tests/bench/ledger/figures.h"
#include "tests/bench/ledger/picker.h"
#include "tests/bench/ledger/requests.h"

namespace rochdale::bench {
namespace {

namespace v1 = ledger::v1;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

TEST_CASE("requests that were made as bytes read as the messages they stand for") {
  const RequestTemplate requests;
  const std::string debit = "01890a5d-ac96-774b-bcce-b302099a8057";
  const std::string credit = "01890a5d-ac96-774b-bcce-b302099a8058";
  std::string bytes = "left from the last request";
  requests.Begin(TransferIdOf(7, 9, kNow), bytes);
  requests.Add(TransferIdOf(7, 9, kNow), debit, credit, bytes);
  requests.Add(TransferIdOf(7, 10, kNow), credit, debit, bytes);
  v1::PostTransfersRequest read;
  REQUIRE(read.ParseFromString(bytes));
  CHECK(read.request_id() == TransferIdOf(7, 9, kNow).ToString());
  REQUIRE(read.transfers_size() == 2);
  CHECK(read.transfers(0).debit_account_id() == debit);
  CHECK(read.transfers(0).credit_account_id() == credit);
  CHECK(read.transfers(0).amount_micro() == 1);
  CHECK(read.transfers(0).kind() == v1::TRANSFER_KIND_REWARD);
  CHECK(Uuid::Parse(read.transfers(0).authorised_by().event_id()).ok());
  CHECK(read.transfers(1).transfer_id() == TransferIdOf(7, 10, kNow).ToString());
  CHECK(read.transfers(1).debit_account_id() == credit);
}

TEST_CASE("client and number can be read from an id") {
  uint32_t client = 0, sequence = 0;
  const Uuid id = TransferIdOf(60'000, 4'000'000'000u, kNow);
  CHECK(id.bytes[6] >> 4 == 7);
  CHECK(id.bytes[8] >> 6 == 2);
  REQUIRE(ReadTransferId(id, client, sequence));
  CHECK(client == 60'000);
  CHECK(sequence == 4'000'000'000u);
  SeededIdSource others(1);
  for (int i = 0; i < 1'000; ++i) CHECK_FALSE(ReadTransferId(others.New(kNow), client, sequence));
}

TEST_CASE("outcomes are counted from the bytes of either response") {
  const auto fill = [](auto& response) {
    for (int i = 0; i < 3; ++i) {
      v1::TransferOutcome& outcome = *response.add_outcomes();
      outcome.set_transfer_id("01890a5d-ac96-774b-bcce-b302099a8057");
      outcome.set_result(v1::TRANSFER_RESULT_POSTED);
      outcome.set_debit_balance_micro(-5);
      outcome.set_log_index(1'000'000 + i);
    }
    response.mutable_outcomes(1)->set_result(v1::TRANSFER_RESULT_INSUFFICIENT_FUNDS);
    response.mutable_outcomes(1)->set_message("no funds");
    return response.SerializeAsString();
  };
  v1::PostTransfersResponse unary;
  v1::StreamTransfersResponse streamed;
  streamed.set_request_id("01890a5d-ac96-774b-bcce-b302099a8057");
  for (const auto& [bytes, field] : {std::pair(fill(unary), 1), std::pair(fill(streamed), 2)}) {
    const Outcomes outcomes = ReadOutcomes(bytes, field);
    CHECK(outcomes.posted == 2);
    CHECK(outcomes.refused == 1);
    CHECK(outcomes.log_index_max == 1'000'002);
    CHECK(outcomes.first_refusal == "TRANSFER_RESULT_INSUFFICIENT_FUNDS: no funds");
  }
  CHECK(ReadOutcomes("", 1).posted == 0);
}

TEST_CASE("the journal knows what was sent and what was acknowledged") {
  Journal journal(2);
  CHECK(journal.Send(0, 3) == 0);
  CHECK(journal.Send(0, 2) == 3);
  CHECK(journal.log_index_max() == -1);
  journal.Acknowledge(0, 3, 2, 17);
  CHECK(journal.log_index_max() == 17);
  CHECK(journal.sent() == 5);
  CHECK(journal.acknowledged() == 2);
  CHECK(journal.WasSent(0, 4));
  CHECK_FALSE(journal.WasSent(0, 5));
  CHECK_FALSE(journal.WasSent(1, 0));
  CHECK_FALSE(journal.WasSent(2, 0));
  CHECK(journal.WasAcknowledged(0, 3));
  CHECK_FALSE(journal.WasAcknowledged(0, 2));
}

TEST_CASE("pairs are of different accounts and spread as they should") {
  constexpr int kAccounts = 1'000, kPairs = 200'000;
  for (const Spread spread : {Spread::kUniform, Spread::kZipf, Spread::kTenHot}) {
    INFO(NameOf(spread));
    const Picker picker(spread, kAccounts);
    std::mt19937_64 random(3);
    std::map<int, int> debits;
    for (int i = 0; i < kPairs; ++i) {
      const auto [debit, credit] = picker.Pair(random);
      if (debit == credit || debit < 0 || credit < 0 || debit >= kAccounts || credit >= kAccounts) {
        FAIL(debit << " " << credit);
      }
      ++debits[debit];
    }
    std::vector<int> counts;
    for (const auto& [account, count] : debits) counts.push_back(count);
    std::sort(counts.rbegin(), counts.rend());
    if (spread == Spread::kUniform) CHECK(counts.front() < 2 * kPairs / kAccounts);
    if (spread == Spread::kTenHot) CHECK(counts.size() == 10);
    if (spread == Spread::kZipf) {
      // 1/H(1000) = 0.1336 of all for the first, half as many for the second.
      CHECK(counts[0] == Approx(0.1336 * kPairs).epsilon(0.05));
      CHECK(counts[1] == Approx(0.0668 * kPairs).epsilon(0.05));
      CHECK(counts[9] == Approx(0.01336 * kPairs).epsilon(0.1));
    }
  }
}

TEST_CASE("a target is of the ratio where there is a peer, else of the value") {
  Figures figures;
  figures.Add({.name = "a", .value = 30, .unit = "1/s", .peer = "b", .peer_value = 10,
               .target = 2.5});
  figures.Add({.name = "c", .value = 30, .unit = "1/s", .target = 31});
  figures.Add({.name = "d", .value = 30, .unit = "ms", .target = 31, .at_most = true});
  figures.Add({.name = "e", .value = 1, .unit = "ms"});
  const auto list = nlohmann::json::parse(figures.Json()).at("figures");
  CHECK(list[0].at("ratio") == 3.0);
  CHECK(list[0].at("met") == true);
  CHECK(list[1].at("met") == false);
  CHECK_FALSE(list[1].contains("ratio"));
  CHECK(list[2].at("met") == true);
  CHECK_FALSE(list[3].contains("met"));
}

}  // namespace
}  // namespace rochdale::bench
