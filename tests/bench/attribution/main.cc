// How near the evaluation of candidates comes to the machine's limits, beside a plain PyTorch loop
// and pyDVL on the same work. All figures are ratios within one run: the contenders take turns, and
// each counts by its best turn.
// Usage: bench_attribution [--quick] [SECTION]
// A section alone: candidates, game, workers or scenarios.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/learning/evaluator.h"
#include "libs/learning/exact_evaluator.h"
#include "libs/learning/fast_evaluator.h"
#include "libs/learning/shapley.h"
#include "tests/bench/attribution/games.h"
#include "tests/bench/attribution/plain.h"
#include "tests/bench/attribution/processes.h"
#include "tests/bench/attribution/scenarios.h"
#include "tests/bench/attribution/workers.h"
#include "tests/bench/ledger/figures.h"

namespace rochdale::bench {
namespace {

constexpr int kCandidates = 32;
constexpr int kContributors = 10;

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

// The rows of one process of several.
learning::Rows Share(learning::Rows rows, int process, int processes) {
  const int64_t begin = rows.count() * process / processes;
  return rows.Slice(begin, rows.count() * (process + 1) / processes - begin);
}

void Fast(const Game& game, learning::Rows rows) {
  if (!learning::FastEvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), game.masks, rows)
           .ok()) {
    Fail("the fast evaluator failed");
  }
}

void Exact(const Game& game, learning::Rows rows) {
  if (!learning::EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), game.masks, rows)
           .ok()) {
    Fail("the exact evaluator failed");
  }
}

// The same where this process has evaluated other candidates of the base on these rows before.
void FastKnown(const Game& game, learning::Rows rows) {
  static learning::BaseCache<float> cache;
  if (!learning::FastEvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), game.masks, rows,
                                        &cache)
           .ok()) {
    Fail("the fast evaluator failed");
  }
}

void ExactKnown(const Game& game, learning::Rows rows) {
  static learning::HostEvaluator evaluator;
  if (!evaluator.EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(), game.masks, rows)
           .ok()) {
    Fail("the exact evaluator failed");
  }
}

// Every candidate on its own, sharing nothing with the others.
void ExactSeparately(const Game& game, learning::Rows rows) {
  for (const uint64_t mask : game.masks) {
    const auto parameters = learning::ApplyUpdates(game.base, game.UpdateSpans(), mask);
    if (!learning::EvaluateCheckpoints(game.spec, {parameters}, rows).ok()) Fail("evaluation");
  }
}

void Plain(const Game& game, learning::Rows rows) {
  for (const uint64_t mask : game.masks) {
    PlainF64(game.spec, learning::ApplyUpdates(game.base, game.UpdateSpans(), mask), rows);
  }
}

// A virtual environment with pyDVL beside the system's PyTorch; false where there is none and none
// can be made, as without a network.
bool HavePydvl() {
  return std::system(
             "test -x build/pydvl/venv/bin/python &&"
             " build/pydvl/venv/bin/python -c 'import pydvl' 2>/dev/null ||"
             " { /usr/bin/python3 -m venv --system-site-packages build/pydvl/venv &&"
             "   timeout 300 build/pydvl/venv/bin/pip install -q --no-input --timeout 20"
             "   --retries 1 pydvl==0.10.0; } >build/pydvl.log 2>&1") == 0;
}

class Bench {
 public:
  explicit Bench(bool quick)
      : rows_(quick ? 2'000 : 10'000), turns_(quick ? 2 : 7), coalition_rows_(quick ? 256 : 1'000) {
    folder_ = std::filesystem::temp_directory_path() / absl::StrCat("bench-attribution-", getpid());
    std::filesystem::create_directories(folder_);
    for (const auto& [name, kind] : kinds_) games_[name] = Candidates(kind, kCandidates, rows_);
    coalitions_ = Coalitions(kContributors, coalition_rows_);
    for (const char* name : {"dense", "last-layer", "rank-8"}) {
      WriteForTorch(folder_, name, games_[name]);
    }
  }
  ~Bench() { std::filesystem::remove_all(folder_); }

  void MeasureCandidates() {
    for (const int threads : {1, Cores()}) {
      loops_.push_back(std::make_unique<Peer>(TorchCommand(threads, "")));
    }
    doubles_ = std::make_unique<Peer>(TorchCommand(Cores(), "f64"));
    for (int turn = 0; turn < turns_; ++turn) {
      std::fprintf(stderr, "turn %d of %d\n", turn + 1, turns_);
      Turn();
    }
  }

  // Of one core.
  void MeasureGame() {
    for (int turn = 0; turn < std::min(turns_, 3); ++turn) {
      Count("shapley", ParallelSeconds(1, [&](int) { Shapley(); }));
      Count("separate",
            ParallelSeconds(1, [&](int) { ExactSeparately(coalitions_, coalitions_.rows); }));
    }
    MeasurePydvl();
  }

  void MeasureWorkers() {
    const Game game = Coalitions(kContributors, 4 * coalition_rows_);
    WorkerRun run(game);
    for (int turn = 0; turn < turns_; ++turn) {
      for (const int processes : {1, 2}) {
        Count(absl::StrCat("workers ", processes), run.Seconds(processes));
        CountRate(absl::StrCat("dgemm in processes ", processes),
                  processes / ParallelSeconds(processes, [](int) { GemmF64(); }));
      }
    }
  }

  void ReportCandidates(Figures& figures) {
    const double candidate_rows = double(kCandidates) * rows_;
    auto rate = [&](const std::string& what) { return candidate_rows / best_.at(what); };
    auto gflops = [&](const std::string& what) {
      return games_["dense"].Flops() / best_.at(what) * 1e-9;
    };
    figures.Add({"dense candidates, f32, all cores", gflops("fast dense"), "Gflop/s",
                 "sgemm of the same binary on all cores", rate_["sgemm"] * 1e-9, 0.85});
    figures.Add({"dense candidates, exact, all cores", gflops("exact dense"), "Gflop/s",
                 "dgemm of the same binary on all cores", rate_["dgemm"] * 1e-9, {}});
    const std::string loop = "PyTorch loop, the better of one and all threads";
    // The base's own pass over the rows is 1/32 of the loop's work, and the last layers are 1/184:
    // last-layer candidates from nothing cannot be 30 times as fast.
    figures.Add({"dense candidates, f32", rate("fast dense"), "rows/s", loop, rate("torch dense"),
                 1.0});
    figures.Add({"last-layer candidates, f32, from nothing", rate("fast last-layer"), "rows/s",
                 loop, rate("torch last-layer"), {}});
    figures.Add({"last-layer candidates, f32, the base known", rate("fast last-layer known"),
                 "rows/s", loop, rate("torch last-layer"), 30});
    figures.Add({"rank-8 candidates, f32", rate("fast rank-8"), "rows/s", loop,
                 rate("torch rank-8"), 3});
    for (const char* name : {"dense", "last-layer", "rank-8"}) {
      figures.Add({absl::StrCat(name, " candidates, exact"), rate(absl::StrCat("exact ", name)),
                   "rows/s", "PyTorch loop in f32", rate(absl::StrCat("torch ", name)), {}});
    }
    figures.Add({"last-layer candidates, exact, the base known", rate("exact last-layer known"),
                 "rows/s", "PyTorch loop in f32", rate("torch last-layer"), {}});
    figures.Add({"dense candidates, exact, beside f64", rate("exact dense"), "rows/s",
                 "PyTorch loop in f64, all threads", rate("torch f64 dense"), {}});
    for (const char* name : {"last-layer", "few-units", "one-percent"}) {
      figures.Add({absl::StrCat(name, " candidates, exact, shared"),
                   rate(absl::StrCat("exact ", name)), "rows/s", "dense candidates, exact",
                   rate("exact dense"), {}});
    }
    figures.Add({"time of the exact evaluator", best_["one exact"], "s", "of f32",
                 best_["one fast"], 2.3, true});
    figures.Add({"time of the exact evaluator, beside f64", best_["one exact"], "s",
                 "of plain f64", best_["one plain"], 1.1, true});
  }

  void ReportGame(Figures& figures) {
    figures.Add({"exact Shapley for 10 contributors", 1 / best_["shapley"], "games/s",
                 "1,024 separate evaluations", 1 / best_["separate"], 2.5});
    if (best_.contains("pydvl")) {
      figures.Add({"exact Shapley for 10 contributors, one core", 1 / best_["shapley"], "games/s",
                   "pyDVL with PyTorch in f32, one thread", 1 / best_["pydvl"], {}});
    }
  }

  void ReportWorkers(Figures& figures) {
    figures.Add({"worker processes on 2 cores", 1 / best_["workers 2"], "runs/s", "on one",
                 1 / best_["workers 1"], 1.9});
    // What the machine allows: processes that share nothing but its memory, caches and clock.
    figures.Add({"dgemm in two processes", rate_["dgemm in processes 2"], "products/s", "in one",
                 rate_["dgemm in processes 1"], {}});
  }

 private:
  std::vector<std::string> TorchCommand(int threads, const char* kind) const {
    const std::string count = absl::StrCat(threads);
    return {"/usr/bin/env", "OPENBLAS_NUM_THREADS=" + count, "OMP_NUM_THREADS=" + count,
            "OMP_WAIT_POLICY=passive", "/usr/bin/python3",
            ROCHDALE_BENCH_FOLDER "/torch_loop.py", folder_, count, kind};
  }

  void Count(const std::string& what, double seconds) {
    const auto [at, added] = best_.try_emplace(what, seconds);
    if (!added) at->second = std::min(at->second, seconds);
  }
  void CountRate(const std::string& what, double rate) {
    rate_[what] = std::max(rate_[what], rate);
  }
  double OnAllCores(const std::function<void(const Game&, learning::Rows)>& evaluate,
                    const Game& game) {
    const int cores = Cores();
    return ParallelSeconds(cores, [&](int i) { evaluate(game, Share(game.rows, i, cores)); });
  }
  void CountTorch(Peer& loop, const std::string& name, const std::string& as) {
    for (const int64_t batch : {rows_, int64_t{1'000}}) {
      const std::string answer = loop.Ask(absl::StrCat(name, " ", batch));
      const std::vector<std::string> words = absl::StrSplit(answer, ' ');
      double seconds = 0, total = 0;
      if (words.size() != 2 || !absl::SimpleAtod(words[0], &seconds) ||
          !absl::SimpleAtod(words[1], &total)) {
        Fail("the PyTorch loop gave no figure; is python3-torch installed?");
      }
      CheckSameWork(name, total);
      Count(as, seconds);
    }
  }
  // The loop has evaluated what we evaluate.
  void CheckSameWork(const std::string& name, double total) {
    const Game& game = games_[name];
    auto [at, added] = totals_.try_emplace(name, 0.0);
    if (added) {
      const auto losses = learning::FastEvaluateCoalitions(
          game.spec, game.base, game.UpdateSpans(), game.masks, game.rows);
      for (const float loss : *losses) at->second += loss;
      at->second /= static_cast<double>(game.rows.count());
    }
    if (std::abs(total - at->second) > 1e-4 * kCandidates) {
      Fail(absl::StrCat("the PyTorch loop found ", total, " where we found ", at->second));
    }
  }

  void Turn() {
    const int cores = Cores();
    double flops = GemmF32();
    CountRate("sgemm", cores * flops / ParallelSeconds(cores, [](int) { GemmF32(); }));
    for (const char* name : {"dense", "last-layer", "rank-8"}) {
      Count(absl::StrCat("fast ", name), OnAllCores(Fast, games_[name]));
      for (auto& loop : loops_) CountTorch(*loop, name, absl::StrCat("torch ", name));
    }
    Count("fast last-layer known", OnAllCores(FastKnown, games_["last-layer"]));
    flops = GemmF64();
    CountRate("dgemm", cores * flops / ParallelSeconds(cores, [](int) { GemmF64(); }));
    for (const auto& [name, kind] : kinds_) {
      Count(absl::StrCat("exact ", name), OnAllCores(Exact, games_[name]));
    }
    Count("exact last-layer known", OnAllCores(ExactKnown, games_["last-layer"]));
    CountTorch(*doubles_, "dense", "torch f64 dense");
    const Game& dense = games_["dense"];
    const learning::Rows some = Share(dense.rows, 0, 4);
    Count("one exact", ParallelSeconds(1, [&](int) { Exact(dense, some); }));
    Count("one fast", ParallelSeconds(1, [&](int) { Fast(dense, some); }));
    Count("one plain", ParallelSeconds(1, [&](int) { Plain(dense, some); }));
  }

  void Shapley() {
    const auto losses = learning::EvaluateCoalitions(
        coalitions_.spec, coalitions_.base, coalitions_.UpdateSpans(), coalitions_.masks,
        coalitions_.rows);
    if (!losses.ok() ||
        !learning::EstimateGame(kContributors, coalition_rows_, losses->losses).ok()) {
      Fail("the game failed");
    }
  }

  void MeasurePydvl() {
    if (!HavePydvl()) {
      std::fprintf(stderr, "not beside pyDVL: it is not installed and cannot be (offline?)\n");
      return;
    }
    const std::string folder = folder_ / "pydvl";
    std::filesystem::create_directories(folder);
    WriteForPydvl(folder, coalitions_);
    Peer pydvl({"/usr/bin/env", "OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1",
                "PYTHONWARNINGS=ignore", "build/pydvl/venv/bin/python",
                ROCHDALE_BENCH_FOLDER "/pydvl_game.py", folder, "1"});
    const auto losses = learning::EvaluateCoalitions(
        coalitions_.spec, coalitions_.base, coalitions_.UpdateSpans(), coalitions_.masks,
        coalitions_.rows);
    const auto game = learning::EstimateGame(kContributors, coalition_rows_, losses->losses);
    for (int turn = 0; turn < 2; ++turn) {
      const std::vector<std::string> words = absl::StrSplit(pydvl.Ask("fit"), ' ');
      double seconds = 0;
      if (words.size() != kContributors + 1 || !absl::SimpleAtod(words[0], &seconds)) {
        Fail("pyDVL gave no figure");
      }
      for (int i = 0; i < kContributors; ++i) {
        double value = 0;
        const double ours = game->shapley[i].Mean() * 1e-9;
        if (!absl::SimpleAtod(words[i + 1], &value) || std::abs(value - ours) > 1e-4) {
          Fail(absl::StrCat("pyDVL found ", words[i + 1], " where we found ", ours));
        }
      }
      Count("pydvl", seconds);
    }
  }

  const std::map<std::string, Kind> kinds_ = {{"dense", Kind::kDense},
                                              {"last-layer", Kind::kLastLayer},
                                              {"rank-8", Kind::kRank8},
                                              {"few-units", Kind::kFewUnits},
                                              {"one-percent", Kind::kOnePercent}};
  const int64_t rows_;
  const int turns_;
  const int64_t coalition_rows_;
  std::filesystem::path folder_;
  std::map<std::string, Game> games_;
  Game coalitions_;
  std::map<std::string, double> best_;   // seconds
  std::map<std::string, double> rate_;   // operations a second
  std::map<std::string, double> totals_;
  std::vector<std::unique_ptr<Peer>> loops_;
  std::unique_ptr<Peer> doubles_;
};

}  // namespace
}  // namespace rochdale::bench

namespace rochdale::bench {
namespace {

void ReportScenarios(bool quick, Figures& figures) {
  for (const auto& accuracy : MeasureScenarios(quick)) {
    const std::string name =
        absl::StrCat("sampled Shapley, ", accuracy.scenario, ", ", accuracy.pairs, " pairs: ");
    figures.Add({name + "coalitions", accuracy.coalitions, "of 1,024"});
    figures.Add({name + "cosine with exact, mean", accuracy.cosine_mean, ""});
    figures.Add({name + "cosine with exact, least", accuracy.cosine_min, ""});
    figures.Add({name + "largest error", accuracy.error_max, "of the mean value"});
  }
}

}  // namespace
}  // namespace rochdale::bench

int main(int argc, char** argv) {
  using namespace rochdale;  // NOLINT: a program of its own
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  const std::string section = argc > 1 + quick ? argv[1 + quick] : "";
  const std::set<std::string> sections = {"", "candidates", "game", "workers", "scenarios"};
  if (argc > 2 + quick || !sections.contains(section)) {
    std::fprintf(stderr, "usage: bench_attribution [--quick] [SECTION]\n");
    return 2;
  }
  const auto wanted = [&](const char* name) { return section.empty() || section == name; };
  learning::UseOneThread();
  bench::Figures figures;
  bench::Bench bench(quick);
  if (wanted("candidates")) {
    bench.MeasureCandidates();
    bench.ReportCandidates(figures);
  }
  if (wanted("game")) {
    bench.MeasureGame();
    bench.ReportGame(figures);
  }
  if (wanted("workers")) {
    bench.MeasureWorkers();
    bench.ReportWorkers(figures);
  }
  if (wanted("scenarios")) bench::ReportScenarios(quick, figures);
  std::printf("%s\n", figures.Json().c_str());
  return 0;
}
