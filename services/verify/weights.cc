#include "services/verify/weights.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/numeric/int128.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/learning/aggregation.h"
#include "services/verify/json.h"
#include "services/verify/proto_json.h"

namespace rochdale::verify {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

using absl::int128;
using attribution::Evidence;
using learning::AggregationRule;
using learning::kShareUnit;

// Of every principal, in the cooperative's rounds before this one.
std::map<PrincipalId, int64_t> EarlierCredits(const Rounds& rounds, const Evidence& evidence) {
  std::map<PrincipalId, int64_t> sums;
  for (const auto& [id, earlier] : rounds) {
    if (earlier.cooperative != evidence.cooperative || earlier.number >= evidence.number) continue;
    for (size_t i = 0; i < earlier.credits.size(); ++i) {
      int64_t& sum = sums[earlier.updates[i].principal];
      constexpr int64_t kMost = int64_t{1} << 61;  // evidence may say anything
      sum = std::min(sum + std::clamp<int64_t>(earlier.credits[i].credit, 0, kMost), kMost);
    }
  }
  return sums;
}

// What the agent signed; 0 where its document is not there.
int64_t SampleCount(const Log& log, const Documents& documents, const UpdateId& update) {
  const crypto::Entry* committed = log.Only(kind::kUpdateCommitted, update.value);
  if (committed == nullptr) return 0;
  const auto digest = committed->DigestAt(tag::kDocumentDigest);
  const auto document = digest.ok() ? documents.find(*digest) : documents.end();
  if (document == documents.end()) return 0;
  const auto body = nlohmann::json::parse(document->second.body, nullptr, false);
  return ProtoInt(body, "sample_count");
}

}  // namespace

bool HaveCommonSum(const std::vector<int64_t>& sizes, const std::vector<int64_t>& shares,
                   int64_t unit) {
  int128 low = 0, high = absl::Int128Max();  // the sum is in [low, high]
  for (const int64_t size : sizes) low += size;
  low = std::max(low, int128(1));
  for (size_t i = 0; i < sizes.size(); ++i) {
    const int128 product = int128(unit) * sizes[i];
    if (product == 0 && shares[i] != 0) return false;
    if (product == 0) continue;
    low = std::max(low, product / (int128(shares[i]) + 1) + 1);
    if (shares[i] > 0) high = std::min(high, product / shares[i]);
  }
  return low <= high;
}

absl::Status CheckWeights(const Log& log, const Documents& documents, const Rounds& rounds,
                          const Evidence& evidence) {
  if (!learning::IsWeighted(evidence.aggregation.rule)) return absl::OkStatus();
  const absl::Status wrong =
      absl::DataLossError("its shares do not follow from samples or earlier credits");
  std::vector<int64_t> sizes;
  std::vector<int64_t> shares = evidence.aggregation.shares;
  if (evidence.aggregation.rule == AggregationRule::kSampleWeighted) {
    std::vector<int64_t> known;
    for (size_t i = 0; i < shares.size(); ++i) {
      const int64_t samples = SampleCount(log, documents, evidence.updates[i].update);
      if (samples < 1) continue;  // not exported
      sizes.push_back(samples);
      known.push_back(shares[i]);
    }
    return HaveCommonSum(sizes, known, kShareUnit) ? absl::OkStatus() : wrong;
  }
  const std::map<PrincipalId, int64_t> credits = EarlierCredits(rounds, evidence);
  for (const attribution::EvidenceUpdate& update : evidence.updates) {
    const auto found = credits.find(update.principal);
    sizes.push_back(found == credits.end() ? 0 : found->second);
  }
  const int64_t all_equal = kShareUnit / evidence.lineages;
  const bool nobody = std::all_of(sizes.begin(), sizes.end(), [](int64_t s) { return s == 0; });
  if (nobody && std::all_of(shares.begin(), shares.end(),
                            [&](int64_t s) { return s == all_equal; })) {
    return absl::OkStatus();
  }
  const int64_t equal = kShareUnit / 2 / evidence.lineages;
  for (int64_t& share : shares) {
    share -= equal;
    if (share < 0) return wrong;
  }
  return HaveCommonSum(sizes, shares, kShareUnit - kShareUnit / 2) ? absl::OkStatus() : wrong;
}

}  // namespace rochdale::verify
