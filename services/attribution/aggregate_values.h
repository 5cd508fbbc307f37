// The values of the whole cooperative, tested on what a round would apply: updates that keep them
// one by one can sum to one that does not.
//
// The gate leaves a coalition G. A bound is a probe of R rows with eps >= 0 nano-nats; coalition S
// keeps it where sum L(S) - sum L({}) <= eps R, sums over the probe's rows, L exact losses of
// theta + Agg(S). While S (first G) breaks a bound: the first bound with the largest
// ceil((sum L(S) - sum L({})) / R) - eps decides; the i in S whose S \ i has the smallest sum
// there, of several the one with the highest bit (the latest commitment), is refused, and S \ i is
// tested. The empty coalition keeps every bound, so that this ends. What is refused is not applied
// and earns nothing; the game's estimates stay as they are, and what is left is one of its
// coalitions. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/status/statusor.h"
#include "libs/base/ids.h"

namespace rochdale::attribution {

using ProbeId = Id<struct ProbeTag>;

inline constexpr size_t kBoundsMax = 256;  // with 2,017 coalitions: below 16 MiB in evidence

struct ProbeBound {
  ProbeId probe;
  int64_t rows = 0;  // not looked at before anything was evaluated
  int64_t eps_nanonats = 0;

  bool operator==(const ProbeBound&) const = default;
};

struct AggregateValues {
  std::vector<ProbeBound> bounds;  // by probe; empty: nothing is tested
  std::vector<uint64_t> masks;     // in order of evaluation: none, G, then every S \ i by bit
  std::vector<std::vector<absl::int128>> loss_sums;  // nano-nats; [bound][mask]

  bool operator==(const AggregateValues&) const = default;
};

struct ValuesStep {
  bool ended = false;            // `kept` keeps every bound
  uint64_t kept = 0;             // S
  std::vector<uint64_t> wanted;  // else: the coalitions to evaluate next
};

// What follows from the coalitions evaluated so far; 0 < gate. BAD_REQUEST where they are not those
// that the test evaluates, in its order, or go on after its end.
absl::StatusOr<ValuesStep> NextValuesStep(uint64_t gate, const AggregateValues& values);

// S at the end of a test that is done; `gate` where nothing is bounded or the gate left nobody.
// BAD_REQUEST as above; DIGEST_MISMATCH where the test goes on.
absl::StatusOr<uint64_t> KeptByValues(uint64_t gate, const AggregateValues& values);

}  // namespace rochdale::attribution
