// The credit rule of a round (attribution: "What is credited"), in integers only. Pure; no torch.
//
//   literal    credit_i = max(floor(mean solo_i), 0). Nobody is gated, nothing is scaled.
//   hardened   from the round's payment estimate phi_i (Shapley) with standard error s_i:
//     gate         harmful_i  iff  phi_i + z_gate s_i < 0; a harmful update is not applied
//     lower bound  c_i = max(phi_i - z_bound s_i, 0), 0 where harmful
//     high-water   lambda = min(1, max(0, best - L(applied)) / sum c), 0 where sum c = 0; best and
//                  L(applied) are means over the same rows
//     credit_i = floor(c_i lambda): floored once
// z are rationals over 100 (196 = 1.96). In integers, with T_i the total of phi_i (units of
// 1 / scale, summed over R rows):
//   harmful_i iff 100 T_i + z_gate s_i scale R < 0
//   c_i' = max(100 T_i - z_bound s_i scale R, 0)                       units of 1 / (100 scale R)
//   G' = max(0, sum over rows of best - L(applied)) * 100 scale;  C' = sum c_i'
//   credit_i = floor(c_i' min(C', G') / (C' 100 scale R))
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "libs/learning/shapley.h"

namespace rochdale::learning {

enum class CreditPreset { kLiteral, kHardened };

struct CreditRule {
  CreditPreset preset = CreditPreset::kHardened;
  int z_gate_hundredths = 196;    // 0 .. 1000
  int z_bound_hundredths = 196;   // 0 .. 1000
};

// Which contributors phi_i + z s_i < 0 refuses; none under kLiteral.
std::vector<bool> GateHarmful(const CreditRule& rule, absl::Span<const Estimate> payment);

// Whether an estimate is significantly negative: mean + z s < 0.
bool SignificantlyNegative(const Estimate& estimate, int z_hundredths);

struct RoundCredits {
  std::vector<bool> harmful;         // gated before the step
  uint64_t applied_mask = 0;         // all others
  std::vector<int64_t> credits;      // nano-nats, >= 0, 0 where harmful
  std::vector<bool> audit_exception; // a paid credit whose leave-one-out is significantly negative
  int64_t lambda_ppb = 0;            // lambda in parts per 10^9, floored: for display only
  Estimate improvement;              // base - applied, on these rows
};

// The whole rule for a game whose coalitions are all evaluated (losses as in shapley.h, n <= 10).
// `best` is the best checkpoint's losses on the same rows; empty where there is no best yet (the
// first round): then the base's. Every harmful contributor leaves the applied coalition at once.
// BAD_REQUEST as EstimateGame, or where best has another length.
absl::StatusOr<RoundCredits> CreditRound(const CreditRule& rule, int n, int64_t rows,
                                         absl::Span<const int64_t> losses,
                                         absl::Span<const int64_t> best,
                                         GameEstimates* estimates = nullptr);

// The parts below the gate, for games above 10 contributors: payment estimates (one scale), which
// are harmful, and the losses of best and applied, row by row. Returns credits in nano-nats.
std::vector<int64_t> HardenedCredits(const CreditRule& rule, absl::Span<const Estimate> payment,
                                     const std::vector<bool>& harmful,
                                     absl::Span<const int64_t> best,
                                     absl::Span<const int64_t> applied, int64_t* lambda_ppb);

}  // namespace rochdale::learning
