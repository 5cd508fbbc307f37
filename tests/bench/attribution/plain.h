// What the figures are compared with, within this program.
#pragma once

#include <vector>

#include "libs/learning/dataset.h"
#include "libs/learning/grid.h"
#include "libs/learning/model.h"

namespace rochdale::bench {

// One matrix product of BLAS, large enough to be at its best: floating-point operations of it.
double GemmF32();
double GemmF64();

// A plain forward pass in f64, without grid, range check or sharing: the sum of losses, nats.
double PlainF64(const learning::ModelSpec& spec, learning::GridSpan parameters,
                learning::Rows rows);

}  // namespace rochdale::bench
