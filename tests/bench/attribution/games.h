// What the benchmark evaluates: one model, one set of rows, candidates of three kinds. Everything
// follows from a seed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libs/learning/dataset.h"
#include "libs/learning/grid.h"
#include "libs/learning/model.h"

namespace rochdale::bench {

enum class Kind { kDense, kLastLayer, kRank8, kFewUnits, kOnePercent };

struct Game {
  learning::ModelSpec spec;
  learning::GridVector base;
  std::vector<learning::GridVector> updates;  // effective and weighted, on the grid
  std::vector<uint64_t> masks;
  learning::Dataset rows;

  std::vector<learning::GridSpan> UpdateSpans() const {
    return std::vector<learning::GridSpan>(updates.begin(), updates.end());
  }
  // Multiply-adds of all candidates, each alone, times two.
  double Flops() const;
};

// MLP 784-256-128-10; candidate i is base + update i. Half of the pixels are 0, as in pictures.
// Rank 8 is that of the agent's factors before the round's weight and the grid: what is evaluated
// is of full rank.
Game Candidates(Kind kind, int candidates, int64_t rows);
// Every coalition of so many dense updates.
Game Coalitions(int contributors, int64_t rows);

// Writes rows.u8, labels.i32 and NAME.f32 (parameters of every candidate, canonical order) for the
// PyTorch loop.
void WriteForTorch(const std::string& folder, const std::string& name, const Game& game);

// Writes rows.u8, labels.i32, base.f32 and updates.f32 for pyDVL.
void WriteForPydvl(const std::string& folder, const Game& game);

}  // namespace rochdale::bench
