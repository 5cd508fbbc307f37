// Evaluates a seeded game and prints it, for checks from outside the process.
//   exact_dump hash MODEL UPDATES ROWS SEED ROW_BLOCK THREADS [SPREAD STEP]   SHA-256 of the losses
//   exact_dump json (the same)                              the whole game with its losses
//   exact_dump time (the same)                              seconds, exact and f32
// MODEL is the JSON of a spec, or the sizes of an MLP or a softmax regression: 784,64,10.
#include <cblas.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "libs/crypto/sha256.h"
#include "libs/learning/exact_evaluator.h"
#include "libs/learning/fast_evaluator.h"
#include "tests/unit/learning/random_case.h"

namespace rochdale::learning {
namespace {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::optional<ModelSpec> ReadSpec(const std::string& model) {
  if (model.front() == '{') {
    const auto spec = ParseModelSpec(model);
    if (!spec.ok()) std::cerr << spec.status() << "\n";
    return spec.ok() ? std::optional<ModelSpec>(*spec) : std::nullopt;
  }
  std::vector<int> sizes;
  for (const auto part : absl::StrSplit(model, ',')) {
    int size = 0;
    if (!absl::SimpleAtoi(part, &size)) return std::nullopt;
    sizes.push_back(size);
  }
  return SpecOf(std::move(sizes));
}

int Run(const std::string& mode, int argc, char** argv) {
  const std::optional<ModelSpec> spec = ReadSpec(argv[2]);
  if (!spec) return 2;
  auto number = [&](int i, int otherwise) { return argc > i ? std::atoi(argv[i]) : otherwise; };
  const RandomCase game = MakeCase(*spec, number(3, 0), number(4, 0), number(5, 0),
                                   number(8, 1 << 14), number(9, 1 << 12));
  EvaluationOptions options;
  options.row_block = number(6, 0);
  openblas_set_num_threads(number(7, 1));
  const std::vector<GridSpan> updates = game.UpdateSpans();
  const std::vector<uint64_t> masks = game.AllMasks();
  const double start = Seconds();
  const auto matrix =
      EvaluateCoalitions(game.spec, game.base, updates, masks, game.rows, options);
  const double exact = Seconds() - start;
  if (!matrix.ok()) {
    std::cerr << matrix.status() << "\n";
    return 1;
  }
  if (mode == "time") {
    const auto fast = FastEvaluateCoalitions(game.spec, game.base, updates, masks, game.rows);
    std::printf("exact %.3f s, f32 one by one %.3f s\n", exact, Seconds() - start - exact);
    return fast.ok() ? 0 : 1;
  }
  if (mode == "hash") {
    std::cout << crypto::Sha256({reinterpret_cast<const char*>(matrix->losses.data()),
                                 matrix->losses.size() * sizeof(int64_t)})
                     .ToString()
              << "\n";
    return 0;
  }
  nlohmann::json json = {{"model", nlohmann::json::parse(ModelSpecToJson(game.spec))},
                         {"base", game.base},
                         {"updates", game.updates},
                         {"masks", masks},
                         {"inputs", game.rows.inputs},
                         {"labels", game.rows.labels},
                         {"losses", matrix->losses},
                         {"initial", InitialParameters(game.spec, "seed")}};
  for (const ParameterTensor& tensor : ParameterTensors(game.spec)) {
    json["tensors"].push_back({{"name", tensor.name}, {"shape", tensor.shape}});
  }
  std::cout << json << "\n";
  return 0;
}

}  // namespace
}  // namespace rochdale::learning

int main(int argc, char** argv) {
  if (argc < 8) return 2;
  return rochdale::learning::Run(argv[1], argc, argv);
}
