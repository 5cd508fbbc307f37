#include "services/payout/shares.h"

#include <algorithm>
#include <numeric>

#include "absl/numeric/int128.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/canonical.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/merkle.h"
#include "services/payout/domain.h"

namespace rochdale::payout {
namespace {

std::string Leaf(const Distribution& share) {
  std::string leaf(share.principal.value.AsBytes());
  for (int shift = 56; shift >= 0; shift -= 8) {
    leaf.push_back(static_cast<char>(static_cast<uint64_t>(share.cumulative) >> shift));
  }
  return leaf;
}

// Every level of the tree's perfect subtrees.
std::vector<std::vector<crypto::Digest>> Levels(absl::Span<const Distribution> sorted) {
  std::vector<std::vector<crypto::Digest>> levels(1);
  for (const Distribution& share : sorted) levels[0].push_back(crypto::LeafHash(Leaf(share)));
  while (levels.back().size() > 1) {
    const std::vector<crypto::Digest>& below = levels.back();
    std::vector<crypto::Digest> next;
    for (size_t i = 0; i + 1 < below.size(); i += 2) {
      next.push_back(crypto::NodeHash(below[i], below[i + 1]));
    }
    levels.push_back(std::move(next));
  }
  return levels;
}

crypto::NodeReader ReaderOf(const std::vector<std::vector<crypto::Digest>>& levels) {
  return [&levels](int level, uint64_t index) -> absl::StatusOr<crypto::Digest> {
    return levels.at(level).at(index);
  };
}

}  // namespace

AccountId PaymentAccount(const PrincipalId& principal) {
  return AccountId{crypto::DeterministicId("payout/account", principal)};
}

TransferId PaymentTransfer(const EpochId& epoch, const PrincipalId& principal, int attempt) {
  return TransferId{crypto::DeterministicId("payout/transfer", epoch, principal, attempt)};
}

absl::StatusOr<std::vector<MicroTokens>> ShareRevenue(MicroTokens revenue,
                                                      absl::Span<const Claim> claims) {
  if (revenue < 0) return absl::InvalidArgumentError("revenue must be >= 0");
  int64_t sum = 0;
  for (const Claim& claim : claims) {
    if (claim.credit < 0) return absl::InvalidArgumentError("credits must be >= 0");
    ASSIGN_OR_RETURN(sum, CheckedAdd(sum, claim.credit));
  }
  std::vector<MicroTokens> payments(claims.size(), 0);
  if (sum == 0) return payments;
  std::vector<absl::uint128> remainders(claims.size());
  MicroTokens left = revenue;
  for (size_t i = 0; i < claims.size(); ++i) {
    const absl::uint128 product = absl::uint128(static_cast<uint64_t>(revenue)) *
                                  static_cast<uint64_t>(claims[i].credit);
    payments[i] = static_cast<int64_t>(product / static_cast<uint64_t>(sum));
    remainders[i] = product % static_cast<uint64_t>(sum);
    left -= payments[i];
  }
  // 0 <= left < number of claims with a remainder, so that nobody with credit 0 gets anything.
  std::vector<size_t> order(claims.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (remainders[a] != remainders[b]) return remainders[a] > remainders[b];
    return claims[a].account < claims[b].account;
  });
  for (size_t i = 0; left > 0; ++i, --left) ++payments[order[i]];
  return payments;
}

crypto::Digest DistributionRoot(absl::Span<const Distribution> sorted) {
  crypto::Frontier frontier;
  for (const Distribution& share : sorted) frontier.Append(crypto::LeafHash(Leaf(share)));
  return frontier.Root();
}

absl::StatusOr<std::vector<crypto::Digest>> DistributionProof(absl::Span<const Distribution> sorted,
                                                              int64_t index) {
  const auto levels = Levels(sorted);
  return crypto::InclusionProof(index, sorted.size(), ReaderOf(levels));
}

}  // namespace rochdale::payout
