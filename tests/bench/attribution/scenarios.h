// How near sampled Shapley values come to the exact ones, on the five ways to deal out data of the
// literature on Shapley values in federated learning: ten agents, Fashion-MNIST.
#pragma once

#include <string>
#include <vector>

namespace rochdale::bench {

struct Accuracy {
  std::string scenario;
  int pairs = 0;             // of antithetic permutations
  double coalitions = 0;     // evaluated, mean over seeds; exact needs 1,024
  double cosine_mean = 0;    // of the two vectors of values, over seeds
  double cosine_min = 0;
  double error_max = 0;      // the largest error of a value in any seed, over the mean value
};

// Each scenario with each number of pairs. Empty where the data set is not installed.
std::vector<Accuracy> MeasureScenarios(bool quick);

}  // namespace rochdale::bench
