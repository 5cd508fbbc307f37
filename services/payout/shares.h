// p_i = R * C_i / sum_j C_j in integers, and the tree by which a recipient proves its share. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "libs/base/amount.h"
#include "libs/base/ids.h"
#include "libs/crypto/sha256.h"

namespace rochdale::payout {

struct Claim {
  AccountId account;   // unique; breaks ties
  int64_t credit = 0;  // nano-nats, >= 0
};

// The payments in the order of the claims: floor(R * C_i / sum C) each, and what is left over by
// one micro-token each to the largest remainders, ties to the lower account id. They sum to
// `revenue` exactly; a credit of 0 gets 0. All zero where sum C = 0: the pool carries over.
// INVALID_ARGUMENT for a negative revenue or credit; OUT_OF_RANGE for credits whose sum exceeds 64
// bits.
// 128-bit intermediates.
absl::StatusOr<std::vector<MicroTokens>> ShareRevenue(MicroTokens revenue,
                                                      absl::Span<const Claim> claims);

// Leaf of the distribution tree: principal (16 bytes) | cumulative micro-tokens (u64 big-endian).
struct Distribution {
  PrincipalId principal;
  MicroTokens cumulative = 0;
};
// RFC 6962 root over the leaves in order of principal id, and the proof of one leaf.
crypto::Digest DistributionRoot(absl::Span<const Distribution> sorted);
absl::StatusOr<std::vector<crypto::Digest>> DistributionProof(absl::Span<const Distribution> sorted,
                                                              int64_t index);

}  // namespace rochdale::payout
