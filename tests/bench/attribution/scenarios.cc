#include "tests/bench/attribution/scenarios.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>

#include "absl/strings/str_cat.h"
#include "libs/learning/exact_evaluator.h"
#include "libs/learning/sampled_shapley.h"
#include "libs/learning/shapley.h"
#include "tests/support/cooperative/fashion.h"
#include "tests/support/cooperative/training.h"

namespace rochdale::bench {
namespace {

using learning::Dataset;

constexpr int kAgents = 10;
constexpr int kPairs[] = {8, 32, 128};

// Rows of each agent, and the pictures' noise in units of a pixel's range.
struct Scenario {
  std::string name;
  std::function<void(std::vector<Dataset>&, std::mt19937_64&)> spoil;
  bool by_class = false;  // each agent has most of its rows of two classes
  bool sizes = false;     // from 10 % to 190 % of the mean
};

void SpoilLabels(std::vector<Dataset>& shards, std::mt19937_64& random) {
  for (int i = 0; i < kAgents; ++i) {  // up to 40 % in steps of two agents
    for (int32_t& label : shards[i].labels) {
      if (random() % 100 < static_cast<uint64_t>(i / 2 * 10)) label = random() % 10;
    }
  }
}

void SpoilFeatures(std::vector<Dataset>& shards, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  for (int i = 0; i < kAgents; ++i) {
    for (uint8_t& pixel : shards[i].inputs) {
      const double value = pixel + 255 * 0.2 * (i / 2) * normal(random);
      pixel = static_cast<uint8_t>(std::clamp(value, 0.0, 255.0));
    }
  }
}

std::vector<Dataset> Deal(const Dataset& rows, const Scenario& scenario, int64_t mean_rows,
                          std::mt19937_64& random) {
  std::vector<std::vector<int64_t>> by_class(10);
  for (int64_t r = 0; r < rows.count(); ++r) by_class[rows.labels[r]].push_back(r);
  for (auto& list : by_class) std::shuffle(list.begin(), list.end(), random);
  std::vector<Dataset> shards;
  for (int i = 0; i < kAgents; ++i) {
    const int64_t size = scenario.sizes ? mean_rows * (2 * i + 1) / kAgents : mean_rows;
    std::vector<int64_t> mine;
    for (int64_t k = 0; k < size; ++k) {
      const bool own = scenario.by_class && random() % 10 < 8;
      auto& list = by_class[own ? (i + random() % 2) % 10 : random() % 10];
      mine.push_back(list[random() % list.size()]);
    }
    shards.push_back(learning::TakeRows(rows, mine));
  }
  if (scenario.spoil) scenario.spoil(shards, random);
  return shards;
}

double Cosine(const std::vector<double>& a, const std::vector<double>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

struct Played {
  learning::LossMatrix losses;  // of all coalitions
  std::vector<double> exact;    // nano-nats
};

// One round from a base: everybody trains, all coalitions are evaluated, the mean is applied.
Played PlayRound(const learning::ModelSpec& spec, learning::GridVector& base,
                 const std::vector<Dataset>& shards, learning::Rows validation, int round) {
  std::vector<learning::GridVector> updates;
  for (int i = 0; i < kAgents; ++i) {
    const auto delta = simulated::Train(spec, base, shards[i], {}, round, 100 * round + i);
    updates.push_back(
        learning::WeightUpdate(learning::GridFromF32(delta).value(), 1, kAgents));
  }
  const std::vector<learning::GridSpan> spans(updates.begin(), updates.end());
  std::vector<uint64_t> masks(1 << kAgents);
  for (size_t m = 0; m < masks.size(); ++m) masks[m] = m;
  Played played;
  played.losses = learning::EvaluateCoalitions(spec, base, spans, masks, validation).value();
  const auto game = learning::EstimateGame(kAgents, validation.count(), played.losses.losses);
  for (const auto& estimate : game->shapley) {
    played.exact.push_back(static_cast<double>(estimate.Mean()));
  }
  base = learning::ApplyUpdates(base, spans, masks.back());
  return played;
}

std::vector<double> Sampled(const Played& played, int pairs, const std::string& seed,
                            double* coalitions) {
  const auto permutations = learning::SamplePermutations(kAgents, pairs, seed);
  const std::vector<uint64_t> masks = learning::CoalitionsOf(permutations);
  std::vector<int64_t> losses;
  for (const uint64_t mask : masks) {
    const auto one = played.losses.candidate(static_cast<int64_t>(mask));
    losses.insert(losses.end(), one.begin(), one.end());
  }
  std::vector<double> values;
  const auto estimates =
      learning::EstimateSampledShapley(permutations, masks, played.losses.rows, losses).value();
  for (const learning::Estimate& estimate : estimates) {
    values.push_back(static_cast<double>(estimate.Mean()));
  }
  *coalitions += static_cast<double>(masks.size());
  return values;
}

}  // namespace

std::vector<Accuracy> MeasureScenarios(bool quick) {
  const auto train = simulated::LoadFashion("train");
  const auto test = simulated::LoadFashion("t10k");
  if (!train.ok() || !test.ok()) {
    std::fprintf(stderr, "no scenarios: Fashion-MNIST is not installed\n");
    return {};
  }
  const Scenario scenarios[] = {
      {"same size, same distribution", nullptr},
      {"same size, different distribution", nullptr, true},
      {"different size, same distribution", nullptr, false, true},
      {"noisy labels", SpoilLabels},
      {"noisy features", SpoilFeatures},
  };
  const int seeds = quick ? 2 : 10;
  const int rounds = quick ? 1 : 3;
  const learning::Rows validation = learning::Rows(*test).Slice(0, quick ? 200 : 1'000);
  const learning::ModelSpec spec{learning::ModelKind::kMlp, {784, 256, 128, 10}};
  std::vector<Accuracy> found;
  for (const Scenario& scenario : scenarios) {
    std::mt19937_64 random(5);
    const auto shards = Deal(*train, scenario, quick ? 200 : 1'000, random);
    learning::GridVector base = learning::InitialParameters(spec, "scenarios");
    std::vector<Played> played;
    for (int round = 0; round < rounds; ++round) {
      played.push_back(PlayRound(spec, base, shards, validation, round));
    }
    for (const int pairs : kPairs) {
      Accuracy accuracy{scenario.name, pairs};
      accuracy.cosine_min = 1;
      for (const Played& round : played) {
        double mean = 0;
        for (const double value : round.exact) mean += std::abs(value) / kAgents;
        for (int seed = 0; seed < seeds; ++seed) {
          const auto values =
              Sampled(round, pairs, absl::StrCat("seed ", seed), &accuracy.coalitions);
          const double cosine = Cosine(values, round.exact);
          accuracy.cosine_mean += cosine;
          accuracy.cosine_min = std::min(accuracy.cosine_min, cosine);
          for (int i = 0; i < kAgents; ++i) {
            accuracy.error_max =
                std::max(accuracy.error_max, std::abs(values[i] - round.exact[i]) / mean);
          }
        }
      }
      accuracy.cosine_mean /= seeds * rounds;
      accuracy.coalitions /= seeds * rounds;
      found.push_back(accuracy);
    }
  }
  return found;
}

}  // namespace rochdale::bench
