// Originality: is an update a copy, a near-copy or a mixture of updates that were committed to
// before it?
//
// Compared are directions: every update counts with length one, so that nobody can push another's
// figures about by the length of his own. For update i, with the updates of all other lineages of
// this round and of the recent ones around it:
//   R1  the largest squared partial correlation with one earlier update j, given the mean of all
//       the remaining ones (neither i nor j); plain squared cosine where none remain;
//   EV  the part of i's squared length that lies in the span of the earlier updates.
// "Earlier" is every update of a recent round, and of this round those committed to before i, by
// log index. Later ones enter the mean only. An update that is tied belongs from then on to the
// lineage of its original, in later rounds, too: a copy must never count against the one it was
// taken from. Pure; F64 in a fixed order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "libs/base/ids.h"

namespace rochdale::filter {

// Of this and recent rounds together. 150 take 0.06 s, 600 take 6 s: the cost is cubic per update.
inline constexpr size_t kOriginalityUpdatesMax = 600;

struct OriginalityEntry {
  // The principal, or the one that stands for its owner's group (ownership.h); for an update of a
  // recent round that was tied the lineage that it was tied to.
  Uuid lineage;
  bool current = false;      // of this round
  uint64_t log_index = 0;    // of the commitment
  // The entry of this round, committed to before, that stands for the owner of this one: then this
  // one belongs to the lineage of that one, whatever that one is tied to.
  std::optional<size_t> stands_for = std::nullopt;
};

struct OriginalityLimits {
  int64_t r1_micro = 600'000;
  int64_t ev_micro = 950'000;
};

struct OriginalityResult {
  int64_t r1_micro = 0;                // rounded up
  std::optional<size_t> partner;       // index of the entry that gives R1
  int64_t ev_micro = 0;                // rounded up
  bool original = true;                // R1 and EV within the limits
  // The lineage it counts for: its own, or the lineage of the partner (of the partner's original,
  // where that is tied, too).
  Uuid lineage;
};

// `gram`: entries x entries, row-major, dots of the submitted updates. Results for the current
// entries in the order given; recent entries have the default result with their lineage.
// INVALID_ARGUMENT: wrong size, more than kOriginalityUpdatesMax, two current entries with one log
// index, an entry that one committed to later stands for. TENSOR_NOT_FINITE: a number that is not
// finite, or a negative square. An update of length zero has no direction: R1 = EV = 0, and it
// takes no part.
absl::StatusOr<std::vector<OriginalityResult>> Originality(
    absl::Span<const OriginalityEntry> entries, absl::Span<const double> gram,
    const OriginalityLimits& limits);

// Number of different lineages among the results of current entries: n of the round's weights.
int64_t CountLineages(absl::Span<const OriginalityEntry> entries,
                      absl::Span<const OriginalityResult> results);

}  // namespace rochdale::filter
