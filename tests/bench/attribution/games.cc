#include "tests/bench/attribution/games.h"

#include <cmath>
#include <fstream>
#include <random>

namespace rochdale::bench {
namespace {

constexpr int kWeightDenominator = 32;  // of the mean over the round's lineages

learning::ModelSpec Mlp() { return {learning::ModelKind::kMlp, {784, 256, 128, 10}}; }

// What an agent would submit, as reals; then clipped, rounded, weighted, rounded.
learning::GridVector Effective(const std::vector<double>& delta) {
  return learning::WeightUpdate(learning::GridFromF64(delta).value(), 1, kWeightDenominator);
}

std::vector<double> Delta(const learning::ModelSpec& spec, Kind kind, std::mt19937_64& random) {
  const auto layers = learning::LinearLayers(spec);
  std::normal_distribution<double> normal(0, 0.02);
  std::vector<double> delta(learning::ParameterCount(spec));
  if (kind == Kind::kRank8) {
    const learning::LinearLayer& layer = layers[0];
    std::normal_distribution<double> factor(0, 0.1);
    for (int k = 0; k < 8; ++k) {
      std::vector<double> right(layer.inputs);
      for (double& value : right) value = factor(random);
      for (int64_t j = 0; j < layer.outputs; ++j) {
        const double left = factor(random);
        double* row = delta.data() + layer.weight_offset + j * layer.inputs;
        for (int i = 0; i < layer.inputs; ++i) row[i] += left * right[i];
      }
    }
    return delta;
  }
  const size_t first = kind == Kind::kLastLayer ? layers.size() - 1 : 0;
  for (size_t l = first; l < layers.size(); ++l) {
    const learning::LinearLayer& layer = layers[l];
    for (int64_t j = 0; j < layer.outputs; ++j) {
      if (kind == Kind::kFewUnits && (l > 0 || random() % 16 != 0)) continue;
      double* row = delta.data() + layer.weight_offset + j * layer.inputs;
      for (int i = 0; i < layer.inputs; ++i) {
        if (kind == Kind::kOnePercent && (l > 0 || random() % 100 != 0)) continue;
        row[i] = normal(random);
      }
      delta[layer.bias_offset + j] = normal(random);
    }
  }
  return delta;
}

Game Empty(int64_t rows, std::mt19937_64& random) {
  Game game;
  game.spec = Mlp();
  game.base = learning::InitialParameters(game.spec, "bench");
  game.rows.dimension = game.spec.inputs();
  game.rows.inputs.resize(rows * game.spec.inputs());
  for (uint8_t& pixel : game.rows.inputs) pixel = random() % 2 ? random() % 256 : 0;
  for (int64_t r = 0; r < rows; ++r) game.rows.labels.push_back(random() % game.spec.classes());
  return game;
}

template <typename T>
void Write(const std::string& path, const std::vector<T>& values) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

}  // namespace

double Game::Flops() const {
  double madds = 0;
  for (const learning::LinearLayer& layer : learning::LinearLayers(spec)) {
    madds += double(layer.inputs) * layer.outputs;
  }
  return 2 * madds * static_cast<double>(rows.count()) * static_cast<double>(masks.size());
}

Game Candidates(Kind kind, int candidates, int64_t rows) {
  std::mt19937_64 random(17);
  Game game = Empty(rows, random);
  for (int c = 0; c < candidates; ++c) {
    game.updates.push_back(Effective(Delta(game.spec, kind, random)));
    game.masks.push_back(uint64_t{1} << c);
  }
  return game;
}

Game Coalitions(int contributors, int64_t rows) {
  Game game = Candidates(Kind::kDense, contributors, rows);
  game.masks.clear();
  for (uint64_t mask = 0; mask < uint64_t{1} << contributors; ++mask) game.masks.push_back(mask);
  return game;
}

void WriteForTorch(const std::string& folder, const std::string& name, const Game& game) {
  Write(folder + "/rows.u8", game.rows.inputs);
  Write(folder + "/labels.i32", game.rows.labels);
  std::vector<float> all;
  for (const uint64_t mask : game.masks) {
    const auto one = learning::F32FromGrid(
        learning::ApplyUpdates(game.base, game.UpdateSpans(), mask));
    all.insert(all.end(), one.begin(), one.end());
  }
  Write(folder + "/" + name + ".f32", all);
}

void WriteForPydvl(const std::string& folder, const Game& game) {
  Write(folder + "/rows.u8", game.rows.inputs);
  Write(folder + "/labels.i32", game.rows.labels);
  Write(folder + "/base.f32", learning::F32FromGrid(game.base));
  std::vector<float> all;
  for (const learning::GridVector& update : game.updates) {
    const auto one = learning::F32FromGrid(update);
    all.insert(all.end(), one.begin(), one.end());
  }
  Write(folder + "/updates.f32", all);
}

}  // namespace rochdale::bench
