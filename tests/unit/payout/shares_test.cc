#include "services/payout/shares.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <numeric>
#include <random>
#include <set>

#include "libs/crypto/merkle.h"
#include "services/payout/epochs.h"

namespace rochdale::payout {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

AccountId AccountOf(uint64_t number) {
  AccountId id;
  for (int i = 0; i < 8; ++i) {
    id.value.bytes[15 - i] = static_cast<uint8_t>(number >> (8 * i));
  }
  return id;
}

std::vector<Claim> ClaimsOf(const std::vector<int64_t>& credits) {
  std::vector<Claim> claims;
  for (size_t i = 0; i < credits.size(); ++i) claims.push_back({AccountOf(i + 1), credits[i]});
  return claims;
}

std::vector<MicroTokens> Shares(MicroTokens revenue, const std::vector<int64_t>& credits) {
  return ShareRevenue(revenue, ClaimsOf(credits)).value();
}

using Payments = std::vector<MicroTokens>;

TEST_CASE("shares: the golden case, ties and edges", "[payout]") {
  struct Row {
    const char* name;
    MicroTokens revenue;
    std::vector<int64_t> credits;
    Payments payments;
  };
  const Row rows[] = {
      {"golden", 1'000'000, {92, 75, 48}, {427'907, 348'837, 223'256}},
      {"ties go to the lower account", 5, {1, 1, 1}, {2, 2, 1}},
      {"one left over of three", 4, {1, 1, 1}, {2, 1, 1}},
      {"the largest remainder before the lower account", 10, {1, 2, 4}, {1, 3, 6}},
      {"nobody without credit, whatever is left over", 2, {0, 1, 1, 1, 0}, {0, 1, 1, 0, 0}},
      {"no credit at all", 1'000, {0, 0}, {0, 0}},
      {"no claims", 1'000, {}, {}},
      {"no revenue", 0, {3, 4}, {0, 0}},
      {"all to one", kMax, {kMax}, {kMax}},
      {"beyond 64 bits between", kMax, {kMax - 1, 1}, {kMax - 1, 1}},
      {"less than a micro-token each", 1, {1, 1, 2}, {0, 0, 1}},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    CHECK(Shares(row.revenue, row.credits) == row.payments);
  }
}

TEST_CASE("shares: what is refused", "[payout]") {
  CHECK_FALSE(ShareRevenue(-1, ClaimsOf({1})).ok());
  CHECK_FALSE(ShareRevenue(1, ClaimsOf({1, -1})).ok());
  CHECK_FALSE(ShareRevenue(1, ClaimsOf({kMax, 1})).ok());
}

TEST_CASE("shares: properties on random claims", "[payout]") {
  const unsigned seed = 20260114;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 2'000; ++round) {
    const size_t n = 1 + random() % 60;
    const int bits = 1 + static_cast<int>(random() % 57);
    std::vector<int64_t> credits(n);
    for (int64_t& credit : credits) {
      credit = static_cast<int64_t>(random() >> (64 - bits)) * (random() % 4 != 0);
    }
    // Many equal ones, so that ties are met.
    if (round % 3 == 0) std::fill(credits.begin() + n / 2, credits.end(), credits[0]);
    const MicroTokens revenue = static_cast<int64_t>(random() >> (1 + random() % 62));
    std::vector<Claim> claims = ClaimsOf(credits);
    std::shuffle(claims.begin(), claims.end(), random);
    const Payments payments = ShareRevenue(revenue, claims).value();

    __int128 sum = 0, paid = 0;
    for (const Claim& claim : claims) sum += claim.credit;
    for (const MicroTokens payment : payments) paid += payment;
    CAPTURE(round, n, revenue);
    REQUIRE(paid == (sum == 0 ? 0 : revenue));
    if (sum == 0) continue;
    for (size_t i = 0; i < n; ++i) {
      const __int128 product = static_cast<__int128>(revenue) * claims[i].credit;
      REQUIRE(payments[i] >= static_cast<int64_t>(product / sum));
      REQUIRE(payments[i] <= static_cast<int64_t>(product / sum) + (product % sum != 0));
      for (size_t j = 0; j < n; ++j) {
        // More credit never pays less; the same credit pays the lower account first.
        if (claims[i].credit > claims[j].credit) REQUIRE(payments[i] >= payments[j]);
        if (claims[i].credit == claims[j].credit && claims[i].account < claims[j].account) {
          REQUIRE(payments[i] >= payments[j]);
        }
      }
    }
    // The order of the claims decides nothing.
    std::vector<Claim> sorted = claims;
    std::sort(sorted.begin(), sorted.end(),
              [](const Claim& a, const Claim& b) { return a.account < b.account; });
    const Payments again = ShareRevenue(revenue, sorted).value();
    for (size_t i = 0; i < n; ++i) {
      const auto place = std::lower_bound(
          sorted.begin(), sorted.end(), claims[i],
          [](const Claim& a, const Claim& b) { return a.account < b.account; });
      REQUIRE(payments[i] == again[place - sorted.begin()]);
    }
  }
}

std::string LeafOf(const PrincipalId& principal, uint64_t cumulative) {
  std::string leaf(principal.value.AsBytes());
  for (int i = 7; i >= 0; --i) leaf.push_back(static_cast<char>(cumulative >> (8 * i)));
  return leaf;
}

TEST_CASE("every recipient proves its share, and no other number", "[payout]") {
  for (int n = 1; n <= 40; ++n) {
    std::vector<Distribution> leaves;
    for (int i = 0; i < n; ++i) {
      leaves.push_back({PrincipalId{AccountOf(100 + i).value}, 1'000'000'000'000ll * i + 7});
    }
    const crypto::Digest root = DistributionRoot(leaves);
    for (int i = 0; i < n; ++i) {
      CAPTURE(n, i);
      const auto proof = DistributionProof(leaves, i).value();
      const auto verify = [&](int index, const PrincipalId& principal, MicroTokens cumulative) {
        return crypto::VerifyInclusion(index, n, crypto::LeafHash(LeafOf(principal, cumulative)),
                                       proof, root)
            .ok();
      };
      CHECK(verify(i, leaves[i].principal, leaves[i].cumulative));
      CHECK_FALSE(verify(i, leaves[i].principal, leaves[i].cumulative + 1));
      CHECK_FALSE(verify(i, leaves[(i + 1) % n].principal, leaves[i].cumulative + (n == 1)));
      if (n > 1) CHECK_FALSE(verify((i + 1) % n, leaves[i].principal, leaves[i].cumulative));
    }
    CHECK_FALSE(DistributionProof(leaves, n).ok());
  }
  CHECK(DistributionRoot({}) == crypto::EmptyRoot());
}

TEST_CASE("statements: who gets what, so far and now", "[payout]") {
  const EpochId epoch{AccountOf(1).value};
  std::vector<Contribution> contributions;
  for (int i = 0; i < 4; ++i) {
    contributions.push_back({PrincipalId{AccountOf(10 + i).value}, std::vector{92, 0, 75, 48}[i]});
  }
  contributions[1].lines.push_back({1, UpdateId{AccountOf(5).value}, "REJECTED", "ORIGINALITY"});
  const std::map<PrincipalId, MicroTokens> before = {{contributions[0].principal, 1'000},
                                                     {contributions[1].principal, 5}};
  const auto statements = MakeStatements(epoch, 1'000'000, contributions, before).value();
  REQUIRE(statements.size() == 4);
  const MicroTokens payments[] = {427'907, 0, 348'837, 223'256};
  const MicroTokens cumulative[] = {428'907, 5, 348'837, 223'256};
  for (int i = 0; i < 4; ++i) {
    CAPTURE(i);
    CHECK(statements[i].principal == contributions[i].principal);
    CHECK(statements[i].position == i);
    CHECK(statements[i].payment == payments[i]);
    CHECK(statements[i].cumulative == cumulative[i]);
    CHECK(statements[i].paid == (payments[i] == 0));
    CHECK(statements[i].account == PaymentAccount(contributions[i].principal));
    CHECK(statements[i].lines.size() == contributions[i].lines.size());
  }
  // Ids follow from what they name, so that closing again makes the same ones.
  const auto again = MakeStatements(epoch, 1'000'000, contributions, before).value();
  for (int i = 0; i < 4; ++i) CHECK(again[i].event == statements[i].event);
  CHECK(DistributionRootOf(again) == DistributionRootOf(statements));
  const auto other = MakeStatements(EpochId{AccountOf(2).value}, 1, contributions, before).value();
  CHECK(other[0].event != statements[0].event);
  CHECK_FALSE(MakeStatements(epoch, 1, contributions,
                             {{contributions[0].principal, kMax}})
                  .ok());
}

TEST_CASE("transfer ids differ by epoch, recipient and attempt", "[payout]") {
  const EpochId epoch{AccountOf(1).value};
  const PrincipalId a{AccountOf(2).value}, b{AccountOf(3).value};
  std::set<TransferId> ids;
  for (const EpochId& e : {epoch, EpochId{AccountOf(9).value}}) {
    for (const PrincipalId& p : {a, b}) {
      for (const int attempt : {1, 2}) ids.insert(PaymentTransfer(e, p, attempt));
    }
  }
  CHECK(ids.size() == 8);
  CHECK(PaymentTransfer(epoch, a, 1) == PaymentTransfer(epoch, a, 1));
}

}  // namespace
}  // namespace rochdale::payout
