// A worker that was built without devices: it starts in milliseconds.
#include "libs/base/errors.h"
#include "services/attribution/worker/device.h"

namespace rochdale::attribution {

absl::StatusOr<std::unique_ptr<learning::Evaluator>> OpenEvaluator(const std::string& device,
                                                                   int64_t) {
  if (device == "cpu") return std::make_unique<learning::HostEvaluator>();
  return Error("DEVICE_UNFIT",
               "this worker was built without devices (ROCHDALE_DEVICES, docs/devices.md)");
}

}  // namespace rochdale::attribution
