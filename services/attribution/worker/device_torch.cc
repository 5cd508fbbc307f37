// A worker that was built with devices (ROCHDALE_DEVICES).
#include "libs/base/status_macros.h"
#include "libs/learning/device_evaluator.h"
#include "services/attribution/worker/device.h"

namespace rochdale::attribution {

absl::StatusOr<std::unique_ptr<learning::Evaluator>> OpenEvaluator(const std::string& device,
                                                                   int64_t memory_bytes) {
  if (device == "cpu") return std::make_unique<learning::HostEvaluator>();
  ASSIGN_OR_RETURN(learning::DeviceEvaluator opened,
                   learning::DeviceEvaluator::Open(device, memory_bytes));
  return std::make_unique<learning::DeviceEvaluator>(std::move(opened));
}

}  // namespace rochdale::attribution
