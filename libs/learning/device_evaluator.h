// The exact evaluator on a device of torch: the same integers as exact_evaluator.h, which it is
// checked against before it evaluates anything. Link rochdale_learning_torch.
//
// On the grid every product and partial sum of a layer is exact in f64 (exact_evaluator.h), so the
// order in which a device adds does not matter; exp, log and cross-entropy are written as single
// IEEE operations in the order of exact_math.h, as are the attention and the normalisations of a
// transformer (device_networks.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "libs/learning/evaluator.h"

namespace rochdale::learning {

inline constexpr int64_t kDeviceMemoryMin = int64_t{64} << 20;

class DeviceEvaluator final : public Evaluator {
 public:
  // `device`: "cpu", "cuda" or "cuda:<n>". `memory_bytes`, at least kDeviceMemoryMin: what one
  // evaluation may hold of the device's memory; rows and candidates are cut into blocks to fit.
  // DEVICE_UNFIT where there is no such device, or where it does not give the exact evaluator's
  // integers for a game that is chosen to need every bit of f64.
  static absl::StatusOr<DeviceEvaluator> Open(absl::string_view device, int64_t memory_bytes);

  // The devices of this machine, to be given to Open: "cpu", and "cuda:<n>" for each.
  static std::vector<std::string> Devices();

  DeviceEvaluator(DeviceEvaluator&&) noexcept;
  DeviceEvaluator& operator=(DeviceEvaluator&&) noexcept;
  ~DeviceEvaluator() override;

  // As the functions of the same names in exact_evaluator.h, with the same results and errors, and
  // DEVICE_UNFIT where one candidate and one row do not fit into the memory, or the device fails.
  // `options.row_block` has no effect. Not thread-safe.
  absl::StatusOr<LossMatrix> EvaluateCoalitions(const ModelSpec& spec, GridSpan base,
                                                absl::Span<const GridSpan> updates,
                                                absl::Span<const uint64_t> masks, Rows rows,
                                                const EvaluationOptions& options = {}) override;
  absl::StatusOr<LossMatrix> EvaluateCheckpoints(const ModelSpec& spec,
                                                 absl::Span<const GridSpan> candidates, Rows rows,
                                                 const EvaluationOptions& options = {}) override;

  // exp and log of exact_math.h as this device has them: they must be the same bits.
  std::vector<double> Exp(absl::Span<const double> x) const;
  std::vector<double> Log(absl::Span<const double> s) const;

 private:
  class Run;
  struct Device;
  explicit DeviceEvaluator(std::unique_ptr<Device> device);
  absl::Status Check();
  absl::Status CheckModel(const ModelSpec& spec, int rows, int32_t reach);

  std::unique_ptr<Device> device_;
};

}  // namespace rochdale::learning
