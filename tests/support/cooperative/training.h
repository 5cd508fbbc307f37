// Local training of an agent: plain SGD in f32, and arithmetic on updates.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "libs/learning/dataset.h"
#include "libs/learning/grid.h"
#include "libs/learning/model.h"

namespace rochdale::simulated {

using Delta = std::vector<float>;  // canonical order, as submitted

struct Training {
  double learning_rate = 0.1;  // of the first round; that of round t is rate / (1 + decay t)
  double decay = 0.15;
  int epochs = 2;
  int batch_rows = 16;
};

// Parameters after SGD on the mean cross-entropy of batches from `base`, less `base`. `round` from
// 0. Full batches only, in an order that follows from the seed. Deterministic on one machine; BLAS
// kernels of others may round differently.
Delta Train(const learning::ModelSpec& spec, learning::GridSpan base, learning::Rows rows,
            const Training& training, int round, uint64_t seed);

double Norm(const Delta& delta);
double Cosine(const Delta& a, const Delta& b);
Delta Scaled(Delta delta, double factor);
// a + factor * b.
Delta Plus(Delta a, const Delta& b, double factor = 1);
Delta Mean(absl::Span<const Delta> deltas);
// A random direction of this length.
Delta Noise(size_t size, double norm, uint64_t seed);

}  // namespace rochdale::simulated
