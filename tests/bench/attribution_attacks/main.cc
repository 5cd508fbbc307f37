// What attacks on the credit earn, and what the rules against them cost the honest: a cooperative
// played by the product's own pure code (tests/support/cooperative), five honest agents on
// Fashion-MNIST and one more, under the seed's formulas ("literal") and the hardened rules.
// Usage: bench_attribution_attacks [--quick] [--only TEXT] [--section NAME]
//   TEXT: part of an attack's name; NAME: attacks, gate, honest or retraining
#include <cstdio>
#include <cstring>
#include <string>

#include "libs/learning/exact_evaluator.h"
#include "tests/bench/attribution_attacks/setting.h"

int main(int argc, char** argv) {
  using namespace rochdale;  // NOLINT: a program's main
  bench::Setting setting;
  setting.seeds = {1, 2, 3};
  std::string section;
  bool quick = false;
  for (int i = 1; i < argc; ++i) {
    const bool more = i + 1 < argc;
    if (std::strcmp(argv[i], "--quick") == 0) {
      quick = true;
    } else if (std::strcmp(argv[i], "--only") == 0 && more) {
      setting.only = argv[++i];
    } else if (std::strcmp(argv[i], "--section") == 0 && more) {
      section = argv[++i];
    } else {
      std::fprintf(stderr, "unknown argument: %s\n", argv[i]);
      return 2;
    }
  }
  if (quick) {
    setting.seeds = {1};
    setting.rounds = 3;
  }
  learning::UseOneThread();
  for (const char* part : {"train", "t10k"}) {
    auto rows = simulated::LoadFashion(part);
    if (!rows.ok()) {
      std::fprintf(stderr, "%s\n", rows.status().ToString().c_str());
      return 1;
    }
    (part[1] == 'r' ? setting.train : setting.test) = *std::move(rows);
  }
  bench::Figures figures;
  const auto wanted = [&](const char* name) { return section.empty() || section == name; };
  if (wanted("attacks")) bench::MeasureAttacks(setting, figures);
  if (wanted("gate")) bench::MeasureGate(setting, figures);
  if (wanted("honest")) bench::MeasureHonestSide(setting, figures);
  if (wanted("retraining") && !quick) bench::MeasureRetraining(setting, figures);
  std::puts(figures.Json().c_str());
  return 0;
}
