// Evaluates random updates of every kind of model and prints one digest of the losses for each:
// what must be the same however this is compiled and wherever it runs (configurations_test.py).
// And one of all bits of exp and log, for a loss is rounded: a last bit that differs shows in one
// of a million.
//   exact_matrix THREADS UPDATES ROWS BLOCK,BLOCK,...
// UPDATES in games of at most 20, over ROWS rows (of a convnet or a transformer a fiftieth); every
// game once with each size of a block of rows, which must not matter. Compiled with
// ROCHDALE_MATRIX_TORCH it evaluates by torch on the processor instead, where blocks are its own.
#include <cblas.h>

#include <iostream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "libs/crypto/sha256.h"
#include "libs/learning/evaluator.h"
#include "libs/learning/exact_math.h"
#include "tests/unit/learning/random_case.h"
#ifdef ROCHDALE_MATRIX_TORCH
#include "libs/learning/device_evaluator.h"
#include "libs/learning/gradients.h"
#endif

namespace rochdale::learning {
namespace {

constexpr int kUpdatesOfGame = 20;

std::vector<ModelSpec> Models() {
  return {SpecOf({40, 10}), SpecOf({64, 32, 16, 10}), ConvnetOf({2, 13, 12}, {4, 6}, {16, 10}),
          TransformerOf({16, 30, 16, 4, 2, 32})};
}

// No update, each alone, all together, and some in between.
std::vector<uint64_t> MasksOf(size_t updates, uint64_t seed) {
  const uint64_t all = (uint64_t{1} << updates) - 1;
  std::vector<uint64_t> masks{0, all};
  for (size_t i = 0; i < updates; ++i) masks.push_back(uint64_t{1} << i);
  std::mt19937_64 engine(seed);
  for (int i = 0; i < 6; ++i) masks.push_back(engine() & all);
  return masks;
}

// Dense, in the upper half of the parameters only, or in few elements.
RandomCase GameOf(const ModelSpec& spec, int updates, int64_t rows, uint64_t seed) {
  RandomCase game = MakeCase(spec, updates, rows, seed, 1 << 16, 1 << 14);
  for (size_t i = 0; i < game.updates.size(); ++i) {
    GridVector& update = game.updates[i];
    if (i % 4 == 1) std::fill(update.begin(), update.begin() + update.size() / 2, 0);
    if (i % 4 == 2) {
      for (size_t p = 0; p < update.size(); ++p) update[p] = p % 97 == i ? update[p] : 0;
    }
  }
  return game;
}

absl::StatusOr<crypto::Digest> DigestOf(Evaluator& evaluator, const RandomCase& game, int block,
                                        uint64_t seed) {
  const auto matrix =
      evaluator.EvaluateCoalitions(game.spec, game.base, game.UpdateSpans(),
                                   MasksOf(game.updates.size(), seed), game.rows, {block});
  if (!matrix.ok()) return matrix.status();
  return crypto::Sha256({reinterpret_cast<const char*>(matrix->losses.data()),
                         matrix->losses.size() * sizeof(int64_t)});
}

constexpr int kArguments = 200'000;

// Arguments from all of the functions' ranges.
struct Arguments {
  std::vector<double> exp, log;
};

Arguments MathArguments() {
  Arguments arguments;
  std::mt19937_64 engine(5);
  for (int i = 0; i < kArguments; ++i) {
    const double fraction = (engine() >> 11) * 0x1p-53;
    const int exponent = static_cast<int>(engine() % 20);
    arguments.exp.push_back(-fraction * (int64_t{1} << exponent) * 0x1p-10);
    arguments.log.push_back(1 + fraction * (int64_t{1} << exponent) * 0x1p-6);
  }
  return arguments;
}

void PrintMath(const std::vector<double>& exp, const std::vector<double>& log) {
  std::string bits(reinterpret_cast<const char*>(exp.data()), exp.size() * sizeof(double));
  bits.append(reinterpret_cast<const char*>(log.data()), log.size() * sizeof(double));
  std::cout << crypto::Sha256(bits).ToString() << " {exp, log}\n";
}

int Run(Evaluator& evaluator, int updates, int64_t rows, const std::vector<int>& blocks) {
  for (const ModelSpec& spec : Models()) {
    const bool linear = spec.channels.empty() && !spec.layer_sizes.empty();
    std::string digests;
    for (int first = 0; first < updates; first += kUpdatesOfGame) {
      const uint64_t seed = 1'000 + first;
      const RandomCase game = GameOf(spec, std::min(kUpdatesOfGame, updates - first),
                                     linear ? rows : rows / 50 + 1, seed);
      std::string of_game;
      for (const int block : blocks) {
        const auto digest = DigestOf(evaluator, game, block, seed);
        if (!digest.ok()) {
          std::cerr << digest.status() << "\n";
          return 1;
        }
        if (!of_game.empty() && of_game != digest->ToString()) {
          std::cerr << ModelSpecToJson(spec) << ": blocks of " << block << " rows matter\n";
          return 1;
        }
        of_game = digest->ToString();
      }
      digests += of_game;
    }
    std::cout << crypto::Sha256(digests).ToString() << " " << ModelSpecToJson(spec) << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace rochdale::learning

int main(int argc, char** argv) {
  using namespace rochdale::learning;  // NOLINT: a program of its own
  int threads = 0, updates = 0, block = 0;
  int64_t rows = 0;
  if (argc != 5 || !absl::SimpleAtoi(argv[1], &threads) || !absl::SimpleAtoi(argv[2], &updates) ||
      !absl::SimpleAtoi(argv[3], &rows)) {
    return 2;
  }
  std::vector<int> blocks;
  for (const auto part : absl::StrSplit(argv[4], ',')) {
    if (!absl::SimpleAtoi(part, &block)) return 2;
    blocks.push_back(block);
  }
  openblas_set_num_threads(threads);
#ifdef ROCHDALE_MATRIX_TORCH
  UseOneTorchThread();
  auto evaluator = DeviceEvaluator::Open("cpu", int64_t{1} << 30);
  if (!evaluator.ok()) {
    std::cerr << evaluator.status() << "\n";
    return 1;
  }
  blocks.resize(1);
  const Arguments arguments = MathArguments();
  PrintMath(evaluator->Exp(arguments.exp), evaluator->Log(arguments.log));
  return Run(*evaluator, updates, rows, blocks);
#else
  HostEvaluator evaluator;
  Arguments values = MathArguments();
  for (double& x : values.exp) x = ExactExp(x);
  for (double& s : values.log) s = ExactLog(s);
  PrintMath(values.exp, values.log);
  return Run(evaluator, updates, rows, blocks);
#endif
}
