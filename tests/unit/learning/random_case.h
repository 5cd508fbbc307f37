// Seeded games for the tests of libs/learning: base, updates, rows.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "libs/learning/dataset.h"
#include "libs/learning/grid.h"
#include "libs/learning/model.h"

namespace rochdale::learning {

struct RandomCase {
  ModelSpec spec;
  GridVector base;
  std::vector<GridVector> updates;
  Dataset rows;

  std::vector<GridSpan> UpdateSpans() const {
    return std::vector<GridSpan>(updates.begin(), updates.end());
  }
  std::vector<uint64_t> AllMasks() const {
    std::vector<uint64_t> masks(uint64_t{1} << updates.size());
    for (size_t m = 0; m < masks.size(); ++m) masks[m] = m;
    return masks;
  }
};

inline ModelSpec ConvnetOf(std::vector<int> image, std::vector<int> channels,
                           std::vector<int> layer_sizes) {
  return {ModelKind::kConvnet, std::move(layer_sizes), std::move(image), std::move(channels)};
}

inline ModelSpec TransformerOf(TransformerSpec transformer) {
  return {ModelKind::kCharacterTransformer, {}, {}, {}, transformer};
}

inline ModelSpec SpecOf(std::vector<int> sizes) {
  const ModelKind kind = sizes.size() == 2 ? ModelKind::kSoftmaxRegression : ModelKind::kMlp;
  return {kind, std::move(sizes)};
}

// Parameters of the base within +-spread units beside its initial ones, those of updates within
// +-step units. Uses raw engine outputs, which are the same with every standard library.
inline RandomCase MakeCase(ModelSpec spec, int updates, int64_t rows, uint64_t seed,
                           int32_t spread = 1 << 14, int32_t step = 1 << 12) {
  RandomCase game;
  game.spec = std::move(spec);
  std::mt19937_64 engine(seed);
  auto within = [&engine](int32_t bound) {
    return static_cast<int32_t>(engine() % (2 * uint64_t(bound) + 1)) - bound;
  };
  game.base = InitialParameters(game.spec, "seed");
  for (int32_t& units : game.base) {
    units = std::clamp(units + within(spread), -kGridMax, kGridMax);
  }
  game.updates.resize(updates);
  for (GridVector& update : game.updates) {
    update.resize(game.base.size());
    for (int32_t& units : update) units = within(step);
  }
  game.rows.dimension = game.spec.inputs();
  game.rows.inputs.resize(rows * game.spec.inputs());
  // Half the pixels are 0, as in pictures.
  const bool text = game.spec.kind == ModelKind::kCharacterTransformer;
  for (uint8_t& value : game.rows.inputs) {
    value = text ? engine() % game.spec.classes() : engine() % 2 ? engine() % 256 : 0;
  }
  for (int64_t r = 0; r < rows; ++r) game.rows.labels.push_back(engine() % game.spec.classes());
  return game;
}

inline RandomCase MakeCase(std::vector<int> sizes, int updates, int64_t rows, uint64_t seed,
                           int32_t spread = 1 << 14, int32_t step = 1 << 12) {
  return MakeCase(SpecOf(std::move(sizes)), updates, rows, seed, spread, step);
}

}  // namespace rochdale::learning
