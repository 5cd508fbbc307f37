// What every section of the benchmark shares: the data, the seeds, the figures that are made.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/bench/ledger/figures.h"
#include "tests/support/cooperative/play.h"

namespace rochdale::bench {

inline constexpr int kHonest = 5;
inline constexpr int64_t kRowsPerRound = 2'000;

struct Setting {
  learning::Dataset train;
  learning::Dataset test;
  std::vector<uint64_t> seeds;
  int rounds = 8;
  std::string only;   // part of an attack's name
};

inline double MeanOf(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

simulated::World MakeWorld(const Setting& setting, uint64_t seed,
                           const simulated::Dealing& dealing);
// Ends the program with the status where there is no history.
simulated::History MustPlay(const simulated::World& world, const simulated::Rules& rules,
                            const std::vector<const learning::Dataset*>& shards,
                            const simulated::Attacker& attacker);
// A value that is judged, in the mean or at its worst.
void AddJudged(Figures& figures, std::string name, double value, std::string unit, double target,
               bool at_most);
void AddPlain(Figures& figures, std::string name, double value, std::string unit);

// Attacks: shares of the attacker under both presets.
void MeasureAttacks(const Setting& setting, Figures& figures);
// z of the gate from 1 to 4, honest agents beside one who flips labels: who is left out, who is
// paid, what the model comes to.
void MeasureGate(const Setting& setting, Figures& figures);
// Three of eight flip labels; one holds a class that nobody else has.
void MeasureHonestSide(const Setting& setting, Figures& figures);
// Credits beside the Shapley values of retraining with every subset of the agents.
void MeasureRetraining(const Setting& setting, Figures& figures);

}  // namespace rochdale::bench
