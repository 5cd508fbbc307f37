// Early stopping of measuring for admission: whether the mean rise of a probe's loss under an
// update exceeds a fixed bound, decided from as few of the probe's rows as it takes. Pure.
//
// Admission only: what is paid is evaluated on all settlement rows, always.
//
// The rows of a probe come in an order that follows from the round's seed, which is committed to
// when the round opens and shown when it has ended, so that nobody who submits can know it:
//     key(r) = SHA-256("ROCHDALEearly1" | seed | SHA-256 of the probe's file | u32 r),
//     increasing (key(r), r)
// Looks are taken at rows_min, 2 rows_min, 4 rows_min, ... rows, as long as that is at most half of
// them; these are K looks, and after the last come all rows. At a look with R rows let x be the
// losses with the update less those without, D their sum, s the standard error of their mean
// (shapley.h), w the largest less the smallest x, B the bound, and z, in hundredths, the smallest
// with 2 (1 - Phi(z / 100)) K <= error. With e = 30000 (D - B R) and u = 300 z s R + z z w:
//     e > u          it exceeds the bound
//     e <= -u        it does not
//     else           another look
// In both cases what R rows say (D > B R, or not) is what the look says, so that whoever judges by
// the sums of R rows alone comes to the same verdict. Over all K looks together the verdict differs
// from that of all rows with a probability of at most `error`. 300 z s R is the normal
// approximation; z z w makes up for what it lacks where the differences are skewed: to first order
// a studentised mean is below -z with exp(z^3 g / (3 sqrt(R))) times the normal probability, which
// costs z^2 g s / (3 sqrt(R)) of width, and the skewness g times the deviation s sqrt(R) is at most
// w. No bound can speak of rows unlike all that were seen: an update that raises the loss of k rows
// alone, and by so much that these decide, passes a look at R of N rows unseen with a probability
// of about (1 - R / N)^k. Whoever must be certain protects the probe (it is measured in full then),
// or sets the error to 0.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "libs/crypto/sha256.h"

namespace rochdale::attribution {

struct EarlyRule {
  int64_t error_micro = 0;  // a probability in millionths; 0: nothing stops early
  int64_t rows_min = 1'000;
};

// Rows 0 .. rows - 1 of a probe in the order in which they are looked at.
std::vector<int64_t> EarlyOrder(const crypto::Digest& seed, const crypto::Digest& probe_data,
                                int64_t rows);

// Rows at each look of a probe with so many rows, increasing; the last one is all of them. One
// look: nothing stops early. At most kLooksMax.
std::vector<int64_t> EarlyLooks(const EarlyRule& rule, int64_t rows);

// Whether a look at these differences (nano-nats, |x| <= 2^49; at least two, at most 10^6 of them)
// decides, where K = `looks` of them are taken before the one at all rows. |bound| <= 2^60.
bool LookDecides(const EarlyRule& rule, int looks, int64_t bound_nanonats,
                 absl::Span<const int64_t> differences);

}  // namespace rochdale::attribution
