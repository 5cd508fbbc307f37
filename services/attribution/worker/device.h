// Where a worker evaluates.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "libs/learning/evaluator.h"

namespace rochdale::attribution {

// "cpu": this machine's processors, without torch. "cuda", "cuda:<n>": a device, where the worker
// was built with ROCHDALE_DEVICES (docs/devices.md). DEVICE_UNFIT where it is not there, or does
// not give the integers that every other machine gives.
absl::StatusOr<std::unique_ptr<learning::Evaluator>> OpenEvaluator(const std::string& device,
                                                                   int64_t memory_bytes);

}  // namespace rochdale::attribution
